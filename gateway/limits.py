"""What a client may take of the public port, and the one timer that holds it to that (uvicorn has neither).

Every connection says until when it may stay as it is, for reading and for writing. One sweep per server compares those
deadlines with a door clock that never runs faster than the sweep itself: after a pause of this process no client is
blamed for time that it was not served in.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final, Protocol

NEVER: Final = math.inf
"""The deadline of a connection that waits for us, not for its client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of the public port. Sizes in octets, times in seconds, per connection unless said otherwise.

    Raises ValueError: a limit is not above zero.
    """

    max_connections: int = 1000
    """Per server. Below the usual 1,024 file descriptors: running out of those stops the listener for a second."""
    max_pending: int = 4096
    """Per server: requests whose answer is being looked up or signed. Past it the answer is tryLater."""
    max_pipelined: int = 16
    """Requests that wait for their answers before reading stops (and whatever the last 4 KiB read still hold)."""
    max_target: int = 8 * 1024
    """Request target: base64 of a 6 KiB request (R10 asks for far less)."""
    max_head: int = 16 * 1024
    """Request line and headers together."""
    max_headers: int = 64
    max_body: int = 32 * 1024
    """R11; 100 CertIDs with SHA-512 take 17 kB."""
    head_timeout: float = 10.0
    """From the connection, or the first octet of a later request, to the end of the headers."""
    body_timeout: float = 10.0
    """From the end of the headers to the end of the body."""
    idle_timeout: float = 75.0
    """Between two requests."""
    write_timeout: float = 20.0
    """For a client that does not read what it asked for."""
    close_timeout: float = 5.0
    """From our last octet to the end of the connection, while the client still sends what nobody reads."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be above 0")

    @property
    def sweep_interval(self) -> float:
        """How often deadlines are checked: fine enough for the shortest, never dearer than four times a second."""
        times = (self.head_timeout, self.body_timeout, self.idle_timeout, self.write_timeout, self.close_timeout)
        return max(0.01, min(0.25, *(time / 4 for time in times)))


@dataclass(slots=True)
class DoorCounters:
    """What the public port has seen since it started. Plain numbers: one event loop writes them."""

    connections: int = 0
    connections_refused: int = 0
    requests: int = 0
    """Answered below ASGI."""
    requests_passed_on: int = 0
    """Left to the Starlette application."""
    not_modified: int = 0
    no_longer_fresh: int = 0
    """Answers that were replaced by tryLater in the callback that writes (G3)."""
    overloaded: int = 0
    refused_requests: int = 0
    """Not HTTP, too large, or too slow."""
    stalled_writes: int = 0


class Expiring(Protocol):
    """A connection as the sweep sees it. Deadlines are on the door clock."""

    read_deadline: float
    write_deadline: float

    def expire(self) -> None:
        """Act on a deadline that has passed."""


class Sweep:
    """The door clock, and the timer that expires connections. It sleeps while there are none."""

    __slots__ = ("_connections", "_handle", "_interval", "_loop", "_seen", "now")

    def __init__(self, interval: float) -> None:
        self.now = 0.0
        """Seconds on the door clock, at most one interval behind; reading it costs nothing on the hot path."""
        self._interval = interval
        self._seen = 0.0
        self._connections: set[Expiring] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Expiring, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a connection, until `discard`."""
        self._connections.add(connection)
        if self._handle is None:
            self._loop, self._seen = loop, loop.time()
            self._handle = loop.call_later(self._interval, self._tick)

    def discard(self, connection: Expiring) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        if not self._connections and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        assert self._loop is not None
        time = self._loop.time()
        self.now += min(time - self._seen, 2 * self._interval)
        self._seen = time
        self._handle = self._loop.call_later(self._interval, self._tick)
        self._expire(self.now, tuple(self._connections))

    @staticmethod
    def _expire(now: float, connections: Iterable[Expiring]) -> None:
        for connection in connections:
            if connection.read_deadline < now or connection.write_deadline < now:
                connection.expire()
