"""One signing process and the thread that keeps it busy, for as long as the process lives.

The thread sends what was asked for in batches, two of them at a time, so that the process never waits for the next; and
hands what comes back to the writer, a whole batch at once. However it ends, what was on its way goes to the writer to
be made there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog

from services.ca.batch import Work
from services.ca.signing_line import Line, LineBroken
from services.ca.signing_messages import Answer, Asked, Batch, Made, Ready, Setup
from services.ca.writer import Job, Writer
from services.clock import Clock, to_epoch
from services.db.records import Actor, IssuerRecord

_logger = structlog.get_logger(__name__)

Finish = Callable[[Actor, Made, IssuerRecord], Work[Any]]
"""Makes a work of what a signing process made, for the caller who asked for it."""

_DEPTH = 2
"""Batches that a process has at a time."""
_LINGER_EACH = 0.0002
"""Seconds to linger for each of a crowd."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When processes are asked, and for how long. Times are in seconds."""

    crowd: int = 6
    """So many certificates under way are a crowd."""
    start_after: int = 200
    """So many have to be asked for by a crowd, ..."""
    start_seconds: float = 0.5
    """... over so long a time, before processes are started: each costs a second of processor time."""
    batch: int = 16
    """At the most; a third of the crowd is enough for one."""
    linger: float = 0.004
    """How long a process with nothing to do is left so at the most, for others to come."""
    answer_within: float = 2.0
    start_within: float = 60.0
    idle: float = 600.0
    longest_rest: float = 30.0
    """Between the end of a process, where they fail again and again, and the start of the next."""


class Task(NamedTuple):
    """A certificate that is wanted."""

    job: Job[Any]
    asked: Asked
    actor: Actor
    finish: Finish


