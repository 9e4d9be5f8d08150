"""Signing processes for a crowd: they check and sign beside the ca, whose interpreter does one thing at a time.

What it guarantees (docs/decisions/signing-process.md):

* What a signing process makes is believed no more than what the ca makes: it is recorded by the same transaction, after
  the same checks, and handed out afterwards (G1, G6).
* Whatever is not plainly a certificate is made, or refused, by the ca itself: an error, a retry, a process that died,
  hangs or talks nonsense. A caller waits a little longer for that, and notices nothing else.
* Processes are started once a crowd has lasted for a moment, and not before; they end when there was nothing to do for
  a while, and with the ca.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import structlog

from services.ca.batch import Work
from services.ca.issuers import IssuerDirectory
from services.ca.signing import IssueCommand
from services.ca.signing_hand import Ended, Hand, Limits, Tally, Task
from services.ca.signing_messages import Made, Setup, asked
from services.ca.writer import Job, Writer
from services.clock import Clock
from services.db.records import Actor, IssuerRecord

_logger = structlog.get_logger(__name__)

T = TypeVar("T")

_LASTS = 0.25
"""Seconds that a crowd which is not to be seen may be on its way back."""
_GAP = 1.0
"""Seconds after which it is another crowd."""
_YOUNG = 10.0


class SigningPool:
    """Owns the signing processes. Close it before the writer, which gets what they had."""

    def __init__(
        self,
        setup: Setup,
        writer: Writer,
        directory: IssuerDirectory,
        clock: Clock,
        processes: int = 1,
        limits: Limits | None = None,
    ) -> None:
        self._setup = setup
        self._writer = writer
        self._directory = directory
        self._clock = clock
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._hands: list[Hand | None] = [None] * processes
        self._closed = False
        self._useless = False
        self._not_before = float("-inf")
        self._rest = 0.0
        self._count = 0
        self._since = self._seen_at = float("-inf")
        self.tally = Tally()
        writer.elsewhere = self.load

    @property
    def running(self) -> int:
        """How many processes can be asked now."""
        return sum(hand is not None and hand.is_ready for hand in self._hands)

    def load(self) -> int:
        """How many certificates the processes have."""
        return sum(hand.load for hand in self._hands if hand is not None)

    def submit(
        self,
        command: IssueCommand,
        actor: Actor,
        make: Callable[[], Work[T]],
        finish: Callable[[Actor, Made, IssuerRecord], Work[T]],
    ) -> Future[T] | None:
        """Have a signing process make a certificate, and the writer record it; None: the caller has to see to it.

        What a process cannot make, `make` does, in the thread that writes. Raises as `Writer.submit` does.
        """
        if not self._is_crowded():
            return None
        hands = [hand for hand in self._hands if hand is not None and hand.is_ready]
        if not hands:
            return None
        self._writer.require_room(sum(hand.load for hand in hands))
        job: Job[T] = Job(make)
        task = Task(job, asked(command, actor.role, has_request_id=bool(actor.request_id)), actor, finish)
        return job.future if min(hands, key=lambda hand: hand.load).take(task) else None

    def close(self) -> None:
        """End the processes. What they had is the writer's when this returns. May be called again."""
        with self._lock:
            self._closed = True
            hands = [hand for hand in self._hands if hand is not None]
        for hand in hands:
            hand.close()

    def _is_crowded(self) -> bool:
        """Whether there are many now, or were a moment ago. Has processes started where that lasts.

        Called from several threads, without a lock: one more or less makes no difference.
        """
        now = time.monotonic()
        load = self._writer.load + self.load()
        if load < self._limits.crowd:
            return now - self._seen_at < _LASTS
        if now - self._seen_at > _GAP:
            self._since, self._count = now, 0
        self._seen_at = now
        self._count += 1
        if self._count >= self._limits.start_after and now - self._since >= self._limits.start_seconds:
            self._start(now)
        return True

    def _start(self, now: float) -> None:
        if self._useless or now < self._not_before or None not in self._hands:
            return
        with self._lock:
            if self._closed:
                return
            try:
                for place, hand in enumerate(self._hands):
                    self._hands[place] = hand or self._new_hand()
            except RuntimeError as error:  # no thread can be had: whoever asks is not to suffer from it
                _logger.warning("a signing process cannot be started, the ca signs by itself", why=str(error))
                self._have_failed(lived=0.0)

    def _new_hand(self) -> Hand:
        return Hand(self._setup, self._writer, self._directory, self._clock, self._limits, self.tally, self._has_ended)

    def _has_ended(self, hand: Hand, ended: Ended) -> None:
        with self._lock:
            self._hands = [None if each is hand else each for each in self._hands]
            self._useless |= ended.lasting
            if not ended.why:
                return
            self._have_failed(ended.lived)

    def _have_failed(self, lived: float) -> None:
        """Before the next one is started, there is a rest. Call it with the lock."""
        self.tally.add(failures=1)
        self._rest = min(self._limits.longest_rest, max(0.25, 2 * self._rest)) if lived < _YOUNG else 0.25
        self._not_before = time.monotonic() + self._rest
