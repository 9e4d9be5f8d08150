"""Signatures beside the event loop: nobody else waits for them, and nothing is said that is not true any more (G3)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import ocsp

from gateway import off_loop
from gateway.answer import Answer
from gateway.ocsp.response import OcspStatus, ResponseSigner, error_response
from gateway.signer_keys import SignerKey
from tests.gateway.core.world import World

pytestmark = pytest.mark.asyncio

MAX_PENDING = 100
TRY_LATER = error_response(OcspStatus.TRY_LATER)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """A responder with an RSA key and two threads, and two certificates."""
    found = World(kind=SignerKey.RSA2048, signing_threads=2)
    found.watch()
    for serial in (0x10, 0x11):
        found.service.issue(found.key(serial))
    yield found
    found.responder.close()


class Hand:
    """The signer's hand, which can be held: signatures that are under way then wait in their threads."""

    def __init__(self, signer: ResponseSigner) -> None:
        self._sign = signer.sign_octets
        self._free = threading.Event()
        self._free.set()
        self.begun = 0
        self.error: BaseException | None = None

    def __call__(self, octets: bytes, repeatably: bool) -> bytes:
        self.begun += 1
        assert self._free.wait(30)
        if self.error is not None:
            raise self.error
        return self._sign(octets, repeatably)

    @contextmanager
    def held(self) -> Iterator[None]:
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()


@pytest.fixture
def hand(world: World) -> Hand:
    """What signs, in the place of the signer's own."""
    signer = _signer(world)
    found = Hand(signer)
    signer.sign_octets = found  # type: ignore[misc]
    return found


def _signer(world: World) -> ResponseSigner:
    signer = world.signers.current("issuing")
    assert signer is not None
    return signer


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_the_signatures_are_those_of_the_key(world: World) -> None:
    """With and without nonce, for one and for many: each verifies, and repeats where it is to be shared (R77)."""
    key = _signer(world).certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    requests = [world.request(0x10), *(world.request(0x11, nonce=bytes((n,)) * 16) for n in range(20))]
    answers = await asyncio.gather(*map(world.responder.answer, requests))
    for answer in answers:
        response = ocsp.load_der_ocsp_response(answer.body)
        key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), hashes.SHA256())
    single = World(kind=SignerKey.RSA2048)  # the same, without threads
    single.signers.install("issuing", _signer(world))
    single.knowledge.issuers.update(list(world.knowledge.issuers))
    single.watch()
    single.service.statuses |= world.service.statuses
    same = await single.responder.answer(world.request(0x10))
    assert (same.body, same.etag) == (answers[0].body, answers[0].etag)


async def test_what_is_ready_does_not_wait_for_a_signature(world: World, hand: Hand) -> None:
    """While all threads sign, an answer that is ready is given at once."""
    await world.responder.answer(world.request(0x10))
    with hand.held():
        waiting = [asyncio.ensure_future(world.responder.answer(world.request(0x11, nonce=b"n" * 16)))]
        await _until(lambda: hand.begun == 2)
        assert world.responder.at_once(world.request(0x10)) is not None
        assert not waiting[0].done()
    (answer,) = await asyncio.gather(*waiting)
    assert answer.body != TRY_LATER


async def test_who_asks_the_same_shares_a_signature(world: World, hand: Hand) -> None:
    """Ten who ask for what nobody has asked for yet cost one signature (no stampede); with nonces, each costs one."""
    with hand.held():
        same = [asyncio.ensure_future(world.responder.answer(world.request(0x10))) for _ in range(10)]
        other = asyncio.ensure_future(world.responder.answer(world.request(0x10, nonce=b"n" * 16)))
        await _until(lambda: hand.begun == 2)
    answers = await asyncio.gather(*same)
    await other
    assert hand.begun == 2
    assert len({answer.body for answer in answers}) == 1
    assert all(answer.cacheable for answer in answers)


