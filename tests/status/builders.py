"""What tests of the status service are made of: a registry to ask about, a watcher, conversions of errors."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_status import rpc_status

from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.db.certificates import insert_certificates
from services.db.engine import Database
from services.db.issuers import add_issuer, follow_certificate, set_issuer_state
from services.db.position import advance, new_history, read_position
from services.db.records import (
    Actor,
    ChangeAction,
    IssuerState,
    NewCertificate,
    NewIssuer,
    NewIssuerCertificate,
    Position,
    RevocationRecord,
    StatusChange,
)
from services.db.status import apply_changes, insert_statuses
from services.errors import DomainError
from services.rpc.errors import to_status
from services.status.hub import PositionHub

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=90)
ACTOR = Actor("spiffe://goodstanding/admin/test", "test", "admin", "ab" * 32, "ipv4:127.0.0.1:1", "")

Request = status_pb2.WatchCertificateStatusRequest
Response = status_pb2.WatchCertificateStatusResponse


@dataclass
class Registry:
    """Writes what the ca service would write, straight into the database."""

    db: Database
    issuers: dict[str, int] = field(default_factory=dict)
    _keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def add_issuer(self, name: str, *, subject: str | None = None) -> x509.Certificate:
        """Record an issuer with a self-signed certificate, and return that."""
        key = self._keys[name] = ec.generate_private_key(ec.SECP256R1())
        certificate = make_certificate(subject or name, subject or name, key, key, 1)
        record = NewIssuer(
            name=name,
            state=IssuerState.ACTIVE,
            subject_der=certificate.subject.public_bytes(),
            public_key_der=public_key_der(certificate),
            certificates=(NewIssuerCertificate(certificate.public_bytes(serialization.Encoding.DER), NOW, LATER),),
            parent_id=None,
            key_ref=None,
            created_at=NOW,
        )
        with self.db.write() as conn:
            self.issuers[name] = add_issuer(conn, record, advance(conn, 1))
        return certificate

    def sign(self, issuer: str, serial: bytes, subject: str = "leaf.example.com") -> bytes:
        """The DER of a certificate by that issuer, which is not recorded."""
        key = ec.generate_private_key(ec.SECP256R1())
        number = int.from_bytes(serial, "big")
        certificate = make_certificate(subject, issuer, key, self._keys[issuer], number)
        return certificate.public_bytes(serialization.Encoding.DER)

    def retire_issuer(self, name: str) -> int:
        """Change the state of an issuer; returns the revision."""
        with self.db.write() as conn:
            revision = advance(conn, 1)
            set_issuer_state(conn, self.issuers[name], IssuerState.RETIRED, revision)
        return revision

    def issue(self, issuer: str, *serials: bytes, der: bytes | None = None) -> int:
        """Record certificates; returns the revision of the last."""
        rows = [_new_certificate(self.issuers[issuer], serial, der) for serial in serials]
        with self.db.write() as conn:
            ids = insert_certificates(conn, rows)
            first = advance(conn, len(rows))
            insert_statuses(conn, rows, ids, first)
        return first + len(rows) - 1

    def revoke(self, issuer: str, *serials: bytes, reason: int = 1) -> int:
        """Revoke certificates in one transaction; returns the revision of the last."""
        revocation = RevocationRecord(NOW, reason)
        return self._change(issuer, serials, ChangeAction.HOLD if reason == 6 else ChangeAction.REVOKE, revocation)

    def release(self, issuer: str, *serials: bytes) -> int:
        """Release certificates that are on hold; returns the revision of the last."""
        return self._change(issuer, serials, ChangeAction.RELEASE, None)

    def compromise(self, name: str, certificate: x509.Certificate) -> int:
        """Revoke an issuer's own certificate, which it issued itself, for keyCompromise; returns the revision."""
        serial, der = certificate.serial_number.to_bytes(1), certificate.public_bytes(serialization.Encoding.DER)
        self.issue(name, serial, der=der)
        change = StatusChange(self.issuers[name], serial, ChangeAction.REVOKE, RevocationRecord(NOW, 1), NOW, ACTOR)
        with self.db.write() as conn:
            revision = advance(conn, 1)
            apply_changes(conn, [change], revision)
            follow_certificate(conn, der, change, revision, compromises=True)
        return revision

    def new_history(self) -> None:
        """Do what the ca service does when it starts."""
        with self.db.write() as conn:
            new_history(conn)

    def position(self) -> Position:
        """Where the database is."""
        with self.db.read() as conn:
            return read_position(conn)

    def _change(
        self, issuer: str, serials: Sequence[bytes], action: ChangeAction, revocation: RevocationRecord | None
    ) -> int:
        changes = [StatusChange(self.issuers[issuer], serial, action, revocation, NOW, ACTOR) for serial in serials]
        with self.db.write() as conn:
            first = advance(conn, len(changes))
            apply_changes(conn, changes, first)
        return first + len(changes) - 1


