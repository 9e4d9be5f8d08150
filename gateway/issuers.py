"""Which issuer a CertID means (RFC 6960, section 4.1.1; R26–R32).

An issuer is a name *and* a key: both hashes must be of the same one. Two keys under one name are two issuers, and so is
one key under two names.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat import asn1

from gateway.ocsp.request import CertID

HASH_ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer, as the status service describes it."""

    name: str
    active: bool
    """Whether it can be asked for a responder certificate: it issues, or is retired and does no more than that."""
    subject_der: bytes
    public_key_der: bytes
    certificates_der: tuple[bytes, ...]
    revision: int
    compromised: bool = False
    """Whether its key is, so that every certificate of it is revoked."""

    @property
    def not_after(self) -> float:
        """When its last certificate ends, in seconds since 1970; infinity if it has none."""
        return _last_end(self.certificates_der)


@lru_cache(maxsize=256)
def _last_end(certificates_der: tuple[bytes, ...]) -> float:
    ends = (x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() for der in certificates_der)
    return max(ends, default=math.inf)


@asn1.sequence
class _SubjectPublicKeyInfo:
    algorithm: asn1.TLV
    subject_public_key: asn1.BitString


def key_bits(public_key_der: bytes) -> bytes:
    """The content of the BIT STRING in a SubjectPublicKeyInfo, without its unused-bits octet (R27)."""
    info = asn1.decode_der(_SubjectPublicKeyInfo, public_key_der)
    return bytes(info.subject_public_key.as_bytes())


class IssuerIndex:
    """The issuers by name and by hashes."""

    def __init__(self, issuers: Iterable[Issuer] = ()) -> None:
        self._by_name: dict[str, Issuer] = {}
        self._by_hashes: dict[tuple[str, bytes, bytes], Issuer] = {}
        self.update(issuers)

    def update(self, issuers: Iterable[Issuer]) -> None:
        """Add issuers, or put them in the place of what they were."""
        for issuer in issuers:
            self._by_name[issuer.name] = issuer
        self._by_hashes = {
            hashes: issuer
            for issuer in self._by_name.values()
            for hashes in _hashes(issuer.subject_der, issuer.public_key_der)
        }

    def replace(self, issuers: Iterable[Issuer]) -> None:
        """Know these issuers, and no others."""
        self._by_name.clear()
        self.update(issuers)

    def by_name(self, name: str) -> Issuer | None:
        """The issuer of that name."""
        return self._by_name.get(name)

    def match(self, cert_id: CertID) -> Issuer | None:
        """The issuer that a CertID means; None if it is not ours, or the hash is one that we do not know."""
        if cert_id.hash_algorithm is None:
            return None
        return self._by_hashes.get((cert_id.hash_algorithm, cert_id.issuer_name_hash, cert_id.issuer_key_hash))

    def __iter__(self) -> Iterator[Issuer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


@lru_cache(maxsize=4096)
def _hashes(subject_der: bytes, public_key_der: bytes) -> tuple[tuple[str, bytes, bytes], ...]:
    """By each algorithm. Remembered: a change of one issuer is no work for each of the others."""
    bits = key_bits(public_key_der)
    return tuple(
        (algorithm, _digest(algorithm, subject_der), _digest(algorithm, bits)) for algorithm in HASH_ALGORITHMS
    )


def _digest(algorithm: str, data: bytes) -> bytes:
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()
