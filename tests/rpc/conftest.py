"""Real mTLS material, and a server whose tiny servicers do what a request tells them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.clock import utc_now
from services.errors import FieldViolation, InvalidArgument, NotFound
from services.pki.mtls import fingerprint, identity_uri, make_client_credential, make_server_credential, make_tls_ca
from services.rpc.deny_list import DenyList
from services.rpc.identity import Authenticator, current_caller
from services.rpc.metrics import RpcMetrics
from services.rpc.server import Limits, RpcServer, TlsFiles, build_server

CA_SERVICE = "goodstanding.ca.v1.CertificateAuthorityService"
STATUS_SERVICE = "goodstanding.status.v1.CertificateStatusService"
DAY = timedelta(days=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Credential:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """A root of credentials, which also makes the bad ones that `services.pki.mtls` would not make."""

    def __init__(self) -> None:
        key = new_key()
        self.root = Credential(make_tls_ca(key=key, now=utc_now() - 30 * DAY), key)

    def server(self) -> Credential:
        key = new_key()
        made = make_server_credential(ca=self.root.certificate, ca_key=self.root.key, key=key, now=utc_now())
        return Credential(made, key)

    def client(self, role: str = "admin", name: str = "alice", age: timedelta = timedelta()) -> Credential:
        """A client's credential as `goodstanding credential new` made it `age` ago."""
        key = new_key()
        made = make_client_credential(
            ca=self.root.certificate,
            ca_key=self.root.key,
            key=key,
            identity=identity_uri(role, name),
            now=utc_now() - age,
            validity=7 * DAY,
        )
        return Credential(made, key)

    def odd(
        self, names: list[x509.GeneralName], usages: list[x509.ObjectIdentifier] | None, *, ca: bool = False
    ) -> Credential:
        """A certificate of this root with whatever names and extended key usages."""
        key = new_key()
        builder = (
            x509.CertificateBuilder()
            .issuer_name(self.root.certificate.subject)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(utc_now() - DAY)
            .not_valid_after(utc_now() + DAY)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return Credential(builder.sign(self.root.key, hashes.SHA256()), key)


class TinyCa(ca_pb2_grpc.CertificateAuthorityServiceServicer):
    """Does what the serial number of the request says."""

    async def GetCertificate(self, request: ca_pb2.GetCertificateRequest, context: Any) -> Any:  # noqa: N802
        serial = request.issuer_and_serial_number.serial_number
        if serial == "unforeseen":
            raise RuntimeError("secret: /etc/passwd")
        if serial == "not-found":
            raise NotFound("CERTIFICATE_UNKNOWN", "never issued here", metadata={"serial": "01"})
        if serial == "invalid":
            raise InvalidArgument("SERIAL_INVALID", "not hex", field="issuer_and_serial_number.serial_number")
        if serial == "two":
            violations = [FieldViolation("a", "X_Y", "first"), FieldViolation("b[1]", "Z_Z", "second\nhalf")]
            raise InvalidArgument("X_Y", "first", violations=violations)
        if serial == "many":
            violations = [FieldViolation(f"f{n}" * 200, "NAME_INVALID", "x" * 999) for n in range(100)]
            raise InvalidArgument("NAME_INVALID", "y" * 5000, violations=violations)
        if serial == "slow":
            await asyncio.sleep(60)
        caller = await asyncio.to_thread(current_caller)
        actor = types_pb2.Actor(
            identity=caller.identity, role=caller.role, peer=caller.peer, credential_fingerprint=caller.fingerprint
        )
        return ca_pb2.GetCertificateResponse(certificate=types_pb2.Certificate(issued_by=actor))

    async def RevokeCertificate(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ca_pb2.RevokeCertificateResponse()

    async def IssueCertificate(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ca_pb2.IssueCertificateResponse(certificate_pem="x" * 100)


class TinyStatus(status_pb2_grpc.CertificateStatusServiceServicer):
    """Answers each ping; fails on ping 666."""

    async def WatchCertificateStatus(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        async for message in request_iterator:
            if message.ping.id == 666:
                raise RuntimeError("secret: stream")
            yield status_pb2.WatchCertificateStatusResponse(
                pong=status_pb2.WatchCertificateStatusResponse.Pong(id=message.ping.id)
            )


@dataclass
class Running:
    """A running server, and ways to talk to it."""

    server: RpcServer
    authority: Authority
    files: TlsFiles
    deny: DenyList
    metrics: RpcMetrics
    denied: set[str] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def channel(self, credential: Credential | None, *, address: str = "") -> grpc.aio.Channel:
        """A channel with that client certificate, or without one."""
        root = self.authority.root.pem
        pair = (credential.key_pem, credential.pem) if credential else (None, None)
        # One channel, one connection: gRPC would share it between equal channels.
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(
            address or self.address, grpc.ssl_channel_credentials(root, *pair), options=options
        )


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The root that the servers trust."""
    return Authority()


def write_tls(folder: Path, authority: Authority, server: Credential) -> TlsFiles:
    """The files of a server."""
    files = TlsFiles(folder / "root.pem", folder / "server.pem", folder / "server.key")
    files.root.write_bytes(authority.root.pem)
    files.certificate.write_bytes(server.pem)
    files.key.write_bytes(server.key_pem)
    return files


Start = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(tmp_path: Path, authority: Authority) -> Start:
    """What starts a server on a port of its own, for `async with`."""

    @contextlib.asynccontextmanager
    async def started(limits: Limits | None = None) -> AsyncIterator[Running]:
        files = write_tls(tmp_path, authority, authority.server())
        denied: set[str] = set()
        deny = DenyList(lambda: frozenset(denied), interval=0.1)
        metrics = RpcMetrics()
        server = build_server(
            listen="127.0.0.1:0",
            tls=files,
            services={
                CA_SERVICE: lambda server: ca_pb2_grpc.add_CertificateAuthorityServiceServicer_to_server(
                    TinyCa(),  # type: ignore[abstract]  # the other methods stay unimplemented
                    server,
                ),
                STATUS_SERVICE: lambda server: status_pb2_grpc.add_CertificateStatusServiceServicer_to_server(
                    TinyStatus(),  # type: ignore[abstract]
                    server,
                ),
            },
            authenticator=Authenticator(trust_domain="goodstanding", is_denied=deny.is_denied, clock=utc_now),
            deny_list=deny,
            limits=limits,
            metrics=metrics,
        )
        deny.start()
        await server.start()
        try:
            yield Running(server, authority, files, deny, metrics, denied)
        finally:
            await server.stop(0)
            deny.stop()

    return started


def get(serial: str = "") -> ca_pb2.GetCertificateRequest:
    """Make TinyCa do something."""
    return ca_pb2.GetCertificateRequest(issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(serial_number=serial))
