"""OCSP responses (RFC 6960 section 4.2), and the one place where they are signed.

Every response made here is DER; version is left out; the responder is named by key hash, unless asked otherwise; times
are whole seconds in UTC; the certificate of a delegated responder, and no other, is enclosed; no answer is valid longer
than its signer.

Responses are put together from constant parts and a few values: several times quicker than encoding declared types, and
this runs once for every answer with a nonce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.ocsp.algorithms import key_algorithm_spellings, signature_algorithm
from gateway.ocsp.der import tlv
from gateway.ocsp.request import PreferredAlgorithm
from gateway.ocsp.types import Extension

SEQUENCE: Final = 0x30
OCTET_STRING: Final = 0x04
BIT_STRING: Final = 0x03
GENERALIZED_TIME: Final = 0x18
EXPLICIT: Final = (0xA0, 0xA1, 0xA2)
"""Context-specific constructed tags 0 to 2."""

_BASIC_RESPONSE_OID: Final = bytes.fromhex("06 09 2b 06 01 05 05 07 30 01 01")
_NONCE_OID: Final = bytes.fromhex("06 09 2b 06 01 05 05 07 30 01 02")
_SUCCESSFUL: Final = bytes.fromhex("0a 01 00")
_GOOD: Final = bytes.fromhex("80 00")
_UNKNOWN: Final = bytes.fromhex("82 00")
_REASONS: Final = frozenset({0, 1, 2, 3, 4, 5, 6, 9, 10})
"""CRLReasons of something that is revoked: 7 is not used, and 8 (removeFromCRL) is for delta CRLs only."""


class OcspStatus(IntEnum):
    """OCSPResponseStatus (RFC 6960 section 4.2.1). The value 4 is not used."""

    SUCCESSFUL = 0
    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    SIG_REQUIRED = 5
    UNAUTHORIZED = 6


_ERRORS: Final[Mapping[OcspStatus, bytes]] = {
    status: bytes((0x30, 0x03, 0x0A, 0x01, status)) for status in OcspStatus if status is not OcspStatus.SUCCESSFUL
}


def error_response(status: OcspStatus) -> bytes:
    """Return the DER of an OCSPResponse that has only a status: 5 octets, no responseBytes, unsigned.

    Raises KeyError: `status` is SUCCESSFUL, which needs responseBytes.
    """
    return _ERRORS[status]


@dataclass(frozen=True, slots=True)
class Revoked:
    """RevokedInfo. `reason` is a CRLReason (RFC 5280 section 5.3.1); None and unspecified(0) are not written.

    Raises ValueError: a reason that something revoked cannot have.
    """

    revocation_time: datetime
    reason: int | None = None

    def __post_init__(self) -> None:
        if self.reason is not None and self.reason not in _REASONS:
            raise ValueError(f"{self.reason} is not a reason for being revoked")


@dataclass(frozen=True, slots=True)
class SingleResponse:
    """The status of one certificate.

    Times are aware; fractions of a second are cut off. Whoever fills it in sees to revocation_time <= this_update.
    """

    cert_id_der: bytes
    """CertID as in the request, octet for octet."""
    status: Literal["good", "unknown"] | Revoked
    this_update: datetime
    next_update: datetime
    extensions: tuple[bytes, ...] = ()
    """singleExtensions, each as made by `encode_extension`."""


def encode_extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return the DER of an Extension; `oid` is dotted, `value` is the DER that goes into extnValue."""
    return asn1.encode_der(Extension(extn_id=x509.ObjectIdentifier(oid), critical=critical, extn_value=value))


