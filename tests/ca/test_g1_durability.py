"""G1: nothing leaves that is not recorded. A process that issues is killed; what it had acknowledged is all there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from cryptography import x509

from services.ca.issue import IssueCommand
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.db import status
from services.db.engine import Database
from services.pki.keys import plain_key
from tests.ca.crowd import make_setup
from tests.ca.world import Ca, Hierarchy, chain_flaws, make_actor, make_ca, make_csr, with_id
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


def run_until_killed(
    url: str, folder: Path, hierarchy: Hierarchy, csr: bytes, acknowledged: int, *more: Path
) -> list[str]:
    """Start the process, kill it after so many successes, and return all it had said by then."""
    (folder / "key.pem").write_bytes(plain_key(hierarchy.issuing_key))
    (folder / "request.der").write_bytes(csr)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.ca.issue_forever", url, folder / "key.pem", folder / "request.der", *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        try:
            for line in process.stdout:
                lines.append(line)
                acknowledged -= line.startswith("done")
                if acknowledged == 0:
                    break
        finally:
            os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line for line in lines if line.endswith("\n")]


@pytest.mark.parametrize(
    ("acknowledged", "signing"),
    [
        pytest.param(1, False, id="1"),
        pytest.param(60, False, id="60"),
        pytest.param(301, False, id="301"),
        pytest.param(301, True, id="301-signing-process"),
    ],
)
def test_kill_9_loses_nothing_that_was_acknowledged(
    database_url: str, tmp_path: Path, hierarchy: Hierarchy, acknowledged: int, signing: bool
) -> None:
    """Everything printed is there and valid, nothing is there twice or half, and a retry says which it is."""
    csr = make_csr()
    db = Database.open(database_url)
    with Writer(db) as writer:
        ca = make_ca(db, writer, hierarchy)
        make_setup(ca, database_url, tmp_path)
        more = [tmp_path] if signing else []
        lines = run_until_killed(database_url, tmp_path, hierarchy, csr, acknowledged, *more)
        for pid in [words[1] for words in map(str.split, lines) if words[0] == "signing"]:
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), within=10)  # type: ignore[misc]
        done = {words[1]: bytes.fromhex(words[2]) for words in map(str.split, lines) if words[0] == "done"}
        tried = {words[1] for words in map(str.split, lines) if words[0] == "try"}
        assert len(done) >= acknowledged
        for serial in done.values():
            check_recorded(ca, serial)
        check_consistent(ca)
        before = ca.count("certificates")
        for request_id in tried:
            again = ca.authority.issue(IssueCommand(csr_der=csr), with_id(make_actor("issuer"), request_id))
            assert again.certificate.serial == done.get(request_id, again.certificate.serial)
        # At most the calls that were under way when it was killed had to be done now.
        assert before <= ca.count("certificates") == len(tried) + 2 <= before + 8
        check_consistent(ca)
    db.close()


def check_recorded(ca: Ca, serial: bytes) -> None:
    """The certificate is there, verifies, and is good."""
    record = ca.authority.get(BySerial(serial))
    assert record.der is not None
    x509.load_der_x509_certificate(record.der).verify_directly_issued_by(ca.hierarchy.issuing)
    with ca.db.read() as conn:
        found = status.get_statuses(conn, record.issuer_id, [serial])[serial]
    assert found.revocation is None
    assert found.certificate_id == record.id


def check_consistent(ca: Ca) -> None:
    """Every certificate has one status, one request id (but for the CA's own), one entry in the audit log, and a
    revision of its own.
    """
    with ca.db.read() as conn:
        serials = conn.exec_driver_sql("SELECT serial FROM certificates").scalars().all()
        statuses = conn.exec_driver_sql("SELECT serial FROM certificate_status").scalars().all()
        revisions = conn.exec_driver_sql("SELECT revision FROM certificate_status").scalars().all()
        outcomes = conn.exec_driver_sql("SELECT outcome FROM idempotency_keys").scalars().all()
        last = conn.exec_driver_sql("SELECT value FROM position").scalar_one()
        audited = conn.exec_driver_sql("SELECT serial FROM audit_entries WHERE serial IS NOT NULL").scalars().all()
    assert max(Counter(map(bytes, serials)).values()) == 1
    assert Counter(map(bytes, serials)) == Counter(map(bytes, audited))
    assert chain_flaws(ca.db) == []
    assert Counter(map(bytes, serials)) == Counter(map(bytes, statuses))
    assert len(set(revisions)) == len(revisions) == len(outcomes) + 2
    assert max(revisions) <= last
    assert len(set(outcomes)) == len(outcomes)
