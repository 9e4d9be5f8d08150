"""A4: preferred signature algorithms (R42)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.estate import Estate, Gateway
from tests.conformance.subjects import Subject, echoed
from tests.conformance.verification import ECDSA_SHA256, RSA_SHA256
from tests.conformance.wire import Answer, Responder, extension, nonce, request, tlv

PREFERRED = "1.3.6.1.5.5.7.48.1.8"
NULL = b"\x05\x00"


def _algorithm(oid: str, *parameters: bytes) -> bytes:
    return tlv(0x30, tlv(0x06, bytes.fromhex(oid)), *parameters)


RSA256, RSA256_BARE = _algorithm("2a864886f70d01010b", NULL), _algorithm("2a864886f70d01010b")
RSA512, RSA_SHA1, RSA_MD5 = (_algorithm(f"2a864886f70d0101{n}", NULL) for n in ("0d", "05", "04"))
RSA_PSS = _algorithm("2a864886f70d01010a", tlv(0x30))
EC256, EC384, EC512 = (_algorithm(f"2a8648ce3d0403{n}") for n in ("02", "03", "04"))
EC_SHA1 = _algorithm("2a8648ce3d0401")
ED25519, ML_DSA_65 = _algorithm("2b6570"), _algorithm("608648016503040312")
GARBAGE = _algorithm("2a03040506", tlv(0x30, b"\x02\x01\x07"))
RSA_KEY, RSA_KEY_BARE = _algorithm("2a864886f70d010101", NULL), _algorithm("2a864886f70d010101")
P256_KEY, P384_KEY = (
    _algorithm("2a8648ce3d0201", tlv(0x06, bytes.fromhex(curve))) for curve in ("2a8648ce3d030107", "2b81040022")
)


def preferring(*algorithms: bytes, critical: bool = False) -> bytes:
    """The extension that names these, each an AlgorithmIdentifier, or two with the one of the key behind."""
    return extension(PREFERRED, tlv(0x30, *[tlv(0x30, each) for each in algorithms]), critical=critical)


@pytest.fixture(scope="module")
def gateway(estate: Estate) -> Gateway:
    """A gateway that has keys of two kinds; without a preference it signs with the first."""
    return estate.gateway("algorithms", signer_keys=["p-256", "rsa-2048"])


PREFERENCES = {
    "rsa": ([RSA256], RSA_SHA256),
    "rsa-without-parameters": ([RSA256_BARE], RSA_SHA256),
    "ecdsa": ([EC256], ECDSA_SHA256),
    "rsa-before-ecdsa": ([RSA256, EC256], RSA_SHA256),
    "ecdsa-before-rsa": ([EC256, RSA256], ECDSA_SHA256),
    "rsa-twice": ([RSA256, RSA256], RSA_SHA256),
    "unsupported-before-rsa": ([EC512, EC384, ED25519, RSA256], RSA_SHA256),
    "garbage-before-rsa": ([GARBAGE, RSA256], RSA_SHA256),
    "rsa-as-the-32nd": ([GARBAGE] * 31 + [RSA256], RSA_SHA256),
    "rsa-with-its-key": ([RSA256 + RSA_KEY], RSA_SHA256),
    "rsa-with-its-key-without-parameters": ([RSA256 + RSA_KEY_BARE], RSA_SHA256),
    "ecdsa-with-its-key": ([EC256 + P256_KEY, RSA256], ECDSA_SHA256),
    "ecdsa-with-a-key-we-have-not": ([EC256 + P384_KEY, RSA256], RSA_SHA256),
    "rsa-with-a-key-that-does-not-fit": ([RSA256 + P256_KEY], ECDSA_SHA256),
    "nothing": ([], ECDSA_SHA256),
    "only-ecdsa-with-sha512": ([EC512], ECDSA_SHA256),
    "only-ecdsa-with-sha384": ([EC384], ECDSA_SHA256),
    "only-rsa-with-sha512": ([RSA512], ECDSA_SHA256),
    "only-rsa-pss": ([RSA_PSS], ECDSA_SHA256),
    "only-ed25519": ([ED25519], ECDSA_SHA256),
    "only-ml-dsa": ([ML_DSA_65], ECDSA_SHA256),
    "only-garbage": ([GARBAGE], ECDSA_SHA256),
    "a-hundred-times-garbage": ([GARBAGE] * 100, ECDSA_SHA256),
    "only-rsa-with-sha1": ([RSA_SHA1], ECDSA_SHA256),
    "only-ecdsa-with-sha1": ([EC_SHA1], ECDSA_SHA256),
    "only-weak-ones": ([RSA_MD5, RSA_SHA1, EC_SHA1], ECDSA_SHA256),
    "rsa-with-sha1-before-ecdsa": ([RSA_SHA1, EC256], ECDSA_SHA256),
    "rsa-with-sha1-before-rsa": ([RSA_SHA1, RSA256], RSA_SHA256),
    "ecdsa-with-sha1-before-rsa": ([EC_SHA1, RSA256], RSA_SHA256),
}


def assert_signed_with(subject: Subject, answer: Answer, oid: str) -> None:
    """It is signed with this algorithm, by a delegate whose key has that kind, and about what was asked."""
    assert answer.signature_algorithm == oid
    assert (answer.status, echoed(answer)) == ("good", [subject.cert_id()])


@pytest.mark.rule("R42")
@pytest.mark.parametrize("critical", [False, True], ids=["not-critical", "critical"])
@pytest.mark.parametrize("name", PREFERENCES)
def test_a_preference(gateway: Gateway, subject: Subject, name: str, critical: bool) -> None:
    """The first that we have and that is strong signs; otherwise the usual one does, and it is no error."""
    algorithms, expected = PREFERENCES[name]
    preference = preferring(*algorithms, critical=critical)
    body = request(subject.cert_id(), extensions=[preference])
    for reply in (gateway.post(body), gateway.get(body), gateway.post(body)):
        assert_signed_with(subject, subject.verified(reply), expected)
    with_nonce = request(subject.cert_id(), extensions=[preference, nonce(b"n" * 32)])
    answer = subject.verified(gateway.post(with_nonce))
    assert_signed_with(subject, answer, expected)
    assert answer.nonce == tlv(4, b"n" * 32)


@pytest.mark.rule("R42")
@pytest.mark.parametrize("name", PREFERENCES)
def test_a_preference_for_what_there_is_not(responder: Responder, subject: Subject, name: str) -> None:
    """A gateway with one key signs with that one."""
    body = request(subject.cert_id(), extensions=[preferring(*PREFERENCES[name][0])])
    assert_signed_with(subject, subject.verified(responder.post(body)), ECDSA_SHA256)


SENSELESS = {
    "a-null": NULL,
    "an-integer": b"\x02\x01\x01",
    "integers": tlv(0x30, b"\x02\x01\x01"),
    "empty-entries": tlv(0x30, tlv(0x30) * 3),
    "an-algorithm-without-an-entry": tlv(0x30, RSA256),
    "an-entry-with-three-values": tlv(0x30, tlv(0x30, RSA256, RSA_KEY, RSA_KEY)),
    "an-empty-algorithm": tlv(0x30, tlv(0x30, tlv(0x30))),
    "an-algorithm-that-is-a-number": tlv(0x30, tlv(0x30, tlv(0x30, b"\x02\x01\x01"))),
}


@pytest.mark.rule("R42")
@pytest.mark.parametrize("name", SENSELESS)
def test_a_preference_that_makes_no_sense(gateway: Gateway, subject: Subject, name: str) -> None:
    """A wish that nobody understands is no reason to refuse."""
    body = request(subject.cert_id(), extensions=[extension(PREFERRED, SENSELESS[name])])
    for reply in (gateway.post(body), gateway.get(body)):
        assert_signed_with(subject, subject.verified(reply), ECDSA_SHA256)


@pytest.mark.rule("R17", "R42")
@pytest.mark.parametrize("value", ["", "3080" + "0000", "308100", "3000" + "00"])
def test_a_preference_that_is_not_der(gateway: Gateway, subject: Subject, value: str) -> None:
    """But it has to be DER."""
    body = request(subject.cert_id(), extensions=[extension(PREFERRED, bytes.fromhex(value))])
    assert gateway.post(body).ocsp_status == "malformed_request"


@pytest.mark.rule("R42")
@pytest.mark.parametrize("hash_algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("first", ["plain", "preferring"])
def test_a_preference_is_of_who_has_it(
    estate: Estate, gateway: Gateway, subject: Subject, first: str, hash_algorithm: str
) -> None:
    """Ready answers of one kind never go to those who want the other, whoever came first."""
    serial = Subject.of(estate, "issuing", estate.issue(f"a4-{first}-{hash_algorithm}.example.com")).serial
    cert_id = subject.cert_id(serial, hash_algorithm=hash_algorithm)
    plain, preferring_rsa = request(cert_id), request(cert_id, extensions=[preferring(RSA256)])
    kinds = {plain: ECDSA_SHA256, preferring_rsa: RSA_SHA256}
    order = (plain, preferring_rsa) if first == "plain" else (preferring_rsa, plain)
    seen: dict[bytes, set[bytes]] = {plain: set(), preferring_rsa: set()}
    etags: dict[bytes, set[str | None]] = {plain: set(), preferring_rsa: set()}
    for body in order * 3:
        for reply in (gateway.get(body), gateway.post(body)):
            assert subject.verified(reply).signature_algorithm == kinds[body]
            seen[body].add(reply.body)
            etags[body].add(reply.header("etag"))
    assert [len(bodies) for bodies in seen.values()] == [1, 1]
    assert not etags[plain] & etags[preferring_rsa]


@pytest.mark.rule("R42", "R65")
def test_each_key_has_a_delegate_certificate(estate: Estate, gateway: Gateway, good: Path) -> None:
    """For every issuer, whatever its own key is."""
    for issuer in ("issuing", "rsa", "solo", "rolled", "renamed"):
        subject = Subject(estate.ca(issuer), 0x5EED)
        for algorithm, expected in ((RSA256, RSA_SHA256), (EC256, ECDSA_SHA256)):
            reply = gateway.post(request(subject.cert_id(), extensions=[preferring(algorithm)]))
            assert subject.verified(reply).signature_algorithm == expected


@pytest.mark.rule("R20", "R42")
def test_a_preference_about_several_certificates(gateway: Gateway, subject: Subject) -> None:
    """One signature for all of them, as preferred."""
    asked = [subject.cert_id(), subject.cert_id(7), subject.cert_id(hash_algorithm="sha512")]
    answer = subject.verified(gateway.post(request(*asked, extensions=[preferring(RSA256)])))
    assert answer.signature_algorithm == RSA_SHA256
    assert echoed(answer) == asked
