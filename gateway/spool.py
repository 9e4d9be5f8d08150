"""Octets that are too many to hold: in a file without a name, which goes when nobody uses it any more.

Several workers that hold the same long lists would otherwise fill the memory with copies of them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator

PIECE = 256 * 1024


class Spool:
    """Octets in a temporary file. Written by one, then read by any number."""

    def __init__(self) -> None:
        """Raises OSError: there is no room for temporary files."""
        self._file = tempfile.TemporaryFile(prefix="goodstanding-")  # noqa: SIM115  (closed with the object)
        self._size = 0

    def __del__(self) -> None:
        """Whoever was reading has finished."""
        if hasattr(self, "_file"):
            self._file.close()

    def __len__(self) -> int:
        return self._size

    async def append(self, octets: bytes) -> None:
        """Write some more. Raises OSError."""
        await asyncio.to_thread(self._file.write, octets)
        self._size += len(octets)

    async def finish(self) -> None:
        """Everything is written. Raises OSError."""
        await asyncio.to_thread(self._file.flush)

    async def pieces(self) -> AsyncIterator[bytes]:
        """All octets, a piece at a time. Several readers do not get in each other's way."""
        for start in range(0, self._size, PIECE):
            yield await asyncio.to_thread(os.pread, self._file.fileno(), PIECE, start)

    def read(self) -> bytes:
        """All octets at once. Takes long: in a thread."""
        return os.pread(self._file.fileno(), self._size, 0)


Octets = bytes | Spool
