"""Bulk issuing: one call, many requests, and a result for each once it is durable.

Requests go on in portions small enough for other callers to get their turn between them, into the signing threads or,
where they are quick, straight to the writer. How many are in progress is bounded, for a call, a caller and all of them:
beyond it nothing more is read, and the sender waits (gRPC's flow control). The same where the caller does not take his
results. So there is always room in the writer's queue for those who want one thing.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from goodstanding.ca.v1 import ca_pb2
from services.ca.bridge import Bridge
from services.ca.issue import IssueResult
from services.ca.turns import Turn
from services.clock import Clock
from services.errors import DomainError, InvalidArgument, ResourceExhausted
from services.rpc import messages
from services.rpc.errors import code_of

MAX_LISTED = 100
PORTION = 16
MAX_PORTIONS = 8
"""In progress, in one call."""
PORTIONS_OF_ONE = 8
PORTIONS_OF_ALL = 32
"""In progress, of one caller and of all: an eighth of what the writer queues."""
SLOW_PORTION = 8
"""How many that are not quick a thread has at a time, so that others get theirs in between."""
SLOW_OF_ONE = 16
SLOW_OF_ALL = 64
"""How often one caller, and all, wait for such a thread: with a portion of these, or a call for one certificate."""
SILENCE_SECONDS = 30.0

Begin = Callable[[ca_pb2.IssueCertificateRequest], Future[IssueResult]]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the request in that place of the call."""

    index: int
    request: ca_pb2.IssueCertificateRequest
    outcome: IssueResult | DomainError


_Portion = list[tuple[int, ca_pb2.IssueCertificateRequest]]


async def carry_out(
    sent: AsyncIterator[ca_pb2.IssueCertificatesRequest],
    begin: Begin,
    bridge: Bridge,
    is_quick: Callable[[ca_pb2.IssueCertificateRequest], bool],
    turn: Turn,
    slow_turn: Turn,
) -> AsyncGenerator[list[Result]]:
    """The results of one portion after the other, in the order in which they are done.

    `is_quick` says of a request whether to `begin` it takes no time: it then needs no other thread. `turn` makes a
    portion wait until it is this caller's, and `slow_turn` what is not quick.

    Raises InvalidArgument (LIST_SIZE_INVALID), ResourceExhausted (STREAM_SILENT).
    """
    portions = _Portions(sent)
    working: set[asyncio.Future[list[Result]]] = set()
    try:
        while working or not portions.ended:
            while portions.waiting and len(working) < MAX_PORTIONS:
                run = _run_portion(portions.waiting.popleft(), begin, bridge, is_quick, turn, slow_turn)
                working.add(asyncio.ensure_future(run))
            reading = portions.read() if not portions.waiting else None
            pending: set[asyncio.Future[list[Result]] | asyncio.Future[None]] = {*working}
            if reading is not None:
                pending.add(reading)
            if not pending:
                continue
            timeout = None if working else SILENCE_SECONDS
            if not (await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED))[0]:
                raise ResourceExhausted(
                    "STREAM_SILENT",
                    "no request came for 30 seconds; end the call, and make a new one for the next ones",
                )
            if reading is not None and reading.done():
                portions.take_in()
            done = {each for each in working if each.done()}
            working -= done
            if done:
                yield [result for each in done for result in each.result()]
    finally:
        portions.close()
        for each in working:
            each.cancel()


async def _run_portion(
    portion: _Portion,
    begin: Begin,
    bridge: Bridge,
    is_quick: Callable[[ca_pb2.IssueCertificateRequest], bool],
    turn: Turn,
    slow_turn: Turn,
) -> list[Result]:
    async with turn():
        if all(is_quick(request) for _, request in portion):
            return await bridge.wait_for(_begin_portion(portion, begin))
        results: list[Result] = []
        for place in range(0, len(portion), SLOW_PORTION):
            start = partial(_begin_portion, portion[place : place + SLOW_PORTION], begin)
            async with slow_turn():
                done = await bridge.run(start)
            results += done
        return results


