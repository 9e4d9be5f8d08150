"""Reading responses: of our own making, of pyca's and openssl's, bent ones, and any octets at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ocsp.cursor import Cursor, Unreadable, object_identifier
from gateway.ocsp.der import tlv
from gateway.ocsp.locating import what_is_wrong
from gateway.ocsp.reading import ReadBasic, UnreadableResponse, looks_like_response, read_response
from gateway.ocsp.request import MalformedRequest, parse_request
from gateway.ocsp.response import OcspStatus, Revoked, SingleResponse, encode_extension, error_response
from tests.gateway.core.world import NOW, World, authority, delegate

BEGIN = datetime.fromtimestamp(NOW, UTC)
END = BEGIN + timedelta(hours=12)
CERT_ID = bytes.fromhex("303a300906052b0e03021a05000414") + b"n" * 20 + b"\x04\x14" + b"k" * 20 + b"\x02\x01\x07"
NONCE = b"\x04\x04abcd"
CA, CA_KEY = authority("issuing")
SIGNER = delegate(CA, CA_KEY)


def ours(*singles: SingleResponse, nonce: bytes | None = None) -> bytes:
    """An answer made by the gateway's codec."""
    return SIGNER.sign(singles or (SingleResponse(CERT_ID, "good", BEGIN, END),), BEGIN, nonce)


def basic(der: bytes) -> ReadBasic:
    """The answer in a response."""
    found = read_response(der)
    assert found.deviations == ()
    assert found.basic is not None
    return found.basic


def test_ours() -> None:
    """All that the codec writes is read again (R54, R55)."""
    revoked = SingleResponse(
        CERT_ID, Revoked(BEGIN - timedelta(days=1), 4), BEGIN, END, (encode_extension("1.2.3", b"x", critical=True),)
    )
    found = basic(ours(SingleResponse(CERT_ID, "good", BEGIN, END), revoked, nonce=NONCE))
    assert [single.status for single in found.singles] == ["good", "revoked"]
    assert (found.singles[1].reason, found.singles[1].revocation_time) == (4, BEGIN - timedelta(days=1))
    assert (found.singles[0].this_update, found.singles[0].next_update) == (BEGIN, END)
    assert found.singles[0].cert_id.der == CERT_ID
    assert found.singles[0].cert_id.serial_number == 7
    assert found.singles[1].extensions[0].critical
    assert found.extensions[0].value == NONCE
    assert found.responder_key_hash == SIGNER.key_hash
    assert found.produced_at == BEGIN
    assert found.certificates == (SIGNER.certificate.public_bytes(Encoding.DER),)
    SIGNER.certificate.public_key().verify(found.signature, found.tbs, ec.ECDSA(hashes.SHA256()))  # type: ignore[call-arg,union-attr,arg-type]


@pytest.mark.parametrize("status", [status for status in OcspStatus if status is not OcspStatus.SUCCESSFUL])
def test_errors(status: OcspStatus) -> None:
    """An error is a status without an answer (R53)."""
    found = read_response(error_response(status))
    assert (found.status, found.basic) == (status, None)