@pytest.mark.parametrize("nonce", [None, b"n" * 16], ids=["shared", "nonce"])
async def test_what_is_revoked_while_it_is_signed_is_not_called_good(
    world: World, hand: Hand, nonce: bytes | None
) -> None:
    """The answer that was being signed is thrown away, and made anew from what is known by then."""
    with hand.held():
        asked = [asyncio.ensure_future(world.responder.answer(world.request(0x10, nonce=nonce))) for _ in range(3)]
        await _until(lambda: hand.begun > 0)
        world.service.revoke(world.key(0x10))
        world.tell(world.key(0x10))
    for answer in await asyncio.gather(*asked):
        assert answer.fresh()
        found = ocsp.load_der_ocsp_response(answer.body)
        assert found.certificate_status == ocsp.OCSPCertStatus.REVOKED


async def test_what_grows_old_while_it_is_signed_is_told(world: World, hand: Hand) -> None:
    """A signature that takes longer than the evidence holds: the door sees it, and says tryLater (G3)."""
    await world.responder.answer(world.request(0x10, nonce=b"m" * 16))
    with hand.held():
        asked = asyncio.ensure_future(world.responder.answer(world.request(0x10, nonce=b"n" * 16)))
        await _until(lambda: hand.begun == 2)
        world.clocks.pass_time(5)
        world.service.away = True
    answer = await asked
    assert answer.body == TRY_LATER or not answer.fresh()


async def test_what_waits_for_signatures_is_bounded(world: World, hand: Hand) -> None:
    """Beyond the bound it is tryLater at once, and all others are answered."""
    await world.responder.answer(world.request(0x10, nonce=b"m" * 16))
    with hand.held():
        asked = []
        for number in range(MAX_PENDING + 7):  # one after the other: what waits for its turn has a bound of its own
            asked.append(
                asyncio.ensure_future(world.responder.answer(world.request(0x10, nonce=bytes((number,)) * 16)))
            )
            await asyncio.sleep(0)
        await _until(lambda: sum(each.done() for each in asked) == 7)
    answers: list[Answer] = await asyncio.gather(*asked)
    assert sum(answer.body == TRY_LATER for answer in answers) == 7


async def test_a_key_that_fails_is_told_to_all(world: World, hand: Hand) -> None:
    """Whoever waits for a signature that cannot be made gets internalError, and the next one is made again."""
    hand.error = RuntimeError("no entropy")
    with hand.held():
        asked = [asyncio.ensure_future(world.responder.answer(world.request(0x10))) for _ in range(3)]
        await _until(lambda: hand.begun == 1)
    bodies = {answer.body for answer in await asyncio.gather(*asked)}
    assert bodies == {error_response(OcspStatus.INTERNAL_ERROR)}
    hand.error = None
    assert ocsp.load_der_ocsp_response((await world.responder.answer(world.request(0x10))).body).serial_number == 0x10


async def test_threads_are_for_keys_that_take_long() -> None:
    """With P-256 there are none: waiting for a thread would take longer than the signature."""
    quick = World(signing_threads=2)
    quick.watch()
    quick.service.issue(quick.key(0x10))
    before = threading.active_count()
    await quick.responder.answer(quick.request(0x10, nonce=b"n" * 16))
    assert threading.active_count() == before


class Panic(BaseException):
    """What a library written in Rust raises when it panics: not an Exception."""


async def test_a_panic_ends_no_thread(world: World, hand: Hand) -> None:
    """It is an internal error for those who waited for that signature; whoever asks next is answered."""
    hand.error = Panic()
    for _ in range(3):  # more than there are threads
        asked = [world.responder.answer(world.request(0x10)) for _ in range(3)]
        answers = await asyncio.gather(*asked)
        assert {answer.body for answer in answers} == {error_response(OcspStatus.INTERNAL_ERROR)}
    hand.error = None
    assert len((await world.responder.answer(world.request(0x10))).body) > 100


async def test_one_who_cannot_be_given_an_answer_harms_nobody(world: World, hand: Hand) -> None:
    """Those who wait for the same signature, or for one behind it, get theirs."""
    got: list[Answer] = []

    def broken(_: Answer) -> None:
        raise ZeroDivisionError

    with hand.held():
        for serial, deliver in ((0x10, broken), (0x10, got.append), (0x11, got.append)):
            assert world.responder.submit(world.request(serial), deliver)
        await _until(lambda: hand.begun == 2)
    await _until(lambda: len(got) == 2)


