"""Finds issuers the ways that requests name them: by name, and by the hashes of a CertID.

Guarantee: both hashes of a CertID have to be those of one issuer (R28), under the algorithm that the CertID names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.db.records import IssuerRecord, Position
from services.pki.keys import issuer_hashes

HASH_ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class IssuerIndex:
    """All issuers as of one position."""

    position: Position
    by_id: dict[int, IssuerRecord]
    by_name: dict[str, IssuerRecord]
    by_hashes: dict[tuple[str, bytes, bytes], IssuerRecord]
    """(algorithm, issuerNameHash, issuerKeyHash)"""

    def moved_to(self, position: Position) -> IssuerIndex:
        """The same issuers as of a later position, up to which none of them changed."""
        return IssuerIndex(position, self.by_id, self.by_name, self.by_hashes)


def build_index(issuers: Iterable[IssuerRecord], position: Position) -> IssuerIndex:
    """Index issuers that were read in the same snapshot as `position`."""
    known = list(issuers)
    return IssuerIndex(
        position,
        {issuer.id: issuer for issuer in known},
        {issuer.name: issuer for issuer in known},
        {
            (algorithm, *issuer_hashes(issuer.subject_der, issuer.public_key_der, algorithm)): issuer
            for issuer in known
            for algorithm in HASH_ALGORITHMS
        },
    )
