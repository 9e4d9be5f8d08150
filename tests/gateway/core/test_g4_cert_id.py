"""G4: the asker's CertID comes back byte for byte, and the cache never mixes hash algorithms, issuers or signers."""

from __future__ import annotations

import hashlib
from itertools import product

import pytest
from asn1crypto import core
from asn1crypto import ocsp as asn1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.evidence import CertificateKey
from gateway.ocsp.response import OcspStatus, error_response
from tests.gateway.core.world import World, authority, delegate, issuer_of

pytestmark = pytest.mark.asyncio

ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")


def cert_id(world: TwoIssuers, serial: int, algorithm: str, *, null: bool, issuer: int = 0) -> asn1.CertId:
    """A CertID, made by another encoder; NULL parameters or none (R29)."""
    ca = world.authorities[issuer]
    bits = ca.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    identifier = {"algorithm": algorithm} | ({"parameters": core.Null()} if null else {})
    return asn1.CertId(
        {
            "hash_algorithm": identifier,
            "issuer_name_hash": hashlib.new(algorithm, ca.subject.public_bytes()).digest(),
            "issuer_key_hash": hashlib.new(algorithm, bits).digest(),
            "serial_number": serial,
        }
    )


def request(*ids: asn1.CertId) -> bytes:
    """A request with nothing but these CertIDs."""
    single = [{"req_cert": one} for one in ids]
    der: bytes = asn1.OCSPRequest({"tbs_request": {"request_list": single}}).dump()
    return der


def answered(body: bytes) -> list[tuple[bytes, str]]:
    """The CertIDs in an answer, as bytes, with their statuses."""
    response = asn1.OCSPResponse.load(body, strict=True)
    data = response["response_bytes"]["response"].parsed["tbs_response_data"]
    return [(single["cert_id"].dump(), single["cert_status"].name) for single in data["responses"]]


class TwoIssuers(World):
    """A world in which two CAs have issued the same serial numbers, with different statuses."""

    def __init__(self) -> None:
        super().__init__()
        other, other_key = authority("issuing")  # the same name, another key
        self.authorities = [self.ca, other]
        self.knowledge.issuers.update([issuer_of("other", other)])
        self.signers.install("other", delegate(other, other_key))
        self.watch()
        for serial in (0x10, 0x80, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF):
            key = self.key(serial)
            self.service.issue(key)
            self.service.issue(CertificateKey("other", key.serial))
            self.service.revoke(CertificateKey("other", key.serial))


async def test_every_spelling_comes_back_as_it_was_sent() -> None:
    """All hashes, with NULL and without, serial numbers with and without top bit: twice, so that caches answer too."""
    world = TwoIssuers()
    for _ in range(2):
        for algorithm, null, issuer, serial in product(ALGORITHMS, (True, False), (0, 1), (0x10, 0x80)):
            asked = cert_id(world, serial, algorithm, null=null, issuer=issuer)
            der = request(asked)
            answer = world.responder.at_once(der) or await world.responder.answer(der)
            assert answered(answer.body) == [(asked.dump(), "revoked" if issuer else "good")]


async def test_several_in_one_request_come_back_in_order() -> None:
    """Each entry with its own spelling, repetitions included (R20)."""
    world = TwoIssuers()
    asked = [
        cert_id(world, serial, algorithm, null=null)
        for serial, algorithm, null in ((0x80, "sha256", True), (0x10, "sha1", False), (0x80, "sha256", True))
    ]
    answer = await world.responder.answer(request(*asked))
    assert [der for der, _ in answered(answer.body)] == [one.dump() for one in asked]


async def test_issuers_do_not_mix() -> None:
    """The same serial number of two issuers is two certificates; both in one request is nobody's to sign."""
    world = TwoIssuers()
    both = request(cert_id(world, 0x10, "sha1", null=True), cert_id(world, 0x10, "sha1", null=True, issuer=1))
    assert (await world.responder.answer(both)).body == error_response(OcspStatus.UNAUTHORIZED)


async def test_signers_do_not_mix() -> None:
    """Each issuer's answers are signed by its own delegate, also when they come from the cache (R65)."""
    world = TwoIssuers()
    for issuer, name in ((0, "issuing"), (1, "other"), (0, "issuing"), (1, "other")):
        der = request(cert_id(world, 0x10, "sha256", null=True, issuer=issuer))
        answer = world.responder.at_once(der) or await world.responder.answer(der)
        data = asn1.OCSPResponse.load(answer.body)["response_bytes"]["response"].parsed["tbs_response_data"]
        signer = world.signers.current(name)
        assert signer is not None
        assert data["responder_id"].native == signer.key_hash
