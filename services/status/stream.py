"""One watcher's stream: what it sends goes into its `Watcher`, and what comes out of that is sent, by one task.

Guarantees: messages leave in the order in which the watcher's state produced them, one at a time, each made only when
the one before has gone out, so that memory does not grow with what a slow reader has not read. A watcher that does not
read, or sends no ping, is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from services.db.records import Position
from services.errors import FailedPrecondition, InvalidArgument
from services.status.hub import PositionHub
from services.status.watch import Message, Watcher

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """The first thing a watcher says: up to where it knows all changes."""

    claim: Position


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a proof of freshness."""

    id: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a watcher may say nothing, and how long one message to it may take, in seconds."""

    silence: float = 60.0
    writing: float = 10.0


class WatchStream:
    """Serves one watcher. Use it once."""

    def __init__(self, hub: PositionHub, patience: Patience | None = None) -> None:
        self._hub = hub
        self._patience = patience or Patience()
        self._watcher = Watcher()
        self._changed = asyncio.Event()
        self._heard_at = asyncio.get_running_loop().time()
        self._started = False
        self._last_ping: int | None = None
        self._finished = False
        self._failure: BaseException | None = None

    async def messages(self, said: AsyncIterable[Start | Ping]) -> AsyncGenerator[Message]:
        """What the watcher is to be told; ends when it has said all it wants to say, and was answered.

        The task that takes the messages is cancelled when it takes longer than patience for one of them.
        Raises InvalidArgument START_EXPECTED, START_REPEATED, PING_ID_INVALID; FailedPrecondition PING_MISSING;
        and what `said` raises.
        """
        listener = asyncio.create_task(self._listen(said))
        try:
            with self._hub.watching(self._changed):
                while await self._has_something():
                    self._changed.clear()
                    while (message := self._watcher.next_message(self._hub.log, self._hub.number)) is not None:
                        with self._patience_for_writing():
                            yield message
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def _has_something(self) -> bool:
        """Wait until something changed; False when the stream has come to its good end."""
        if self._failure is not None:
            raise self._failure
        if self._finished and not self._watcher.is_waiting:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._heard_at + self._patience.silence):
                await self._changed.wait()
        if self._failure is not None:
            raise self._failure
        if asyncio.get_running_loop().time() >= self._heard_at + self._patience.silence:
            raise FailedPrecondition(
                "PING_MISSING", f"no ping for {self._patience.silence:g} seconds: start a new watch"
            )
        return True

    async def _listen(self, said: AsyncIterable[Start | Ping]) -> None:
        try:
            async for word in said:
                self._hear(word)
        except Exception as error:  # noqa: BLE001 - the task that serves the stream raises it
            self._failure = error
        finally:
            self._finished = True
            self._changed.set()

    def _hear(self, word: Start | Ping) -> None:
        if isinstance(word, Ping):
            self._hear_ping(word)
        elif self._started:
            raise InvalidArgument("START_REPEATED", "a watch is started once", field="start")
        else:
            self._started = True
            self._watcher.start(word.claim, self._hub.reads_begun)
        self._heard_at = asyncio.get_running_loop().time()
        self._hub.want_read()

    def _hear_ping(self, ping: Ping) -> None:
        if not self._started:
            raise InvalidArgument("START_EXPECTED", "the first message of a watch is start", field="start")
        if self._last_ping is not None and ping.id <= self._last_ping:
            raise InvalidArgument("PING_ID_INVALID", "the ids of pings increase", field="ping.id")
        self._last_ping = ping.id
        self._watcher.ping(ping.id, self._hub.reads_begun)

    @contextmanager
    def _patience_for_writing(self) -> Iterator[None]:
        """Cancels the task that writes when the block takes too long: it waits for a reader that does not read."""
        task = asyncio.current_task()
        timer = asyncio.get_running_loop().call_later(self._patience.writing, self._cut_off, task)
        try:
            yield
        finally:
            timer.cancel()

    def _cut_off(self, task: asyncio.Task[object] | None) -> None:
        _logger.warning("a watcher does not read, and is cut off", seconds=self._patience.writing)
        if task is not None:
            task.cancel()
