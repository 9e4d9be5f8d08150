"""The bytes of a request in, an answer out: what both doors call.

Steps, numbered as in the code:

1. a ready answer for exactly these bytes, or for these but for the nonce, if its status is still vouched for
   (`at_once`);
2. parse, or malformedRequest; verify its signature where that is required, or sigRequired or unauthorized;
3. match every CertID to one issuer of ours, or unauthorized; while none is known, tryLater;
4. find the signer, by the client's preference if we have it, or tryLater;
5. find the status of each, from the cache or by look-up, or tryLater;
6. build and sign, beside the event loop where that takes long; keep what can be shared.

Neither `answer` nor `submit` raises. Whatever goes wrong becomes an OCSP error and never `good` (G2); the caller asks
`Answer.fresh` when it writes (G3).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from gateway.answer import Answer, Refusal, Why
from gateway.answers import Entry, Status
from gateway.composer import NONCE_SIZES, Composer, Unsigned
from gateway.evidence import CertificateKey
from gateway.issuers import Issuer
from gateway.knowledge import Knowledge, StatusUnavailable
from gateway.lane import Lane
from gateway.metrics import ANSWERS, LOOK_UPS
from gateway.ocsp.request import (
    CertID,
    MalformedRequest,
    OcspRequest,
    PreferredAlgorithm,
    parse_request,
)
from gateway.ocsp.response import OcspStatus, ResponseSigner, ResponseTemplate
from gateway.off_loop import Outcome, SigningThreads
from gateway.policy import AnswerPolicy, NeverIssued, NoncePolicy
from gateway.request_signers import RequestVerifier, UntrustedRequest
from gateway.signers import Signers
from gateway.validity import ValidityPolicies

_logger = structlog.get_logger(__name__)

_ENDINGS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
"""What is no mistake of anybody. A panic of a library written in Rust is one, though it is no Exception either."""

_BEHIND = 0.25
"""Of the time that evidence holds: while there is more than that to be signed beside the loop, nothing is looked up for
what would have to be signed there, too. It would grow old, and be made in vain."""

_LONGEST = 2.0
"""Seconds that signing beside the loop may be behind: whoever asks then is told at once to try later. Many clients wait
no longer, and answers for those who have gone keep the others waiting."""

_HOT = ANSWERS["hot"]
_NONCE_HEADERS = {size: bytes((0x04, size)) for size in NONCE_SIZES}


Deliver = Callable[[Answer], None]
"""What is given an answer, in a callback of the event loop. It does not raise."""


@dataclass(slots=True)
class Question:
    """A request on its way to an answer."""

    der: bytes
    request: OcspRequest
    issuer: Issuer
    takes_long: bool
    """Whether the answer will be signed beside the event loop."""
    entries: dict[bytes, Entry] = field(default_factory=dict)
    """By serial number; empty for those that cannot be one."""
    missing: list[CertificateKey] = field(default_factory=list)
    """What has to be looked up."""

    def in_order(self) -> list[Entry]:
        """One entry for each CertID."""
        return [self.entries[cert_id.serial or b""] for cert_id in self.request.cert_ids]


Made = Answer | Unsigned


@dataclass(slots=True)
class _Asker:
    """Who waits for an answer that is being signed."""

    der: bytes
    deliver: Deliver
    again: bool


@dataclass(slots=True)
class _Joined:
    """Those who wait for the same signature."""

    unsigned: Unsigned
    askers: list[_Asker]


class Responder:
    """Answers OCSP requests (RFC 6960) from `knowledge`, signed by `signers`. `wall_clock` gives seconds since 1970."""

    def __init__(
        self,
        knowledge: Knowledge,
        signers: Signers,
        validity: ValidityPolicies,
        wall_clock: Callable[[], float],
        *,
        policy: AnswerPolicy | None = None,
        request_verifier: RequestVerifier | None = None,
        max_requests: int,
        max_pending: int,
        signing_threads: int = 0,
    ) -> None:
        """`request_verifier`: requests have to be signed, and it says who may ask.

        `signing_threads`: how many sign beside the event loop with keys that take long; with none, it signs itself.
        """
        self._knowledge = knowledge
        self._signers = signers
        self._policy = policy or AnswerPolicy()
        self._composer = Composer(knowledge, signers, validity, self._policy, wall_clock)
        self._request_verifier = request_verifier
        self._wall_clock = wall_clock
        self._max_requests = max_requests
        self._max_pending = max_pending
        self._lane = Lane(max_pending)
        self._threads = SigningThreads(signing_threads) if signing_threads > 0 else None
        self._joined: dict[tuple[bytes, int], _Joined] = {}
        self._held_back: deque[Callable[[], None]] = deque()
        self._pending = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._told_at = 0.0
        self._untold = 0

    def at_once(self, request_der: bytes) -> Answer | None:
        """The answer, if it is ready for these bytes, or for these but for the nonce; otherwise None: use `answer`."""
        if self._request_verifier is not None:
            return None  # what is ready is for requests as bare as can be: without a signature
        ready = self._knowledge.cache.by_request(request_der)  # 1.
        if ready is None:
            found = self._with_nonce(request_der, quick=True)
            return found if isinstance(found, Answer) else None
        if not self._composer.usable(ready, self._signers.default(ready.entry.status.key.issuer)):
            return None
        if not isinstance(ready.answer, Answer):
            return None  # somebody has cut a request off where the nonce begins
        _HOT.count += 1
        return ready.answer

    def _with_nonce(self, request_der: bytes, *, quick: bool) -> Made | None:
        """The answer to a request that differs from an earlier one in its nonce only; None if it does not.

        All but the signature is ready for that one. `quick`: only where that takes less than waiting for a turn would.
        """
        for size in NONCE_SIZES:
            # The nonce is the end of such a request; its own length is right before it.
            if request_der[-size - 2 : -size] != _NONCE_HEADERS[size]:
                continue
            ready = self._knowledge.cache.by_request(request_der[:-size])
            if ready is not None and isinstance(ready.answer, ResponseTemplate):
                signer = self._signers.default(ready.entry.status.key.issuer)
                if signer is not None and signer.quick >= quick and self._composer.usable(ready, signer):
                    ANSWERS["cached"].inc()
                    nonce = request_der[-size:]
                    if signer.quick:
                        return self._composer.fill(ready, ready.answer, nonce)
                    return self._composer.fill_unsigned(ready, ready.answer, nonce, signer)
        return None

    async def answer(self, request_der: bytes) -> Answer:
        """The answer, whatever the bytes are."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def deliver(answer: Answer) -> None:
            if not future.done():  # whoever asked may have gone away
                future.set_result(answer)

        if not self.submit(request_der, deliver):
            return self._refused(OcspStatus.TRY_LATER)
        return await future

    def submit(self, request_der: bytes, deliver: Deliver) -> bool:
        """Have `deliver` given the answer, whatever the bytes are, once it is there; False if too much is waiting.

        It costs no task where nothing has to be looked up.
        """
        return self._lane.run(partial(self._start, request_der, deliver))

    def _start(self, request_der: bytes, deliver: Deliver, *, again: bool = True) -> None:
        """Deliver the answer, or look up what is missing for it."""
        try:
            begun = self._begin(request_der)
        except BaseException as error:  # noqa: BLE001  (all of them are told by `_failed`)
            deliver(self._failed(error, request_der))
            return
        if not isinstance(begun, Question):
            self._hand_over(begun, _Asker(request_der, deliver, again))
            return
        is_too_much = begun.takes_long and self._is_too_much(len(self._held_back))
        if is_too_much or self._pending + len(begun.missing) > self._max_pending:
            deliver(self._refused(OcspStatus.TRY_LATER))
        elif begun.takes_long and self._is_behind():
            self._held_back.append(partial(self._send_out, begun, deliver, again=again))
        else:
            self._send_out(begun, deliver, again=again)

    def _send_out(self, question: Question, deliver: Deliver, *, again: bool) -> None:
        """Look up what is missing."""
        self._pending += len(question.missing)
        if self._threads is not None:
            self._threads.expected += question.takes_long
        task = asyncio.get_running_loop().create_task(self._look_up(question, deliver, again=again))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_behind(self) -> bool:
        return self._threads is not None and self._threads.seconds() > self._knowledge.max_staleness * _BEHIND

    def _is_too_much(self, waiting: int = 0) -> bool:
        """Whether nothing more can be signed beside the event loop, where so many wait to be looked up."""
        threads = self._threads
        if threads is None:
            return False
        return threads.outstanding + waiting >= self._max_pending or threads.seconds(waiting) > _LONGEST

    def _catch_up(self) -> None:
        """Less is to be signed than was a moment ago: look up what was held back."""
        while self._held_back and not self._is_behind():
            self._held_back.popleft()()

    async def _look_up(self, question: Question, deliver: Deliver, *, again: bool) -> None:  # 5.
        keys = question.missing
        LOOK_UPS.inc(len(keys))
        ANSWERS["looked_up"].inc(len(keys))
        try:
            if len(keys) == 1:
                found: Sequence[Entry] = [await self._knowledge.look_up(keys[0])]
            else:
                found = await asyncio.gather(*map(self._knowledge.look_up, keys))
        except BaseException as error:
            self._met(question)
            deliver(self._failed(error, question.der))
            if not isinstance(error, Exception):
                raise
            return
        finally:
            self._pending -= len(keys)
        question.entries.update((entry.status.key.serial, entry) for entry in found)
        self._lane.finish(partial(self._end, question, deliver, again=again))

    def _end(self, question: Question, deliver: Deliver, *, again: bool) -> None:
        """Deliver the answer, now that nothing is missing for it."""
        try:
            made = self._finish(question)
        except BaseException as error:  # noqa: BLE001  (all of them are told by `_failed`)
            made = self._failed(error, question.der)
        try:
            self._hand_over(made, _Asker(question.der, deliver, again))
        finally:
            self._met(question)

    def _met(self, question: Question) -> None:
        """What was expected of it has been asked of the threads, or never will be."""
        if self._threads is not None:
            self._threads.expected -= question.takes_long
            self._catch_up()

    def _hand_over(self, made: Made, asker: _Asker) -> None:
        if isinstance(made, Unsigned):
            if self._threads is not None and not made.signer.quick:
                self._sign(self._threads, made, asker)
                return
            try:
                made = made.answer()
            except BaseException as error:  # noqa: BLE001  (all of them are told by `_failed`)
                made = self._failed(error, asker.der)
        # A change may have come while it was made. Once more, rather than tryLater.
        if asker.again and not made.fresh():
            self._lane.finish(partial(self._start, asker.der, asker.deliver, again=False))
        else:
            asker.deliver(made)

    def _sign(self, threads: SigningThreads, unsigned: Unsigned, asker: _Asker) -> None:
        """Sign beside the event loop; those who may have the same answer join."""
        joined = _Joined(unsigned, [asker])
        if unsigned.shared is not None:
            key = unsigned.shared[:2]
            under_way = self._joined.get(key)
            if under_way is not None and _is_same(under_way.unsigned, unsigned):
                under_way.askers.append(asker)
                return
            self._joined[key] = joined
        if self._is_too_much():
            self._signed(joined, Refusal(OcspStatus.TRY_LATER, Why.OVERLOADED))
            return
        try:
            threads.sign(unsigned.sign, partial(self._signed, joined))
        except Exception as error:  # noqa: BLE001  (no thread can be had: whoever joined would wait for ever)
            self._signed(joined, error)

    def _signed(self, joined: _Joined, outcome: Outcome) -> None:
        """Deliver what was signed, or tell why it was not."""
        self._catch_up()
        unsigned = joined.unsigned
        if unsigned.shared is not None and self._joined.get(unsigned.shared[:2]) is joined:
            del self._joined[unsigned.shared[:2]]
        if isinstance(outcome, bytes):
            try:
                answer = unsigned.complete(outcome)
            except BaseException as error:  # noqa: BLE001  (all of them are told by `_failed`)
                outcome = error
        for asker in joined.askers:
            try:
                self._hand_over(answer if isinstance(outcome, bytes) else self._failed(outcome, asker.der), asker)
            except Exception:  # a bug; the others who wait for the same are not to suffer from it
                _logger.exception("an answer could not be delivered")

    def _failed(self, error: BaseException, request_der: bytes) -> Answer:
        """What is said of an error: a bug must become internalError, never a hang or a 5xx."""
        if isinstance(error, Refusal):
            return self._refused(error.status)
        if isinstance(error, StatusUnavailable):
            self._tell(str(error))
            return self._refused(OcspStatus.TRY_LATER)
        if isinstance(error, _ENDINGS):  # look-ups end because the gateway does
            return self._refused(OcspStatus.TRY_LATER)
        _logger.error("internal error", request=request_der[:512].hex(), exc_info=error)
        return self._refused(OcspStatus.INTERNAL_ERROR)

    def close(self) -> None:
        """Nobody asks any more."""
        if self._threads is not None:
            self._threads.close()

    def _refused(self, status: OcspStatus) -> Answer:
        ANSWERS[status.name.lower()].inc()
        return Answer.error(status)

    def _tell(self, reason: str) -> None:
        """Log that statuses cannot be had, once a second at most: whoever asks must not be able to fill the disk."""
        self._untold += 1
        now = self._wall_clock()
        if abs(now - self._told_at) >= 1:
            _logger.warning("status unavailable", reason=reason, answers=self._untold)
            self._told_at, self._untold = now, 0

    def _begin(self, request_der: bytes) -> Made | Question:
        """The answer, if nothing has to be looked up for it; otherwise the question."""
        if self._request_verifier is None and (made := self._with_nonce(request_der, quick=False)) is not None:
            return made
        request = self._read(request_der)  # 2.
        issuer = self._issuer(request.cert_ids)  # 3.
        _, signer = self._signer(issuer, request.preferred)  # 4.
        question = Question(request_der, request, issuer, self._threads is not None and not signer.quick)
        self._find(question)  # 5.
        return question if question.missing else self._finish(question)

    def _finish(self, question: Question) -> Made:
        """The answer, once the status of each certificate is there."""
        request, entries = question.request, question.in_order()
        if self._policy.never_issued is NeverIssued.UNAUTHORIZED and not all(entry.status.known for entry in entries):
            raise Refusal(OcspStatus.UNAUTHORIZED, Why.NEVER_ISSUED)
        slot, signer = self._signer(question.issuer, request.preferred)  # once more: a look-up takes its time
        nonce = None if self._policy.nonce is NoncePolicy.IGNORE else request.nonce
        if nonce is not None or len(entries) > 1:
            if nonce is not None and len(entries) == 1:
                self._composer.prepare(question.der, request.cert_ids[0], nonce, entries[0], slot, signer)
            return self._composer.alone(request.cert_ids, nonce, entries, signer)  # 6.
        # Whatever else was in the request makes no difference to the answer. The look-up may have brought new evidence
        # for one that is ready.
        ready = entries[0].ready.get((request.cert_ids[0].der, slot, 0))
        if ready is not None and isinstance(ready.answer, Answer) and self._composer.usable(ready, signer):
            ANSWERS["hot"].inc()
            return ready.answer
        return self._composer.shared(request.cert_ids[0], entries[0], slot, signer)  # 6.

    def _read(self, request_der: bytes) -> OcspRequest:
        """The request, if it may be asked here."""
        try:
            request = parse_request(request_der, max_requests=self._max_requests)
        except MalformedRequest as error:
            raise Refusal(OcspStatus.MALFORMED_REQUEST, Why.MALFORMED) from error
        if self._request_verifier is not None:
            _check_signed(request, self._request_verifier)
        if self._policy.nonce is NoncePolicy.REQUIRE and request.nonce is None:
            raise Refusal(OcspStatus.MALFORMED_REQUEST, Why.NONCE_MISSING)
        return request

    def _issuer(self, cert_ids: Sequence[CertID]) -> Issuer:
        """The one issuer that all CertIDs mean. A delegate speaks for one key only (RFC 6960, section 4.2.2.2)."""
        issuers = [self._knowledge.issuers.match(cert_id) for cert_id in cert_ids]
        first = issuers[0]
        if not len(self._knowledge.issuers):
            # The status service has told of none yet: nobody knows who is ours.
            raise Refusal(OcspStatus.TRY_LATER, Why.ISSUERS_NOT_LOADED)
        if first is None or any(issuer is not first for issuer in issuers):
            raise Refusal(OcspStatus.UNAUTHORIZED, Why.ISSUER_NOT_OURS if None in issuers else Why.SEVERAL_ISSUERS)
        return first

    def _signer(self, issuer: Issuer, preferred: Sequence[PreferredAlgorithm]) -> tuple[int, ResponseSigner]:
        chosen = self._signers.choose(issuer.name, preferred)
        if chosen is None:
            # A signer is on its way for an active issuer, or where one has just ended (R68); nobody can sign for an
            # issuer that is offline or has expired (R46).
            awaited = issuer.active or self._signers.default(issuer.name) is not None
            waits = awaited and issuer.not_after > self._wall_clock()
            if waits:
                raise Refusal(OcspStatus.TRY_LATER, Why.SIGNER_AWAITED)
            raise Refusal(OcspStatus.UNAUTHORIZED, Why.SIGNER_MISSING)
        return chosen

    def _find(self, question: Question) -> None:
        """Take what is held; note what is not."""
        for serial in {cert_id.serial or b"" for cert_id in question.request.cert_ids}:
            key = CertificateKey(question.issuer.name, serial)
            held = self._knowledge.held(key)
            if not serial:
                # Zero, negative, or longer than any serial number may be: nobody issued it (R31).
                question.entries[serial] = Entry(Status(key, False, None, 0, 0, 0), float("inf"), 0, covered=False)
            elif held is not None:
                ANSWERS["cached"].inc()
                question.entries[serial] = held
            else:
                question.missing.append(key)


def _is_same(one: Unsigned, other: Unsigned) -> bool:
    """Whether two, to the same CertID from the same slot, are the same answer."""
    assert one.shared is not None
    assert other.shared is not None
    return one.signer is other.signer and one.shared[2] is other.shared[2]


def _check_signed(request: OcspRequest, verifier: RequestVerifier) -> None:
    """Raises Refusal: the request is not signed, or by nobody who may ask (R24)."""
    signature = request.signature
    if signature is None:
        raise Refusal(OcspStatus.SIG_REQUIRED, Why.SIGNATURE_MISSING)
    if signature.requestor_name is None:
        # Who signs has to say who he is (RFC 6960, section 4.1.2).
        raise Refusal(OcspStatus.MALFORMED_REQUEST, Why.REQUESTOR_NAME_MISSING)
    try:
        verifier.verify(signature)
    except UntrustedRequest as error:
        _logger.debug("request not trusted", reason=str(error))
        raise Refusal(OcspStatus.UNAUTHORIZED, Why.SIGNER_NOT_TRUSTED) from error
