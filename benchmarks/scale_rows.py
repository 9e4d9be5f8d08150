"""The rows of a large database, as issuing would have left them, one at a time. Pure: memory does not grow with them.

Certificates vary one real certificate: its serial number and its name are replaced in place, so that the DER stays
valid (the signature does not fit any more, which nobody looks at). Serial numbers and names are spread over all there
can be. They come from a permutation, so that rows can be made in the order of a key just as well as in the order of
issuing: B-trees that are filled in the order of their keys are filled many times faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

Row = Sequence[object]

SPAN = 365 * 86_400
"""Seconds over which the certificates were issued, up to now."""
REMEMBERED = 7 * 86_400
"""Seconds for which request ids are remembered."""
REVOKED_EVERY = 49  # two in a hundred, of every profile
LIFETIMES = (90 * 86_400, 365 * 86_400)
PROFILES = ("server", "client")
FILLED = (5, 7)
"""How many of how many rows go in first, in the order of their key; the others then split the full pages."""

CERTIFICATE_COLUMNS = (
    "id", "issuer_id", "serial", "der", "subject", "subject_alternative_names", "profile", "public_key_sha256",
    "not_before", "not_after", "issued_at", "actor_identity", "actor_name", "actor_role", "actor_fingerprint",
    "peer", "request_id",
)  # fmt: skip
STATUS_COLUMNS = (
    "issuer_id", "serial", "certificate_id", "issued_at", "not_after", "revoked_at", "reason", "changed_at",
    "revision",
)  # fmt: skip
NAME_COLUMNS = ("name", "certificate_id")
CHANGE_COLUMNS = (
    "revision", "issuer_id", "serial", "action", "revoked_at", "reason", "changed_at", "actor_identity",
    "actor_name", "actor_role", "actor_fingerprint", "peer", "request_id",
)  # fmt: skip
MEMORY_COLUMNS = ("identity", "method", "request_id", "payload_sha256", "outcome", "created_at")

_IDENTITY = "spiffe://goodstanding/issuer/scale"
_ACTOR = (_IDENTITY, "scale", "issuer", "5ca1e000" * 8, "ipv4:192.0.2.1:40000")
_REASONS = (1, 3, 4, 5, 9)
_SHIFT = 32
_ODD = 0x9E3779B1  # 2^32 by the golden ratio: neighbours end up far from each other


def name_of(number: int) -> str:
    """The name in a certificate; `number` has 32 bits. All names are equally long."""
    return f"n{number:08x}.scale.example.com"


class Template:
    """A real certificate, for one name in its subject and in its alternative names, cut where others differ."""

    def __init__(self, der: bytes, name: str) -> None:
        """Raises ValueError where the certificate is not for that name only."""
        self._serial = _serial_octets(der)
        self._parts = der.replace(self._serial, name.encode(), 1).split(name.encode())
        if len(self._parts) != 4 or der.count(self._serial) != 1 or not self._parts[0].endswith(_head(self._serial)):
            raise ValueError("a certificate with that name once as common name and once as alternative name")

    @property
    def high(self) -> bool:
        """Whether it is for serial numbers with the top bit set, which have one more octet in DER."""
        return len(self._serial) == 17

    def certificate(self, serial: bytes, name: bytes) -> bytes:
        """The same certificate with another serial number and another name."""
        first, second, third, last = self._parts
        return b"".join((first, b"\0" if self.high else b"", serial, second, name, third, name, last))


def _serial_octets(der: bytes) -> bytes:
    from cryptography import x509

    number = x509.load_der_x509_certificate(der).serial_number
    return number.to_bytes(number.bit_length() // 8 + 1)


def _head(octets: bytes) -> bytes:
    return bytes((2, len(octets)))


@dataclass(frozen=True)
class Population:
    """`count` certificates of one issuer, numbered from 1 to `count` in the order of issuing."""

    count: int
    issuer_id: int
    templates: tuple[Template, Template]
    """For serial numbers without and with the top bit."""
    last_id: int
    """Of the certificates that are there already."""
    last_revision: int
    now: int
    """Seconds since 1970. The last certificate was issued then."""
    seed: bytes = b"scale"

    @property
    def revoked(self) -> int:
        """How many of them are revoked."""
        return self.count // REVOKED_EVERY

    @property
    def revision(self) -> int:
        """The position after all of this: each certificate took one revision, and then each revocation."""
        return self.last_revision + self.count + self.revoked

    def spread(self, number: int) -> int:
        """32 bits for a certificate, different ones for each."""
        return ((number * _ODD) & self._mask) << (_SHIFT - self._bits)

    def serial(self, number: int) -> bytes:
        """16 octets, the first of them not zero."""
        return _serial(self.spread(number), self._digest(number))

    def name(self, number: int) -> str:
        """The one name of a certificate."""
        return name_of(self.spread(number))

    def issued_at(self, number: int) -> int:
        """Seconds since 1970; certificates were issued all the year round."""
        return self.now - SPAN + SPAN * number // self.count

    def not_after(self, number: int) -> int:
        """Seconds since 1970."""
        return self.issued_at(number) + LIFETIMES[number % 10 == 3] - 1

    def is_revoked(self, number: int) -> bool:
        """One in forty-nine."""
        return number % REVOKED_EVERY == 0

    def certificates(self) -> Iterator[Row]:
        """Descriptions, in the order of issuing."""
        low, high = self.templates
        for number in range(1, self.count + 1):
            spread, digest = self.spread(number), self._digest(number)
            serial, name, issued_at = _serial(spread, digest), name_of(spread), self.issued_at(number)
            template, kind = high if serial[0] & 0x80 else low, number % 10 == 3
            yield (
                self.last_id + number,
                self.issuer_id,
                serial,
                template.certificate(serial, name.encode()),
                f"CN={name}",
                f'["DNS:{name}"]',
                PROFILES[kind],
                digest[12:44],
                issued_at - 60,
                issued_at + LIFETIMES[kind] - 1,
                issued_at,
                *_ACTOR,
                digest[44:].hex(),
            )

    def statuses(self) -> Iterator[tuple[int, bytes, int, int, int, int | None, int | None, int, int]]:
        """Statuses, in two sweeps, each in the order of issuer and serial number."""
        for number in self._by_key():
            changed_at = issued_at = self.issued_at(number)
            revision, revoked_at, reason = self.last_revision + number, None, None
            if self.is_revoked(number):
                revision, changed_at, reason = self._revocation(number)
                revoked_at = changed_at
            id_, not_after = self.last_id + number, self.not_after(number)
            yield (
                self.issuer_id, self.serial(number), id_, issued_at, not_after, revoked_at, reason, changed_at, revision
            )  # fmt: skip

    def names(self) -> Iterator[tuple[str, int]]:
        """Names, in two sweeps, each in their order."""
        for number in self._by_key():
            yield self.name(number), self.last_id + number

    def changes(self) -> Iterator[Row]:
        """Revocations, in the order of revisions."""
        for number in range(REVOKED_EVERY, self.count + 1, REVOKED_EVERY):
            revision, at, reason = self._revocation(number)
            request = self._digest(-number)[44:].hex()
            yield revision, self.issuer_id, self.serial(number), "revoke", at, reason, at, *_ACTOR, request

    def memories(self) -> Iterator[Row]:
        """The request ids of the last week."""
        for number in range(self.count - self.count * REMEMBERED // SPAN, self.count + 1):
            digest = self._digest(number)
            outcome, at = self.last_id + number, self.issued_at(number)
            yield _IDENTITY, "IssueCertificate", digest[44:].hex(), digest[:32], outcome, at

    @property
    def _bits(self) -> int:
        return self.count.bit_length()

    @property
    def _mask(self) -> int:
        return (1 << self._bits) - 1

    def _by_key(self) -> Iterator[int]:
        mask, back, (some, of) = self._mask, pow(_ODD, -1, 1 << self._bits), FILLED
        for first in (True, False):
            for rank in range(mask + 1):
                number = (rank * back) & mask
                if 0 < number <= self.count and (number % of < some) is first:
                    yield number

    def _revocation(self, number: int) -> tuple[int, int, int]:
        revision = self.last_revision + self.count + number // REVOKED_EVERY
        at = min(self.now, self.issued_at(number) + number % 40 * 86_400)
        return revision, at, _REASONS[number // REVOKED_EVERY % len(_REASONS)]

    def _digest(self, number: int) -> bytes:
        return blake2b(number.to_bytes(8, signed=True), key=self.seed, digest_size=60).digest()


def _serial(spread: int, digest: bytes) -> bytes:
    # The first octet is never zero; the order stays that of `spread`.
    return (0x0100_0000 + (spread * 0xFF >> 8)).to_bytes(4) + digest[:12]
