from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus, load_der_ocsp_response

from gateway.ocsp.algorithms import UnsupportedKey
from gateway.ocsp.response import (
    OcspStatus,
    ResponseSigner,
    Revoked,
    SingleResponse,
    error_response,
)

KINDS = ["rsa2048", "p256", "p384", "p521", "ed25519", "mldsa44", "mldsa65", "mldsa87"]
REPEATABLE = {"rsa2048", "p256", "p384", "p521", "ed25519"}
NONCE = b"\x04\x20" + bytes(range(32))


def cert_id(serial: int) -> bytes:
    """A CertID with SHA-1."""
    return bytes.fromhex(f"303a300906052b0e03021a0500 0414{'aa' * 20} 0414{'bb' * 20} 0201{serial:02x}")


@pytest.fixture
def signer(signers: dict[str, ResponseSigner]) -> ResponseSigner:
    """The signer with the P-256 key."""
    return signers["p256"]


@pytest.fixture
def good(authority: Any) -> SingleResponse:
    """Good, for twelve hours."""
    return SingleResponse(cert_id(7), "good", authority.now, authority.now + timedelta(hours=12))


# R53, R70
@pytest.mark.parametrize(
    ("status", "number"),
    [("MALFORMED_REQUEST", 1), ("INTERNAL_ERROR", 2), ("TRY_LATER", 3), ("SIG_REQUIRED", 5), ("UNAUTHORIZED", 6)],
)
def test_errors_are_five_octets(status: str, number: int) -> None:
    """An error is its status and nothing else."""
    body = error_response(OcspStatus[status])
    assert body == bytes.fromhex("30030a01") + bytes([number])
    assert load_der_ocsp_response(body).response_status is OCSPResponseStatus(number)


def test_success_is_not_an_error() -> None:
    """There is no bare `successful`."""
    with pytest.raises(KeyError):
        error_response(OcspStatus.SUCCESSFUL)


# R20, R54-R59
@pytest.mark.parametrize("kind", KINDS)
def test_pyca_reads_the_response(signers: dict[str, ResponseSigner], authority: Any, kind: str) -> None:
    """The parser of cryptography finds every value where it belongs."""
    now = authority.now
    revoked = SingleResponse(cert_id(9), Revoked(now - timedelta(days=1), 1), now, now + timedelta(hours=2))
    unknown = SingleResponse(cert_id(8), "unknown", now, now + timedelta(hours=2))
    response = load_der_ocsp_response(signers[kind].sign([revoked, unknown], now, NONCE))
    assert response.response_status is OCSPResponseStatus.SUCCESSFUL
    assert response.responder_key_hash == signers[kind].key_hash
    assert response.certificates == [signers[kind].certificate]
    assert response.produced_at_utc == now
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE[2:]
    first, second = response.responses
    assert (first.serial_number, second.serial_number) == (9, 8)
    assert first.certificate_status is OCSPCertStatus.REVOKED
    assert first.revocation_reason is x509.ReasonFlags.key_compromise
    assert first.revocation_time_utc == now - timedelta(days=1)
    assert second.certificate_status is OCSPCertStatus.UNKNOWN
    assert second.next_update_utc == now + timedelta(hours=2)


