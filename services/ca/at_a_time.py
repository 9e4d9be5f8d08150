"""Keeps long calls few: each of them holds memory for as long as its caller likes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.errors import ResourceExhausted


class AtATime:
    """At most `most` calls of one kind at a time, and `most_of_one` of one caller. Safe to use from many threads."""

    def __init__(self, most: int, most_of_one: int, reason: str, what: str) -> None:
        """`reason` and `what`: what those who are too many are told."""
        self._most = most
        self._most_of_one = most_of_one
        self._reason = reason
        self._what = what
        self._lock = threading.Lock()
        self._of_each: Counter[str] = Counter()

    @contextmanager
    def one(self, identity: str) -> Iterator[None]:
        """One of them, as long as the block takes. Raises ResourceExhausted."""
        with self._lock:
            if self._of_each[identity] >= self._most_of_one or self._of_each.total() >= self._most:
                text = (
                    f"{self._most} {self._what} run at a time, {self._most_of_one} of one caller: wait for one to end"
                )
                raise ResourceExhausted(self._reason, text)
            self._of_each[identity] += 1
        try:
            yield
        finally:
            with self._lock:
                self._of_each[identity] -= 1
                self._of_each = +self._of_each  # forgets who has none any more