@pytest_asyncio.fixture
async def narrow() -> AsyncIterator[World]:
    """A responder with one thread, which nobody has asked for anything."""
    found = World(kind=SignerKey.RSA2048, signing_threads=1)
    found.watch()
    yield found
    found.responder.close()


async def _ask_for_unknown(world: World, count: int) -> list[asyncio.Future[Answer]]:
    requests = [world.request(0x1000 + number) for number in range(count)]
    asked: list[asyncio.Future[Answer]] = [asyncio.ensure_future(world.responder.answer(each)) for each in requests]
    for _ in range(300):
        await asyncio.sleep(0)
    return asked


async def test_nothing_is_begun_that_would_grow_old_before_it_is_signed(narrow: World) -> None:
    """What cannot be signed soon waits before its status is looked up: else it would be made in vain, and once more.

    What is known does not wait for it: it has only to be signed.
    """
    world, hand, count = narrow, Hand(_signer(narrow)), MAX_PENDING - 10
    world.service.issue(world.key(0x10))
    await world.responder.answer(world.request(0x10))
    world.service.calls.clear()
    _signer(world).sign_octets = hand  # type: ignore[misc]
    with hand.held():
        asked = await _ask_for_unknown(world, count)
        begun = sum(map(len, world.service.calls))
        assert 10 < begun < count * 2 / 3
        known = asyncio.ensure_future(world.responder.answer(world.request(0x10, nonce=b"n" * 16)))
        await asyncio.sleep(0.01)
        world.clocks.pass_time(2)
        world.proof()
    assert len((await known).body) > 100
    assert sum(each.done() for each in asked) < count - begun
    answers = await asyncio.gather(*asked)
    assert all(ocsp.load_der_ocsp_response(answer.body).certificate_status.name == "UNKNOWN" for answer in answers)
    assert hand.begun == count + begun + 1  # of the unknown only what had been begun was signed twice


async def test_who_would_wait_for_too_long_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of signatures are not begun for clients that will not wait for them, known or unknown."""
    monkeypatch.setattr(off_loop, "_FIRST_GUESS", 0.5)
    world = World(kind=SignerKey.RSA2048, signing_threads=1)
    world.watch()
    world.service.issue(world.key(0x10))
    await world.responder.answer(world.request(0x10, nonce=b"m" * 16))
    hand = Hand(_signer(world))
    _signer(world).sign_octets = hand  # type: ignore[misc]
    with hand.held():
        asked = [world.responder.answer(world.request(0x10, nonce=bytes((n,)) * 16)) for n in range(10)]
        known = list(map(asyncio.ensure_future, asked))
        await _until(lambda: any(each.done() for each in known))
        unknown = await _ask_for_unknown(world, 10)
        assert [each.result().body for each in unknown] == [TRY_LATER] * 10
    answers = await asyncio.gather(*known)
    assert 3 <= sum(answer.body != TRY_LATER for answer in answers) <= 7
    world.responder.close()


async def test_those_who_wait_are_not_forgotten_when_look_ups_fail(narrow: World) -> None:
    """Nothing is signed in the end, and whoever waits for a turn gets it all the same."""
    narrow.service.gate = asyncio.Event()
    asked = await _ask_for_unknown(narrow, MAX_PENDING)
    assert 0 < sum(map(len, narrow.service.calls)) < MAX_PENDING
    narrow.service.away = True
    narrow.service.gate.set()
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*asked)
    assert {answer.body for answer in answers} == {TRY_LATER}


async def test_one_thread_will_do(world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no second one can be had, the first signs everything."""
    await world.responder.answer(world.request(0x10))

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    requests = [world.request(serial, nonce=b"n" * 16) for serial in (0x10, 0x11)]
    with hand.held():
        asked = list(map(asyncio.ensure_future, map(world.responder.answer, requests)))
        await _until(lambda: hand.begun == 2)
    for answer in await asyncio.gather(*asked):
        assert ocsp.load_der_ocsp_response(answer.body).certificate_status == ocsp.OCSPCertStatus.GOOD