# R55
def test_a_responder_named_by_its_subject(keys: Mapping[str, Any], authority: Any, good: SingleResponse) -> None:
    """The name is that of the responder certificate, byte for byte, and there is no key hash."""
    key = keys["p256"]
    certificate = authority.responder(key)
    response = load_der_ocsp_response(ResponseSigner(key, certificate, by_name=True).sign([good], authority.now))
    assert response.responder_name == certificate.subject
    assert response.responder_key_hash is None
    key.public_key().verify(response.signature, response.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


# R29, G4
def test_cert_id_is_repeated_octet_for_octet(signer: ResponseSigner, good: SingleResponse, authority: Any) -> None:
    """The CertID is copied, whatever is in it."""
    strange = bytes.fromhex("3006 040130 020107")
    single = SingleResponse(strange, "good", good.this_update, good.next_update)
    assert strange in signer.sign([single], authority.now)


# R77
@pytest.mark.parametrize("kind", KINDS)
def test_answers_without_nonce_repeat(
    signers: dict[str, ResponseSigner], keys: Mapping[str, Any], good: SingleResponse, authority: Any, kind: str
) -> None:
    """Without a nonce the same answer has the same octets, where the algorithm can do that."""
    signer = signers[kind]
    assert signer.repeatable is (kind in REPEATABLE)
    again = ResponseSigner(keys[kind], signer.certificate)
    assert (signer.sign([good], authority.now) == again.sign([good], authority.now)) is signer.repeatable


def test_ecdsa_with_nonce_is_randomised(signer: ResponseSigner, good: SingleResponse, authority: Any) -> None:
    """Answers with a nonce are signed with plain ECDSA."""
    assert signer.sign([good], authority.now, NONCE) != signer.sign([good], authority.now, NONCE)


# R58
def test_times_are_whole_seconds_in_utc(signer: ResponseSigner) -> None:
    """Fractions are cut off, and other time zones are converted."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    single = SingleResponse(cert_id(7), Revoked(moment), moment, moment + timedelta(hours=1))
    data = signer.response_data([single], moment)
    assert data.count(b"\x18\x0f20260102010405Z") == 3
    assert data.count(b"\x18\x0f20260102020405Z") == 1


# R57
@pytest.mark.parametrize("which", ["revocation", "this", "next", "produced"])
def test_times_without_zone_are_refused(signer: ResponseSigner, authority: Any, which: str) -> None:
    """A naive time is a mistake, wherever it is."""
    now = authority.now
    times = dict.fromkeys(("revocation", "this", "next", "produced"), now)
    times[which] = now.replace(tzinfo=None)
    single = SingleResponse(cert_id(7), Revoked(times["revocation"]), times["this"], times["next"])
    with pytest.raises(TypeError):
        signer.sign([single], times["produced"])


# R56, R59, G5
@pytest.mark.parametrize(
    ("this", "produced", "following"),
    [(1, 0, 2), (0, 3, 2), (0, 0, -1), (0, 0, 3 * 86400 + 1)],
    ids=["signed before thisUpdate", "signed after nextUpdate", "backwards", "outlives the certificate"],
)
def test_times_out_of_order_are_refused(
    signer: ResponseSigner, authority: Any, this: int, produced: int, following: int
) -> None:
    """No answer is signed whose times contradict each other or the responder's certificate."""
    now = authority.now
    single = SingleResponse(cert_id(7), "good", now + timedelta(seconds=this), now + timedelta(seconds=following))
    with pytest.raises(ValueError, match="out of order"):
        signer.sign([single], now + timedelta(seconds=produced))


def test_answer_may_last_as_long_as_its_signer(signer: ResponseSigner, authority: Any) -> None:
    """An answer may be valid to the very end of the responder certificate (G5)."""
    signer.sign([SingleResponse(cert_id(7), "good", authority.now, signer.not_after)], authority.now)


def test_nothing_to_answer_is_refused(signer: ResponseSigner, authority: Any) -> None:
    """A response answers for at least one certificate."""
    with pytest.raises(ValueError, match="at least one"):
        signer.sign([], authority.now)


# G2
@pytest.mark.parametrize("status", ["", "GOOD", None, 0])
def test_only_the_word_good_is_good(signer: ResponseSigner, authority: Any, status: Any) -> None:
    """Any other status is refused."""
    single = SingleResponse(cert_id(7), status, authority.now, authority.now + timedelta(hours=1))
    with pytest.raises(ValueError, match="status"):
        signer.sign([single], authority.now)


# R52
@pytest.mark.parametrize("reason", [-1, 7, 8, 11, 256])
def test_reasons_of_nothing_revoked_are_refused(authority: Any, reason: int) -> None:
    """removeFromCRL, the unused 7 and numbers beyond are not reasons here."""
    with pytest.raises(ValueError, match="reason"):
        Revoked(authority.now, reason)


def test_certificate_for_another_key_is_refused(authority: Any, keys: Mapping[str, Any]) -> None:
    """Key and certificate must belong together."""
    with pytest.raises(ValueError, match="another key"):
        ResponseSigner(keys["p384"], authority.responder(keys["p256"]))


# R63
@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate,
        x25519.X25519PrivateKey.generate,
    ],
    ids=["rsa1024", "secp256k1", "ed448", "x25519"],
)
def test_weak_and_unusual_keys_are_refused(authority: Any, make: Callable[[], Any]) -> None:
    """Only keys that the rules name can sign."""
    certificate = authority.responder(ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(UnsupportedKey):
        ResponseSigner(make(), certificate)