class ResponseSigner:
    """Signs with one key for one certificate (RFC 6960 section 4.2.2.2). Safe to share between threads."""

    def __init__(
        self,
        private_key: PrivateKeyTypes,
        certificate: x509.Certificate,
        *,
        by_name: bool = False,
        direct: bool = False,
        not_after: datetime | None = None,
    ) -> None:
        """Prepare what is the same in every response.

        Args:
            private_key: Signs.
            certificate: Of a delegated responder, or the CA's own (`direct`).
            by_name: Name the responder by its subject, not by its key.
            direct: The CA signs by itself: whoever asks has its certificate, and it is not enclosed (R67).
            not_after: The end of signing, if it comes before the end of the certificate.

        Raises UnsupportedKey: see `gateway.ocsp.algorithms.signature_algorithm`; ValueError: the certificate is for
        another key.
        """
        algorithm = signature_algorithm(private_key)
        public_key = certificate.public_key()
        public_key_der = _spki(public_key)
        if public_key_der != _spki(private_key.public_key()):
            raise ValueError("the responder certificate is for another key")
        self.certificate: Final = certificate
        self.direct: Final = direct
        self.not_after: Final = min(certificate.not_valid_after_utc, not_after or certificate.not_valid_after_utc)
        """When it signs no more."""
        self.ends_at: Final = self.not_after.timestamp()
        """The same in seconds since 1970."""
        self.key_hash: Final = x509.SubjectKeyIdentifier.from_public_key(public_key).digest
        """SHA-1 of the public key's bits: KeyHash (RFC 6960 section 4.2.1) is SHA-1, whatever the CertIDs use."""
        self.repeatable: Final = algorithm.repeatable
        """Whether answers without nonce come out the same each time, on every gateway that has this key."""
        self.sign_octets: Final = algorithm.sign
        """Signs ResponseData; with True, the same octets give the same signature if it is `repeatable`."""
        self.quick: Final = algorithm.quick
        """Whether a signature takes so little time that everybody else can wait for it."""
        self._algorithm: Final = algorithm.identifier
        by_key = tlv(EXPLICIT[2], tlv(OCTET_STRING, self.key_hash))
        self._responder_id: Final = tlv(EXPLICIT[1], certificate.subject.public_bytes()) if by_name else by_key
        enclosed = tlv(EXPLICIT[0], tlv(SEQUENCE, certificate.public_bytes(Encoding.DER)))
        self._certs: Final = b"" if direct else enclosed
        self._signature_spellings: Final = algorithm.spellings
        self._key_spellings: Final = key_algorithm_spellings(public_key_der)

    def makes(self, preferred: PreferredAlgorithm) -> bool:
        """Whether its signatures are what a client prefers (R42)."""
        if preferred.public_key is not None and preferred.public_key not in self._key_spellings:
            return False
        return preferred.signature in self._signature_spellings

    def sign(
        self,
        single_responses: Sequence[SingleResponse],
        produced_at: datetime,
        nonce: bytes | None = None,
        *,
        extensions: Sequence[bytes] = (),
    ) -> bytes:
        """Return a complete OCSPResponse in DER, status successful.

        Without a nonce, the same arguments give the same octets if the signer is `repeatable` (ECDSA: RFC 6979).

        Arguments and errors are those of `to_sign`.
        """
        tbs = self.to_sign(single_responses, produced_at, nonce, extensions=extensions)
        return self.envelope(tbs, self.sign_octets(tbs, nonce is None))

    def to_sign(
        self,
        single_responses: Sequence[SingleResponse],
        produced_at: datetime,
        nonce: bytes | None = None,
        *,
        extensions: Sequence[bytes] = (),
    ) -> bytes:
        """Return the DER of the ResponseData of a response, for `sign_octets` and then `envelope`.

        Args:
            single_responses: One for each CertID of the request, at least one.
            produced_at: Aware; fractions of a second are cut off.
            nonce: `OcspRequest.nonce`; goes first among the responseExtensions, not critical.
            extensions: More responseExtensions, each as made by `encode_extension`.

        Raises ValueError: no SingleResponse; times out of order (RFC 6960 section 2.4); a nextUpdate later than
        `not_after`; TypeError: a time without time zone.
        """
        self._check_times(single_responses, produced_at)
        return self.response_data(single_responses, produced_at, nonce, extensions=extensions)

    def template(self, single: SingleResponse, nonce_size: int) -> ResponseTemplate:
        """Return all of a response about one certificate but for producedAt and a nonce of `nonce_size` octets.

        Raises ValueError: times out of order, as for `sign`.
        """
        self._check_times([single], single.this_update)
        nonce = tlv(OCTET_STRING, bytes(nonce_size))
        extensions = _extensions(tlv(SEQUENCE, _NONCE_OID + tlv(OCTET_STRING, nonce)))
        responses = tlv(SEQUENCE, _single_response(single))
        content = self._responder_id + _time(single.this_update) + responses + extensions
        header = tlv(SEQUENCE, content)[: -len(content)]
        return ResponseTemplate(self, header + self._responder_id, responses + extensions[:-nonce_size])

    def envelope(self, tbs: bytes, signature: bytes) -> bytes:
        """Return the complete OCSPResponse for ResponseData (DER) and its signature."""
        basic = tlv(SEQUENCE, tbs + self._algorithm + tlv(BIT_STRING, b"\x00" + signature) + self._certs)
        response_bytes = tlv(SEQUENCE, _BASIC_RESPONSE_OID + tlv(OCTET_STRING, basic))
        return tlv(SEQUENCE, _SUCCESSFUL + tlv(EXPLICIT[0], response_bytes))

    def response_data(
        self,
        single_responses: Sequence[SingleResponse],
        produced_at: datetime,
        nonce: bytes | None = None,
        *,
        extensions: Sequence[bytes] = (),
    ) -> bytes:
        """Return the DER of ResponseData as `to_sign` does, without its checks."""
        head = self._responder_id + _time(produced_at)
        responses = tlv(SEQUENCE, b"".join([_single_response(single) for single in single_responses]))
        more = b"".join(extensions)
        if nonce is not None:
            more = tlv(SEQUENCE, _NONCE_OID + tlv(OCTET_STRING, nonce)) + more
        return tlv(SEQUENCE, head + responses + _extensions(more))

    def _check_times(self, single_responses: Sequence[SingleResponse], produced_at: datetime) -> None:
        if not single_responses:
            raise ValueError("a response must answer for at least one certificate")
        for single in single_responses:
            if not single.this_update <= produced_at <= single.next_update <= self.not_after:
                raise ValueError("thisUpdate, producedAt, nextUpdate and the signer's end are out of order")


