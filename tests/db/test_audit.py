"""The audit log in the database: a chain that only grows, with one order whoever writes, on both databases."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.db import audit, credentials, issuers, position
from services.db.audit import AuditCursor, AuditFilters, KnownHead
from services.db.chain import EMPTY, AuditEvent, ChainVerifier, Head, details, line, link
from services.db.engine import Connection, Database
from services.db.records import Actor, CredentialRecord, IssuerState, NewIssuer
from services.errors import Unavailable
from tests.conformance.judges.tools import require

Make = Callable[..., AuditEvent]


@pytest.fixture
def make(actor: Actor, now: datetime) -> Make:
    """Makes events."""

    def event(**given: Any) -> AuditEvent:
        values = {"method": "IssueCertificate", "actor": actor, "at": now, "issuer": "issuing", "serial": b"\x7f\x01"}
        return AuditEvent(**{**values, **given})

    return event


def append(database: Database, *events: AuditEvent, known: KnownHead | None = None) -> Head:
    """Record events in a transaction of their own."""
    with database.write() as conn:
        return audit.append(conn, events, known)


def verify(database: Database, *anchors: Head) -> list[int]:
    """Where the chain in the database is found to be wrong."""
    with database.read() as conn:
        verifier = ChainVerifier([audit.read_head(conn), *anchors])
        entries = audit.read_entries(conn, after=0, limit=100_000)
    found = [flaw for entry in entries for flaw in verifier.take(line(entry))]
    return [flaw.sequence for flaw in found + verifier.end()]


def test_what_was_recorded_is_read(database: Database, make: Make, actor: Actor) -> None:
    """Every part of an event comes back, whatever characters it holds, and its hash is that of its line."""
    odd = details({"names": ["DNS:é\u2028\x00\x7f\ud800", '"\\/'], "number": 7, "a": {"z": None, "b": True}})
    event = make(details=odd, certificate_id=4, actor=replace(actor, peer="p" * 128))
    append(database, event, make(serial=b"", issuer=""))
    with database.read() as conn:
        first, second = audit.read_entries(conn, after=0, limit=9)
        assert audit.read_entries(conn, after=2, limit=9) == []
        assert audit.read_head(conn) == Head(2, second.hash)
    assert first == link(event, EMPTY)
    assert second.previous_hash == first.hash
    parsed = json.loads(line(first))
    stated = parsed.pop("hash")
    text_of = json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert stated == hashlib.sha256(text_of.encode()).hexdigest()
    assert parsed["details"]["names"] == ["DNS:é\u2028\x00\x7f?", '"\\/']
    assert verify(database) == []


def test_a_long_peer_is_hashed_as_it_is_kept(database: Database, make: Make, actor: Actor) -> None:
    """A peer is cut to its column's length before it is hashed."""
    append(database, make(actor=replace(actor, peer="p" * 500)))
    assert verify(database) == []


def test_entries_go_with_their_transaction(database: Database, make: Make) -> None:
    """A transaction that comes to nothing leaves no entry, and the chain goes on where it was."""
    known = KnownHead()
    append(database, make(), known=known)

    def fail(conn: Connection) -> None:
        audit.append(conn, [make(), make()], known)
        raise RuntimeError

    with pytest.raises(RuntimeError), database.write() as conn:
        fail(conn)
    assert append(database, make(), known=known).sequence == 2
    assert verify(database) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET result = 'OK'",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_entries WHERE sequence = 1",
    ],
)
def test_entries_are_never_changed(database: Database, make: Make, statement: str) -> None:
    """The database refuses to change or remove entries."""
    append(database, make())
    with pytest.raises((Unavailable, ProgrammingError)), database.write() as conn:
        conn.execute(text(statement))
    assert verify(database) == []


