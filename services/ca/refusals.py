"""Refused calls in the audit log, bounded: nobody fills the database, or slows issuing down, by being refused.

What it guarantees: in each minute an identity gets so many entries and all together so many; the same refusal again is
counted and told once, at the end of the minute, as are refusals that differ in what was asked for alone, beyond the
first few; what was left out is counted and told, too. Entries are written once a
second, together, by the same writer as everything else. A process that is killed loses the last second of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import structlog

from services.ca.batch import Batch, Plan
from services.ca.writer import Writer
from services.clock import Clock
from services.db import certificates
from services.db.audit import LOCAL
from services.db.chain import AuditEvent, details
from services.db.records import IdempotencyKey
from services.errors import DomainError
from services.rpc.refusals import Refusal

MINUTE = 60.0
PER_IDENTITY = 20
TOTAL = 60
MAX_VARIANTS = 5
"""How many refusals of one caller, method, reason and certificate are told that differ in what was asked for."""
MAX_WAITING = 500
MAX_NAMED = 10
"""How many identities an entry about what was left out names."""

_LONGEST = 128
_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    event: AuditEvent
    said: dict[str, object]
    repeated: int = 0
    others: int = 0
    """Refusals that differ from it in what was asked for, and were not told."""


class RefusalLog:
    """Takes refusals from the interceptor and hands them to the writer. `close` it before the writer."""

    def __init__(self, writer: Writer, clock: Clock, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._waiting: list[AuditEvent] = []
        self._begin_minute()

    def note(self, refusal: Refusal) -> None:
        """Take in a refusal. Quick, and never raises for what a caller sent."""
        who = refusal.actor.identity or refusal.actor.fingerprint
        about = refusal.about
        # Kept for a minute: no longer than an issuer's name may be.
        issuer = about.issuer[:64]
        kind = (who, refusal.method, refusal.reason, issuer, about.serial)
        said = _said(refusal)
        asked = details(said)
        key = (*kind, hashlib.sha256(asked.encode()).hexdigest())
        with self._lock:
            self._end_minute()
            if (seen := self._seen.get(key)) is not None:
                seen.repeated += 1
            elif len(variants := self._variants.get(kind, [])) >= MAX_VARIANTS:
                variants[0].others += 1
            elif self._of_identity[who] >= PER_IDENTITY or len(self._seen) >= TOTAL:
                self._leave_out(who)
            else:
                self._of_identity[who] += 1
                event = AuditEvent(
                    refusal.method,
                    refusal.actor,
                    self._clock(),
                    refusal.reason,
                    issuer,
                    about.serial,
                    details=asked,
                )
                self._seen[key] = first = _Seen(event, said)
                self._variants[kind].append(first)
                self._wait(event)

    def write(self) -> Future[None] | None:
        """Queue what waits to be written; None if nothing does, or the writer takes nothing now."""
        with self._lock:
            self._end_minute()
            events, self._waiting = self._waiting, []
        if not events:
            return None
        try:
            future = self._writer.submit(_Telling(events))
        except DomainError:
            self._again(events)
            return None
        future.add_done_callback(lambda done: self._written(events, done))
        return future

    async def keep(self) -> None:
        """Write every second, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self.write()

    def close(self) -> None:
        """Write what is left."""
        with self._lock:
            self._end_minute(now=True)
        if (future := self.write()) is not None:
            with suppress(Exception):
                future.result(10)

    def _written(self, events: Sequence[AuditEvent], done: Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or isinstance(error, DomainError):
            self._again(events)
        elif error is not None:  # they would fail again, for ever
            _logger.error("refusals could not be recorded", exc_info=error, count=len(events))

    def _again(self, events: Sequence[AuditEvent]) -> None:
        with self._lock:
            for event in events:
                self._wait(event)

    def _wait(self, event: AuditEvent) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(event)
        else:
            self._leave_out(event.actor.identity or event.actor.fingerprint)

    def _leave_out(self, who: str) -> None:
        self._left_out[who if who in self._left_out or len(self._left_out) < MAX_NAMED else ""] += 1

    def _begin_minute(self) -> None:
        self._began = self._ticks()
        self._seen: dict[tuple[str, str, str, str, bytes, str], _Seen] = {}
        self._variants: defaultdict[tuple[str, str, str, str, bytes], list[_Seen]] = defaultdict(list)
        self._of_identity: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def _end_minute(self, *, now: bool = False) -> None:
        if not now and self._ticks() - self._began < MINUTE:
            return
        seen, left_out = self._seen, self._left_out
        self._begin_minute()
        for each in seen.values():
            counted = {"repeated": each.repeated} if each.repeated else {}
            counted |= {"others": each.others} if each.others else {}
            if counted:
                self._wait(each.event._replace(at=self._clock(), details=details({**each.said, **counted})))
        if left_out:
            said = details({"identities": dict(left_out), "left_out": left_out.total()})
            self._wait(AuditEvent("LeaveOutRefusals", LOCAL, self._clock(), details=said))


@dataclass(frozen=True, slots=True)
class _Telling:
    """Refusals, in the writer's transaction."""

    events: Sequence[AuditEvent]
    key: IdempotencyKey | None = None
    serialise: bool = False

    def decide(self, batch: Batch) -> Plan[None]:
        return Plan(lambda: None, audit=[_resolved(batch, event) for event in self.events])


def _resolved(batch: Batch, event: AuditEvent) -> AuditEvent:
    """The event with the certificate and the issuer that it is about, as far as there are such."""
    ids = {record.name: record.id for record in batch.issuers().values()}
    if event.issuer not in ids:
        event = event._replace(issuer="")
    if not event.serial:
        return event
    if event.issuer:
        one = certificates.get_certificate(batch.conn, ids[event.issuer], event.serial)
        found = [one] if one is not None else []
    else:
        found = certificates.find_by_serial(batch.conn, event.serial)
    if len(found) != 1:
        return event
    return event._replace(issuer=found[0].issuer_name, certificate_id=found[0].id)


def _said(refusal: Refusal) -> dict[str, object]:
    """What was asked for, cut to a size that a caller cannot choose."""
    said: dict[str, object] = {"issuer": refusal.about.issuer} if refusal.about.issuer else {}
    for name, value in (refusal.about.details or {}).items():
        said[name] = [str(each)[:_LONGEST] for each in value[:10]] if isinstance(value, list | tuple) else value
    return {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in said.items()}
