"""Which issuers a CertID nearly means: for explanations, and never for answers.

An answer needs both hashes of one issuer under the algorithm that the CertID names (R28). Where no issuer has them,
`near_misses` says what would have been one, and what went wrong on the way: the usual mistakes of those who put CertIDs
together. Pure: no I/O, no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.hazmat import asn1

from gateway.ocsp.types import SubjectPublicKeyInfo

_TRIED: Final = ("sha1", "sha256", "sha384", "sha512", "md5", "sha224", "sha3_256", "sha3_384", "sha3_512")


class Fit(StrEnum):
    """How an issuer nearly fits a CertID."""

    NAME_ONLY = "name-only"
    """The name is its name, the key another one."""
    KEY_ONLY = "key-only"
    """The key is its key, the name another one, or encoded in another way."""
    SWAPPED = "swapped"
    """The two hashes stand in each other's place."""
    KEY_WITH_ALGORITHM = "key-with-algorithm"
    """The key was hashed with its algorithm, as a SubjectPublicKeyInfo."""
    OTHER_HASH_ALGORITHM = "other-hash-algorithm"
    """Both hashes are right, by a function that is not the one that is named, or that is not supported."""


PHRASES: Final[Mapping[Fit, str]] = {
    Fit.NAME_ONLY: "it has the name of issuer {name}, but another key",
    Fit.KEY_ONLY: "it has the key of issuer {name}, but another name, or the name encoded in another way",
    Fit.SWAPPED: "the hashes of name and key of issuer {name} are swapped",
    Fit.KEY_WITH_ALGORITHM: "the key of issuer {name} was hashed together with its algorithm",
    Fit.OTHER_HASH_ALGORITHM: "the hashes are those of issuer {name} under {hash}",
}
"""What to say of an issuer that nearly fits, with its name and the hash function put in."""


class KnownIssuer(NamedTuple):
    """An issuer to compare with: the DER of its Name and of its SubjectPublicKeyInfo."""

    name: str
    subject_der: bytes
    public_key_der: bytes


class NearMiss(NamedTuple):
    """An issuer that nearly fits, how, and under which hash function."""

    issuer: str
    fit: Fit
    hash_algorithm: str


def near_misses(
    hash_algorithm: str | None, name_hash: bytes, key_hash: bytes, issuers: Iterable[KnownIssuer]
) -> list[NearMiss]:
    """The issuers that nearly fit a CertID with these hashes. `hash_algorithm` is None where it is not supported."""
    return [
        NearMiss(issuer.name, fit, algorithm)
        for issuer in issuers
        for fit, algorithm in _fits(hash_algorithm, name_hash, key_hash, issuer)
    ]


def issuer_hashes(issuer: KnownIssuer, hash_algorithm: str) -> tuple[bytes, bytes]:
    """The issuerNameHash and issuerKeyHash of a CertID (RFC 6960, section 4.1.1; R27). Raises ValueError: not DER."""
    name, key, _ = _hashes(issuer, hash_algorithm)
    return name, key


def _fits(named: str | None, name_hash: bytes, key_hash: bytes, issuer: KnownIssuer) -> Iterator[tuple[Fit, str]]:
    for algorithm in _TRIED:
        name, key, whole_key = _hashes(issuer, algorithm)
        if (name_hash, key_hash) == (name, key):
            if algorithm != named:
                yield Fit.OTHER_HASH_ALGORITHM, algorithm
        elif (name_hash, key_hash) == (key, name):
            yield Fit.SWAPPED, algorithm
        elif (name_hash, key_hash) == (name, whole_key):
            yield Fit.KEY_WITH_ALGORITHM, algorithm
        elif name_hash == name:
            yield Fit.NAME_ONLY, algorithm
        elif key_hash == key:
            yield Fit.KEY_ONLY, algorithm


@lru_cache(maxsize=4096)
def _hashes(issuer: KnownIssuer, algorithm: str) -> tuple[bytes, bytes, bytes]:
    """The hashes of the name, of the key's bits, and of the whole SubjectPublicKeyInfo."""
    bits = asn1.decode_der(SubjectPublicKeyInfo, issuer.public_key_der).subject_public_key.as_bytes()

    def digest(data: bytes) -> bytes:
        return hashlib.new(algorithm, data, usedforsecurity=False).digest()

    return digest(issuer.subject_der), digest(bits), digest(issuer.public_key_der)
