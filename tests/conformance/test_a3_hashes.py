"""A3: CertIDs by every hash function, and back as they came (R26, R27, R28, R29, R30)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conformance.estate import Estate
from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import Responder, load_certificate, nonce, request, tlv

HASHES = ("sha1", "sha256", "sha384", "sha512")
NULL = b"\x05\x00"
OIDS = {
    "sha1": "06052b0e03021a",
    "sha256": "0609608648016503040201",
    "sha384": "0609608648016503040202",
    "sha512": "0609608648016503040203",
    "md5": "06082a864886f70d0205",
    "md2": "06082a864886f70d0202",
    "sha224": "0609608648016503040204",
    "sha512-256": "0609608648016503040206",
    "sha3-256": "0609608648016503040208",
    "ripemd160": "06052b24030201",
    "private": "06082b06010401b22201",
    "sha256-with-rsa": "06092a864886f70d01010b",
}


def raw_cert_id(algorithm: bytes, hashes: Sequence[bytes], serial: int) -> bytes:
    """A CertID put together by hand: what is inside the AlgorithmIdentifier, the hashes of name and key, the number."""
    number = tlv(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big"))
    return tlv(0x30, tlv(0x30, algorithm), *[tlv(0x04, each) for each in hashes], number)


@pytest.mark.rule("R26", "R29")
@pytest.mark.parametrize("parameters", [NULL, b""], ids=["null", "absent"])
@pytest.mark.parametrize("name", HASHES)
def test_every_hash_function(responder: Responder, subject: Subject, name: str, parameters: bytes) -> None:
    """By POST and by GET, with and without a nonce; the CertID comes back octet for octet, as do its parameters."""
    cert_id = subject.cert_id(hash_algorithm=name, null_parameters=bool(parameters))
    assert (bytes.fromhex(OIDS[name]) + parameters) in cert_id
    plain, with_nonce = request(cert_id), request(cert_id, extensions=[nonce(b"n" * 32)])
    for reply in (responder.post(plain), responder.get(plain), responder.get(plain), responder.post(with_nonce)):
        answer = subject.verified(reply)
        assert answer.status == "good"
        assert echoed(answer) == [cert_id]


@pytest.mark.rule("R26")
@pytest.mark.parametrize("name", HASHES)
def test_the_status_does_not_depend_on_the_hash(
    responder: Responder, subject: Subject, revoked: Path, name: str
) -> None:
    """Revoked is revoked, and never issued is never issued, by any."""
    serial = load_certificate(revoked).serial_number
    assert responder.post(request(subject.cert_id(serial, hash_algorithm=name))).answer.status == "revoked"
    assert responder.post(request(subject.cert_id(0x5EED, hash_algorithm=name))).answer.status == "unknown"


@pytest.mark.rule("R26", "R29")
def test_hashes_take_turns(responder: Responder, subject: Subject) -> None:
    """Answers that are ready in one spelling never go out in another."""
    spellings = [
        subject.cert_id(hash_algorithm=name, null_parameters=null) for name in HASHES for null in (True, False)
    ]
    for cert_id in (spellings + spellings[::-1]) * 2:
        for reply in (responder.get(request(cert_id)), responder.post(request(cert_id))):
            assert echoed(reply.answer) == [cert_id]


@pytest.mark.rule("R27")
@pytest.mark.parametrize("issuer", ["issuing", "rsa", "solo", "rolled"])
@pytest.mark.parametrize("name", HASHES)
def test_hashes_as_the_rule_has_them(estate: Estate, responder: Responder, issuer: str, name: str) -> None:
    """Over the Name as it stands in the CA's certificate, and over the key's bits without tag, length, unused bits."""
    ca = x509.load_pem_x509_certificate(estate.ca(issuer))
    subject = ca.subject.public_bytes()
    spki = ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    kind = (Encoding.DER, PublicFormat.PKCS1) if issuer == "rsa" else (Encoding.X962, PublicFormat.UncompressedPoint)
    bits = ca.public_key().public_bytes(*kind)
    assert spki.endswith(b"\x00" + bits)
    algorithm = bytes.fromhex(OIDS[name]) + NULL

    def ask(name_octets: bytes, key_octets: bytes) -> str:
        hashed = [hashlib.new(name, octets).digest() for octets in (name_octets, key_octets)]
        return responder.post(request(raw_cert_id(algorithm, hashed, 0x5EED))).ocsp_status

    assert ask(subject, bits) == "successful"
    bit_string = tlv(0x03, b"\x00", bits)
    for key_octets in (spki, bit_string, b"\x00" + bits, bits[1:]):
        assert ask(subject, key_octets) == "unauthorized"
    content = subject[4 if subject[1] & 0x80 else 2 :]
    for name_octets in (content, ca.subject.rfc4514_string().encode(), subject + b"\x00"):
        assert ask(name_octets, bits) == "unauthorized"


@pytest.mark.rule("R28")
@pytest.mark.parametrize("name", HASHES)
def test_the_name_of_one_with_the_key_of_another(
    estate: Estate, responder: Responder, subject: Subject, name: str
) -> None:
    """Both hashes have to be of the same CA, and in their places."""
    other = Subject(estate.ca("rsa"), subject.serial)
    swapped = (
        subject.cert_id(name=other.issuer, hash_algorithm=name),
        other.cert_id(name=subject.issuer, hash_algorithm=name),
    )
    for cert_id in swapped:
        assert responder.post(request(cert_id)).ocsp_status == "unauthorized"
        assert responder.get(request(cert_id)).ocsp_status == "unauthorized"
    read = [hashlib.new(name, part).digest() for part in (subject.issuer.subject.dump(), _key(subject))]
    algorithm = bytes.fromhex(OIDS[name]) + NULL
    assert responder.post(request(raw_cert_id(algorithm, read, subject.serial))).answer.status == "good"
    exchanged = raw_cert_id(algorithm, read[::-1], subject.serial)
    assert responder.post(request(exchanged)).ocsp_status == "unauthorized"


@pytest.mark.rule("R28")
@pytest.mark.parametrize("part", ["name", "key"])
def test_one_bit_of_a_hash(responder: Responder, subject: Subject, part: str) -> None:
    """Nearly the same issuer is not ours."""
    cert_id = bytearray(subject.cert_id())
    digest = subject.issuer.subject.sha1 if part == "name" else subject.issuer.public_key.sha1
    cert_id[cert_id.index(digest) + 19] ^= 1
    assert responder.post(request(bytes(cert_id))).ocsp_status == "unauthorized"


@pytest.mark.rule("R30")
@pytest.mark.parametrize("parameters", [NULL, b""], ids=["null", "absent"])
@pytest.mark.parametrize("name", [name for name in OIDS if name not in HASHES])
def test_a_hash_that_is_weak_or_not_known(responder: Responder, subject: Subject, name: str, parameters: bytes) -> None:
    """The issuer cannot be told, so it is not ours; by MD5 too, which could be computed."""
    size = {"md5": 16, "md2": 16, "sha224": 28, "ripemd160": 20}.get(name, 32)
    digests = [
        hashlib.new("md5" if name == "md5" else "sha512", part).digest()[:size]
        for part in (subject.issuer.subject.dump(), _key(subject))
    ]
    cert_id = raw_cert_id(bytes.fromhex(OIDS[name]) + parameters, digests, subject.serial)
    assert responder.post(request(cert_id)).ocsp_status == "unauthorized"
    assert responder.get(request(cert_id)).ocsp_status == "unauthorized"


@pytest.mark.rule("R29", "R30")
@pytest.mark.parametrize(
    "parameters", ["020100", "3000", "0400", "0500" + "0500"], ids=["integer", "sequence", "octets", "two"]
)
def test_parameters_that_the_algorithm_does_not_have(responder: Responder, subject: Subject, parameters: str) -> None:
    """Something else than NULL is another algorithm; something more is no AlgorithmIdentifier."""
    algorithm = bytes.fromhex(OIDS["sha1"] + parameters)
    digests = (subject.issuer.subject.sha1, subject.issuer.public_key.sha1)
    reply = responder.post(request(raw_cert_id(algorithm, digests, subject.serial)))
    assert reply.ocsp_status == ("malformed_request" if len(algorithm) > 10 else "unauthorized")


@pytest.mark.rule("R30")
@pytest.mark.parametrize("change", [-20, -1, 1, 12], ids=["none", "short", "long", "of-sha256"])
@pytest.mark.parametrize("part", ["name", "key", "both"])
def test_a_hash_of_another_length(responder: Responder, subject: Subject, part: str, change: int) -> None:
    """What does not fit the algorithm is no issuer of ours."""

    def resized(digest: bytes) -> bytes:
        return (digest + bytes(change)) if change > 0 else digest[:change]

    name, key = subject.issuer.subject.sha1, subject.issuer.public_key.sha1
    name, key = (resized(name) if part != "key" else name), (resized(key) if part != "name" else key)
    cert_id = raw_cert_id(bytes.fromhex(OIDS["sha1"]) + NULL, (name, key), subject.serial)
    assert responder.post(request(cert_id)).ocsp_status == "unauthorized"


@pytest.mark.rule("R30")
@pytest.mark.parametrize("says", HASHES)
@pytest.mark.parametrize("uses", HASHES)
def test_an_algorithm_and_the_hashes_of_another(responder: Responder, subject: Subject, says: str, uses: str) -> None:
    """The right hashes count only under their own name."""
    digests = [hashlib.new(uses, part).digest() for part in (subject.issuer.subject.dump(), _key(subject))]
    cert_id = raw_cert_id(bytes.fromhex(OIDS[says]) + NULL, digests, subject.serial)
    assert responder.post(request(cert_id)).ocsp_status == ("successful" if says == uses else "unauthorized")


def _key(subject: Subject) -> bytes:
    return bytes(subject.issuer.public_key["public_key"])
