"""What an operator may choose about answers where the documents leave a choice (R35, R44, R50, R61, R62)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography.hazmat import asn1

from gateway.answers import Status
from gateway.evidence import CertificateKey
from gateway.ocsp.response import Revoked, SingleResponse, encode_extension
from gateway.validity import Window, as_time

_ARCHIVE_CUTOFF = "1.3.6.1.5.5.7.48.1.6"
_EXTENDED_REVOKE = "1.3.6.1.5.5.7.48.1.9"
_INVALIDITY_DATE = "2.5.29.24"
_CERTIFICATE_HOLD = 6


class NoncePolicy(StrEnum):
    """What a nonce in a request leads to."""

    ECHO = "echo"
    """It comes back."""
    IGNORE = "ignore"
    """The answer has none, and may be one that is ready."""
    REQUIRE = "require"
    """As ECHO, and a request without one is malformedRequest."""


class NeverIssued(StrEnum):
    """What a serial number that the issuer never gave is. Never good (R44)."""

    UNKNOWN = "unknown"
    """A signed `unknown`."""
    UNAUTHORIZED = "unauthorized"
    """The error, for databases that may not hold all that was issued (R46)."""
    EXTENDED_REVOKED = "extended-revoked"
    """Revoked since 1970 as on hold, with the extension that says what that means (RFC 6960, sections 2.2, 4.4.8)."""


class SignedRequests(StrEnum):
    """What the signature on a request leads to (RFC 6960, section 4.1.2)."""

    IGNORE = "ignore"
    """Nothing: it is not verified (R24, RFC 9919, section 3.1.2)."""
    REQUIRE = "require"
    """Requests without one are sigRequired, those whose signer is not trusted are unauthorized."""


class ResponderId(StrEnum):
    """How answers name who signed them (RFC 6960, section 4.2.1)."""

    KEY = "key"
    """By the hash of the key, as new responders must (R55)."""
    NAME = "name"
    """By the subject of the responder certificate, for clients that know nothing else."""


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """The choices of one gateway."""

    nonce: NoncePolicy = NoncePolicy.ECHO
    never_issued: NeverIssued = NeverIssued.UNKNOWN
    archive_cutoff: int | None = None
    """Seconds for which the status of an expired certificate is kept; None: answers do not speak of it (R61)."""
    invalidity_date: bool = False
    """Whether a recorded invalidity date goes along with a revocation (RFC 6960, section 4.4.5)."""
    crl_reference: Callable[[CertificateKey], bytes | None] | None = None
    """Gives the extension that names the list with a revoked certificate on it; None: answers name no lists (R62)."""

    def single_response(self, cert_id: bytes, status: Status, window: Window, produced_at: int) -> SingleResponse:
        """The answer about one certificate; `cert_id` is the DER of the asker's CertID."""
        begin, end = as_time(window.this_update), as_time(window.next_update)
        if not status.known:
            if self.never_issued is NeverIssued.EXTENDED_REVOKED:
                return SingleResponse(cert_id, Revoked(as_time(0), _CERTIFICATE_HOLD), begin, end)
            return SingleResponse(cert_id, "unknown", begin, end)
        extensions = self._extensions(status, produced_at)
        if status.revocation is None:
            return SingleResponse(cert_id, "good", begin, end, extensions)
        revoked = Revoked(as_time(status.revocation.revoked_at), status.revocation.reason)
        return SingleResponse(cert_id, revoked, begin, end, extensions)

    def tells_production(self, status: Status, window: Window) -> bool:
        """Whether what is said of a certificate within a window depends on the second in which it is said (R61)."""
        return self.archive_cutoff is not None and status.not_after < window.good_until

    def response_extensions(self, *, never_issued: bool) -> tuple[bytes, ...]:
        """Extensions of the whole answer; `never_issued`: it speaks of a serial number that nobody got."""
        if never_issued and self.never_issued is NeverIssued.EXTENDED_REVOKED:
            return (_EXTENDED_REVOKE_EXTENSION,)
        return ()

    def _extensions(self, status: Status, produced_at: int) -> tuple[bytes, ...]:
        found = []
        if self.archive_cutoff is not None and status.not_after < produced_at:
            found.append(_timed(_ARCHIVE_CUTOFF, produced_at - self.archive_cutoff))
        if self.invalidity_date and status.revocation is not None and status.revocation.invalidity_at is not None:
            found.append(_timed(_INVALIDITY_DATE, status.revocation.invalidity_at))
        if status.revocation is not None and self.crl_reference is not None:
            reference = self.crl_reference(status.key)
            found += [reference] if reference is not None else []
        return tuple(found)


_EXTENDED_REVOKE_EXTENSION = encode_extension(_EXTENDED_REVOKE, b"\x05\x00")


def _timed(oid: str, seconds: int) -> bytes:
    moment: datetime = as_time(seconds)
    return encode_extension(oid, asn1.encode_der(asn1.GeneralizedTime(moment)))
