"""Revocation lists of a million entries: how long they take, and how much memory (`make bench-crls`).

Makes a database with an issuer and that many revoked certificates, then starts one process for each question, so that
each begins with nothing read and its memory is its own:

- full: from a cold start to the published list, and then one more revocation to the next published list;
- shards: the same with the certificates spread over shards, which are signed side by side.

Prints a table, and with `--json FILE` writes what was measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from benchmarks.machine import machine, versions
from services.ca.bootstrap import register_hierarchy
from services.ca.crl_figures import CrlFigures
from services.ca.crl_points import CrlPoints, Distribution
from services.ca.crl_schedule import CrlSchedule
from services.ca.issuers import IssuerDirectory
from services.ca.keystore import HeldKeys
from services.clock import to_epoch, utc_now
from services.db import crls, schema
from services.db.engine import Database
from services.db.position import advance
from services.db.records import FULL, Actor, ChangeAction, RevocationRecord, StatusChange
from services.db.status import apply_changes
from services.pki.crls import make_crl
from services.pki.hierarchy import make_issuing, make_root
from services.pki.issuers import Issuer
from services.pki.keys import encrypt_key, generate_key, load_key

URL = "http://ocsp.example.com"
SHARDS = 16
ISSUING = 2
PASSPHRASE = b"benchmark"
GOAL_SECONDS, GOAL_MIB, GOAL_ONE_MORE = 15.0, 1024.0, 1.0
ACTOR = Actor("spiffe://goodstanding/admin/bench", "bench", "admin", "00" * 32, "", "")
CHUNK = 20_000
RESULTS = Path(__file__).parent / "results"


def database_url(folder: Path) -> str:
    """Where the certificates are."""
    return f"sqlite:///{folder}/goodstanding.db"


def fill(folder: Path, count: int) -> None:
    """A database with an issuing CA, and `count` revoked certificates over 16 shards."""
    now = utc_now()
    url = database_url(folder)
    schema.upgrade(url)
    root_key, key = generate_key(), generate_key()
    root = make_root(name="Bench Root", key=root_key, now=now)
    issuing = make_issuing(root=root, root_key=root_key, name="Bench Issuing", key=key, now=now)
    crl = make_crl(Issuer(root, root_key), number=1, this_update=now, next_update=now + timedelta(days=300))
    (folder / "issuing.key").write_bytes(encrypt_key(key, PASSPHRASE))
    db = Database.open(url)
    register_hierarchy(db, root, issuing, key_ref="issuing.key", root_crl=crl, now=now)
    CrlPoints(db, URL, "sharded", SHARDS).shards(IssuerDirectory(db, HeldKeys({}), URL).named("issuing"))
    for start in range(0, count, CHUNK):
        with db.write() as conn:
            first = advance(conn, CHUNK)
            conn.exec_driver_sql(
                "INSERT INTO certificate_status (issuer_id, serial, certificate_id, issued_at, not_after, revoked_at,"
                " reason, invalidity_at, changed_at, revision, crl_shard) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(n, first + n - start, now) for n in range(start, min(start + CHUNK, count))],
            )
    db.close()


def serial_of(number: int) -> bytes:
    """Sixteen octets, spread as those of the CA."""
    return bytes([0x40 | number % 0x3F]) + hashlib.sha256(number.to_bytes(8)).digest()[:15]


def _row(number: int, revision: int, now: datetime) -> tuple[Any, ...]:
    serial = serial_of(number)
    issued = to_epoch(now) - number % 5_000_000
    shard = 1 + int.from_bytes(serial[-4:]) % SHARDS
    revoked = issued + number % 3600
    return (
        ISSUING,
        serial,
        number,
        issued,
        issued + 31_536_000,
        revoked,
        number % 6 or 9,
        None,
        revoked,
        revision,
        shard,
    )


def measure(folder: Path, distribution: Distribution) -> dict[str, float]:
    """The first lists, and the next after one more revocation. To be called once in a process."""
    db = Database.open(database_url(folder))
    if distribution == "full":
        with db.write() as conn:
            conn.exec_driver_sql("DELETE FROM crl_scopes WHERE scope > 0")
    key = load_key((folder / "issuing.key").read_bytes(), PASSPHRASE)
    directory = IssuerDirectory(db, HeldKeys({"issuing": key}), URL)
    registry, later = CollectorRegistry(), [0.0]
    schedule = CrlSchedule(
        db,
        directory,
        CrlPoints(db, URL, distribution, SHARDS),
        clock=utc_now,
        figures=CrlFigures(registry),
        ticks=lambda: time.monotonic() + later[0],
    )

    def making() -> float:
        return registry.get_sample_value("goodstanding_crl_make_seconds_sum") or 0.0

    began = time.monotonic()
    lists = schedule.step()
    cold, before = time.monotonic() - began, making()
    with db.read() as conn:
        newest = crls.newest_list(conn, ISSUING, FULL)
    assert newest is not None
    revocation = RevocationRecord(utc_now(), 1)
    with db.write() as conn:
        change = StatusChange(ISSUING, serial_of(7), ChangeAction.REVOKE, revocation, utc_now(), ACTOR)
        apply_changes(conn, [change], advance(conn, 1))
    began = time.monotonic()
    later[0] += 3600  # the rest after the first one is over
    schedule.step()
    later[0] += 3600
    again = schedule.step()
    one_more = time.monotonic() - began
    schedule.close()
    db.close()
    return {
        "lists": lists,
        "entries": newest.entries,
        "mib": newest.size / 2**20,
        "cold_seconds": cold,
        "one_more_lists": again,
        "one_more_seconds": one_more,
        "one_more_making_seconds": making() - before,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_process(folder: Path, distribution: str) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.crls", "--measure", distribution, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def goals(measured: dict[str, float]) -> dict[str, bool]:
    """Which goals are reached. That of the cold start is for one list of all."""
    cold = {f"cold start to the list in {GOAL_SECONDS:.0f} s": measured["cold_seconds"] <= GOAL_SECONDS}
    return {
        **(cold if measured["lists"] == 1 else {}),
        f"memory within {GOAL_MIB:.0f} MiB": measured["peak_mib"] <= GOAL_MIB,
        f"one more, beside making the lists, in {GOAL_ONE_MORE:.0f} s": (
            measured["one_more_seconds"] - measured["one_more_making_seconds"] <= GOAL_ONE_MORE
        ),
    }


def main() -> int:
    """Measure and print. The exit status says whether the goals are reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crls", description="Measure revocation lists.")
    parser.add_argument("--entries", type=int, default=1_000_000, help="revoked certificates (default: a million)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        distribution: Distribution = "sharded" if options.measure[0] == "sharded" else "full"
        print(json.dumps(measure(Path(options.measure[1]), distribution)))
        return 0
    RESULTS.mkdir(exist_ok=True)
    results: dict[str, dict[str, float]] = {}
    # On the disk of the checkout: /tmp may be in memory.
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        for distribution_name in ("sharded", "full"):
            place = Path(folder) / distribution_name
            place.mkdir()
            print(f"... {options.entries} revoked certificates", file=sys.stderr, flush=True)
            fill(place, options.entries)
            results[distribution_name] = in_process(place, distribution_name)
        facts = {"machine": machine(Path(folder)), "versions": versions()}
    reached = True
    for name, measured in results.items():
        print(name + ": " + ", ".join(f"{key} {value:.2f}" for key, value in measured.items()))
        for goal, is_reached in goals(measured).items():
            print(f"  {'reached' if is_reached else 'MISSED '}  {goal}")
            reached &= is_reached
    if options.json is not None:
        told = {**facts, "when": datetime.now(UTC).isoformat(timespec="seconds"), "crls": results}
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
