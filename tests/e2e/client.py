"""Calls with a credential of a running system, and what comes back when they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from goodstanding.ca.v1.ca_pb2 import IssueCertificateRequest
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub
from goodstanding.status.v1.status_pb2_grpc import CertificateStatusServiceStub
from tests.e2e.system import System


@dataclass
class Services:
    """Stubs of both services over one credential."""

    ca: CertificateAuthorityServiceStub
    status: CertificateStatusServiceStub


@contextmanager
def services(system: System, certificate: Path | None = None, key: Path | None = None) -> Iterator[Services]:
    """Both services, as the admin or with another credential."""
    tls = system.data / "tls"
    certificate, key = certificate or tls / "admin.pem", key or tls / "admin.key"
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    with (
        grpc.secure_channel(system.ca, credentials) as ca,
        grpc.secure_channel(system.status, credentials) as status,
    ):
        yield Services(CertificateAuthorityServiceStub(ca), CertificateStatusServiceStub(status))


def issue(
    system: System, name: str, *, issuer: str = "issuing", key: CertificateIssuerPrivateKeyTypes | None = None
) -> x509.Certificate:
    """Issue a certificate as the admin, in a fraction of the time that a command takes."""
    with services(system) as stubs:
        request = IssueCertificateRequest(issuer=issuer, csr_der=csr(name, key=key))
        reply = stubs.ca.IssueCertificate(request, timeout=15)
    return x509.load_der_x509_certificate(reply.certificate.certificate_der)


@dataclass(frozen=True)
class Failure:
    """How a call failed: status code, stable reason, and the fields at fault."""

    code: str
    reason: str
    fields: tuple[str, ...]


def failure(call: Callable[[], Any]) -> Failure:
    """Run a call that must fail, and return how."""
    try:
        call()
    except grpc.RpcError as error:
        code = error.code().name
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    else:
        raise AssertionError("the call succeeded")
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    return Failure(code, info.reason, tuple(violation.field for violation in bad.field_violations))


def csr(
    common_name: str = "a.example.com",
    *,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    dns: list[str] | None = None,
    uris: list[str] | None = None,
    extensions: list[x509.ExtensionType] | None = None,
) -> bytes:
    """A certificate request in DER."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns or []]
    names += [x509.UniformResourceIdentifier(uri) for uri in uris or []]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions or []:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
