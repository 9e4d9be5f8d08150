"""A2: who asks, and signatures, make no difference by default (R23, R24)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conformance.estate import Estate
from tests.conformance.request_signing import (
    ECDSA_SHA1,
    RSA_MD5,
    UNKNOWN,
    Client,
    authority,
    client,
    openssl_request,
    signed_request,
)
from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import Responder, nonce, request, tbs_request, tlv

_UTF8, _OID = 0x0C, b"\x06\x03\x2a\x03\x04"
_NAME = tlv(0x30, tlv(0x31, tlv(0x30, b"\x06\x03\x55\x04\x03", tlv(_UTF8, b"A client"))))

GENERAL_NAMES = {
    "otherName": tlv(0xA0, _OID, tlv(0xA0, tlv(_UTF8, b"anything"))),
    "rfc822Name": tlv(0x81, b"client@example.com"),
    "dNSName": tlv(0x82, b"client.example.com"),
    "x400Address": tlv(0xA3, tlv(0x30)),
    "directoryName": tlv(0xA4, _NAME),
    "directoryName-empty": tlv(0xA4, tlv(0x30)),
    "ediPartyName": tlv(0xA5, tlv(0xA1, tlv(_UTF8, b"party"))),
    "uniformResourceIdentifier": tlv(0x86, b"https://client.example.com/"),
    "iPAddress-v4": tlv(0x87, bytes(4)),
    "iPAddress-v6": tlv(0x87, bytes(16)),
    "registeredID": tlv(0x88, b"\x2a\x03\x04"),
    "dNSName-empty": tlv(0x82),
    "dNSName-with-a-nul": tlv(0x82, b"client\x00.example.com"),
    "rfc822Name-of-a-thousand-octets": tlv(0x81, b"c" * 1000),
    "iPAddress-of-three-octets": tlv(0x87, bytes(3)),
}


@pytest.mark.rule("R23")
@pytest.mark.parametrize("form", GENERAL_NAMES)
def test_a_requestor_name_without_a_signature(responder: Responder, subject: Subject, form: str) -> None:
    """It is as if it were absent: the very same answer comes back, and with a nonce the same status."""
    plain = responder.post(request(subject.cert_id()))
    subject.verified(plain)
    named = request(subject.cert_id(), requestor_name=GENERAL_NAMES[form])
    assert responder.post(named).body == plain.body
    assert responder.get(named).body == plain.body
    with_nonce = request(subject.cert_id(), requestor_name=GENERAL_NAMES[form], extensions=[nonce(b"n" * 32)])
    answer = subject.verified(responder.post(with_nonce))
    assert (answer.status, answer.nonce) == ("good", tlv(4, b"n" * 32))


@pytest.mark.rule("R17", "R23")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(tlv(0x30), id="not-a-general-name"),
        pytest.param(tlv(0x89, b"x"), id="an-undefined-form"),
        pytest.param(tlv(0x82, b"a") + tlv(0x82, b"b"), id="two-of-them"),
    ],
)
def test_what_is_not_a_requestor_name(responder: Responder, subject: Subject, name: bytes) -> None:
    """A field that is ignored still has to be of its type."""
    assert responder.post(request(subject.cert_id(), requestor_name=name)).ocsp_status == "malformed_request"


@pytest.fixture(scope="module")
def stranger() -> Client:
    """Somebody with a certificate of a CA that nobody knows."""
    return client(authority("A CA that nobody knows"))


@pytest.fixture(scope="module")
def tbs(subject: Subject) -> bytes:
    """What is signed below."""
    return tbs_request(subject.cert_id(), requestor_name=GENERAL_NAMES["directoryName"])


def _assert_ignored(responder: Responder, subject: Subject, body: bytes) -> None:
    for reply in (responder.post(body), responder.get(body)):
        answer = subject.verified(reply)
        assert answer.status == "good"
        assert echoed(answer) == [subject.cert_id()]


@pytest.mark.rule("R24")
def test_a_signature_is_ignored(responder: Responder, subject: Subject, tbs: bytes, stranger: Client) -> None:
    """The signer need not be known."""
    _assert_ignored(responder, subject, stranger.signed(tbs))


@pytest.mark.rule("R24")
@pytest.mark.parametrize(
    ("algorithm", "value", "certificates"),
    [
        pytest.param(tlv(0x30, RSA_MD5, b"\x05\x00"), b"s" * 256, None, id="md5"),
        pytest.param(tlv(0x30, ECDSA_SHA1), b"s" * 70, [], id="ecdsa-sha1-no-certificates"),
        pytest.param(tlv(0x30, UNKNOWN), b"", None, id="unknown-algorithm-no-octets"),
        pytest.param(tlv(0x30, UNKNOWN, tlv(0x30, UNKNOWN)), b"s", [tlv(0x30)], id="empty-certificate"),
    ],
)
def test_a_signature_that_means_nothing_is_ignored(
    responder: Responder, subject: Subject, tbs: bytes, algorithm: bytes, value: bytes, certificates: list[bytes] | None
) -> None:
    """It is not verified, so nothing of it can be wrong but its encoding."""
    _assert_ignored(responder, subject, signed_request(tbs, algorithm, value, certificates))


@pytest.mark.rule("R24")
def test_a_signature_without_a_name_is_ignored(responder: Responder, subject: Subject, stranger: Client) -> None:
    """The duty to say who signed is the client's; nothing depends on it here."""
    _assert_ignored(responder, subject, stranger.signed(tbs_request(subject.cert_id())))


@pytest.mark.rule("R24")
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_openssl_signs_its_request(
    estate: Estate, responder: Responder, subject: Subject, good: Path, tmp_path: Path, kind: str
) -> None:
    """`openssl ocsp -signer` is answered."""
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else None
    body = openssl_request(estate, good, client(authority("A CA that nobody knows"), key), tmp_path)
    assert subject.verified(responder.post(body)).status == "good"
