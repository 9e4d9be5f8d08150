"""Revocation lists that were signed elsewhere: those of issuers whose keys are kept offline (R106 to R108)."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509

from services.ca.batch import Batch, Exclusive, Plan
from services.ca.bootstrap import crl_row
from services.ca.issuers import IssuerDirectory
from services.ca.writer import Writer
from services.clock import Clock, rfc3339
from services.db import crls
from services.db.chain import AuditEvent, details
from services.db.engine import Connection
from services.db.records import FULL, Actor, CrlRecord, IssuerRecord, IssuerState
from services.errors import InvalidArgument
from services.pki.crls import MAX_CARRIED_ON
from services.pki.unreadable import UNREADABLE

SKEW = timedelta(minutes=5)
"""How far the clock of whoever signed a list may be ahead."""


class ForeignCrls:
    """The use case."""

    def __init__(self, writer: Writer, directory: IssuerDirectory, clock: Clock) -> None:
        self._writer = writer
        self._directory = directory
        self._clock = clock

    def begin(self, issuer: str, der: bytes, actor: Actor) -> Future[int]:
        """Record a list; the future resolves to its number.

        Raises NotFound ISSUER_UNKNOWN, InvalidArgument CRL_INVALID; the future AlreadyExists CRL_NUMBER_USED.
        """
        record = self._directory.named(issuer)
        event = AuditEvent(
            "ImportCertificateRevocationList",
            actor,
            self._clock(),
            issuer=record.name,
            details=details({"crl_sha256": hashlib.sha256(der).hexdigest()}),
        )
        return self._writer.submit(_Recording(self._read(record, der), event))

    def _read(self, issuer: IssuerRecord, der: bytes) -> CrlRecord:
        try:
            crl = x509.load_der_x509_crl(der)
            row = crl_row(der, issuer.id)
            public_key = x509.load_der_x509_certificate(issuer.certificates_der[0]).public_key()
            sound = crl.is_signature_valid(public_key)  # type: ignore[arg-type]
            extensions = crl.extensions
        except UNREADABLE as error:
            raise _invalid(f"not a revocation list that can be served: {error}") from error
        if crl.issuer.public_bytes() != issuer.subject_der or not sound:
            raise _invalid(f"the list is not signed by issuer {issuer.name}")
        if any(isinstance(each.value, x509.DeltaCRLIndicator) for each in extensions):
            raise _invalid("it is a delta, which tells only what has changed: the full list is wanted")
        if row.next_update <= self._clock():
            raise _invalid("the list is over already")
        if row.this_update > self._clock() + SKEW:
            raise _invalid(f"the list is not valid before {rfc3339(row.this_update)}: relying parties would refuse it")
        if row.number > MAX_CARRIED_ON:
            raise _invalid(f"its number is above {MAX_CARRIED_ON:x} (hex): no room is left for those after it")
        return row


@dataclass(frozen=True, slots=True)
class _Recording(Exclusive):
    row: CrlRecord
    event: AuditEvent

    def decide(self, batch: Batch) -> Plan[int]:
        crls.require_next(batch.conn, self.row)
        offline = batch.issuers()[self.row.issuer_id].state is IssuerState.OFFLINE
        return Plan(lambda: self.row.number, others=_Rows(self.row, offline), audit=[self.event])


@dataclass(frozen=True, slots=True)
class _Rows:
    row: CrlRecord
    offline: bool

    def write(self, conn: Connection) -> None:
        # Where the key is here, lists are made here, and know of every change. Where it was here once, and is not any
        # more, nobody else makes the next one: it takes over from the last of ours.
        before = crls.newest_list(conn, self.row.issuer_id, FULL) if self.offline else None
        crls.add_crl(conn, self.row, revision=0 if before is None else before.revision)


def _invalid(text: str) -> InvalidArgument:
    return InvalidArgument("CRL_INVALID", text, field="crl_der")