def drop_guards(database: Database) -> None:
    """What somebody with all rights on the database can do."""
    with database.write() as conn:
        for action in ("update", "delete"):
            table = " ON audit_entries" if database.dialect == "postgresql" else ""
            conn.execute(text(f"DROP TRIGGER audit_entries_no_{action}{table}"))


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        pytest.param(["UPDATE audit_entries SET result = 'X' WHERE sequence = 4"], [4], id="result"),
        pytest.param(["UPDATE audit_entries SET time = time + 1 WHERE sequence = 1"], [1], id="time"),
        pytest.param(["UPDATE audit_entries SET actor_identity = 'me' WHERE sequence = 9"], [9], id="who, at the end"),
        pytest.param(["UPDATE audit_entries SET certificate_id = 5 WHERE sequence = 4"], [4], id="certificate"),
        pytest.param(["UPDATE audit_entries SET details = '{\"n\": 4}' WHERE sequence = 4"], [4, 4], id="spelling"),
        pytest.param(["UPDATE audit_entries SET details = 'no json' WHERE sequence = 4"], [4, 4], id="no JSON"),
        pytest.param(["DELETE FROM audit_entries WHERE sequence = 4"], [4], id="removed"),
        pytest.param(["DELETE FROM audit_entries WHERE sequence BETWEEN 3 AND 6"], [3], id="a part removed"),
        pytest.param(["DELETE FROM audit_entries WHERE sequence = 1"], [1], id="the first removed"),
        pytest.param(["DELETE FROM audit_entries WHERE sequence > 7"], [8], id="the end removed"),
        pytest.param(["DELETE FROM audit_entries"], [1], id="all removed"),
        pytest.param(
            [
                f"UPDATE audit_entries SET sequence = {to} WHERE sequence = {old}"
                for old, to in ((3, 99), (4, 3), (99, 4))
            ],
            [3, 3, 4, 4, 5],
            id="two changed places",
        ),
        pytest.param(
            [
                "DELETE FROM audit_entries WHERE sequence = 4",
                *(f"UPDATE audit_entries SET sequence = {n - 1} WHERE sequence = {n}" for n in range(5, 10)),
            ],
            [4, 4, 5, 6, 7, 8, 9],
            id="removed, and the others moved up",
        ),
    ],
)
def test_tampering_is_found(database: Database, make: Make, statements: list[str], found: list[int]) -> None:
    """Whatever is changed, removed or moved in the table, verifying tells the number of the entry."""
    append(database, *(make(details=details({"n": n}), certificate_id=n) for n in range(1, 10)))
    drop_guards(database)
    with database.write() as conn:
        for statement in statements:
            conn.execute(text(statement))
    assert verify(database) == found


def test_an_anchor_finds_a_chain_that_was_made_anew(database: Database, make: Make) -> None:
    """Somebody who rewrites entries, hashes and head is found by a head that was kept elsewhere, and only by that."""
    kept = append(database, make(), make(), make())
    append(database, make())
    drop_guards(database)
    with database.write() as conn:
        conn.execute(text("DELETE FROM audit_entries"))
        conn.execute(text("UPDATE audit_head SET sequence = 0, hash = :hash"), {"hash": EMPTY.hash})
        audit.append(conn, [make(result="FORGED")] * 4)
    assert verify(database) == []
    assert verify(database, kept) == [3]
    with database.write() as conn:
        conn.execute(text("DELETE FROM audit_entries WHERE sequence > 2"))
        conn.execute(
            text("UPDATE audit_head SET sequence = 2, hash = (SELECT hash FROM audit_entries WHERE sequence = 2)")
        )
    assert verify(database) == []
    assert verify(database, kept) == [3]


def test_a_beginning_that_was_archived(make: Make) -> None:
    """The rest of a chain verifies where the head before it is known."""
    entries, head = [], EMPTY
    for _ in range(4):
        entries.append(link(make(), head))
        head = Head(entries[-1].sequence, entries[-1].hash)
    for anchors, flaws in (([], 1), ([Head(2, entries[1].hash)], 0), ([Head(2, bytes(32))], 1)):
        verifier = ChainVerifier([head, *anchors])
        found = [flaw for entry in entries[2:] for flaw in verifier.take(line(entry))] + verifier.end()
        assert len(found) == flaws


@pytest.mark.parametrize("given", ["", "{}", "[]", "7", '{"hash":1}', "[" * 100_000, '{"hash":"00"}', "\ud800"])
def test_lines_that_are_no_entries(given: str) -> None:
    """A file that was damaged is told with its place, whatever is in it."""
    assert [flaw.sequence for flaw in ChainVerifier().take(given)] == [1]


