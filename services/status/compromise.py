"""What becomes of a certificate whose issuer is compromised (RFC 6960, section 2.7; R51).

Guarantee: no certificate of a compromised issuer is good. Give both records from one snapshot.
"""

from __future__ import annotations

from services.db.compromise import revocation_as_issuer_stands
from services.db.records import IssuerRecord, StatusRecord


def as_issuer_stands(record: StatusRecord, issuer: IssuerRecord) -> StatusRecord:
    """The status of a certificate of `issuer`, with a compromise of the issuer taken into account."""
    if issuer.compromise is None:
        return record
    revocation = revocation_as_issuer_stands(record.revocation, issuer.compromise)
    if revocation is record.revocation:
        return record
    return StatusRecord(
        issuer_id=record.issuer_id,
        serial=record.serial,
        certificate_id=record.certificate_id,
        not_after=record.not_after,
        revocation=revocation,
        changed_at=max(record.changed_at, issuer.compromise.changed_at),
        revision=max(record.revision, issuer.compromise.revision),
    )
