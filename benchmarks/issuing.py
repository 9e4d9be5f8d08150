"""Issuing over gRPC with mTLS, as services do it: one caller after the other's answer, or many at once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from benchmarks.processes import System
from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc

CALLERS = 32
_TIMEOUT = 30.0
_IN_A_MESSAGE = 50


@dataclass(frozen=True)
class Issued:
    """Serial numbers of certificates, how long each call took, and how long all of them took, in seconds."""

    serials: list[int]
    latencies: list[float]
    seconds: float


def requests(count: int, prefix: str) -> list[bytes]:
    """Certificate requests in DER, each with a P-256 key and a name of its own."""
    return [request(f"{prefix}-{number}.example.com") for number in range(count)]


def request(name: str) -> bytes:
    """A certificate request for one DNS name, in DER."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.DER)


def credentials(system: System) -> grpc.ChannelCredentials:
    """The administrator's."""
    tls = system.data / "tls"
    root, key, certificate = (tls / name for name in ("ca.pem", "admin.key", "admin.pem"))
    return grpc.ssl_channel_credentials(root.read_bytes(), key.read_bytes(), certificate.read_bytes())


def issue_all(system: System, csrs: Iterable[bytes], callers: int) -> Issued:
    """Issue a certificate for each request. Every call is safe to retry, and is durable when it returns.

    Raises grpc.RpcError when one is refused.
    """
    return asyncio.run(_issue_all(system, iter(csrs), callers))


def issue_stream(system: System, csrs: Sequence[bytes]) -> Issued:
    """Issue a certificate for each request in one call. Each is safe to retry, and durable once its result is there.

    Raises grpc.RpcError when the call fails, and RuntimeError when one is refused. There are no latencies.
    """
    return asyncio.run(_issue_stream(system, csrs))


async def _issue_stream(system: System, csrs: Sequence[bytes]) -> Issued:
    async with grpc.aio.secure_channel(system.ca, credentials(system)) as channel:
        await channel.channel_ready()
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        serials: list[int] = []
        begun = time.perf_counter()
        async for answer in stub.IssueCertificates(_messages(csrs)):
            for result in answer.results:
                if result.HasField("error"):
                    raise RuntimeError(f"{result.error.reason}: {result.error.message}")
                serials.append(int(result.certificate.serial_number, 16))
        return Issued(serials, [], time.perf_counter() - begun)


async def _messages(csrs: Sequence[bytes]) -> AsyncIterator[ca_pb2.IssueCertificatesRequest]:
    for begin in range(0, len(csrs), _IN_A_MESSAGE):
        wanted = (
            ca_pb2.IssueCertificateRequest(csr_der=csr, request_id=str(uuid.uuid4()))
            for csr in csrs[begin : begin + _IN_A_MESSAGE]
        )
        yield ca_pb2.IssueCertificatesRequest(requests=wanted)


async def _issue_all(system: System, csrs: Iterator[bytes], callers: int) -> Issued:
    async with grpc.aio.secure_channel(system.ca, credentials(system)) as channel:
        await channel.channel_ready()
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        serials: list[int] = []
        latencies: list[float] = []

        async def call_on_and_on() -> None:
            for csr in csrs:
                sent = time.perf_counter()
                wanted = ca_pb2.IssueCertificateRequest(csr_der=csr, request_id=str(uuid.uuid4()))
                answer = await stub.IssueCertificate(wanted, timeout=_TIMEOUT)
                latencies.append(time.perf_counter() - sent)
                serials.append(int(answer.certificate.serial_number, 16))

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(call_on_and_on())
        return Issued(serials, latencies, time.perf_counter() - begun)
