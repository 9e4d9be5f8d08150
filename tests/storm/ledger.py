"""What clients were told, and whether the database bears it out: read with plain SQL while no service runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cryptography import x509

from services.db.engine import Connection, Database
from tests.ca.world import chain_flaws

SUPERSEDED = 4


@dataclass
class Ledger:
    """All that was acknowledged, by request id and by serial number."""

    issued: dict[str, bytes] = field(default_factory=dict)
    """Request id -> certificate."""
    revoked: dict[bytes, int] = field(default_factory=dict)
    """Serial number -> revision of the revocation."""
    unchecked: list[str] = field(default_factory=list)
    """Request ids of certificates whose signature nobody has verified yet."""

    def acknowledge(self, request_id: str, der: bytes) -> None:
        """A certificate was handed out; a second time under the same request id it has to be the same."""
        assert self.issued.setdefault(request_id, der) == der, f"{request_id} was issued twice"
        self.unchecked.append(request_id)

    def check(self, db: Database, issuer: x509.Certificate) -> None:
        """Everything acknowledged is there and valid; nothing is there twice or half."""
        with db.read() as conn:
            certificates = _certificates(conn)
            outcomes = _outcomes(conn, "IssueCertificate")
            self._check_issued(certificates, outcomes)
            self._check_statuses(conn, certificates)
            self._check_names(conn, outcomes)
            self._check_audit_log(conn, outcomes)
        assert chain_flaws(db) == []
        for request_id in self.unchecked:
            x509.load_der_x509_certificate(self.issued[request_id]).verify_directly_issued_by(issuer)
        self.unchecked.clear()

    def _check_issued(self, certificates: dict[int, tuple[bytes, bytes]], outcomes: dict[str, int]) -> None:
        for request_id, der in self.issued.items():
            assert certificates[outcomes[request_id]][1] == der, f"{request_id} is not what was acknowledged"
        repeated = [id_ for id_, times in Counter(outcomes.values()).items() if times > 1]
        assert not repeated, "two request ids have one certificate"
        serials = Counter(serial for serial, _ in certificates.values())
        assert max(serials.values()) == 1, "a serial number is there twice"
        # What has no request id is the CA's own: of the root and of the issuing CA.
        assert len(certificates) - len(outcomes) == len(certificates.keys() - set(outcomes.values())) == 2

    def _check_statuses(self, conn: Connection, certificates: dict[int, tuple[bytes, bytes]]) -> None:
        statuses = conn.exec_driver_sql(
            "SELECT certificate_id, serial, revoked_at, reason, revision FROM certificate_status"
        ).all()
        assert {row[0]: bytes(row[1]) for row in statuses} == {id_: serial for id_, (serial, _) in certificates.items()}
        assert len(statuses) == len(certificates)
        revisions = [row[4] for row in statuses]
        position: int = conn.exec_driver_sql("SELECT value FROM position").scalar_one()
        assert len(set(revisions)) == len(revisions)
        assert max(revisions) <= position
        changes = conn.exec_driver_sql("SELECT revision, serial, reason FROM status_changes").all()
        changed = {bytes(row[1]): (row[0], row[2]) for row in changes}
        assert len(changed) == len(changes), "something was revoked twice"
        # A status says revoked exactly where a change says so, with the same reason and revision.
        revoked = {bytes(row[1]): (row[4], row[3]) for row in statuses if row[2] is not None}
        assert revoked == changed
        assert len(_outcomes(conn, "RevokeCertificate")) == len(changed)
        for serial, revision in self.revoked.items():
            assert revoked[serial] == (revision, SUPERSEDED), f"{serial.hex()} is not revoked as was acknowledged"

    def _check_names(self, conn: Connection, outcomes: dict[str, int]) -> None:
        named = set(conn.exec_driver_sql("SELECT DISTINCT certificate_id FROM certificate_names").scalars())
        assert named >= set(outcomes.values()), "a certificate cannot be found by its name"

    def _check_audit_log(self, conn: Connection, outcomes: dict[str, int]) -> None:
        """An entry for each certificate that was issued, and for each that was revoked (retries have none)."""
        entries = conn.exec_driver_sql("SELECT method, request_id FROM audit_entries WHERE result = 'OK'").all()
        told = Counter((row[0], row[1]) for row in entries if row[1])
        revoked = _outcomes(conn, "RevokeCertificate")
        assert told == Counter(
            [*(("IssueCertificate", each) for each in outcomes), *(("RevokeCertificate", each) for each in revoked)]
        )


def _certificates(conn: Connection) -> dict[int, tuple[bytes, bytes]]:
    rows = conn.exec_driver_sql("SELECT id, serial, der FROM certificates").all()
    return {row[0]: (bytes(row[1]), bytes(row[2])) for row in rows}


def _outcomes(conn: Connection, method: str) -> dict[str, int]:
    rows = conn.exec_driver_sql("SELECT request_id, outcome, method FROM idempotency_keys").all()
    found = [(row[0], row[1]) for row in rows if row[2] == method]
    assert len(dict(found)) == len(found), "a request id is there twice"
    return dict(found)
