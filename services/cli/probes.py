"""Whether a service serves: asked the way its callers would ask."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
from grpc_health.v1 import health_pb2

from services.cli.folder import DataFolder, reachable

ATTEMPT = 2.0


async def grpc_serves(address: str, folder: DataFolder, credential: str) -> bool:
    """Whether a gRPC server says SERVING to the credential `tls/<credential>.pem`."""
    if not await accepts(address):
        return False
    credentials = grpc.ssl_channel_credentials(
        (folder.tls / "ca.pem").read_bytes(),
        (folder.tls / f"{credential}.key").read_bytes(),
        (folder.tls / f"{credential}.pem").read_bytes(),
    )
    # Our own child, on whichever of this machine's addresses: its certificate names localhost always.
    options = [("grpc.ssl_target_name_override", "localhost")]
    async with grpc.aio.secure_channel(reachable(address), credentials, options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=ATTEMPT)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def http_ready(address: str) -> bool:
    """Whether `/readyz` at an operator address answers 200."""
    host, _, port = reachable(address).rpartition(":")
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ATTEMPT):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False


async def accepts(address: str) -> bool:
    """Whether anything takes connections there."""
    # A refused connection costs nothing here; a gRPC channel would wait before it tries again.
    host, _, port = reachable(address).rpartition(":")
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ATTEMPT):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
            return True
    return False
