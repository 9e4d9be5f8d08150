"""Group commit: one thread, one transaction at a time, many callers' works in each.

What it guarantees:

* A work's future resolves only after the transaction that holds its writes is durable (G1).
* A work that fails has written nothing, and its neighbours in the batch do not notice.
* Works are decided one after the other, each seeing what the ones before it in the batch want written, so that two of
  them never act on the same state.
* When a commit fails, every work of the batch fails with Unavailable: none is answered as if it had been written.
* The queue is bounded, and `close` finishes what it holds.

A transaction costs much the same for one certificate as for fifty. Whatever has queued while one was committing shares
the next; and where the last one was shared, the next waits a moment for the others who are being signed for just now.
So a lone caller never waits for company, and a crowd pays for the disk once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
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


class _Job(Generic[T]):
    """A work with the future that its caller waits for."""

    __slots__ = ("future", "work")

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.future: Future[T] = Future()


class Writer:
    """Owns the thread that writes. Close it to finish what is queued."""

    def __init__(self, db: Database, *, max_batch: int = MAX_BATCH, max_queue: int = MAX_QUEUE) -> None:
        self._db = db
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._queue: deque[_Job[Any]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._crowd = 1
        self._head = KnownHead()
        self._issuers = KnownIssuers()
        self._thread = threading.Thread(target=self._run, name="ca-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue a work; the future resolves once it is durable.

        A future that is cancelled before its batch begins takes its work with it; later it cannot be cancelled.

        Raises ResourceExhausted: the queue is full (QUEUE_FULL); Unavailable: the writer is closing (SHUTTING_DOWN).
        """
        job = _Job(work)
        with self._wake:
            if self._closing:
                raise Unavailable("SHUTTING_DOWN", "the certificate authority is shutting down; try again")
            if len(self._queue) >= self._max_queue:
                raise ResourceExhausted("QUEUE_FULL", "too many requests are waiting to be written; try again later")
            self._queue.append(job)
            self._wake.notify()
        return job.future

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
        while jobs := self._next_batch():
            begun = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if begun:
                self._write(begun)

    def _next_batch(self) -> list[_Job[Any]]:
        """Wait for works; empty once closed and done."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            self._linger()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
            # Those who queued while the last batch was written, or wait for their turn, are of the crowd as well.
            self._crowd = len(batch) + len(self._queue)
            return batch

    def _linger(self) -> None:
        """Give most of those who were here a moment ago, and will be back, time to join who is here already."""
        deadline = time.monotonic() + LINGER_SECONDS
        while 0 < len(self._queue) < min(self._crowd * 3 // 4, self._max_batch) and not self._closing:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            self._wake.wait(remaining)

    def _write(self, jobs: Sequence[_Job[Any]]) -> None:
        try:
            self._attempt(jobs)
        except Conflict:
            # Another process was first with a key or a lock. What it wrote is there to be seen now.
            self._write_each(jobs)
        except DomainError as error:
            _fail(jobs, error)
        except BaseException:  # a panic of a library is no Exception, and must not end the thread either
            _logger.exception("a batch failed; its works are written one by one", size=len(jobs))
            self._write_each(jobs)

    def _write_each(self, jobs: Sequence[_Job[Any]]) -> None:
        """Alone, each work succeeds or fails for itself. When the database has gone away, all that are left fail."""
        for place, job in enumerate(jobs):
            error = self._write_alone(job)
            if isinstance(error, Unavailable) and not isinstance(error, Conflict):
                _fail(jobs[place:], error)
                return
            if error is not None:
                _fail([job], error)

    def _write_alone(self, job: _Job[Any]) -> BaseException | None:
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

    def _attempt(self, jobs: Sequence[_Job[Any]]) -> None:
        """Decide all, write all, commit, and only then tell the callers."""
        refused: list[tuple[_Job[Any], Exception]] = []
        accepted: list[tuple[_Job[Any], Plan[Any]]] = []
        with self._db.write() as conn:
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


def _keys(jobs: Sequence[_Job[Any]]) -> list[IdempotencyKey]:
    return [job.work.key for job in jobs if job.work.key]


def _public_keys(jobs: Sequence[_Job[Any]]) -> list[bytes]:
    """Of the works that certify a key (`services.ca.issue`)."""
    found = (getattr(job.work, "public_key_sha256", None) for job in jobs)
    return [public_key for public_key in found if public_key]


def _answer(job: _Job[Any], plan: Plan[Any]) -> None:
    try:
        answer = plan.answer()
    except BaseException as error:  # noqa: BLE001 - the caller, who waits for the future, gets it
        _fail([job], error)
    else:
        job.future.set_result(answer)


def _fail(jobs: Sequence[_Job[Any]], error: BaseException) -> None:
    # What is no Exception would end whatever takes it from the future.
    told = error if isinstance(error, Exception) else RuntimeError(f"a work failed with {type(error).__name__}")
    for job in jobs:
        job.future.set_exception(told)
