"""Giving up an import that was not completed: the name of its issuer, and its subject and key, are free again.

Guarantees: only what is pending is given up, of which nobody was told; and nobody will be. What came in stays where it
is, hidden, under a name that nobody can have; keys that came in as compromised stay blocked (R103).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.ca.audit import ABANDON
from services.ca.batch import Batch, Exclusive, Plan
from services.db import issuers, pending
from services.db.chain import AuditEvent, details
from services.db.engine import Connection
from services.db.records import Actor, IssuerRecord, UnfinishedImport
from services.errors import FailedPrecondition, NotFound


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What is given up."""

    record: IssuerRecord
    unfinished: UnfinishedImport


@dataclass(frozen=True, slots=True)
class Abandon(Exclusive):
    """The work. `name` is that of the pending issuer."""

    name: str
    actor: Actor
    now: datetime

    def decide(self, batch: Batch) -> Plan[Abandoned]:
        """As `Work.decide`."""
        found = self.find(batch.conn)
        said = details({"certificates": found.unfinished.certificates})
        event = AuditEvent(ABANDON, self.actor, self.now, issuer=self.name, details=said)
        return Plan(lambda: found, others=_Abandonment(found.record.id), audit=[event])

    def find(self, conn: Connection) -> Abandoned:
        """What is to be given up. Raises NotFound (ISSUER_UNKNOWN), FailedPrecondition (ISSUER_NOT_PENDING)."""
        found = issuers.list_pending(conn)
        for record in found:
            if record.name == self.name:
                return Abandoned(record, pending.unfinished_import(conn, record.id))
        if any(record.name == self.name for record in issuers.list_issuers(conn)):
            raise FailedPrecondition(
                "ISSUER_NOT_PENDING", f"issuer {self.name} is known here: no import of it is unfinished", field="issuer"
            )
        others = ", ".join(record.name for record in found) or "none"
        raise NotFound(
            "ISSUER_UNKNOWN",
            f"no import of an issuer {self.name[:64]!r} is unfinished; those that are: {others}",
            field="issuer",
        )


@dataclass(frozen=True, slots=True)
class _Abandonment:
    issuer_id: int

    def write(self, conn: Connection) -> None:
        pending.abandon(conn, self.issuer_id)
