"""A2: a gateway that answers signed requests only, and only those whose signer it knows (R24)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from services.pki.certificates import key_usage
from tests.conformance.estate import Estate, Gateway
from tests.conformance.request_signing import (
    ECDSA_SHA1,
    ECDSA_SHA256,
    ECDSA_SHA512,
    NULL,
    RSA_SHA1,
    RSA_SHA256,
    RSA_SHA512,
    UNKNOWN,
    authority,
    client,
    openssl_request,
    sign,
    signed_request,
)
from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import Reply, nonce, request, tbs_request, tlv

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NAME = tlv(0x82, b"client.example.com")


class Clients:
    """Those that the gateway trusts, and those that it does not."""

    def __init__(self) -> None:
        self.anchor = authority("Anchor of clients")
        self.second = authority("Second anchor")
        middle = authority("CA of clients", self.anchor)
        rsa_key = rsa.generate_private_key(65537, 2048)
        self.trusted = {
            "ec": client(self.anchor),
            "p-384": client(self.anchor, ec.generate_private_key(ec.SECP384R1())),
            "rsa": client(self.anchor, rsa_key),
            "ed25519": client(self.anchor, ed25519.Ed25519PrivateKey.generate()),
            "below-an-intermediate": client(middle),
            "below-two-intermediates": client(authority("Lower CA", middle)),
            "of-the-second-anchor": client(self.second),
        }
        stranger = authority("A CA that nobody knows")
        outdated = authority("Outdated CA", self.anchor, begin=-2 * DAY, end=-MINUTE)
        self.untrusted = {
            "unknown-ca": client(stranger),
            "namesake-of-the-anchor": client(authority("Anchor of clients")),
            "self-signed": authority("Nobody"),
            "expired": client(self.anchor, begin=-2 * DAY, end=-MINUTE),
            "not-yet-valid": client(self.anchor, begin=DAY, end=2 * DAY),
            "below-an-expired-intermediate": client(outdated),
            "below-another-client": client(self.trusted["ec"]),
            "not-for-signatures": client(
                self.anchor, rsa_key, usage=key_usage(digital_signature=False, key_encipherment=True)
            ),
            "short-rsa-key": client(self.anchor, rsa.generate_private_key(65537, 1024)),
        }


@pytest.fixture(scope="module")
def clients() -> Clients:
    """Keys and certificates, made once."""
    return Clients()


@pytest.fixture(scope="module")
def gateway(estate: Estate, clients: Clients) -> Gateway:
    """A gateway that demands signatures."""
    anchors = estate.folder / "request-anchors.pem"
    anchors.write_bytes(
        b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (clients.anchor, clients.second))
    )
    return estate.gateway("signed", signed_requests="require", request_trust_anchors=str(anchors))


@pytest.fixture(scope="module")
def tbs(subject: Subject) -> bytes:
    """What is signed."""
    return tbs_request(subject.cert_id(), requestor_name=NAME)


def both(gateway: Gateway, body: bytes) -> set[str]:
    """The status by POST and by GET."""
    return {gateway.post(body).ocsp_status, gateway.get(body).ocsp_status}


TRUSTED = (
    "ec", "p-384", "rsa", "ed25519", "below-an-intermediate", "below-two-intermediates", "of-the-second-anchor",
)  # fmt: skip
UNTRUSTED = (
    "unknown-ca", "namesake-of-the-anchor", "self-signed", "expired", "not-yet-valid", "below-an-expired-intermediate",
    "below-another-client", "not-for-signatures", "short-rsa-key",
)  # fmt: skip


@pytest.mark.rule("R24")
@pytest.mark.parametrize("name", TRUSTED)
def test_who_is_trusted_is_answered(
    gateway: Gateway, subject: Subject, clients: Clients, tbs: bytes, name: str
) -> None:
    """Whatever the key, if the path ends in an anchor; the certificates between them come along."""
    body = clients.trusted[name].signed(tbs)
    for reply in (gateway.post(body), gateway.get(body)):
        answer = subject.verified(reply)
        assert (answer.status, echoed(answer)) == ("good", [subject.cert_id()])


@pytest.mark.rule("R24")
@pytest.mark.parametrize("name", UNTRUSTED)
def test_who_is_not_trusted_is_refused(gateway: Gateway, clients: Clients, tbs: bytes, name: str) -> None:
    """However right the signature is."""
    assert both(gateway, clients.untrusted[name].signed(tbs)) == {"unauthorized"}


def test_the_tables_are_whole(clients: Clients) -> None:
    """Each client is tried."""
    assert (tuple(clients.trusted), tuple(clients.untrusted)) == (TRUSTED, UNTRUSTED)


def _corrupted(clients: Clients, tbs: bytes) -> bytes:
    signer = clients.trusted["rsa"]
    value = bytearray(sign(signer.key, tbs))
    value[100] ^= 1
    return signed_request(tbs, signer.identifier, bytes(value), signer.chain)


def _with(
    name: str, identifier: bytes, digest: hashes.HashAlgorithm | None = None
) -> Callable[[Clients, bytes], bytes]:
    def make(clients: Clients, tbs: bytes) -> bytes:
        signer = clients.trusted[name]
        return signed_request(tbs, identifier, sign(signer.key, tbs, digest), signer.chain)

    return make


def _along(*certificates: str) -> Callable[[Clients, bytes], bytes]:
    """Signed by a trusted client, with the certificates of others."""

    def make(clients: Clients, tbs: bytes) -> bytes:
        signer = clients.trusted["below-an-intermediate"]
        everybody = {
            "signer": signer.chain[0],
            "intermediate": signer.chain[1],
            "another": clients.trusted["ec"].chain[0],
            "anchor": clients.anchor.chain[0],
            "junk": tlv(0x30, tlv(0x02, b"\x01")),
        }
        chain = [everybody[each] for each in certificates]
        return signed_request(tbs, signer.identifier, sign(signer.key, tbs), chain)

    return make


def _without_certificates(clients: Clients, tbs: bytes) -> bytes:
    signer = clients.trusted["ec"]
    return signed_request(tbs, signer.identifier, sign(signer.key, tbs), None)


def _over_other_octets(clients: Clients, tbs: bytes) -> bytes:
    signer = clients.trusted["ec"]
    return signed_request(tbs, signer.identifier, sign(signer.key, tbs + b"\x00"), signer.chain)


def _over_the_content(clients: Clients, tbs: bytes) -> bytes:
    signer = clients.trusted["ec"]
    return signed_request(tbs, signer.identifier, sign(signer.key, tbs[2:]), signer.chain)


BAD_SIGNATURES = {
    "corrupted": _corrupted,
    "over-other-octets": _over_other_octets,
    "over-the-content-only": _over_the_content,
    "rsa-with-sha1": _with("rsa", tlv(0x30, RSA_SHA1, NULL), hashes.SHA1()),
    "ecdsa-with-sha1": _with("ec", tlv(0x30, ECDSA_SHA1), hashes.SHA1()),
    "sha256-that-says-sha512": _with("rsa", tlv(0x30, RSA_SHA512, NULL), hashes.SHA256()),
    "ec-that-says-rsa": _with("ec", tlv(0x30, RSA_SHA256, NULL)),
    "rsa-that-says-ec": _with("rsa", tlv(0x30, ECDSA_SHA256)),
    "unknown-algorithm": _with("ec", tlv(0x30, UNKNOWN)),
    "ecdsa-with-parameters": _with("ec", tlv(0x30, ECDSA_SHA256, NULL)),
    "no-certificates": _without_certificates,
    "empty-certificates": _along(),
    "certificate-of-another": _along("another"),
    "certificate-of-the-anchor-only": _along("anchor"),
    "intermediate-only": _along("intermediate"),
    "intermediate-missing": _along("signer"),
    "junk-for-a-certificate": _along("junk"),
    "ten-certificates": _along(*["another"] * 10),
}


@pytest.mark.rule("R24")
@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_a_signature_that_does_not_count(gateway: Gateway, clients: Clients, tbs: bytes, name: str) -> None:
    """By somebody who is trusted, but not by him, not for this, or not well enough."""
    assert both(gateway, BAD_SIGNATURES[name](clients, tbs)) == {"unauthorized"}


@pytest.mark.rule("R24")
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("rsa-with-sha512", _with("rsa", tlv(0x30, RSA_SHA512, NULL), hashes.SHA512())),
        ("ecdsa-p256-with-sha512", _with("ec", tlv(0x30, ECDSA_SHA512), hashes.SHA512())),
        ("intermediate-first", _along("intermediate", "signer")),
        ("anchor-comes-along", _along("signer", "intermediate", "anchor")),
        ("strangers-come-along", _along("another", "signer", "intermediate")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_signature_that_counts(
    gateway: Gateway, subject: Subject, clients: Clients, tbs: bytes, name: str, make: Callable[[Clients, bytes], bytes]
) -> None:
    """Other strong digests, and certificates in any order."""
    assert subject.verified(gateway.post(make(clients, tbs))).status == "good"


@pytest.mark.rule("R24")
def test_openssl_signs_its_request(
    estate: Estate, gateway: Gateway, subject: Subject, clients: Clients, good: Path, tmp_path: Path
) -> None:
    """`openssl ocsp -signer -sign_other` is trusted like anybody else."""
    body = openssl_request(estate, good, clients.trusted["below-an-intermediate"], tmp_path)
    assert subject.verified(gateway.post(body)).status == "good"
    stranger = openssl_request(estate, good, clients.untrusted["unknown-ca"], tmp_path)
    assert both(gateway, stranger) == {"unauthorized"}


@pytest.mark.rule("R24")
def test_a_signed_request_with_everything(gateway: Gateway, subject: Subject, clients: Clients) -> None:
    """Several certificates and a nonce, under one signature."""
    asked = [subject.cert_id(), subject.cert_id(7), subject.cert_id(hash_algorithm="sha256")]
    tbs = tbs_request(*asked, requestor_name=NAME, extensions=[nonce(b"n" * 32)])
    answer = subject.verified(gateway.post(clients.trusted["ec"].signed(tbs)))
    assert (echoed(answer), answer.nonce) == (asked, tlv(4, b"n" * 32))


@pytest.mark.rule("R24")
def test_a_signed_request_without_a_name(gateway: Gateway, subject: Subject, clients: Clients) -> None:
    """Who signs has to say who he is (RFC 6960, section 4.1.2)."""
    assert both(gateway, clients.trusted["ec"].signed(tbs_request(subject.cert_id()))) == {"malformed_request"}


@pytest.mark.rule("R24")
def test_an_unsigned_request(gateway: Gateway, subject: Subject) -> None:
    """It is told what is missing, whatever it asks."""
    for body in (
        request(subject.cert_id()),
        request(subject.cert_id(), requestor_name=NAME),
        request(subject.cert_id(), extensions=[nonce(b"n" * 32)]),
        request(subject.cert_id(), subject.cert_id(7)),
        request(subject.cert_id(hash_algorithm="md5")),
    ):
        assert both(gateway, body) == {"sign_required"}
    assert both(gateway, request()) == {"malformed_request"}


@pytest.mark.rule("R24", "R80")
def test_an_unsigned_request_whose_answer_is_ready(
    gateway: Gateway, subject: Subject, clients: Clients, tbs: bytes
) -> None:
    """What a signed request brought into the cache is not for those who do not sign."""
    plain = request(subject.cert_id())

    def warm() -> Reply:
        return gateway.get(clients.trusted["ec"].signed(tbs))

    assert warm().body == warm().body
    etag = warm().header("etag") or "*"
    for reply in (gateway.get(plain), gateway.post(plain), gateway.get(plain, if_none_match=etag)):
        assert reply.ocsp_status == "sign_required"
        assert reply.header("etag") is None
        assert reply.header("cache-control") == "no-store"
    assert gateway.get(plain, method="HEAD").header("content-length") == "5"
