"""The audit log from the command: who did what, exported, verified, and found out when it was tampered with."""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.cli.test_commands import answer, hex_of, invoke
from tests.command import Up, make_csr

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a client command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: invoke(*arguments, "--data", running.data)


@pytest.fixture
def serial(run: Run, tmp_path: Path) -> str:
    """The serial number of a certificate that was issued, revoked, and refused to be released."""
    assert run("issue", make_csr(tmp_path), "--out", "test.pem").returncode == 0
    found = hex_of(x509.load_pem_x509_certificate((tmp_path / "test.pem").read_bytes()))
    assert run("revoke", found, "--reason", "superseded", "--request-id", f"why-{found}").returncode == 0
    assert run("revoke", found, "--reason", "removeFromCRL").returncode == 1
    return found


def test_who_did_what_to_a_certificate(run: Run, serial: str) -> None:
    """`audit show` tells the story of a certificate, by its number or itself, oldest first."""
    for target in ((serial,), ("--cert", "test.pem")):
        found = answer(run("audit", "show", *target, "--json"))["entries"]
        methods = [entry["method"] for entry in found]
        assert methods[:2] == ["IssueCertificate", "RevokeCertificate"]
        assert found[0]["actor"]["identity"] == "spiffe://goodstanding/admin/admin"
        assert found[1]["actor"]["request_id"] == f"why-{serial}"
        assert found[1]["details"]["reason"] == "superseded"
    table = run("audit", "show", serial)
    assert table.returncode == 0
    assert "superseded" in table.stdout
    assert run("audit", "show", "7f00").returncode == 1


def test_listing_in_every_form(run: Run, serial: str) -> None:
    """A table, one document, lines and CSV hold the same entries."""
    document = answer(run("audit", "list", "--method", "IssueCertificate", "--limit", "2", "--json"))
    assert set(document) == {"entries", "more"}
    lines = run("audit", "list", "--method", "IssueCertificate", "--limit", "2", "--json-lines").stdout.splitlines()
    assert [json.loads(each) for each in lines] == document["entries"]
    rows = list(
        csv.DictReader(
            run("audit", "list", "--method", "IssueCertificate", "--limit", "2", "--csv").stdout.splitlines()
        )
    )
    assert [row["serial_number"] for row in rows] == [each["serial_number"] or "" for each in document["entries"]]
    table = run("audit", "list", "--all").stdout.splitlines()
    assert table[0].startswith("TIME")
    assert run("audit", "list", "--json", "--csv").returncode == 2
    assert answer(run("audit", "list", "--identity", "nobody", "--json")) == {"entries": [], "more": False}


def test_export_and_verify(run: Run, serial: str, tmp_path: Path) -> None:
    """What is exported verifies offline and against a head that was kept; a change of one octet is found."""
    head = run("audit", "head").stdout.strip()
    assert answer(run("audit", "head", "--json"))["hash"]
    assert run("audit", "export", "--out", "log.jsonl").returncode == 0
    assert run("audit", "verify", "--file", "log.jsonl", "--head", head).returncode == 0
    assert "unbroken" in run("audit", "verify", "--head", head).stdout
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    entry = json.loads(lines[2])
    stated = entry.pop("hash")
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(canonical.encode()).hexdigest() == stated
    changes: dict[str, tuple[list[str], int]] = {
        "changed": ([*lines[:2], lines[2].replace("root", "toor"), *lines[3:]], 3),
        "removed": ([*lines[:3], *lines[4:]], 4),
        "moved": ([*lines[:3], lines[4], lines[3], *lines[5:]], 4),
        "cut": (lines[:4], 5),
    }
    for changed, sequence in changes.values():
        (tmp_path / "forged.jsonl").write_text("\n".join(changed) + "\n")
        done = run("audit", "verify", "--file", "forged.jsonl", "--head", head, "--json")
        assert done.returncode == 1
        told: dict[str, Any] = json.loads(done.stdout)
        assert told["valid"] is False
        assert told["flaws"][0]["sequence"] == sequence
    (tmp_path / "tail.jsonl").write_text(run("audit", "export", "--after", "2").stdout)
    assert run("audit", "verify", "--file", "tail.jsonl").returncode == 1
    (tmp_path / "empty.jsonl").write_bytes(b"")
    empty = run("audit", "verify", "--file", "empty.jsonl")
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "empty.jsonl holds no entry" in empty.stderr
    assert run("audit", "verify", "--file", "tail.jsonl", "--head", f"2:{json.loads(lines[1])['hash']}").returncode == 0
    assert run("audit", "verify", "--head", "seven").returncode == 2


