"""What the status service says of a signer's own certificate: nobody should sign with one that is revoked.

Clients that ask for it, as they may where it has no nocheck (RFC 6960, section 4.2.2.2.1), would believe none of its
answers. A certificate that the status service does not know may sign: nothing is said against it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from gateway.answers import Status
from gateway.evidence import CertificateKey
from gateway.issuers import Issuer
from gateway.knowledge import LookedUp
from gateway.signer_files import Pair

LookUp = Callable[[Sequence[CertificateKey]], Awaitable[Sequence[LookedUp]]]
"""Asks the status service. Raises StatusUnavailable."""

DAY = 86400
_NOTICES = (30, 7, 1)
"""Days before a signer's end on which that is told."""


def certificate_key(issuer: Issuer, pair: Pair) -> CertificateKey:
    """What the status service knows the certificate as."""
    number = pair.certificate.serial_number
    return CertificateKey(issuer.name, number.to_bytes((number.bit_length() + 7) // 8, "big"))


def why_revoked(issuer: Issuer, pair: Pair, status: Status) -> str | None:
    """Why the certificate must not sign; None if it may.

    With a compromised issuer everything of it is revoked, its responders too. There, somebody has to say so, and most
    clients ask no further: not to answer would be to leave them with `good` from their caches.
    """
    if status.revocation is None or issuer.compromised:
        return None
    since = datetime.fromtimestamp(status.revocation.revoked_at, UTC).isoformat()
    return f"{pair.paths.certificate} is revoked since {since}: have another one issued by {issuer.name}"


def days_of_notice(begin: float, end: float, now: float) -> int | None:
    """Which notice of its end a signer has come to, in days before it; None if it is not time yet.

    Those that live for less than four times as long as a notice get a later one, or none: who has certificates made for
    days has that done by a program.
    """
    due = [days for days in _NOTICES if end - now <= days * DAY <= (end - begin) / 4]
    return min(due, default=None)
