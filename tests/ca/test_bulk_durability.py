"""G1 for bulk revocation: what was told is durable, whenever the process is killed, and the same call does the rest."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

from services.ca.selection import ByFilter
from services.db import certificates, position, status
from services.db.records import Actor, NewCertificate
from tests.ca.test_bulk import outcomes, revoke_all
from tests.ca.world import START, Ca

COUNT, STEP = 420, 7


def record(ca: Ca, count: int, actor: Actor) -> list[bytes]:
    """Certificates as the database holds them; signing so many would take long."""
    issuer = ca.authority.directory.named("issuing")
    rows = [
        NewCertificate(
            issuer_id=issuer.id,
            serial=b"\x01" + secrets.token_bytes(15),
            der=None,
            subject="CN=leaf",
            common_name=None,
            subject_alternative_names=(),
            profile="server",
            public_key_sha256=None,
            not_before=START,
            not_after=START + timedelta(days=1),
            issued_at=START,
            actor=actor,
        )
        for _ in range(count)
    ]
    with ca.db.write() as conn:
        ids = certificates.insert_certificates(conn, rows)
        status.insert_statuses(conn, rows, ids, position.advance(conn, count))
    return [row.serial for row in rows]


def run_until_killed(url: str, told: int) -> list[bytes]:
    """Start the process, kill it after so many results, and return all that it had told by then."""
    lines: list[str] = []
    command = [sys.executable, "-m", "tests.ca.revoke_many", url]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines += [process.stdout.readline() for _ in range(told)]
        finally:
            os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [bytes.fromhex(line.split()[1]) for line in lines if line.endswith("\n")]


def test_kill_9_in_a_bulk_revocation(database_url: str, ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """Whole steps are there, or nothing of them; nothing is revoked twice; repeated, it ends what was begun."""
    serials = record(ca, COUNT, issuer)
    told = run_until_killed(database_url, COUNT // 5)
    with ca.db.read() as conn:
        changed = list(
            map(bytes, conn.exec_driver_sql("SELECT serial FROM status_changes ORDER BY revision").scalars())
        )
    assert len(changed) % STEP == 0
    assert changed[: len(told)] == told == serials[: len(told)]
    again = outcomes(revoke_all(ca, revoker, ByFilter(profile="server")))
    assert Counter(again) == {"unchanged": len(changed), "revoked": COUNT - len(changed)}
    assert ca.count("status_changes") == COUNT
