"""Group commit: one thread, one transaction at a time, many callers' works in each.

What it guarantees:

* A work's future resolves only after the transaction that holds its writes is durable (G1); of works that are all
  provisional, once it has been committed.
* A work that fails has written nothing, and its neighbours in the batch do not notice.
* Works are decided one after the other, each seeing what the ones before it in the batch want written, so that two of
  them never act on the same state.
* When a commit fails, every work of the batch fails with Unavailable: none is answered as if it had been written.
* The queue is bounded, and `close` finishes what it holds.

A transaction costs much the same for one certificate as for fifty. Whatever has queued while one was committing shares
the next; and where the last one was shared, the next waits a moment for the others who are on their way just now, and a
little longer for what a signing process has (`services.ca.signing_pool`). So a lone caller never waits for company, and
a crowd pays for the disk once.

What is quick to check and sign is checked and signed here, too, right before its transaction, unless a signing process
does it: every thread more that takes part in a call takes the interpreter from the others several times, and waits to
get it back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Self, TypeVar

import structlog

from services.ca.batch import Batch, Plan, Work
from services.db.audit import KnownHead
from services.db.engine import Conflict, Database
from services.db.issuers import KnownIssuers
from services.db.records import IdempotencyKey
from services.errors import DomainError, ResourceExhausted, Unavailable

_logger = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_BATCH = 64
MAX_QUEUE = 4096
MAX_ATTEMPTS = 3
LINGER_SECONDS = 0.004
LONGEST_SECONDS = 0.02
"""For those who are certain to come: a signing process has them."""


def resolved(result: T) -> Future[T]:
    """The future of a call that has nothing to write."""
    future: Future[T] = Future()
    future.set_result(result)
    return future


class Job(Generic[T]):
    """A work, or how to make it, with the future that its caller waits for."""

    __slots__ = ("future", "make", "work")
    work: Work[T]
    """Once it is prepared."""

    def __init__(self, make: Callable[[], Work[T]]) -> None:
        self.make = make
        self.future: Future[T] = Future()

    def supply(self, work: Work[T]) -> None:
        """Somebody else has made the work."""
        self.make = lambda: work

    def prepare(self) -> bool:
        """Make the work. False where there is none: it was given up, or refused and told so."""
        if not self.future.set_running_or_notify_cancel():
            return False
        try:
            self.work = self.make()
        except BaseException as error:  # noqa: BLE001 - the caller, who waits for the future, gets it
            _fail([self], error)
            return False
        return True


class Writer:
    """Owns the thread that writes. Close it to finish what is queued."""

    def __init__(self, db: Database, *, max_batch: int = MAX_BATCH, max_queue: int = MAX_QUEUE) -> None:
        self._db = db
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._queue: deque[Job[Any]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._crowd = 1
        self._awaited = 0
        self._writing = 0
        self.elsewhere: Callable[[], int] = lambda: 0
        """How many are on their way here from a signing process."""
        self._head = KnownHead()
        self._issuers = KnownIssuers()
        self._thread = threading.Thread(target=self._run, name="ca-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue a work; the future resolves once it is durable.

        A future that is cancelled before its batch begins takes its work with it; later it cannot be cancelled.

        Raises ResourceExhausted: the queue is full (QUEUE_FULL); Unavailable: the writer is closing (SHUTTING_DOWN).
        """
        return self.submit_unmade(lambda: work)

    def submit_unmade(self, make: Callable[[], Work[T]]) -> Future[T]:
        """Queue a work that is made in the thread that writes, before its transaction. For what takes no time.

        `make` may raise, and the future then has that error. The rest is as `submit` has it.
        """
        job = Job(make)
        with self._wake:
            self.require_room()
            self._queue.append(job)
            if len(self._queue) == self._awaited:
                self._wake.notify()
        return job.future

    def require_room(self, waiting: int = 0) -> None:
        """Raises as `submit` does where there is no room for one more, beside so many that are going to be queued."""
        if self._closing:
            raise _shutting_down()
        if len(self._queue) + waiting >= self._max_queue:
            raise ResourceExhausted("QUEUE_FULL", "too many requests are waiting to be written; try again later")

    def enqueue(self, jobs: Sequence[Job[Any]]) -> None:
        """Queue jobs whose callers have their futures already; never raises."""
        with self._wake:
            if not self._closing:
                before = len(self._queue)
                self._queue.extend(jobs)
                if before < self._awaited <= len(self._queue):
                    self._wake.notify()
                return
        _fail([job for job in jobs if job.future.set_running_or_notify_cancel()], _shutting_down())

    @property
    def load(self) -> int:
        """How many works are queued, or are being written. Read without a lock: good for a guess."""
        return len(self._queue) + self._writing

    @property
    def crowd(self) -> int:
        """How many there seem to be, after the last transaction: those who were in it, and those on their way."""
        return self._crowd

    def close(self, timeout: float | None = None) -> None:
        """Refuse new works, finish those queued, and stop the thread. May be called again."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while self._wait_for_work():
            jobs = self._next_batch()
            if jobs:
                self._write(jobs)
            self._writing = 0

    def _wait_for_work(self) -> bool:
        """Whether there is some; not any more once closed and done."""
        with self._wake:
            while not self._queue and not self._closing:
                self._sleep(1)
            return bool(self._queue)

    def _next_batch(self) -> list[Job[Any]]:
        """Prepare what is queued, and what joins it meanwhile."""
        batch: list[Job[Any]] = []
        begun = time.monotonic()
        taken = 0
        while jobs := self._take(taken, begun):
            taken += len(jobs)
            self._writing = taken
            batch += [job for job in jobs if job.prepare()]
        # Those who wait for their turn are of the crowd as well.
        self._crowd = taken + len(self._queue) + self.elsewhere()
        return batch

    def _take(self, taken: int, begun: float) -> list[Job[Any]]:
        """What is queued and fits into the batch, beside those that are in it already.

        Most of those who were here a moment ago, and will be back, are given time to join who is here already.
        """
        room = self._max_batch - taken
        with self._wake:
            # While this half is written, a signing process has the other.
            share = self._crowd // 2 if self.elsewhere() else self._crowd * 3 // 4
            wanted = min(share, self._max_batch) - taken
            while taken and len(self._queue) < wanted and not self._closing:
                patience = LONGEST_SECONDS if self.elsewhere() else LINGER_SECONDS
                remaining = begun + patience - time.monotonic()
                if remaining <= 0:
                    break
                self._sleep(wanted, min(remaining, LINGER_SECONDS))
            return [self._queue.popleft() for _ in range(min(len(self._queue), room))]

    def _sleep(self, count: int, seconds: float | None = None) -> None:
        """Until so many works are queued: to be woken by each of them would cost more than queueing it."""
        self._awaited = count
        self._wake.wait(seconds)
        self._awaited = 0

    def _write(self, jobs: Sequence[Job[Any]]) -> None:
        try:
            self._attempt(jobs)
        except Conflict:
            # Another process was first with a key or a lock. What it wrote is there to be seen now.
            self._write_each(jobs)
        except Unavailable as error:
            _fail(jobs, error)
        except DomainError:
            # One of them was refused only where it was written.
            self._write_each(jobs)
        except BaseException:  # a panic of a library is no Exception, and must not end the thread either
            _logger.exception("a batch failed; its works are written one by one", size=len(jobs))
            self._write_each(jobs)

    def _write_each(self, jobs: Sequence[Job[Any]]) -> None:
        """Alone, each work succeeds or fails for itself. When the database has gone away, all that are left fail."""
        for place, job in enumerate(jobs):
            error = self._write_alone(job)
            if isinstance(error, Unavailable) and not isinstance(error, Conflict):
                _fail(jobs[place:], error)
                return
            if error is not None:
                _fail([job], error)

    def _write_alone(self, job: Job[Any]) -> BaseException | None:
        """Why it could not be written; None if it was, or was refused and told so."""
        conflict: Conflict | None = None
        for _ in range(MAX_ATTEMPTS):
            try:
                self._attempt([job])
            except Conflict as error:
                conflict = error
            except BaseException as error:  # noqa: BLE001 - the caller, who waits for the future, gets it
                return error
            else:
                return None
        return conflict

    def _attempt(self, jobs: Sequence[Job[Any]]) -> None:
        """Decide all, write all, commit, and only then tell the callers."""
        refused: list[tuple[Job[Any], Exception]] = []
        accepted: list[tuple[Job[Any], Plan[Any]]] = []
        with self._db.write(provisional=all(getattr(job.work, "provisional", False) for job in jobs)) as conn:
            reserve = len(jobs) if any(job.work.serialise for job in jobs) else 0
            batch = Batch(
                conn,
                keys=_keys(jobs),
                public_keys=_public_keys(jobs),
                reserve=reserve,
                head=self._head,
                known=self._issuers,
            )
            for job in jobs:
                try:
                    plan = job.work.decide(batch)
                except Unavailable:
                    raise
                except DomainError as error:
                    refused.append((job, error))
                else:
                    batch.add(plan)
                    accepted.append((job, plan))
            batch.flush()
        for job, refusal in refused:
            job.future.set_exception(refusal)
        for job, plan in accepted:
            _answer(job, plan)


def _shutting_down() -> Unavailable:
    return Unavailable("SHUTTING_DOWN", "the certificate authority is shutting down; try again")


def _keys(jobs: Sequence[Job[Any]]) -> list[IdempotencyKey]:
    return [job.work.key for job in jobs if job.work.key]


def _public_keys(jobs: Sequence[Job[Any]]) -> list[bytes]:
    """Of the works that certify a key (`services.ca.issue`)."""
    found = (getattr(job.work, "public_key_sha256", None) for job in jobs)
    return [public_key for public_key in found if public_key]


def _answer(job: Job[Any], plan: Plan[Any]) -> None:
    try:
        answer = plan.answer()
    except BaseException as error:  # noqa: BLE001 - the caller, who waits for the future, gets it
        _fail([job], error)
    else:
        job.future.set_result(answer)


def _fail(jobs: Sequence[Job[Any]], error: BaseException) -> None:
    # What is no Exception would end whatever takes it from the future.
    told = error if isinstance(error, Exception) else RuntimeError(f"a work failed with {type(error).__name__}")
    for job in jobs:
        job.future.set_exception(told)
