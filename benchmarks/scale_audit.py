"""The audit log of a large database, as issuing and revoking would have left it: one entry for each, chained.

Entries are made one at a time, as the rows of the other tables are; the chain has to be followed in its order, and its
head is known at its end.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.scale_rows import REVOKED_EVERY, Population, Row
from services.clock import from_epoch, rfc3339
from services.db.audit import row_values
from services.db.chain import AuditEvent, Head, details, link
from services.db.counts import HOUR
from services.db.models import audit_entries
from services.db.records import Actor
from services.pki.reasons import NAMES, Reason

COLUMNS = tuple(audit_entries.c.keys())


class AuditTrail:
    """The entries of a population. `head` is the last one that was made."""

    def __init__(self, population: Population, actor: Actor, issuer: str, head: Head) -> None:
        """`head`: the last entry that is there already."""
        self.head = head
        self._population = population
        self._actor = actor
        self._issuer = issuer

    def entries(self) -> Iterator[Row]:
        """Rows of the table, in the order of the chain."""
        for event in self._events():
            entry = link(event, self.head)
            self.head = Head(entry.sequence, entry.hash)
            yield row_values(entry)

    def _events(self) -> Iterator[AuditEvent]:
        its = self._population
        for id_, _, serial, der, _, names, profile, _, _, not_after, issued_at, *_, request_id in its.certificates():
            assert isinstance(der, bytes)
            assert isinstance(issued_at, int)
            assert isinstance(not_after, int)
            said = (
                f'{{"certificate_sha256":"{hashlib.sha256(der).hexdigest()}","names":{names},'
                f'"not_after_time":"{rfc3339(from_epoch(not_after))}","profile":"{profile}"}}'
            )
            yield self._event("IssueCertificate", issued_at, serial, id_, request_id, said)
        for number, change in enumerate(its.changes(), 1):
            _, _, serial, action, at, reason, *_, request_id = change
            assert isinstance(at, int)
            assert isinstance(reason, int)
            told = {"action": action, "reason": NAMES[Reason(reason)], "revocation_time": rfc3339(from_epoch(at))}
            id_ = its.last_id + number * REVOKED_EVERY
            yield self._event("RevokeCertificate", at, serial, id_, request_id, details(told))

    def _event(self, method: str, at: int, serial: object, id_: object, request: object, said: str) -> AuditEvent:
        assert isinstance(serial, bytes)
        assert isinstance(id_, int)
        actor = replace(self._actor, request_id=str(request))
        return AuditEvent(method, actor, from_epoch(at), "OK", self._issuer, serial, id_, said)


def counts(population: Population, profiles: tuple[str, str]) -> dict[tuple[int, str, int], tuple[int, int]]:
    """How many certificates, and how many revoked ones, by issuer id, profile and hour of expiry."""
    issued: Counter[tuple[int, str, int]] = Counter()
    revoked: Counter[tuple[int, str, int]] = Counter()
    for number in range(1, population.count + 1):
        bucket = population.issuer_id, profiles[number % 10 == 3], population.not_after(number) // HOUR
        issued[bucket] += 1
        revoked[bucket] += population.is_revoked(number)
    return {bucket: (count, revoked[bucket]) for bucket, count in issued.items()}
