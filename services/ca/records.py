"""What was just written, as the records that a later read would return."""

from __future__ import annotations

from dataclasses import replace

from services.ca.batch import PendingCertificate
from services.db.records import CertificateRecord, NewCertificate, RevocationRecord


def certificate_record(new: NewCertificate, issuer_name: str, *, id: int = 0, revision: int = 0) -> CertificateRecord:  # noqa: A002
    """A new certificate with the status good."""
    return CertificateRecord(
        id=id,
        issuer_id=new.issuer_id,
        issuer_name=issuer_name,
        serial=new.serial,
        der=new.der,
        subject=new.subject,
        subject_alternative_names=new.subject_alternative_names,
        profile=new.profile,
        not_before=new.not_before,
        not_after=new.not_after,
        issued_at=new.issued_at,
        actor=new.actor,
        revocation=None,
        revision=revision,
    )


def written_record(pending: PendingCertificate, issuer_name: str) -> CertificateRecord:
    """A certificate that this batch recorded."""
    return certificate_record(pending.new, issuer_name, id=pending.id, revision=pending.revision)


def as_of(record: CertificateRecord, revocation: RevocationRecord | None, revision: int) -> CertificateRecord:
    """A certificate with the status that it had from a revision on."""
    return replace(record, revocation=revocation, revision=revision)
