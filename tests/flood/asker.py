"""Asks a gateway as fast as it answers, or at a given rate, and counts what it says.

Run as `python -m tests.flood.asker`, in a process of its own, with its orders as JSON on standard input. It ends when
its time is over or its standard input ends, and writes what it counted as JSON.

At a rate, the questions do not wait for answers as long as there is room on a connection, as those of many clients
would not; what there is no room for is not asked, and counted.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from tests.flood.questions import IssuerNames, questions

SUCCESSFUL, TRY_LATER = 0, 3
"""OCSPResponseStatus (RFC 6960, section 4.2.1)."""
TIMEOUT = 20.0
_CHUNK = 1 << 18
_HEAD_END = b"\r\n\r\n"
_TURN = 0.002
"""Seconds between two looks at the clock where there is a rate."""


@dataclass(frozen=True)
class Orders:
    """What to do."""

    address: str
    kind: str
    names: dict[str, str]
    keys: dict[str, str]
    serials: list[int]
    seconds: float
    """0: until standard input ends."""
    connections: int
    depth: int = 1
    """Questions behind each other on a connection."""
    rate: float = 0.0
    """Questions per second; 0: the next when one is answered."""
    seed: int = 1
    nice: int = 0


@dataclass
class Counts:
    """What was said: OCSPResponseStatus by its number, and what is no OCSP answer as -1."""

    seconds: float = 0.0
    words: Counter[int] = field(default_factory=Counter)
    not_asked: int = 0
    """Questions that there was no room for."""
    cpu: float = 0.0
    """Seconds that this process has worked."""

    def to_json(self) -> str:
        """As a line."""
        return json.dumps({**vars(self), "words": {str(word): count for word, count in self.words.items()}})

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """From `to_json`."""
        found = json.loads(text)
        words = Counter({int(word): count for word, count in found.pop("words").items()})
        return cls(words=words, **found)

    @property
    def answered(self) -> int:
        """All that was said."""
        return self.words.total()

    @property
    def successful(self) -> int:
        """Answers with a status in it."""
        return self.words[SUCCESSFUL]

    @property
    def put_off(self) -> int:
        """Answers that are tryLater."""
        return self.words[TRY_LATER]


class Line:
    """One connection, with some questions on their way."""

    __slots__ = ("_part", "_sock", "on_the_way")

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._sock = socket.create_connection((host, int(port)), TIMEOUT)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._part = b""
        self.on_the_way = 0

    def fileno(self) -> int:
        """For epoll."""
        return self._sock.fileno()

    def send(self, messages: list[bytes]) -> None:
        """Ask."""
        self.on_the_way += len(messages)
        self._sock.sendall(b"".join(messages))

    def hear(self, words: Counter[int]) -> None:
        """Read what has come, and count it. Raises ConnectionError: the connection has ended."""
        chunk = self._sock.recv(_CHUNK)
        if not chunk:
            raise ConnectionError("the gateway has closed a connection")
        octets, at = self._part + chunk if self._part else chunk, 0
        while (body := octets.find(_HEAD_END, at) + 4) > 3 and len(octets) >= body + 5:
            length = octets[body + 1]
            size = 2 + length if length < 0x80 else 4 + (octets[body + 2] << 8 | octets[body + 3])
            if octets[body] != 0x30 or length not in (3, 0x82) or octets[at : at + 12] != b"HTTP/1.1 200":
                raise ConnectionError(f"no OCSP answer: {octets[at : body + 20]!r}")
            if len(octets) < body + size:
                break
            words[octets[body + 4] if length == 3 else 0] += 1
            self.on_the_way -= 1
            at = body + size
        self._part = octets[at:]


class Asker:
    """Carries out orders."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._messages = questions(orders.kind, IssuerNames(orders.names, orders.keys), orders.serials, orders.seed)
        self._counts = Counts()

    def run(self) -> Counts:
        """Ask until it is over."""
        orders, counts = self._orders, self._counts
        lines = {line.fileno(): line for line in (Line(orders.address) for _ in range(orders.connections))}
        with select.epoll() as poll:
            for fd in lines:
                poll.register(fd, select.EPOLLIN)
            if not orders.seconds:
                poll.register(sys.stdin.fileno(), select.EPOLLIN)
            worked, begun = time.process_time(), time.perf_counter()
            self._ask(lines, poll, begun)
            counts.seconds = time.perf_counter() - begun
            counts.cpu = time.process_time() - worked
        return counts

    def _ask(self, lines: dict[int, Line], poll: select.epoll, begun: float) -> None:
        orders, messages, words = self._orders, self._messages, self._counts.words
        end = begun + orders.seconds if orders.seconds else float("inf")
        if not orders.rate:
            for each in lines.values():
                each.send(list(islice(messages, orders.depth)))
        spread = self._spread(list(lines.values()), begun) if orders.rate else None
        while (now := time.perf_counter()) < end:
            if spread is not None:
                next(spread)
            ready = poll.poll(_TURN if orders.rate else TIMEOUT)
            if not ready and not orders.rate:
                raise ConnectionError(f"no answer within {TIMEOUT:g} s")
            for fd, _ in ready:
                if fd not in lines:  # standard input
                    return
                line = lines[fd]
                line.hear(words)
                if not orders.rate and now < end:
                    line.send(list(islice(messages, orders.depth - line.on_the_way)))

    def _spread(self, lines: list[Line], begun: float) -> Iterator[None]:
        """Asks at each turn what is due, spread over the connections."""
        orders, counts, due, first = self._orders, self._counts, 0.0, 0
        before = begun
        while True:
            now = time.perf_counter()
            due, before = due + (now - before) * orders.rate, now
            each = int(due) // len(lines) + 1
            for step in range(len(lines)):
                if due < 1:
                    break
                line = lines[(first + step) % len(lines)]
                if (count := min(each, int(due), orders.depth - line.on_the_way)) > 0:
                    line.send(list(islice(self._messages, count)))
                    due -= count
            first += 1
            counts.not_asked += int(due)
            due -= int(due)
            yield


def main() -> None:
    """Read orders, carry them out, and tell."""
    orders = Orders(**json.loads(sys.stdin.readline()))
    os.nice(orders.nice)
    sys.stdout.write(Asker(orders).run().to_json() + "\n")


if __name__ == "__main__":
    main()