class Tally:
    """What processes have done, for whoever watches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.signed = 0
        self.returned = 0
        """Those that a process could not make, or did not in time."""
        self.failures = 0
        """Processes that ended by themselves, or had to be."""

    def add(self, *, signed: int = 0, returned: int = 0, failures: int = 0) -> None:
        """Count."""
        with self._lock:
            self.signed += signed
            self.returned += returned
            self.failures += failures


class Changes(Protocol):
    """Tells how often issuers have changed under our hands (`services.ca.issuers.IssuerDirectory`)."""

    @property
    def forgotten(self) -> int:
        """It rises with each change."""


class Unusable(Exception):
    """The process says that it cannot work."""

    def __init__(self, ready: Ready) -> None:
        super().__init__(ready.problem)
        self.lasting = ready.lasting


class Ended(NamedTuple):
    """How a hand came to its end."""

    why: str = ""
    """Empty: it was not needed any more."""
    lasting: bool = False
    """Whether the next one would fail as well."""
    lived: float = 0.0


class Hand:
    """A signing process in use. `ended` is called by its thread when it has come to its end."""

    def __init__(
        self,
        setup: Setup,
        writer: Writer,
        changes: Changes,
        clock: Clock,
        limits: Limits,
        tally: Tally,
        ended: Callable[[Hand, Ended], None],
    ) -> None:
        self._setup = setup
        self._writer = writer
        self._changes = changes
        self._clock = clock
        self._limits = limits
        self._tally = tally
        self._ended = ended
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._closing = False
        self._queue: deque[Task] = deque()
        self._wanted = 0
        """So many in the queue wake the thread."""
        self._flying: deque[tuple[int, list[Task]]] = deque()
        self._number = 0
        self._issuers: dict[int, IssuerRecord] = {}
        self._answer_by = self._linger_until = float("inf")
        self.load = 0
        """Certificates that it has, or that wait for it."""
        self.is_ready = False
        self._thread = threading.Thread(target=self._run, name="ca-signing", daemon=True)
        self._thread.start()

    def take(self, task: Task) -> bool:
        """Have a certificate made; False if it cannot be asked (any more)."""
        with self._lock:
            if not self.is_ready or self._line is None:
                return False
            self._queue.append(task)
            self.load += 1
            if len(self._queue) == self._wanted:
                self._line.wake()
        return True

    def close(self) -> None:
        """End it. What it had is the writer's when this returns. May be called again."""
        with self._lock:
            self._closing = True
            if self._line is not None:
                self._line.wake()
        self._thread.join()

    def _run(self) -> None:
        born = time.monotonic()
        ended = Ended()
        ending = ""
        try:
            line = Line()
            try:
                with self._lock:
                    self._line = line
                self._begin(line)
                self._work(line)
            except (LineBroken, Unusable) as error:
                ended = Ended(str(error), lasting=isinstance(error, Unusable) and error.lasting)
            finally:
                self._let_go()
                ending = line.close(kill=bool(ended.why) and not ended.lasting)
        except Exception as error:  # noqa: BLE001 - the ca goes on without it
            ended = Ended(f"{type(error).__name__}: {error}")
        if ended.why:
            _logger.warning("a signing process is gone, the ca signs by itself", why=ended.why, ending=ending)
        else:
            _logger.info("a signing process is not needed any more", ending=ending)
        self._ended(self, ended._replace(lived=time.monotonic() - born))

    def _begin(self, line: Line) -> None:
        """Wait until it is ready, while others do its work. Raises LineBroken, Unusable."""
        line.say(self._setup)
        deadline = time.monotonic() + self._limits.start_within
        while not self._closing:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LineBroken("it was not ready in time")
            for message in line.hear(left):
                if not isinstance(message, Ready):
                    raise LineBroken("it said what nobody asked")
                if message.problem:
                    raise Unusable(message)
                with self._lock:
                    self.is_ready = True
                _logger.info("a signing process is ready", signing_pid=line.pid)
                return

    def _work(self, line: Line) -> None:
        """Until it is not needed any more. Raises LineBroken."""
        busy_at = time.monotonic()
        while not self._closing:
            if tasks := self._next():
                self._send(line, tasks)
                continue
            patience = self._patience()
            heard = line.hear(patience)
            for message in heard:
                self._take_in(message)
            now = time.monotonic()
            if heard or self._flying or self._queue:
                busy_at = now
            elif now - busy_at >= self._limits.idle:
                return
            # Looked at after hearing: it may be this process that was held up.
            if self._flying and not heard and now >= self._answer_by:
                raise LineBroken("it did not answer in time")

    def _next(self) -> list[Task]:
        """What is to be sent now."""
        now, limits, crowd = time.monotonic(), self._limits, self._writer.crowd
        enough = max(1, min(limits.batch, crowd // 3))
        with self._lock:
            self._wanted = 0
            queued = len(self._queue)
            if len(self._flying) == _DEPTH:
                return []
            if queued and not self._flying and self._linger_until == float("inf"):
                self._linger_until = now + min(limits.linger, crowd * _LINGER_EACH)
            if queued < enough and (not queued or now < self._linger_until):
                self._wanted = enough if queued or self._flying else 1
                return []
            self._linger_until = float("inf")
            return [self._queue.popleft() for _ in range(min(queued, limits.batch))]

    def _patience(self) -> float:
        """Seconds to wait for what comes next."""
        now = time.monotonic()
        return (self._answer_by if self._flying else min(self._linger_until, now + self._limits.idle)) - now

    def _send(self, line: Line, tasks: list[Task]) -> None:
        self._number += 1
        if not self._flying:
            self._answer_by = time.monotonic() + self._limits.answer_within
        self._flying.append((self._number, tasks))
        line.say(Batch(self._number, self._changes.forgotten, to_epoch(self._clock()), [task.asked for task in tasks]))

    def _take_in(self, message: object) -> None:
        if not isinstance(message, Answer) or not self._flying:
            raise LineBroken("it said what nobody asked")
        number, tasks = self._flying[0]
        if message.number != number or len(message.made) != len(tasks):
            raise LineBroken("it answered something else")
        self._issuers.update((record.id, record) for record in message.issuers)
        try:
            works = [
                task.finish(task.actor, made, self._issuers[made[0]]) if made else None
                for task, made in zip(tasks, message.made, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - whatever does not fit
            raise LineBroken(f"it answered what nobody understands ({type(error).__name__})") from None
        self._flying.popleft()
        self._answer_by = time.monotonic() + self._limits.answer_within
        self._linger_until = float("-inf") if self._queue else float("inf")  # who waited all the while waits no more
        for task, work in zip(tasks, works, strict=True):
            if work is not None:
                task.job.supply(work)
        self._hand_over(tasks, works.count(None))

    def _hand_over(self, tasks: list[Task], unmade: int) -> None:
        self._writer.enqueue([task.job for task in tasks])
        with self._lock:
            self.load -= len(tasks)
        self._tally.add(signed=len(tasks) - unmade, returned=unmade)

    def _let_go(self) -> None:
        """Take nothing more; what is on its way is made by the writer."""
        with self._lock:
            self.is_ready = False
            self._line = None
            tasks = [task for _, batch in self._flying for task in batch] + list(self._queue)
            self._flying.clear()
            self._queue.clear()
        self._hand_over(tasks, len(tasks))