class ResponseTemplate:
    """A response about one certificate, ready but for producedAt, the nonce and the signature.

    Putting those in takes a twentieth of what encoding the response takes.
    """

    __slots__ = ("_frames", "_head", "_middle", "_signer")

    def __init__(self, signer: ResponseSigner, head: bytes, middle: bytes) -> None:
        self._signer = signer
        self._head = head
        self._middle = middle
        # What goes around ResponseData and signature, by the signature's length: in ECDSA it varies by a few octets.
        self._frames: dict[int, tuple[bytes, bytes, bytes]] = {}

    @property
    def size(self) -> int:
        """Octets held, about."""
        return 2 * (len(self._head) + len(self._middle))

    def sign(self, produced_at: bytes, nonce: bytes) -> bytes:
        """Return the complete OCSPResponse in DER.

        Args:
            produced_at: As from `encode_time`, between the thisUpdate and the nextUpdate of the template.
            nonce: The octets of the nonce, as many as the template is for, without tag and length.
        """
        tbs = b"".join((self._head, produced_at, self._middle, nonce))
        return self.complete(tbs, self._signer.sign_octets(tbs, False))

    def response_data(self, produced_at: bytes, nonce: bytes) -> bytes:
        """Return what `sign` signs, for `complete`."""
        return b"".join((self._head, produced_at, self._middle, nonce))

    def complete(self, tbs: bytes, signature: bytes) -> bytes:
        """Return the complete OCSPResponse for what `response_data` gave, and its signature."""
        frame = self._frames.get(len(signature))
        if frame is not None:
            return b"".join((frame[0], tbs, frame[1], signature, frame[2]))
        whole = self._signer.envelope(tbs, signature)
        before, _, rest = whole.partition(tbs)
        between, _, after = rest.partition(signature)
        self._frames[len(signature)] = (before, between, after)
        return whole


def _spki(public_key: object) -> bytes:
    der: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return der


def _single_response(single: SingleResponse) -> bytes:
    content = single.cert_id_der + _cert_status(single.status) + _time(single.this_update)
    content += tlv(EXPLICIT[0], _time(single.next_update))
    return tlv(SEQUENCE, content + _extensions(b"".join(single.extensions)))


def _cert_status(status: Literal["good", "unknown"] | Revoked) -> bytes:
    if isinstance(status, Revoked):
        return _revoked(status)
    # Anything but the one word must not come out as good.
    if status == "good":
        return _GOOD
    if status == "unknown":
        return _UNKNOWN
    raise ValueError(f"no such status: {status!r}")


def _revoked(status: Revoked) -> bytes:
    reason = bytes((EXPLICIT[0], 3, 0x0A, 1, status.reason)) if status.reason else b""
    return tlv(EXPLICIT[1], _time(status.revocation_time) + reason)


def _extensions(encoded: bytes) -> bytes:
    """Extensions under tag [1], as in both ResponseData and SingleResponse; nothing if there are none."""
    return tlv(EXPLICIT[1], tlv(SEQUENCE, encoded)) if encoded else b""


@lru_cache(maxsize=256)
def encode_time(seconds: int) -> bytes:
    """Return the DER of a GeneralizedTime for seconds since 1970."""
    return _time(datetime.fromtimestamp(seconds, UTC))


@lru_cache(maxsize=256)
def _time(moment: datetime) -> bytes:
    """Return a GeneralizedTime without fractions (RFC 5280 section 4.1.2.5.2)."""
    if moment.tzinfo is None:
        raise TypeError("a time without a time zone")
    utc = moment.astimezone(UTC)
    return tlv(GENERALIZED_TIME, f"{utc.year:04}{utc:%m%d%H%M%S}Z".encode("ascii"))
