"""The responder: bytes in, an answer out, and never `good` without evidence (G2, G3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from asn1crypto import ocsp as asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.answers import Revocation
from gateway.ocsp.request import parse_request
from gateway.ocsp.response import OcspStatus, ResponseSigner, error_response
from tests.gateway.core.files import BEGIN, DAY, Authority
from tests.gateway.core.world import NOW, World, authority, delegate, issuer_of

pytestmark = pytest.mark.asyncio

GOOD = ocsp.OCSPCertStatus.GOOD
REVOKED = ocsp.OCSPCertStatus.REVOKED
UNKNOWN = ocsp.OCSPCertStatus.UNKNOWN


def read(body: bytes) -> ocsp.OCSPResponse:
    """A response, decoded by an independent parser."""
    return ocsp.load_der_ocsp_response(body)


async def test_good_revoked_and_unknown(world: World) -> None:
    """What was issued is good, what was revoked is revoked with time and reason, the rest is a signed unknown (R43)."""
    world.watch()
    world.service.issue(world.key(0x10))
    world.service.issue(world.key(0x11))
    world.service.revoke(world.key(0x11), reason=1)
    good, revoked, unknown = [read((await world.responder.answer(world.request(n))).body) for n in (0x10, 0x11, 0x12)]
    assert [r.certificate_status for r in (good, revoked, unknown)] == [GOOD, REVOKED, UNKNOWN]
    assert revoked.revocation_time_utc == datetime.fromtimestamp(NOW, UTC)
    assert revoked.revocation_reason is not None
    assert revoked.revocation_reason.value == "keyCompromise"
    signer = world.signers.current("issuing")
    assert signer is not None
    key = signer.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(unknown.signature, unknown.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    "algorithm", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda a: a.name
)
async def test_every_hash_names_the_same_certificate(world: World, algorithm: hashes.HashAlgorithm) -> None:
    """SHA-1 to SHA-512 CertIDs share one status, and each comes back as it was sent (R26; G4)."""
    world.watch()
    world.service.issue(world.key(0x10))
    await world.responder.answer(world.request(0x10))
    response = read((await world.responder.answer(world.request(0x10, algorithm=algorithm))).body)
    assert response.certificate_status == GOOD
    assert response.hash_algorithm.name == algorithm.name
    assert len(world.service.calls) == 1


async def test_a_canonical_request_becomes_a_ready_answer(world: World) -> None:
    """The second asker gets the very bytes that the first got, without a look-up and without a signature."""
    world.watch()
    world.service.issue(world.key(0x10))
    request = world.request(0x10)
    assert world.responder.at_once(request) is None
    first = await world.responder.answer(request)
    assert first.cacheable
    ready = world.responder.at_once(request)
    assert ready is not None
    assert ready.body == first.body
    assert len(world.service.calls) == 1


@pytest.mark.parametrize(
    ("serial", "nonce"), [pytest.param(0x10, b"n" * 16, id="nonce"), pytest.param(0x77, None, id="unknown")]
)
async def test_some_answers_are_never_shared(world: World, serial: int, nonce: bytes | None) -> None:
    """Answers with a nonce (R80), and unknown (R71), are not for caches, ours included."""
    world.watch()
    world.service.issue(world.key(0x10))
    request = world.request(serial, nonce=nonce)
    answer = await world.responder.answer(request)
    assert not answer.cacheable
    again = world.responder.at_once(request)
    assert again is None or (nonce is not None and again.body != answer.body and not again.cacheable)


async def test_the_nonce_comes_back(world: World) -> None:
    """The nonce is repeated in the answer, and an answer without one has none (R33, R35)."""
    world.watch()
    world.service.issue(world.key(0x10))
    response = read((await world.responder.answer(world.request(0x10, nonce=b"0123456789abcdef"))).body)
    assert b"0123456789abcdef" in response.tbs_response_bytes
    assert not len(read((await world.responder.answer(world.request(0x10))).body).extensions)


async def test_good_ends_with_its_evidence(world: World) -> None:
    """G3: without a proof, an answer is not fresh from the bound on, and a ready one is not given any more."""
    world.watch()
    world.service.issue(world.key(0x10))
    answer = await world.responder.answer(world.request(0x10))
    world.clocks.pass_time(0.99)
    assert answer.fresh()
    world.clocks.pass_time(0.01)
    assert not answer.fresh()
    assert world.responder.at_once(world.request(0x10)) is None


async def test_proofs_keep_ready_answers_alive(world: World) -> None:
    """As long as pings are answered, a ready answer needs no look-up."""
    world.watch()
    world.service.issue(world.key(0x10))
    await world.responder.answer(world.request(0x10))
    for _ in range(50):
        world.clocks.pass_time(0.2)
        world.proof()
        assert world.responder.at_once(world.request(0x10)) is not None
    assert len(world.service.calls) == 1


async def test_without_a_watch_every_answer_is_looked_up(world: World) -> None:
    """No watch, no cache: but look-ups alone are evidence enough to answer."""
    world.service.issue(world.key(0x10))
    for _ in range(3):
        response = read((await world.responder.answer(world.request(0x10))).body)
        assert response.certificate_status == GOOD
    assert len(world.service.calls) == 3
    assert len(world.knowledge.cache) == 0


async def test_a_lost_watch_degrades_to_one_look_up_per_bound(world: World) -> None:
    """Once proofs stop, a hot entry is looked up again when its evidence ends, not at every request."""
    world.watch()
    world.service.issue(world.key(0x10))
    bodies = set()
    for _ in range(40):
        bodies.add((await world.responder.answer(world.request(0x10))).body)
        world.clocks.pass_time(0.1)
    assert len(world.service.calls) == 4
    assert len(bodies) == 1


async def test_a_revocation_takes_ready_and_pending_answers_away(world: World) -> None:
    """G3: from the moment when the watch tells of a revocation, nothing that says good is fresh."""
    world.watch()
    world.service.issue(world.key(0x10))
    answer = await world.responder.answer(world.request(0x10))
    world.service.revoke(world.key(0x10))
    world.tell(world.key(0x10))
    assert not answer.fresh()
    assert world.responder.at_once(world.request(0x10)) is None
    assert read((await world.responder.answer(world.request(0x10))).body).certificate_status == REVOKED


async def test_a_look_up_that_was_overtaken_is_repeated(world: World) -> None:
    """G3: a look-up that was read before a change, and arrives after it, must not bring good back."""
    world.watch()
    key = world.key(0x10)
    world.service.issue(key)

    def overtake() -> None:
        world.service.revoke(key)
        world.tell(key)

    world.service.before_reply.append(overtake)
    assert read((await world.responder.answer(world.request(0x10))).body).certificate_status == REVOKED
    assert len(world.service.calls) == 2


async def test_a_slow_look_up_is_not_evidence(world: World) -> None:
    """G3: evidence counts from sending; what took longer than the bound is asked again, and then it is tryLater."""
    world.service.issue(world.key(0x10))
    world.service.delay = 1.5
    answer = await world.responder.answer(world.request(0x10))
    assert answer.body == error_response(OcspStatus.TRY_LATER)


async def test_a_reset_drops_everything(world: World) -> None:
    """A restored database starts another history: what was cached of the old one is gone with its evidence."""
    world.watch()
    world.service.issue(world.key(0x10))
    answer = await world.responder.answer(world.request(0x10))
    world.service.history, world.service.revision = "h2", 3
    world.knowledge.reset("h2", 3)
    assert not answer.fresh()
    assert world.responder.at_once(world.request(0x10)) is None
    assert len(world.knowledge.cache) == 0


async def test_status_service_away(world: World) -> None:
    """R72: without the status service the answer is tryLater, as soon as the evidence has ended."""
    world.watch()
    world.service.issue(world.key(0x10))
    await world.responder.answer(world.request(0x10))
    world.service.away = True
    world.clocks.pass_time(0.5)
    assert read((await world.responder.answer(world.request(0x10))).body).certificate_status == GOOD
    world.clocks.pass_time(0.5)
    for request in (world.request(0x10), world.request(0x99)):
        assert (await world.responder.answer(request)).body == error_response(OcspStatus.TRY_LATER)


async def test_foreign_and_mixed_issuers_are_unauthorized(world: World) -> None:
    """A certificate of another CA, the name of one CA with the key of another (R28), and a foreign entry among ours."""
    world.watch()
    foreign, _ = authority("foreign")
    same_name, _ = authority("issuing")
    for ca in (foreign, same_name):
        answer = await world.responder.answer(world.request(1, ca=ca))
        assert answer.body == error_response(OcspStatus.UNAUTHORIZED)


async def test_before_any_issuer_is_known(world: World) -> None:
    """R70: until the status service has told of issuers, nobody knows who is ours: tryLater."""
    world.knowledge.issuers.replace([])
    assert (await world.responder.answer(world.request(1))).body == error_response(OcspStatus.TRY_LATER)


async def test_an_issuer_without_signer(world: World) -> None:
    """For an offline issuer nobody can sign: unauthorized. For an active one a signer is on its way: tryLater."""
    world.watch()
    for active, status in ((False, OcspStatus.UNAUTHORIZED), (True, OcspStatus.TRY_LATER)):
        ca, _ = authority(f"other {active}")
        world.knowledge.issuers.update([issuer_of(f"other {active}", ca, active=active)])
        assert (await world.responder.answer(world.request(1, ca=ca))).body == error_response(status)


async def test_an_expired_signer_signs_nothing(world: World) -> None:
    """R68: when the responder certificate is over and no other has come, the answer is tryLater."""
    world.watch()
    world.service.issue(world.key(0x10))
    world.signers.install("issuing", delegate(world.ca, world.ca_key, end=NOW + 100))
    await world.responder.answer(world.request(0x10))
    world.clocks.pass_time(100)
    world.proof()
    assert world.responder.at_once(world.request(0x10)) is None
    assert (await world.responder.answer(world.request(0x10))).body == error_response(OcspStatus.TRY_LATER)


async def test_an_issuer_that_has_expired(world: World) -> None:
    """R46: nobody can sign for it any more, and asking again would not help."""
    ca = Authority("expired")
    ca.certificate = ca.certify_itself(end=datetime.fromtimestamp(NOW + 100, UTC))
    world.knowledge.issuers.update([issuer_of("expired", ca.certificate)])
    request = world.request(1, ca=ca.certificate)
    assert (await world.responder.answer(request)).body == error_response(OcspStatus.TRY_LATER)
    world.clocks.pass_time(100)
    assert (await world.responder.answer(request)).body == error_response(OcspStatus.UNAUTHORIZED)


async def test_a_signer_of_an_issuer_that_is_offline_ends(world: World) -> None:
    """R68: another one may be put into its place, so that asking again later does help."""
    ca = Authority("offline")
    world.knowledge.issuers.update([issuer_of("offline", ca.certificate, active=False)])
    request = world.request(1, ca=ca.certificate)
    assert (await world.responder.answer(request)).body == error_response(OcspStatus.UNAUTHORIZED)
    world.signers.install("offline", ResponseSigner(ca.key, ca.certificate, direct=True, not_after=BEGIN + DAY))
    assert read((await world.responder.answer(request)).body).certificate_status is UNKNOWN
    world.clocks.pass_time(86400)
    assert (await world.responder.answer(request)).body == error_response(OcspStatus.TRY_LATER)


async def test_an_answer_never_outlives_its_signer(world: World) -> None:
    """G5, R59: nextUpdate is cut to the end of the responder certificate."""
    world.watch()
    world.service.issue(world.key(0x10))
    world.signers.install("issuing", delegate(world.ca, world.ca_key, end=NOW + 3600))
    answer = await world.responder.answer(world.request(0x10))
    assert read(answer.body).next_update_utc == datetime.fromtimestamp(NOW + 3600, UTC)
    assert answer.next_update == NOW + 3600


async def test_a_new_signer_takes_over_at_once(world: World) -> None:
    """G5: after a renewal no answer of the old signer is given out, and none is missing."""
    world.watch()
    world.service.issue(world.key(0x10))
    await world.responder.answer(world.request(0x10))
    signer = delegate(world.ca, world.ca_key)
    world.signers.install("issuing", signer)
    assert world.responder.at_once(world.request(0x10)) is None
    response = read((await world.responder.answer(world.request(0x10))).body)
    assert response.responder_key_hash == signer.key_hash


async def test_times_are_in_order(world: World) -> None:
    """R56, R59: revocationTime <= thisUpdate <= producedAt <= now <= nextUpdate, through a whole day."""
    world.service.issue(world.key(0x10))
    world.service.revoke(world.key(0x11))
    for _ in range(48):
        for serial in (0x10, 0x11, 0x12):
            for nonce in (None, b"n" * 16):
                response = read((await world.responder.answer(world.request(serial, nonce=nonce))).body)
                now = datetime.fromtimestamp(int(world.clocks.wall), UTC)
                begin, end = response.this_update_utc, response.next_update_utc
                assert end is not None
                assert begin <= response.produced_at_utc <= now <= end
                if response.revocation_time_utc:
                    assert response.revocation_time_utc <= begin
        world.clocks.pass_time(1800 + 0.25)


async def test_a_clock_that_is_set_back_leaves_no_answer_from_the_future(world: World) -> None:
    """Clients reject a thisUpdate that lies ahead: a ready answer of a later period is not given any more."""
    world.watch()
    world.service.issue(world.key(0x10))
    request = world.request(0x10)
    await world.responder.answer(request)
    assert world.responder.at_once(request) is not None
    world.clocks.wall -= 4 * 3600
    assert world.responder.at_once(request) is None
    answer = await world.responder.answer(request)
    assert answer.this_update <= world.clocks.wall < answer.next_update
    assert world.responder.at_once(request) is answer


async def test_too_many_at_once_get_try_later(world: World) -> None:
    """The limit counts CertIDs that are being answered; past it there is no queue, only tryLater."""
    world.watch()
    world.service.gate = gate = asyncio.Event()
    askers = [asyncio.ensure_future(world.responder.answer(world.request(1000 + n))) for n in range(150)]
    await asyncio.sleep(0.05)
    refused = [asker for asker in askers if asker.done()]
    assert len(refused) == 50
    assert {asker.result().body for asker in refused} == {error_response(OcspStatus.TRY_LATER)}
    gate.set()
    answers = await asyncio.gather(*askers)
    assert sum(len(answer.body) > 5 for answer in answers) == 100


async def test_a_bug_is_an_internal_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an exception that nobody thought of becomes an OCSP error."""
    world.watch()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.signers, "choose", broken)
    answer = await world.responder.answer(world.request(0x10))
    assert answer.body == error_response(OcspStatus.INTERNAL_ERROR)