def make_certificate(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    number: int,
) -> x509.Certificate:
    """The least certificate that can be parsed."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(NOW)
        .not_valid_after(LATER)
        .sign(issuer_key, hashes.SHA256())
    )


def public_key_der(certificate: x509.Certificate) -> bytes:
    """The SubjectPublicKeyInfo of a certificate."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _new_certificate(issuer_id: int, serial: bytes, der: bytes | None) -> NewCertificate:
    return NewCertificate(
        issuer_id=issuer_id,
        serial=serial,
        der=der,
        subject="CN=leaf.example.com",
        common_name="leaf.example.com",
        subject_alternative_names=("DNS:leaf.example.com",),
        profile="server",
        public_key_sha256=None,
        not_before=NOW,
        not_after=LATER,
        issued_at=NOW,
        actor=ACTOR,
    )


def number(value: int) -> bytes:
    """A serial number of 16 octets."""
    return (0x51 << 120 | value).to_bytes(16, "big")


class ErrorsToStatus(grpc.aio.ServerInterceptor):
    """The real conversion of errors, without the identities that the real interceptor wants first."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        assert handler is not None
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                _converted_stream(handler.stream_stream), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                _converted_stream(handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _converted(handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )


def _converted(behavior: Any) -> Any:
    async def handle(request: Any, context: Any) -> Any:
        try:
            return await behavior(request, context)
        except DomainError as error:
            await context.abort_with_status(rpc_status.to_status(to_status(error)))

    return handle


def _converted_stream(behavior: Any) -> Any:
    async def handle(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for message in behavior(requests, context):
                yield message
        except DomainError as error:
            await context.abort_with_status(rpc_status.to_status(to_status(error)))

    return handle


@dataclass
class Service:
    """A running status service, and a client of it."""

    hub: PositionHub
    stub: status_pb2_grpc.CertificateStatusServiceAsyncStub
    connect: Callable[..., Awaitable[status_pb2_grpc.CertificateStatusServiceAsyncStub]]
    """Another client, with channel options."""

    def watch(self, stub: status_pb2_grpc.CertificateStatusServiceAsyncStub | None = None) -> Watch:
        """Open a watch. Nothing is sent yet."""
        return Watch((stub or self.stub).WatchCertificateStatus())


class Watch:
    """The client's side of a watch."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def start(self, position: Position | None = None) -> None:
        """Say where we are; None: nowhere."""
        known = position or Position("", 0)
        await self.call.write(Request(start=Request.Start(history=known.history, from_revision=known.revision)))

    async def ping(self, ping_id: int) -> None:
        """Ask for a proof of freshness."""
        await self.call.write(Request(ping=Request.Ping(id=ping_id)))

    async def told(self) -> Response:
        """The next message."""
        async with asyncio.timeout(5):  # a message that does not come fails the test
            response = await self.call.read()
        assert isinstance(response, Response), "the stream has ended"
        return response

    async def told_until_pong(self, ping_id: int) -> list[Response]:
        """All messages up to the pong of that ping."""
        messages = [await self.told()]
        while messages[-1].WhichOneof("message") != "pong" or messages[-1].pong.id < ping_id:
            messages.append(await self.told())
        return messages
