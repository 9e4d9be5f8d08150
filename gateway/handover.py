"""What the parent and its workers say to each other over a socketpair.

Messages are JSON, each behind its length. They arrive in order: whoever answers a question has taken in all that was
said before it. Keys travel here, so nothing of a message is ever logged.

- parent to worker: `settings` first; then `install` and `remove` (signers), and questions;
- worker to parent: answers to questions, which bear the name of the question.

The end of the stream is the end of the other side.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

ENVIRONMENT: Final = "GOODSTANDING_WORKER"
"""What makes a process a worker: its number, and the descriptors that it inherits."""

SETTINGS: Final = "settings"
INSTALL: Final = "install"
REMOVE: Final = "remove"
READINESS: Final = "readiness"
METRICS: Final = "metrics"
EXPLAIN: Final = "explain"
"""Is followed by a colon and a number: several may be asked at once."""
QUESTIONS: Final = (READINESS, METRICS, EXPLAIN)

_LENGTH: Final = 4
_LONGEST: Final = 64 * 1024 * 1024

Message = Mapping[str, Any]


class Line:
    """One end of the socketpair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Speak over this socket."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def say(self, kind: str, **content: Any) -> None:
        """Send a message, or nothing if the other side is gone."""
        if not self._writer.is_closing():
            message = json.dumps({"kind": kind, **content}).encode()
            self._writer.write(len(message).to_bytes(_LENGTH, "big") + message)

    async def hear(self) -> Message | None:
        """The next message; None at the end, however it came about."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            if length > _LONGEST:
                return None
            message: Message = json.loads(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, ValueError):
            return None
        return message

    async def messages(self) -> AsyncIterator[Message]:
        """All messages up to the end."""
        while (message := await self.hear()) is not None:
            yield message

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@dataclass(frozen=True)
class Inheritance:
    """What a worker gets from its parent at birth."""

    number: int
    listener: socket.socket
    pair: socket.socket

    def __str__(self) -> str:
        """As it stands in the environment."""
        return f"{self.number}:{self.listener.fileno()}:{self.pair.fileno()}"

    @classmethod
    def take(cls) -> Self | None:
        """What this process has inherited; None if it is no worker. It is not passed on."""
        text = os.environ.pop(ENVIRONMENT, "")
        if not text:
            return None
        number, listener, pair = map(int, text.split(":"))
        for descriptor in (listener, pair):
            os.set_inheritable(descriptor, False)
        return cls(number, socket.socket(fileno=listener), socket.socket(fileno=pair))
