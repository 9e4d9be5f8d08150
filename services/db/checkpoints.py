"""Checkpoints of SQLite beside the writer: pages that were committed go from the log into the database file.

SQLite does that at the end of a commit, whenever the log has grown by so much, and the writer waits for it. Here a
thread does most of it, while the next transactions are put together; what it leaves, the writer does when the log has
become long.

Guarantees: nothing depends on it. When it fails or never runs, the log grows up to `WAL_PAGES`, and no further.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import structlog

_logger = structlog.get_logger(__name__)

WAL_PAGES = 16_000
"""Pages of 4 KiB in the log from which on the writer makes a checkpoint itself."""
ROWS = 20_000
"""Rows written since the last checkpoint from which on the next one is made. They take as many pages, or fewer."""


class Checkpoints:
    """Makes checkpoints in a thread, which starts when there is something to do. `connect` opens the database."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._due = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._seen = 0

    def wrote(self, total: int) -> None:
        """Told after each use of a connection that writes: how many rows it has written in all."""
        if total < self._seen:  # another connection, which counts from the start
            self._seen = 0
        if total - self._seen < ROWS:
            return
        self._seen = total
        with self._lock:
            if self._thread is None and not self._closing:
                self._start()
        self._due.set()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="db-checkpoints", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread can be had: whoever has written is not to suffer from it
            _logger.warning("no checkpoint was made; the next one makes up for it", reason=str(error))
        else:
            self._thread = thread

    def close(self) -> None:
        """End the thread, once it has done what it is doing."""
        with self._lock:
            self._closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._closing:
                return
            try:
                # A new connection each time: the file may have been replaced by a copy that was restored.
                with closing(self._connect()) as conn:
                    conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except Exception as error:  # noqa: BLE001 - whatever it is: nobody else would make the next one
                _logger.warning("no checkpoint was made; the next one makes up for it", reason=str(error))