def pyca(*, by_name: bool = False) -> bytes:
    """An answer made by pyca."""
    encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
    return (
        ocsp.OCSPResponseBuilder()
        .add_response(CA, CA, hashes.SHA256(), ocsp.OCSPCertStatus.UNKNOWN, BEGIN, None, None, None)
        .responder_id(encoding, CA)
        .sign(CA_KEY, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_by_name() -> None:
    """A responder's name is kept as it stands, and a missing nextUpdate is no time."""
    found = basic(pyca(by_name=True))
    assert found.responder_name == CA.subject.public_bytes()
    assert found.singles[0].status == "unknown"
    assert found.singles[0].next_update is None


GOOD = ours()
BASIC = bytes.fromhex("2b0601050507300101")


@pytest.mark.parametrize(
    ("der", "part", "text"),
    [
        (b"", "OCSPResponse", "missing"),
        (b"\x31\x03\x0a\x01\x06", "OCSPResponse", "found SET"),
        (b"\x30\x80\x0a\x01\x06\x00\x00", "OCSPResponse", "length"),
        (b"\x30\x03\x02\x01\x06", "responseStatus", "expected ENUMERATED, found INTEGER"),
        (b"\x30\x03\x0a\x01\x00", "responseBytes", "no answer"),
        (b"\x30\x03\x0a\x01\x06\x00", "OCSPResponse", "1 octets too many"),
        (GOOD[:100], "OCSPResponse", "cut off"),
        (GOOD.replace(b"\x18\x0f2027", b"\x17\x0f2027", 1), "producedAt", "found UTCTime"),
        (GOOD.replace(b"20270115", b"20271315", 1), "producedAt", "not a date"),
        (GOOD.replace(b"20270115", b"2027011x", 1), "producedAt", "GeneralizedTime"),
        (GOOD.replace(b"\x80\x00\x18", b"\x83\x00\x18", 1), "responses[0].certStatus", "found [3]"),
        (GOOD.replace(BASIC, BASIC[:-1] + b"\x02", 1), "responseType", "not a basic response"),
        (GOOD.replace(CERT_ID[:15], CERT_ID[:13] + b"\x05\x14", 1), "responses[0].certID.issuerNameHash", "NULL"),
    ],
    ids=[
        "nothing",
        "a SET",
        "indefinite length",
        "status is an INTEGER",
        "successful without an answer",
        "something behind",
        "cut off",
        "UTCTime",
        "month 13",
        "a letter in a time",
        "no such status",
        "another type of response",
        "no octets where the hash should be",
    ],
)
def test_broken(der: bytes, part: str, text: str) -> None:
    """What cannot be read is told with the part that is wrong."""
    with pytest.raises(UnreadableResponse) as caught:
        read_response(der)
    assert caught.value.part == part
    assert text in str(caught.value)


def test_deviations() -> None:
    """What is against the rules and still clear is read, and told."""
    with_reason = ours(SingleResponse(CERT_ID, Revoked(BEGIN, 1), BEGIN, END)).replace(
        bytes.fromhex("a0030a0101"), bytes.fromhex("a0030a0100"), 1
    )
    assert "unspecified" in read_response(with_reason).deviations[0]
    assert read_response(tlv(0x30, b"\x0a\x01\x06" + tlv(0xA0, _response_bytes(GOOD)))).deviations


def _response_bytes(der: bytes) -> bytes:
    fields = Cursor(der).take("", 0x30).inside("")
    fields.take("")
    return fields.take("").content


SAMPLES = (GOOD, ours(nonce=NONCE), pyca(), pyca(by_name=True))
octets = st.binary(max_size=300)


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A real response with some octets changed, cut off, or put twice."""
    der = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(der) - 1))
        if draw(st.booleans()):
            der[at] = draw(st.integers(0, 255))
        elif draw(st.booleans()):
            del der[at : at + draw(st.integers(1, 40))]
        else:
            der[at:at] = der[at : at + draw(st.integers(1, 40))]
        if not der:
            break
    return bytes(der)


@given(st.one_of(octets, bent()))
@settings(max_examples=400, deadline=None)
def test_any_octets(der: bytes) -> None:
    """Whatever the octets, they are a response, or unreadable with the part that is wrong."""
    looks_like_response(der)
    try:
        read_response(der)
    except UnreadableResponse as error:
        assert error.part  # noqa: PT017


@given(octets)
@settings(max_examples=200, deadline=None)
def test_any_request(der: bytes) -> None:
    """Of every request that is refused something can be told."""
    try:
        parse_request(der)
    except MalformedRequest as error:
        assert what_is_wrong(der, error)  # noqa: PT017


@pytest.mark.parametrize(
    ("bend", "text"),
    [
        (lambda der: der[:30], "OCSPRequest: at octet 0: cut off"),
        (lambda der: der + b"\0", "OCSPRequest: at octet"),
        (lambda _: b"", "it is empty"),
        (lambda _: tlv(0x30, tlv(0x30, tlv(0x30, b""))), "requestList: empty"),
        (lambda der: der.replace(b"\x04\x14", b"\x03\x14", 1), "requestList[0].reqCert.issuerNameHash"),
        (lambda der: der.replace(b"\x05\x00", b"\x05\x81", 1), "hashAlgorithm"),
    ],
    ids=["cut off", "trailing", "empty", "no certificate", "BIT STRING", "bad length"],
)
def test_where_a_request_is_broken(bend: Callable[[bytes], bytes], text: str) -> None:
    """The part and the octet are named."""
    der = bend(World().request(1))
    with pytest.raises(MalformedRequest) as caught:
        parse_request(der)
    assert text in what_is_wrong(der, caught.value)


@pytest.mark.parametrize("dotted", ["0.0", "1.3.6.1.5.5.7.48.1.1", "2.5.29.15", "2.999.1", "1.2.840.113549.1.1.11"])
def test_object_identifiers(dotted: str) -> None:
    """Object identifiers are read as pyca writes them."""
    der = asn1.encode_der(x509.ObjectIdentifier(dotted))
    assert object_identifier(Cursor(der).take("")) == dotted


def test_endless_object_identifier() -> None:
    """One that does not end is none."""
    with pytest.raises(Unreadable):
        object_identifier(Cursor(b"\x06\x02\x2b\x86").take(""))