def test_many_writers_make_one_chain(database_url: str, make: Make) -> None:
    """Processes with heads of their own take turns, and each remembers a head that another one has passed."""
    databases = [Database.open(database_url) for _ in range(3)]

    def write(database: Database) -> None:
        known = KnownHead()
        for _ in range(12):
            append(database, make(), make(), known=known)

    threads = [threading.Thread(target=write, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(databases[0]) == []
    with databases[0].read() as conn:
        assert audit.read_head(conn).sequence == 3 * 12 * 2
    for database in databases:
        database.close()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({}, "gfedcba", id="all"),
        pytest.param({"time_from": 2}, "gfedc", id="from"),
        pytest.param({"time_from": 2, "time_until": 4}, "dc", id="from until"),
        pytest.param({"identity": "other"}, "c", id="identity"),
        pytest.param({"method": "RevokeCertificate"}, "fd", id="method"),
        pytest.param({"result": "OK"}, "gfda", id="result"),
        pytest.param({"result": "NAME_INVALID"}, "eb", id="reason"),
        pytest.param({"refused": True}, "ecb", id="refused"),
        pytest.param({"refused": True, "time_until": 3}, "cb", id="refused until"),
        pytest.param({"certificate_id": 1}, "da", id="certificate"),
        pytest.param({"certificate_id": 1, "serial": b"\x01"}, "eda", id="serial number of a certificate"),
        pytest.param({"serial": b"\x09"}, "b", id="serial number never recorded"),
        pytest.param({"certificate_id": 1, "method": "RevokeCertificate", "result": "OK"}, "d", id="combined"),
    ],
)
@pytest.mark.parametrize("window", [2, 20_000], ids=["small window", "large window"])
def test_listing(
    database: Database,
    make: Make,
    actor: Actor,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    filters: dict[str, Any],
    expected: str,
    window: int,
) -> None:
    """Entries that fit all filters, the latest first, page by page, however few of them a page looks at."""
    monkeypatch.setattr(audit, "WINDOW", window)
    given: dict[str, dict[str, Any]] = {
        "a": {"certificate_id": 1, "serial": b"\x01"},
        "b": {"result": "NAME_INVALID", "serial": b"\x09"},
        "c": {"result": "ROLE_NOT_ALLOWED", "actor": replace(actor, identity="other"), "serial": b""},
        "d": {"method": "RevokeCertificate", "certificate_id": 1, "serial": b"\x01"},
        "e": {"result": "NAME_INVALID", "serial": b"\x01"},
        "f": {"method": "RevokeCertificate", "certificate_id": 2, "serial": b"\x02"},
        "g": {"certificate_id": 3, "serial": b"\x03"},
    }
    events = [make(at=now + timedelta(hours=hour), **each) for hour, each in enumerate(given.values())]
    append(database, *events)
    wanted: dict[str, Any] = {
        name: now + timedelta(hours=value) if name.startswith("time") else value for name, value in filters.items()
    }
    found, after = [], None
    with database.read() as conn:
        while True:
            page, after = audit.list_entries(conn, AuditFilters(**wanted), limit=2, after=after)
            assert len(page) <= 2
            found += page
            if after is None:
                break
    assert "".join("abcdefg"[entry.sequence - 1] for entry in found) == expected


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "ix_audit_entries_time_sequence"),
        ({"time_from": 0}, "ix_audit_entries_time_sequence"),
        ({"identity": "x", "method": "y"}, "ix_audit_entries_time_sequence"),
        ({"refused": True}, "ix_audit_entries_refused"),
        ({"result": "NAME_INVALID", "identity": "x"}, "ix_audit_entries_refused"),
        ({"certificate_id": 1}, "ix_audit_entries_certificate_id_sequence"),
        ({"certificate_id": 1, "serial": b"\x01"}, "ix_audit_entries_unrecorded"),
    ],
)
def test_listing_follows_an_index(
    database: Database, make: Make, now: datetime, filters: dict[str, Any], index: str
) -> None:
    """No listing reads the whole log; only what is about one certificate is sorted."""
    from tests.db.test_certificates import explain

    wanted: dict[str, Any] = {name: now if name.startswith("time") else value for name, value in filters.items()}
    append(database, make())
    plan = explain(
        database,
        lambda conn: audit.list_entries(conn, AuditFilters(**wanted), limit=5, after=AuditCursor(now, 10)),
    )
    assert index in plan
    assert "SCAN audit_entries" not in plan
    assert "certificate_id" in filters or "TEMP B-TREE" not in plan


def test_credentials_and_issuers_are_told_of(
    database: Database, new_issuer: Callable[..., NewIssuer], now: datetime
) -> None:
    """Whatever is done to credentials and issuers has an entry, once; what changed nothing has none."""
    record = CredentialRecord("ab" * 32, "anna", "admin", "spiffe://x/admin/anna", now, now, None, "")
    with database.write() as conn:
        credentials.upsert_credential(conn, record)
        for _ in range(2):
            credentials.deny_credential(conn, record.fingerprint, now, "lost")
        credentials.deny_credential(conn, "cd" * 32, now, "never seen")
        id_ = issuers.add_issuer(conn, new_issuer("fresh"), position.advance(conn, 1))
        issuers.set_issuer_state(conn, id_, IssuerState.RETIRED, position.advance(conn, 1))
    with database.read() as conn:
        told = [(each.event.method, each.event.issuer) for each in audit.read_entries(conn, after=0, limit=9)]
    assert told == [
        ("RecordCredential", ""),
        ("DenyCredential", ""),
        ("AddIssuer", "fresh"),
        ("SetIssuerState", "fresh"),
    ]
    assert verify(database) == []


@pytest.mark.parametrize("given", ["", "7", f"7:{'0' * 63}", f"x:{'0' * 64}", f"7:{'G' * 64}", f"-1:{'0' * 64}"])
def test_heads_that_are_none(given: str) -> None:
    """A head is a number and 64 hex digits."""
    with pytest.raises(ValueError, match="looks like"):
        Head.parse(given)
    assert Head.parse(str(Head(7, bytes(32)))) == Head(7, bytes(32))


def test_other_programs_can_verify(make: Make) -> None:
    """The documented way to check an entry with jq and sha256sum."""
    entry = link(make(details=details({"names": ["DNS:é"]})), EMPTY)
    done = subprocess.run(
        [require("jq"), "-cjS", "del(.hash)"], input=line(entry).encode(), capture_output=True, check=True
    )
    assert hashlib.sha256(done.stdout).digest() == entry.hash
