"""What becomes of a certificate whose issuer is compromised (RFC 6960, section 2.7; R51).

Guarantee: no certificate of a compromised issuer is good. Give both records from one snapshot.
"""

from __future__ import annotations

from dataclasses import replace

from services.db.records import IssuerRecord, StatusRecord
from services.pki.reasons import Reason


def as_issuer_stands(record: StatusRecord, issuer: IssuerRecord) -> StatusRecord:
    """The status of a certificate of `issuer`, with a compromise of the issuer taken into account.

    A revocation of its own stands where it came first. A hold does not, because it could be released; only its time
    stays, from which the certificate was not to be trusted (R111).
    """
    if issuer.compromise is None:
        return record
    own, by_issuer = record.revocation, issuer.compromise.revocation
    if own is not None and own.revoked_at <= by_issuer.revoked_at:
        if own.reason != Reason.CERTIFICATE_HOLD:
            return record
        by_issuer = replace(by_issuer, revoked_at=own.revoked_at)
    return StatusRecord(
        issuer_id=record.issuer_id,
        serial=record.serial,
        certificate_id=record.certificate_id,
        not_after=record.not_after,
        revocation=by_issuer,
        changed_at=max(record.changed_at, issuer.compromise.changed_at),
        revision=max(record.revision, issuer.compromise.revision),
    )
