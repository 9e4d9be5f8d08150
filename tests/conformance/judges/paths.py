"""Certification paths as files, for programs that validate them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.conformance.estate import Estate


@dataclass(frozen=True)
class CertificationPath:
    """From a leaf to its root."""

    leaf: Path
    authorities: tuple[Path, ...]
    """The CA certificates between leaf and root."""
    root: Path

    @classmethod
    def of(cls, estate: Estate, issuer: str, leaf: Path) -> CertificationPath:
        """The path of a certificate of one of the estate's issuers, each of which is a root or just below one."""
        authorities = estate.hierarchy.authorities
        by_subject = {each.certificate.subject: name for name, each in authorities.items()}
        parent = by_subject[authorities[issuer].certificate.issuer]
        between = () if parent == issuer else (estate.ca_file(issuer),)
        return cls(leaf, between, estate.ca_file(parent))