class _Portions:
    """What was sent, cut into portions."""

    def __init__(self, sent: AsyncIterator[ca_pb2.IssueCertificatesRequest]) -> None:
        self.waiting: deque[_Portion] = deque()
        self.ended = False
        self._sent = aiter(sent)
        self._reading: asyncio.Future[None] | None = None
        self._count = 0

    def read(self) -> asyncio.Future[None] | None:
        """The reading of the next message, which goes on until it is taken in; None when there is none any more."""
        if self._reading is None and not self.ended:
            self._reading = asyncio.ensure_future(self._read())
        return self._reading

    async def _read(self) -> None:
        try:
            message = await anext(self._sent)
        except StopAsyncIteration:
            self.ended = True
            return
        if len(message.requests) > MAX_LISTED:
            raise InvalidArgument(
                "LIST_SIZE_INVALID",
                f"{len(message.requests)} requests in one message; send {MAX_LISTED} at the most, and more messages",
                field="requests",
            )
        numbered = list(enumerate(message.requests, self._count))
        self._count += len(numbered)
        self.waiting += (numbered[place : place + PORTION] for place in range(0, len(numbered), PORTION))

    def take_in(self) -> None:
        """After a reading has ended. Raises what it raised."""
        if self._reading is not None:
            ended, self._reading = self._reading, None
            ended.result()

    def close(self) -> None:
        """Read nothing more."""
        if self._reading is not None:
            self._reading.cancel()


def response(results: Iterable[Result], clock: Clock) -> ca_pb2.IssueCertificatesResponse:
    """The results of some portions."""
    return ca_pb2.IssueCertificatesResponse(results=[_message(result, clock) for result in results])


def _message(result: Result, clock: Clock) -> ca_pb2.IssuanceResult:
    match result.outcome:
        case DomainError() as error:
            return ca_pb2.IssuanceResult(index=result.index, error=_error(error))
        case issued:
            return ca_pb2.IssuanceResult(
                index=result.index,
                certificate=messages.certificate_message(issued.certificate, clock()),
                chain_der=issued.chain_der,
                replayed=issued.replayed,
            )


def _error(error: DomainError) -> ca_pb2.IssuanceError:
    field = error.violations[0].field if error.violations else ""
    return ca_pb2.IssuanceError(code=code_of(error).value[0], reason=error.reason, message=error.message, field=field)


def _begin_portion(portion: _Portion, begin: Begin) -> Future[list[Result]]:
    """Begin one after the other. The future has all results, once all are durable."""
    gathering = _Gathering(portion)
    for place, (_, request) in enumerate(portion):
        future: Future[IssueResult]
        try:
            future = begin(request)
        except Exception as error:  # noqa: BLE001 - it is the outcome of this one
            future = Future()
            future.set_exception(error)
        future.add_done_callback(partial(gathering.put, place))
    return gathering.all


class _Gathering:
    """Many futures into one. What is no DomainError fails the whole."""

    def __init__(self, portion: _Portion) -> None:
        self.all: Future[list[Result]] = Future()
        self._portion = portion
        self._outcomes: list[IssueResult | BaseException | None] = [None] * len(portion)
        self._left = len(portion)
        self._lock = threading.Lock()

    def put(self, place: int, done: Future[IssueResult]) -> None:
        """From any thread."""
        self._outcomes[place] = done.exception() or done.result()
        with self._lock:
            self._left -= 1
            if self._left:
                return
        if not self.all.set_running_or_notify_cancel():
            return
        results = []
        for (index, request), outcome in zip(self._portion, self._outcomes, strict=True):
            if not isinstance(outcome, IssueResult | DomainError):
                self.all.set_exception(outcome or RuntimeError("a request without an outcome"))
                return
            results.append(Result(index, request, outcome))
        self.all.set_result(results)
