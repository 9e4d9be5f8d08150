"""Bad input over the wire: each kind gets its status code, its stable reason, and the field at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.timestamp_pb2 import Timestamp

from goodstanding.ca.v1 import ca_pb2
from goodstanding.status.v1 import status_pb2
from goodstanding.types.v1 import types_pb2
from tests.e2e.client import Failure, Services, csr, failure, services
from tests.e2e.system import System

NUL = "a.example.com\0.evil.example"


@pytest.fixture(scope="module")
def admin(system: System) -> Iterator[Services]:
    """Both services, as the admin."""
    with services(system) as admin:
        yield admin


@pytest.fixture(scope="module")
def issued(admin: Services) -> types_pb2.Certificate:
    """A certificate, revoked as superseded."""
    reply = admin.ca.IssueCertificate(ca_pb2.IssueCertificateRequest(csr_der=csr("issued.example.com")))
    target = types_pb2.IssuerAndSerialNumber(issuer="issuing", serial_number=reply.certificate.serial_number)
    superseded = types_pb2.REVOCATION_REASON_SUPERSEDED
    admin.ca.RevokeCertificate(ca_pb2.RevokeCertificateRequest(issuer_and_serial_number=target, reason=superseded))
    return reply.certificate


def flipped() -> bytes:
    """A request with one bit of its signature turned over."""
    der = bytearray(csr())
    der[-1] ^= 1
    return bytes(der)


def nul_in_name() -> bytes:
    """A request for a name with a NUL in it; the library refuses to write one, so it is put in afterwards."""
    key = rsa.generate_private_key(65537, 2048)
    der = csr("a.example.com-.evil.example", key=key)
    return der.replace(b"a.example.com-.evil", b"a.example.com\0.evil")


def in_years(years: int) -> Timestamp:
    """A time so many years from now."""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(days=366 * years))
    return stamp


ISSUE: list[tuple[str, Callable[[], ca_pb2.IssueCertificateRequest], Failure]] = [
    (
        "garbage instead of a request",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=b"garbage"),
        Failure("INVALID_ARGUMENT", "CSR_MALFORMED", ("csr_der",)),
    ),
    (
        "no request at all",
        lambda: ca_pb2.IssueCertificateRequest(),
        Failure("INVALID_ARGUMENT", "CSR_MISSING", ("certificate_request",)),
    ),
    (
        "more than 64 KiB",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=b"\x30" * 65_537),
        Failure("INVALID_ARGUMENT", "CSR_TOO_LARGE", ("csr_der",)),
    ),
    (
        "a flipped signature bit",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=flipped()),
        Failure("INVALID_ARGUMENT", "CSR_SIGNATURE_INVALID", ("csr_der",)),
    ),
    (
        "RSA with 1024 bits",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=csr(key=rsa.generate_private_key(65537, 1024))),
        Failure("INVALID_ARGUMENT", "KEY_TOO_SMALL", ("csr_der",)),
    ),
    (
        "a thousand names",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=csr(dns=[f"n{n}.example.com" for n in range(1000)])),
        Failure("INVALID_ARGUMENT", "TOO_MANY_NAMES", ("csr_der",)),
    ),
    (
        "a name in our own trust domain",
        lambda: ca_pb2.IssueCertificateRequest(
            csr_der=csr(uris=["spiffe://goodstanding/admin/mallory"]), profile="client"
        ),
        Failure("INVALID_ARGUMENT", "NAME_RESERVED", ("csr_der",)),
    ),
    (
        "an unknown profile",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=csr(), profile="sorcerer"),
        Failure("NOT_FOUND", "PROFILE_UNKNOWN", ("profile",)),
    ),
    (
        "an unknown issuer",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=csr(), issuer="nobody"),
        Failure("NOT_FOUND", "ISSUER_UNKNOWN", ("issuer",)),
    ),
    (
        "an issuer that is offline",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=csr(), issuer="root"),
        Failure("FAILED_PRECONDITION", "ISSUER_NOT_ACTIVE", ("issuer",)),
    ),
    (
        "a validity beyond the issuer's",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=csr(), not_after_time=in_years(50)),
        Failure("INVALID_ARGUMENT", "VALIDITY_BEYOND_ISSUER", ("not_after_time",)),
    ),
    (
        "a responder certificate for an admin",
        lambda: ca_pb2.IssueCertificateRequest(csr_der=csr(), profile="ocsp-responder"),
        Failure("PERMISSION_DENIED", "PROFILE_NOT_ALLOWED", ("profile",)),
    ),
]


@pytest.mark.parametrize(("request_of", "expected"), [case[1:] for case in ISSUE], ids=[case[0] for case in ISSUE])
def test_issue(admin: Services, request_of: Callable[[], ca_pb2.IssueCertificateRequest], expected: Failure) -> None:
    """What cannot be issued is refused, and the refusal names the field."""
    assert failure(lambda: admin.ca.IssueCertificate(request_of(), timeout=10)) == expected


def test_a_nul_in_a_name(admin: Services) -> None:
    """A NUL in a name never gets into a certificate (R116). The signature does not fit any more either."""
    request = ca_pb2.IssueCertificateRequest(csr_der=nul_in_name())
    assert failure(lambda: admin.ca.IssueCertificate(request)).code == "INVALID_ARGUMENT"
    names = ca_pb2.SubjectAlternativeNames(dns_names=["good.example.com", NUL])
    request = ca_pb2.IssueCertificateRequest(csr_der=csr(), subject_alternative_names=names)
    assert failure(lambda: admin.ca.IssueCertificate(request)) == Failure(
        "INVALID_ARGUMENT", "NAME_INVALID", ("subject_alternative_names.dns_names[1]",)
    )


def test_what_a_request_asks_for_is_not_copied(admin: Services) -> None:
    """CA:TRUE and OCSPSigning in a request leave no trace in the certificate (R69, R115)."""
    greedy = csr(
        dns=["greedy.example.com"],
        extensions=[
            x509.BasicConstraints(ca=True, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
            x509.OCSPNoCheck(),
        ],
    )
    reply = admin.ca.IssueCertificate(ca_pb2.IssueCertificateRequest(csr_der=greedy))
    certificate = x509.load_der_x509_certificate(reply.certificate.certificate_der)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)


def of(serial: str, issuer: str = "issuing") -> types_pb2.IssuerAndSerialNumber:
    """A certificate by issuer and serial number."""
    return types_pb2.IssuerAndSerialNumber(issuer=issuer, serial_number=serial)


REVOKE: list[tuple[str, Callable[[str], ca_pb2.RevokeCertificateRequest], Failure]] = [
    (
        "a serial number that is not hex",
        lambda _: ca_pb2.RevokeCertificateRequest(issuer_and_serial_number=of("xyzzy")),
        Failure("INVALID_ARGUMENT", "SERIAL_INVALID", ("issuer_and_serial_number.serial_number",)),
    ),
    (
        "what was never issued",
        lambda _: ca_pb2.RevokeCertificateRequest(issuer_and_serial_number=of("1234")),
        Failure("NOT_FOUND", "CERTIFICATE_UNKNOWN", ("issuer_and_serial_number.serial_number",)),
    ),
    (
        "an unknown issuer",
        lambda serial: ca_pb2.RevokeCertificateRequest(issuer_and_serial_number=of(serial, "nobody")),
        Failure("NOT_FOUND", "ISSUER_UNKNOWN", ("issuer_and_serial_number.issuer",)),
    ),
    (
        "a reason that nobody may give",
        lambda serial: ca_pb2.RevokeCertificateRequest(
            issuer_and_serial_number=of(serial),
            reason=7,  # type: ignore[arg-type]
        ),
        Failure("INVALID_ARGUMENT", "REASON_NOT_ALLOWED", ("reason",)),
    ),
    (
        "another reason than the recorded one",
        lambda serial: ca_pb2.RevokeCertificateRequest(
            issuer_and_serial_number=of(serial), reason=types_pb2.REVOCATION_REASON_CESSATION_OF_OPERATION
        ),
        Failure("FAILED_PRECONDITION", "ALREADY_REVOKED", ("reason",)),
    ),
    (
        "a release of what is not on hold",
        lambda serial: ca_pb2.RevokeCertificateRequest(
            issuer_and_serial_number=of(serial), reason=types_pb2.REVOCATION_REASON_REMOVE_FROM_CRL
        ),
        Failure("FAILED_PRECONDITION", "NOT_ON_HOLD", ("reason",)),
    ),
    (
        "no target",
        lambda _: ca_pb2.RevokeCertificateRequest(),
        Failure("INVALID_ARGUMENT", "TARGET_MISSING", ("target",)),
    ),
    (
        "an invalidity time to come",
        lambda serial: ca_pb2.RevokeCertificateRequest(
            issuer_and_serial_number=of(serial),
            reason=types_pb2.REVOCATION_REASON_SUPERSEDED,
            invalidity_time=in_years(1),
        ),
        Failure("INVALID_ARGUMENT", "INVALIDITY_TIME_INVALID", ("invalidity_time",)),
    ),
]


@pytest.mark.parametrize(("request_of", "expected"), [case[1:] for case in REVOKE], ids=[case[0] for case in REVOKE])
def test_revoke(
    admin: Services,
    issued: types_pb2.Certificate,
    request_of: Callable[[str], ca_pb2.RevokeCertificateRequest],
    expected: Failure,
) -> None:
    """What cannot be revoked is refused, and the refusal names the field."""
    request = request_of(issued.serial_number)
    assert failure(lambda: admin.ca.RevokeCertificate(request, timeout=10)) == expected


def test_a_forged_certificate_of_the_right_serial_number(admin: Services, issued: types_pb2.Certificate) -> None:
    """A certificate is compared with the one that was issued before anything is revoked."""
    forged = bytearray(issued.certificate_der)
    forged[-1] ^= 1
    request = ca_pb2.RevokeCertificateRequest(certificate_der=bytes(forged))
    refused = failure(lambda: admin.ca.RevokeCertificate(request))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "CERTIFICATE_MISMATCH")


def test_a_page_token_of_another_query(admin: Services, issued: types_pb2.Certificate) -> None:
    """A page token is bound to the filters of its query (AIP-158)."""
    assert issued.serial_number
    page = admin.ca.ListCertificates(ca_pb2.ListCertificatesRequest(page_size=1))
    other = ca_pb2.ListCertificatesRequest(page_size=1, profile="server", page_token=page.next_page_token)
    expected = Failure("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ("page_token",))
    assert failure(lambda: admin.ca.ListCertificates(other)) == expected
    garbage = ca_pb2.ListCertificatesRequest(page_token="garbage")
    assert failure(lambda: admin.ca.ListCertificates(garbage)) == expected
    assert failure(lambda: admin.ca.ListCertificates(ca_pb2.ListCertificatesRequest(page_size=-1))) == Failure(
        "INVALID_ARGUMENT", "PAGE_SIZE_INVALID", ("page_size",)
    )


def test_a_request_id_with_another_payload(admin: Services) -> None:
    """G6: the same request_id and payload gets the same certificate; another payload is refused."""
    request = ca_pb2.IssueCertificateRequest(csr_der=csr("once.example.com"), request_id="once")
    first, second = (admin.ca.IssueCertificate(request) for _ in range(2))
    assert first.certificate.certificate_der == second.certificate.certificate_der
    request.validity.FromTimedelta(timedelta(days=1))
    assert failure(lambda: admin.ca.IssueCertificate(request)) == Failure(
        "ALREADY_EXISTS", "REQUEST_ID_REUSED", ("request_id",)
    )


def test_status_of_nonsense(admin: Services) -> None:
    """A look-up of what is no serial number names the field; one of what was never issued is an answer."""
    reference = status_pb2.CertificateReference(issuer_and_serial_number=of("xyzzy"))
    request = status_pb2.GetCertificateStatusRequest(certificate=reference)
    refused = failure(lambda: admin.status.GetCertificateStatus(request))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "SERIAL_INVALID")
    assert refused.fields == ("certificate.issuer_and_serial_number.serial_number",)
    reference = status_pb2.CertificateReference(issuer_and_serial_number=of("1234"))
    reply = admin.status.GetCertificateStatus(status_pb2.GetCertificateStatusRequest(certificate=reference))
    assert reply.record.status == types_pb2.CERTIFICATE_STATUS_UNKNOWN
