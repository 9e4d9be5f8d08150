"""What the audit log says of certificates and of changes of their status."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from services.clock import rfc3339
from services.db.chain import AuditEvent, details, quoted
from services.db.records import Actor, CertificateRecord, NewCertificate, StatusChange
from services.pki.reasons import NAMES, Reason

ISSUE = "IssueCertificate"
REVOKE = "RevokeCertificate"
IMPORT = "ImportCertificates"
ABANDON = "AbandonImport"
REGISTER = "RegisterCertificate"
"""A CA certificate that was made or brought in by a command."""

MAX_REFUSED = 10
"""How many certificates an entry about a part of a bulk revocation names; the others are counted."""
MAX_NAMES = 10
"""How many names of a certificate an entry holds. The hash of the certificate covers all of them."""


def issued(new: NewCertificate, certificate_id: int, issuer: str, *, method: str = ISSUE) -> AuditEvent:
    """A certificate was issued."""
    names = new.subject_alternative_names
    # Put together by hand, in the form of `details`: this is on the way of every certificate.
    digest = hashlib.sha256(new.der).hexdigest() if new.der is not None else ""
    left_out = f',"names_left_out":{len(names) - MAX_NAMES}' if len(names) > MAX_NAMES else ""
    said = (
        f'{{"certificate_sha256":"{digest}","names":[{",".join(map(quoted, names[:MAX_NAMES]))}]{left_out},'
        f'"not_after_time":"{rfc3339(new.not_after)}","profile":{quoted(new.profile)}}}'
    )
    return AuditEvent(method, new.actor, new.issued_at, "OK", issuer, new.serial, certificate_id, said)


def changed(change: StatusChange, certificate_id: int | None, issuer: str, *, method: str = REVOKE) -> AuditEvent:
    """A certificate was revoked, put on hold or released."""
    said: dict[str, object] = {"action": change.action.value}
    if change.revocation is not None:
        said["reason"] = NAMES[Reason(change.revocation.reason)]
        said["revocation_time"] = rfc3339(change.revocation.revoked_at)
        if change.revocation.invalidity_at is not None:
            said["invalidity_time"] = rfc3339(change.revocation.invalidity_at)
    return AuditEvent(
        method, change.actor, change.changed_at, "OK", issuer, change.serial, certificate_id, details(said)
    )


def unchanged(record: CertificateRecord, reason: int, actor: Actor, now: datetime) -> AuditEvent:
    """A revocation was asked for that is recorded already."""
    said = details({"action": "none", "reason": NAMES[Reason(reason)]})
    return AuditEvent(REVOKE, actor, now, "OK", record.issuer_name, record.serial, record.id, said)


def passed_over(
    actor: Actor, now: datetime, method: str, unchanged: int, refused: Sequence[tuple[str, str, str]]
) -> AuditEvent:
    """A step of a bulk revocation found certificates that were so already, or refused some.

    `refused` are triples of issuer, serial number in hex, and reason; the first two are empty where there is no such
    certificate.
    """
    said: dict[str, object] = {"unchanged": unchanged} if unchanged else {}
    if refused:
        named = [f"{issuer} {serial} {reason}" for issuer, serial, reason in refused if serial]
        said["refused"] = dict(Counter(reason for _, _, reason in refused))
        said["refused_first"] = named[:MAX_REFUSED]
    return AuditEvent(method, actor, now, details=details(said))
