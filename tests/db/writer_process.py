"""Records batches of certificates until it is killed. Arguments: URL, mode (run or hang), size of a batch."""

from __future__ import annotations

import secrets
import sys
import time
from datetime import UTC, datetime, timedelta

from services.db import certificates, position, status
from services.db.engine import Database
from services.db.records import Actor, NewCertificate

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACTOR = Actor("identity", "name", "issuer", "ab" * 32, "peer", "")


def main() -> None:
    """Record, commit, acknowledge; or write, say so, and hang before the commit."""
    url, mode, size = sys.argv[1:]
    db = Database.open(url)
    with db.read() as conn:
        issuer_id = conn.exec_driver_sql("SELECT id FROM issuers").scalar_one()
    while True:
        rows = [new_certificate(issuer_id) for _ in range(int(size))]
        with db.write() as conn:
            ids = certificates.insert_certificates(conn, rows)
            first = position.advance(conn, len(rows))
            status.insert_statuses(conn, rows, ids, first)
            if mode == "hang":
                acknowledge("written")
                time.sleep(60)
        acknowledge(first + len(rows) - 1)


def acknowledge(word: object) -> None:
    """Tell the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def new_certificate(issuer_id: int) -> NewCertificate:
    """A certificate with two names."""
    return NewCertificate(
        issuer_id=issuer_id,
        serial=b"\x01" + secrets.token_bytes(15),
        der=bytes(500),
        subject="CN=a",
        common_name="a",
        subject_alternative_names=("DNS:b",),
        profile="server",
        public_key_sha256=None,
        not_before=NOW,
        not_after=NOW + timedelta(days=90),
        issued_at=NOW,
        actor=ACTOR,
    )


if __name__ == "__main__":
    main()
