"""What becomes of a certificate's revocation when its issuer is compromised (RFC 6960, section 2.7; R51)."""

from __future__ import annotations

from dataclasses import replace

from services.db.records import CompromiseRecord, RevocationRecord
from services.pki.reasons import Reason


def revocation_as_issuer_stands(
    own: RevocationRecord | None, compromise: CompromiseRecord | None
) -> RevocationRecord | None:
    """The revocation that a certificate has, with a compromise of its issuer taken into account.

    A revocation of its own stands where it came first. A hold does not, because it could be released; only its time
    stays, from which the certificate was not to be trusted (R111).
    """
    if compromise is None:
        return own
    by_issuer = compromise.revocation
    if own is None or own.revoked_at > by_issuer.revoked_at:
        return by_issuer
    return replace(by_issuer, revoked_at=own.revoked_at) if own.reason == Reason.CERTIFICATE_HOLD else own
