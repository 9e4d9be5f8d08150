"""G1 at the database: `kill -9` loses nothing that was committed, and leaves nothing half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from services.db import position
from services.db.engine import Database
from services.db.records import NewCertificate

BATCH = 8
WRITER = Path(__file__).with_name("writer_process.py")


@contextmanager
def writer(url: str, mode: str) -> Iterator[subprocess.Popen[str]]:
    """A process that records batches, and prints the last revision after each commit."""
    environment = {**os.environ, "PYTHONPATH": str(WRITER.parents[2])}
    command = [sys.executable, str(WRITER), url, mode, str(BATCH)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def counts(db: Database) -> tuple[int, int, int, int]:
    """Certificates, names, statuses and the revision."""
    with db.read() as conn:
        tables = ("certificates", "certificate_names", "certificate_status")
        rows = [conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]
        return rows[0], rows[1], rows[2], position.read_position(conn).revision


def test_killed_in_the_middle_of_a_transaction(database: Database, database_url: str, issuer_id: int) -> None:
    """What was written and not committed is gone, and the next writer need not wait for the dead one."""
    before = counts(database)
    with writer(database_url, "hang") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        started = time.monotonic()
        with database.write() as conn:
            position.advance(conn, 1)
        assert time.monotonic() - started < 3
    assert counts(database) == (*before[:3], before[3] + 1)


@pytest.mark.parametrize("run", range(2))
def test_killed_at_any_moment(
    database: Database, database_url: str, new_certificate: Callable[..., NewCertificate], run: int
) -> None:
    """Every acknowledged batch is there, and every batch is there as a whole."""
    with writer(database_url, "run") as process:
        assert process.stdout is not None
        acknowledged = int(process.stdout.readline())
        time.sleep(random.Random(run).random() / 10)
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
        process.wait()
    with database.write() as conn:  # behind a commit that the server still carries out
        assert position.advance(conn, 1) > acknowledged
    certificates, names, statuses, revision = counts(database)
    assert certificates == statuses == revision - 2  # the issuer, and the revision above
    assert names == 2 * certificates
    assert certificates % BATCH == 0
