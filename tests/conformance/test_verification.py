"""The judge of signatures itself: it believes what is right, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.conformance.request_signing import Client, authority
from tests.conformance.verification import verify
from tests.conformance.wire import Answer

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OCSP_SIGNING, CLIENT_AUTH = ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH
DIGITAL_SIGNATURE = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


@dataclass(frozen=True)
class Forgery:
    """How an answer is made; as it stands, an authentic one."""

    purposes: tuple[x509.ObjectIdentifier, ...] = (OCSP_SIGNING,)
    no_check: bool = True
    ca: bool = False
    begin: timedelta = -HOUR
    end: timedelta = DAY
    curve: type[ec.EllipticCurve] = ec.SECP256R1
    digest: type[hashes.HashAlgorithm] = hashes.SHA256
    enclosed: bool = True
    this_update: timedelta = -HOUR
    next_update: timedelta = HOUR
    by_name: bool = False


@pytest.fixture(scope="module")
def ca() -> Client:
    """The issuer."""
    return authority("An issuer")


def answer_of(ca: Client, how: Forgery) -> bytes:
    """An answer about the issuer's own serial number, from a delegate of it."""
    now, key = datetime.now(UTC).replace(microsecond=0), ec.generate_private_key(how.curve())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A delegate")])
    builder = (
        x509.CertificateBuilder(
            ca.certificate.subject, name, key.public_key(), x509.random_serial_number(), now + how.begin, now + how.end
        )
        .add_extension(x509.ExtendedKeyUsage(how.purposes), critical=False)
        .add_extension(DIGITAL_SIGNATURE, critical=True)
        .add_extension(x509.BasicConstraints(how.ca, None), critical=True)
    )
    if how.no_check:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    delegate = builder.sign(ca.key, hashes.SHA256())
    encoding = ocsp.OCSPResponderEncoding.NAME if how.by_name else ocsp.OCSPResponderEncoding.HASH
    response = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=ca.certificate,
            issuer=ca.certificate,
            algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=now + how.this_update,
            next_update=now + how.next_update,
            revocation_time=None,
            revocation_reason=None,
        )
        .responder_id(encoding, delegate)
    )
    if how.enclosed:
        response = response.certificates([delegate])
    return response.sign(key, how.digest()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("how", [Forgery(), Forgery(by_name=True)], ids=["by-key", "by-name"])
def test_what_is_authentic_is_believed(ca: Client, how: Forgery) -> None:
    """However the delegate is named."""
    verify(Answer(answer_of(ca, how)), ca.certificate)


FORGERIES = {
    "other-purpose": Forgery(purposes=(CLIENT_AUTH,)),
    "two-purposes": Forgery(purposes=(OCSP_SIGNING, CLIENT_AUTH)),
    "without-nocheck": Forgery(no_check=False),
    "a-ca": Forgery(ca=True),
    "expired": Forgery(begin=-DAY, end=-HOUR),
    "not-yet-valid": Forgery(begin=HOUR),
    "digest-that-does-not-fit-the-key": Forgery(digest=hashes.SHA384),
    "curve-that-does-not-fit-the-digest": Forgery(curve=ec.SECP384R1),
    "not-enclosed": Forgery(enclosed=False),
    "outlives-its-signer": Forgery(end=HOUR, next_update=2 * HOUR),
    "outdated": Forgery(this_update=-2 * HOUR, next_update=-HOUR),
    "of-the-future": Forgery(this_update=HOUR, next_update=2 * HOUR),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_not_is_refused(ca: Client, name: str) -> None:
    """One thing is wrong with each."""
    with pytest.raises((AssertionError, x509.ExtensionNotFound)):
        verify(Answer(answer_of(ca, FORGERIES[name])), ca.certificate)


def test_another_issuer_is_not_believed(ca: Client) -> None:
    """Not even one of the same name."""
    answer = Answer(answer_of(ca, Forgery()))
    with pytest.raises(InvalidSignature):
        verify(answer, authority("An issuer").certificate)
    with pytest.raises(ValueError, match="subject does not match"):
        verify(answer, authority("Another issuer").certificate)


def test_no_octet_of_what_is_signed_can_be_changed(ca: Client) -> None:
    """The signature is over all of it."""
    body = answer_of(ca, Forgery())
    answer = Answer(body)
    for part in (answer.singles[0]["cert_id"]["serial_number"].contents, answer.basic["signature"].contents[-20:]):
        at = body.index(part)
        changed = body[:at] + bytes([part[0] ^ 1]) + body[at + 1 :]
        with pytest.raises(InvalidSignature):
            verify(Answer(changed), ca.certificate)
