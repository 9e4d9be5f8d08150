"""Bad input: each kind gets its class of error, its stable reason and the field at fault, and records nothing."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf.duration_pb2 import Duration

from goodstanding.ca.v1 import ca_pb2
from services.ca.servicer import CertificateAuthorityServicer
from services.errors import DomainError, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from services.rpc.identity import Caller, set_caller
from services.rpc.messages import timestamp
from tests.ca.world import START, Ca, make_actor, make_csr

CSR = make_csr()
FLIPPED = CSR[:-1] + bytes([CSR[-1] ^ 1])
DAY = timedelta(days=1)


def request_with(*extensions: x509.ExtensionType, key: Any = None) -> bytes:
    """A certificate request that asks for these extensions."""
    builder = x509.CertificateSigningRequestBuilder(
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test.example.com")])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def names(*found: str) -> x509.SubjectAlternativeName:
    """DNS names."""
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in found])


def nul_request() -> bytes:
    """A certificate request with a NUL in a name; builders refuse to make one."""
    return request_with(names("nulXhere.example.com")).replace(b"nulXhere", b"nul\x00here")


def call(ca: Ca, method: str, request: Any, role: str) -> Any:
    """Call the servicer as grpc.aio would, for a caller of that role."""
    actor = make_actor(role)
    caller = Caller(actor.identity, actor.name, actor.role, actor.fingerprint, START + 90 * DAY, actor.peer, "id")

    async def run() -> Any:
        set_caller(caller)
        with ThreadPoolExecutor(1) as pool:
            servicer = CertificateAuthorityServicer(ca.authority, workers=pool, readers=pool, clock=ca.clock)
            return await getattr(servicer, method)(request, None)

    return asyncio.run(run())


def sans(**kinds: list[str]) -> dict[str, Any]:
    """A good request with other names."""
    return {"csr_der": CSR, "subject_alternative_names": ca_pb2.SubjectAlternativeNames(**kinds)}


SAN = "subject_alternative_names"


@pytest.mark.parametrize(
    ("fields", "error", "reason", "field"),
    [
        pytest.param({}, InvalidArgument, "CSR_MISSING", "certificate_request", id="nothing"),
        pytest.param({"csr_der": b"garbage"}, InvalidArgument, "CSR_MALFORMED", "csr_der", id="garbage"),
        pytest.param({"csr_pem": "garbage"}, InvalidArgument, "CSR_MALFORMED", "csr_pem", id="garbage-pem"),
        pytest.param({"csr_der": bytes(65537)}, InvalidArgument, "CSR_TOO_LARGE", "csr_der", id="large"),
        pytest.param({"csr_der": FLIPPED}, InvalidArgument, "CSR_SIGNATURE_INVALID", "csr_der", id="flipped-bit"),
        pytest.param(
            {"csr_der": request_with(key=rsa.generate_private_key(65537, 1024))},
            InvalidArgument,
            "KEY_TOO_SMALL",
            "csr_der",
            id="rsa-1024",
        ),
        pytest.param(
            {"csr_der": request_with(names(*(f"h{number}.example.com" for number in range(1000))))},
            InvalidArgument,
            "TOO_MANY_NAMES",
            "csr_der",
            id="1000-names",
        ),
        pytest.param(sans(dns_names=["a"] * 101), InvalidArgument, "TOO_MANY_NAMES", SAN, id="101-names"),
        pytest.param(sans(dns_names=["a\0b"]), InvalidArgument, "NAME_INVALID", f"{SAN}.dns_names[0]", id="nul"),
        pytest.param(
            sans(uris=["urn:a", "spiffe://GoodStanding/admin/x"]) | {"profile": "client"},
            InvalidArgument,
            "NAME_RESERVED",
            f"{SAN}.uris[1]",
            id="own-trust-domain",
        ),
        pytest.param(
            sans(uris=["https://example.com/"]), InvalidArgument, "NAME_NOT_ALLOWED", f"{SAN}.uris[0]", id="wrong-kind"
        ),
        pytest.param({"csr_der": CSR, "profile": "ca"}, NotFound, "PROFILE_UNKNOWN", "profile", id="profile"),
        pytest.param({"csr_der": CSR, "issuer": "x"}, NotFound, "ISSUER_UNKNOWN", "issuer", id="issuer"),
        pytest.param(
            {"csr_der": CSR, "profile": "ocsp-responder"},
            PermissionDenied,
            "PROFILE_NOT_ALLOWED",
            "profile",
            id="role",
        ),
        pytest.param(
            {"csr_der": CSR, "not_after_time": timestamp(START + 20 * 366 * DAY)},
            InvalidArgument,
            "VALIDITY_BEYOND_ISSUER",
            "not_after_time",
            id="beyond-the-issuer",
        ),
        pytest.param(
            {"csr_der": CSR, "validity": Duration(seconds=826 * 86400)},
            InvalidArgument,
            "VALIDITY_TOO_LONG",
            "validity",
            id="beyond-the-profile",
        ),
        pytest.param(
            {"csr_der": CSR, "validity": Duration(seconds=-1)},
            InvalidArgument,
            "VALIDITY_INVALID",
            "validity",
            id="negative-validity",
        ),
        pytest.param(
            {"csr_der": CSR, "not_after_time": timestamp(START - DAY)},
            InvalidArgument,
            "VALIDITY_INVALID",
            "not_after_time",
            id="in-the-past",
        ),
        pytest.param(
            {"csr_der": CSR, "request_id": "x" * 129}, InvalidArgument, "REQUEST_ID_INVALID", "request_id", id="long-id"
        ),
        pytest.param(
            {"csr_der": CSR, "request_id": "é"}, InvalidArgument, "REQUEST_ID_INVALID", "request_id", id="odd-id"
        ),
    ],
)
def test_issuing(ca: Ca, fields: dict[str, Any], error: type[DomainError], reason: str, field: str) -> None:
    """IssueCertificate refuses, and issues nothing."""
    with pytest.raises(error) as refused:
        call(ca, "IssueCertificate", ca_pb2.IssueCertificateRequest(**fields), "issuer")
    assert (refused.value.reason, refused.value.violations[0].field) == (reason, field)
    assert ca.count("certificates") == 2


def test_a_nul_in_a_name_of_the_request(ca: Ca) -> None:
    """R116. The signature is wrong as well, so any of the two reasons will do; what counts is that it ends there."""
    with pytest.raises(InvalidArgument) as refused:
        call(ca, "IssueCertificate", ca_pb2.IssueCertificateRequest(csr_der=nul_request()), "issuer")
    assert refused.value.reason in {"NAME_INVALID", "CSR_MALFORMED", "CSR_SIGNATURE_INVALID"}


@pytest.mark.parametrize(
    "extension",
    [
        pytest.param(x509.BasicConstraints(ca=True, path_length=None), id="ca"),
        pytest.param(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), id="ocsp-signing"),
        pytest.param(x509.OCSPNoCheck(), id="nocheck"),
    ],
)
def test_what_a_request_asks_for_is_not_copied(ca: Ca, extension: x509.ExtensionType) -> None:
    """R115, R69: the certificate is that of the profile, whatever the request wants to be."""
    request = ca_pb2.IssueCertificateRequest(csr_der=request_with(extension, names("test.example.com")))
    reply = call(ca, "IssueCertificate", request, "issuer")
    extensions = x509.load_der_x509_certificate(reply.certificate.certificate_der).extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not [found for found in extensions if isinstance(found.value, x509.OCSPNoCheck)]


BY_SERIAL = "issuer_and_serial_number"


@pytest.mark.parametrize(
    ("fields", "error", "reason", "field"),
    [
        pytest.param({}, InvalidArgument, "TARGET_MISSING", "target", id="nothing"),
        pytest.param(
            {BY_SERIAL: {"serial_number": "not hex"}},
            InvalidArgument,
            "SERIAL_INVALID",
            f"{BY_SERIAL}.serial_number",
            id="not-hex",
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "0"}},
            InvalidArgument,
            "SERIAL_INVALID",
            f"{BY_SERIAL}.serial_number",
            id="zero",
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "ab" * 21}},
            InvalidArgument,
            "SERIAL_INVALID",
            f"{BY_SERIAL}.serial_number",
            id="21-octets",
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "abcd"}},
            NotFound,
            "CERTIFICATE_UNKNOWN",
            f"{BY_SERIAL}.serial_number",
            id="never-issued",
        ),
        pytest.param(
            {BY_SERIAL: {"issuer": "x", "serial_number": "abcd"}},
            NotFound,
            "ISSUER_UNKNOWN",
            f"{BY_SERIAL}.issuer",
            id="unknown-issuer",
        ),
        pytest.param(
            {"certificate_der": b"x"}, InvalidArgument, "CERTIFICATE_MALFORMED", "certificate_der", id="garbage"
        ),
        pytest.param(
            {"certificate_pem": "x"}, InvalidArgument, "CERTIFICATE_MALFORMED", "certificate_pem", id="garbage-pem"
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "$"}, "reason": 7}, InvalidArgument, "REASON_NOT_ALLOWED", "reason", id="7"
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "$"}, "reason": 99}, InvalidArgument, "REASON_NOT_ALLOWED", "reason", id="99"
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "$"}, "invalidity_time": timestamp(START + DAY)},
            InvalidArgument,
            "INVALIDITY_TIME_INVALID",
            "invalidity_time",
            id="future",
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "$"}, "request_id": "a b"},
            InvalidArgument,
            "REQUEST_ID_INVALID",
            "request_id",
            id="request-id",
        ),
        pytest.param(
            {BY_SERIAL: {"serial_number": "$"}, "reason": 8}, FailedPrecondition, "NOT_ON_HOLD", "reason", id="8"
        ),
    ],
)
def test_revoking(ca: Ca, fields: dict[str, Any], error: type[DomainError], reason: str, field: str) -> None:
    """RevokeCertificate refuses, and revokes nothing. `$` stands for the serial number of a good certificate."""
    serial = ca.issue(make_actor("issuer")).certificate.serial.hex()
    given = fields.get(BY_SERIAL, {})
    if given.get("serial_number") == "$":
        fields = fields | {BY_SERIAL: given | {"serial_number": serial}}
    with pytest.raises(error) as refused:
        call(ca, "RevokeCertificate", ca_pb2.RevokeCertificateRequest(**fields), "revoker")
    assert refused.value.reason == reason
    assert [violation.field for violation in refused.value.violations] == [field]
    assert ca.count("status_changes") == 0
