"""Signing revocation lists of any length (RFC 5280, section 5; R106 to R108, R112).

The library's builder copies its list with each entry, which takes hours for a million. So it makes the list without
entries, and the entries are put between its parts: everything else about a list is as the builder writes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from services.pki.crls import make_crl
from services.pki.der import elements, header, signed_parts
from services.pki.issuers import Issuer

Octets = bytes | bytearray


@dataclass(frozen=True, slots=True)
class SignedCrl:
    """A revocation list (DER) in pieces, because a long one need not lie in memory a second time."""

    pieces: tuple[Octets, ...]
    size: int
    sha256: bytes

    def der(self) -> bytes:
        """The whole list."""
        return b"".join(self.pieces)

    def blocks(self, size: int) -> Iterable[bytes]:
        """The list in blocks of `size` octets; the last one may be shorter."""
        block = bytearray()
        for piece in self.pieces:
            block += piece
            while len(block) >= size:
                yield bytes(block[:size])
                del block[:size]
        if block:
            yield bytes(block)


def sign_crl(
    issuer: Issuer,
    entries: Sequence[Octets],
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
    distribution_point: str | None = None,
) -> SignedCrl:
    """Sign a list of entries, given as `RevokedEntries.octets` has them.

    `distribution_point` makes it the list of one shard: the address, exactly as certificates name it (R112). The rest
    is as `make_crl` has it, and the list is absent without entries (R107). Other threads run while a long list is
    hashed. Ed25519 and ML-DSA sign the list itself, not a hash of it, and need it in one piece.
    """
    template = make_crl(
        issuer,
        number=number,
        this_update=this_update,
        next_update=next_update,
        distribution_point=distribution_point,
    )
    unsigned, algorithm = signed_parts(template)
    *before, extensions = elements(unsigned)
    revoked = _nested(0x30, entries) if any(entries) else []
    signed = _nested(0x30, [*before, *revoked, extensions])
    signature = _signature(issuer, signed)
    pieces = _nested(0x30, [*signed, algorithm, header(0x03, len(signature) + 1) + b"\x00" + signature])
    return SignedCrl(tuple(pieces), sum(map(len, pieces)), _digest("sha256", pieces))


def _nested(tag: int, pieces: Sequence[Octets]) -> list[Octets]:
    return [header(tag, sum(map(len, pieces))), *pieces]


def _signature(issuer: Issuer, pieces: Sequence[Octets]) -> bytes:
    key, algorithm = issuer.private_key, issuer.hash_algorithm
    if algorithm is None:
        return key.sign(b"".join(pieces))  # type: ignore[call-arg]
    digest, prehashed = _digest(algorithm.name, pieces), Prehashed(algorithm)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, padding.PKCS1v15(), prehashed)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(digest, ec.ECDSA(prehashed))
    raise TypeError("a key that signs hashes is RSA or EC")


def _digest(name: str, pieces: Iterable[Octets]) -> bytes:
    digest = hashlib.new(name)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def crl_number(crl_der: bytes) -> int:
    """The number of a list. Raises ValueError for one without (R108)."""
    try:
        extension = x509.load_der_x509_crl(crl_der).extensions.get_extension_for_class(x509.CRLNumber)
    except x509.ExtensionNotFound:
        raise ValueError("a revocation list without a number") from None
    return extension.value.crl_number
