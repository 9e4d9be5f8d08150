"""Clients in a storm: they issue, revoke and repeat, as fast as they are answered, until the service is gone.

A call that fails because the service went away is made again in the next round, under the same request id.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from cryptography import x509

from goodstanding.ca.v1.ca_pb2 import IssueCertificateRequest, RevokeCertificateRequest
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub
from goodstanding.types.v1.types_pb2 import REVOCATION_REASON_SUPERSEDED, IssuerAndSerialNumber
from tests.storm.ledger import Ledger

if TYPE_CHECKING:
    from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceAsyncStub

ISSUERS, REVOKERS, REPEATERS = 8, 3, 1


@dataclass
class Crowd:
    """The clients, who remember from one round to the next what they are about."""

    ledger: Ledger
    csr: bytes
    to_revoke: deque[bytes] = field(default_factory=deque)
    repeated: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(1)
        self._issuing = [_Pending(f"{self._random.randbytes(4).hex()}-{place}") for place in range(ISSUERS)]
        self._revoking: list[bytes | None] = [None] * REVOKERS

    async def storm(self, address: str, tls: Path, begun: asyncio.Event) -> None:
        """Until the service is gone. `begun` is set once something was acknowledged."""
        credentials = grpc.ssl_channel_credentials(
            *((tls / name).read_bytes() for name in ("ca.pem", "admin.key", "admin.pem"))
        )
        async with grpc.aio.secure_channel(address, credentials) as channel:
            async with asyncio.timeout(30):
                await channel.channel_ready()
            stub = CertificateAuthorityServiceStub(channel)
            async with asyncio.TaskGroup() as tasks:
                for pending in self._issuing:
                    tasks.create_task(_until_gone(lambda pending=pending: self._issue(stub, pending, begun)))  # type: ignore[misc]
                for place in range(REVOKERS):
                    tasks.create_task(_until_gone(lambda place=place: self._revoke(stub, place)))  # type: ignore[misc]
                for _ in range(REPEATERS):
                    tasks.create_task(_until_gone(lambda: self._repeat(stub)))

    async def _issue(self, stub: CertificateAuthorityServiceAsyncStub, pending: _Pending, begun: asyncio.Event) -> None:
        request_id = pending.request_id
        der = await self._certificate(stub, request_id)
        self.ledger.acknowledge(request_id, der)
        pending.next()
        begun.set()
        if self._random.random() < 0.5:
            self.to_revoke.append(x509.load_der_x509_certificate(der).serial_number.to_bytes(16).lstrip(b"\0"))

    async def _certificate(self, stub: CertificateAuthorityServiceAsyncStub, request_id: str) -> bytes:
        request = IssueCertificateRequest(csr_der=self.csr, request_id=request_id)
        answer = await stub.IssueCertificate(request, timeout=30)
        return answer.certificate.certificate_der

    async def _revoke(self, stub: CertificateAuthorityServiceAsyncStub, place: int) -> None:
        serial = self._revoking[place] or (self.to_revoke.popleft() if self.to_revoke else None)
        if serial is None:
            await asyncio.sleep(0.005)
            # Notices, as a call does, that the service is gone.
            await self._repeat(stub)
            return
        self._revoking[place] = serial
        target = IssuerAndSerialNumber(issuer="issuing", serial_number=serial.hex())
        request = RevokeCertificateRequest(
            issuer_and_serial_number=target, reason=REVOCATION_REASON_SUPERSEDED, request_id=f"revoke-{serial.hex()}"
        )
        answer = await stub.RevokeCertificate(request, timeout=30)
        self.ledger.revoked[serial] = answer.certificate.revision
        self._revoking[place] = None

    async def _repeat(self, stub: CertificateAuthorityServiceAsyncStub) -> None:
        """Ask again for something that was acknowledged: it is the same."""
        if not self.ledger.issued:
            await asyncio.sleep(0.005)
            return
        request_id = self._random.choice(list(self.ledger.issued))
        assert await self._certificate(stub, request_id) == self.ledger.issued[request_id]
        self.repeated += 1


class _Pending:
    """The request id that a client is about: the same until it is answered."""

    def __init__(self, prefix: str) -> None:
        self._ids = (f"{prefix}-{number}" for number in itertools.count())
        self.next()

    def next(self) -> None:
        self.request_id = next(self._ids)


async def _until_gone(call: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return
            raise