def test_past_status(run: Run, serial: str) -> None:
    """`status --at` tells what it was, back to before there was a certificate."""
    entry = answer(run("audit", "show", serial, "--json"))["entries"][-1]
    assert answer(run("status", serial, "--at", entry["time"], "--json"))["status"] == "revoked"
    before = answer(run("status", serial, "--at", "2020-01-01", "--json"))
    assert (before["status"], before["as_of_time"]) == ("unknown", "2020-01-01T00:00:00Z")
    assert run("status", serial, "--at", "2999-01-01").returncode == 1
    assert "revoked" in run("status", serial, "--at", entry["time"]).stdout


def test_tampering_is_found_through_the_service(run: Run, serial: str, running: Up) -> None:
    """Verifying reads the database through the service, and does not believe it."""
    with sqlite3.connect(running.data / "goodstanding.db") as db:
        triggers = db.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'").fetchall()
        db.execute("DROP TRIGGER audit_entries_no_update")
        db.execute("UPDATE audit_entries SET actor_name = 'x' || actor_name WHERE sequence = 3")
    try:
        done = run("audit", "verify")
        assert done.returncode == 1
        assert "entry 3 was changed" in done.stderr
    finally:
        with sqlite3.connect(running.data / "goodstanding.db") as db:
            db.execute("UPDATE audit_entries SET actor_name = substr(actor_name, 2) WHERE sequence = 3")
            db.execute(next(sql for (sql,) in triggers if "no_update" in sql))
        db.close()
    assert run("audit", "verify").returncode == 0


EDITS = {
    "a revocation taken back": (
        "UPDATE certificate_status SET revoked_at = NULL, reason = NULL, invalidity_at = NULL WHERE serial = ?",
        "recorded as good, and the log says revoked since",
    ),
    "another reason": (
        "UPDATE certificate_status SET reason = 1 WHERE serial = ?",
        "reason keyCompromise, and the log",
    ),
    "another end": (
        "UPDATE certificates SET not_after = not_after - 86400 WHERE serial = ?",
        "and was issued as server",
    ),
    "gone": ("DELETE FROM certificate_status WHERE serial = ?", "it was issued, and is recorded no more"),
    "never issued": (
        "UPDATE certificate_status SET serial = x'7f01' WHERE serial = ?1;"
        "UPDATE certificates SET serial = x'7f01' WHERE serial = ?1",
        "7f01 of issuing: it is recorded as issued",
    ),
}


def test_statuses_that_were_edited_are_named(
    start: Callable[..., Up], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--statuses` names what is recorded otherwise than the log says, although the log itself is whole."""
    monkeypatch.chdir(tmp_path)
    system = start()
    system.wait_ready()

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return invoke(*arguments, "--data", system.data)

    assert run("issue", make_csr(tmp_path), "--out", "test.pem").returncode == 0
    serial = hex_of(x509.load_pem_x509_certificate((tmp_path / "test.pem").read_bytes()))
    assert run("revoke", serial, "--reason", "superseded").returncode == 0
    sound = answer(run("audit", "verify", "--statuses", "--json"))
    assert (sound["valid"], sound["statuses"]["compared"] >= 3) == (True, True)
    with closing(sqlite3.connect(system.data / "goodstanding.db", isolation_level=None)) as db:
        for edit, told in EDITS.values():
            with edited(db, bytes.fromhex(serial), edit):
                assert run("audit", "verify").returncode == 0
                done = run("audit", "verify", "--statuses")
                assert (done.returncode, done.stdout) == (1, "")
                assert told in done.stderr
                found = json.loads(run("audit", "verify", "--statuses", "--json").stdout)
                assert (found["valid"], found["flaws"]) == (False, [])
                assert serial in {each["serial_number"] for each in found["statuses"]["differences"]}
    assert "certificates are recorded as the log says" in run("audit", "verify", "--statuses").stdout
    assert run("audit", "export", "--out", "log.jsonl").returncode == 0
    assert run("audit", "verify", "--statuses", "--file", "log.jsonl").returncode == 2


@contextmanager
def edited(db: sqlite3.Connection, serial: bytes, statements: str) -> Iterator[None]:
    """With a certificate that somebody has edited in the tables; it comes back as it was."""
    db.execute("PRAGMA foreign_keys = OFF")
    tables = ("certificates", "certificate_status")
    rows = {table: db.execute(f"SELECT * FROM {table} WHERE serial = ?", (serial,)).fetchone() for table in tables}
    for statement in statements.split(";"):
        db.execute(statement, (serial,))
    yield
    for table, row in rows.items():
        db.execute(f"DELETE FROM {table} WHERE serial IN (?, x'7f01')", (serial,))
        db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
