"""A gRPC server that lets nobody in by default: mTLS, a guard around every call, limits, reflection and health.

Certificate files that changed are read again at the next handshake (`tls`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.addresses import parse_address
from services.config import ConfigError
from services.rpc.accepting import make_server
from services.rpc.deny_list import DenyList
from services.rpc.identity import Authenticator
from services.rpc.interceptor import Guard
from services.rpc.metrics import RpcMetrics
from services.rpc.reflection import SERVICE_NAME as REFLECTION
from services.rpc.reflection import enable_reflection
from services.rpc.refusals import Refusal
from services.rpc.tls import CertificateReader, TlsFiles

__all__ = ["Limits", "RpcServer", "TlsFiles", "build_server"]

# For streams to send what they have, such as NOT_SERVING to those who watch the health.
_LAST_WORDS_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server puts up with."""

    receive_bytes: int = 1 << 20
    send_bytes: int = 16 << 20
    metadata_bytes: int = 16 << 10
    concurrent_rpcs: int = 1024
    """Streams count. Beyond it, calls get RESOURCE_EXHAUSTED at once."""
    rpcs_per_identity: int = 256
    """How many of them one identity may have, streams among them: nobody takes the server away from the others."""
    streams_per_connection: int = 256
    unary_seconds: float = 30.0
    """How long a unary call may take, whatever its deadline."""
    handshake_seconds: float = 10.0
    idle_ping_seconds: float = 30.0
    """A connection that is silent for so long is pinged, and closed when nothing comes back."""


class RpcServer:
    """A server and its health. `port` is the real one, also where port 0 was asked for."""

    def __init__(
        self,
        server: grpc.aio.Server,
        guard: Guard,
        health_servicer: health.aio.HealthServicer,
        port: int,
        services: Iterable[str],
        ended: asyncio.Future[BaseException],
    ) -> None:
        self.port = port
        self.ended = ended
        """Has a result as soon as no calls are accepted any more though nobody asked for that."""
        self._server = server
        self._guard = guard
        self._health = health_servicer
        self._untold = {"", *services}

    async def start(self) -> None:
        """Accept calls."""
        # The health servicer would say SERVING of its own accord.
        for name in list(self._untold):
            await self.set_serving(name, False)
        await self._server.start()

    async def set_serving(self, service: str, serving: bool) -> None:
        """What the health service says of `service` ("" is the server as a whole; "issuer/NAME" an issuer)."""
        self._untold.discard(service)
        states = health_pb2.HealthCheckResponse
        await self._health.set(service, states.SERVING if serving else states.NOT_SERVING)

    async def stop(self, grace: float = 5.0) -> None:
        """Health says NOT_SERVING, streams end, calls in progress get `grace` seconds, the rest is aborted."""
        await self._health.enter_graceful_shutdown()
        self._guard.end_streams(min(grace, _LAST_WORDS_SECONDS))
        await self._server.stop(grace)


def build_server(
    *,
    listen: str,
    tls: TlsFiles,
    services: Mapping[str, Callable[[grpc.aio.Server], None]],
    authenticator: Authenticator,
    deny_list: DenyList | None = None,
    limits: Limits | None = None,
    metrics: RpcMetrics | None = None,
    on_refusal: Callable[[Refusal], None] | None = None,
) -> RpcServer:
    """A bound, not yet started server. Call it inside the running event loop that is to serve.

    `services`: full service name -> function that adds its servicer, as in
    {"goodstanding.ca.v1.CertificateAuthorityService":
        lambda server: ca_pb2_grpc.add_CertificateAuthorityServiceServicer_to_server(servicer, server)}.
    They and "" (the server as a whole) are NOT_SERVING until `set_serving` says otherwise.
    `deny_list`: streams of a certificate are cut when it comes onto the list.
    `on_refusal` is told of refused calls, in the event loop.
    Raises ConfigError: files that cannot be used, an address that cannot be used.
    """
    limits = limits or Limits()
    credentials = CertificateReader(tls).credentials()
    guard = Guard(
        authenticator,
        unary_seconds=limits.unary_seconds,
        rpcs_per_identity=limits.rpcs_per_identity,
        deny_list=deny_list,
        metrics=metrics,
        on_refusal=on_refusal,
    )
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    server = make_server([guard], _options(limits), limits.concurrent_rpcs, ended.set_result)
    for add in services.values():
        add(server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = (*services, health.SERVICE_NAME, REFLECTION)
    enable_reflection(names, server)
    return RpcServer(server, guard, health_servicer, _bind(server, listen, credentials), services, ended)


def _options(limits: Limits) -> list[tuple[str, int]]:
    ping_ms = int(limits.idle_ping_seconds * 1000)
    return [
        ("grpc.max_receive_message_length", limits.receive_bytes),
        ("grpc.max_send_message_length", limits.send_bytes),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_seconds * 1000)),
        ("grpc.keepalive_time_ms", ping_ms),
        ("grpc.keepalive_timeout_ms", ping_ms // 3),
        # Clients may ping too, also between calls, or the gateway would be cut off for too many pings.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        # Otherwise a second server on a taken port would start, and get half of the connections.
        ("grpc.so_reuseport", 0),
    ]


def _bind(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials) -> int:
    host, port = parse_address(listen)
    try:
        return server.add_secure_port(listen, credentials)
    except RuntimeError:
        raise ConfigError(f"cannot listen on {listen}: {_why_not(host, port)}") from None


def _why_not(host: str, port: int) -> str:
    """The system's words: gRPC keeps them to itself."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
            attempt.listen()
    except OSError as error:
        return f"{error.strerror}; stop what uses it, or choose another address"
    return "the address cannot be used; choose another"