class Panic(BaseException):
    """What a library written in Rust raises when it panics: not an Exception."""


@pytest.mark.parametrize("where", ["choose", "default"])
async def test_a_panic_is_an_internal_error(world: World, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whether before the look-up or after it; whoever asks next is answered."""
    world.watch()
    world.service.issue(world.key(0x10))

    def broken(*_: object) -> None:
        raise Panic

    with monkeypatch.context() as patched:
        patched.setattr(world.signers, where, broken)
        answer = await world.responder.answer(world.request(0x10))
        assert answer.body == error_response(OcspStatus.INTERNAL_ERROR)
    assert read((await world.responder.answer(world.request(0x10))).body).certificate_status == GOOD


@given(body=st.binary(max_size=200))
async def test_any_bytes_get_an_answer(body: bytes) -> None:
    """Whatever comes in, what goes out is an OCSP response."""
    world = World()
    answer = await world.responder.answer(body)
    assert read(answer.body).response_status != ocsp.OCSPResponseStatus.SUCCESSFUL


async def test_a_database_whose_clock_is_ahead(world: World) -> None:
    """R56, R59: good is not dated into the future; a revocation keeps its time; what would contradict itself waits."""
    world.watch()
    ahead = NOW + 600
    for serial, revocation in ((0x10, None), (0x11, Revocation(ahead, 1))):
        world.service.issue(world.key(serial))
        status = world.service.statuses[world.key(serial)]
        world.service.statuses[world.key(serial)] = replace(status, changed_at=ahead, revocation=revocation)
    good, revoked = [read((await world.responder.answer(world.request(n))).body) for n in (0x10, 0x11)]
    assert good.this_update_utc <= datetime.fromtimestamp(NOW, UTC)
    assert revoked.this_update_utc == revoked.revocation_time_utc == datetime.fromtimestamp(ahead, UTC)
    ids = [parse_request(world.request(serial)).cert_ids[0].der for serial in (0x11, 0x99)]
    both = asn1.OCSPRequest(
        {"tbs_request": {"request_list": [{"req_cert": asn1.CertId.load(der)} for der in ids]}}
    ).dump()
    assert (await world.responder.answer(both)).body == error_response(OcspStatus.TRY_LATER)


async def test_failures_are_logged_once_a_second(world: World) -> None:
    """While the status service is away, askers cannot fill the disk with log lines; how many they were is told."""
    world.service.away = True
    with capture_logs() as logs:
        for _ in range(50):
            await world.responder.answer(world.request(0x10))
        world.clocks.pass_time(1)
        await world.responder.answer(world.request(0x10))
    told = [entry["answers"] for entry in logs if entry["event"] == "status unavailable"]
    assert told == [1, 50]
