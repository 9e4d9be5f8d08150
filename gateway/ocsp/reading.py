"""From the octets of an OCSP response to what it says (RFC 6960, section 4.2.1), whoever made it.

Whatever the octets, `read_response` returns a `ReadResponse` or raises `UnreadableResponse`, which names the part that
is wrong and where it stands, in time and memory that grow with the input's length only. Nothing is verified here. What
is allowed in BER but not in DER is an error only where it makes the structure unclear; what is merely against the rules
of RFC 6960 and RFC 9919 is read, and told as a deviation. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from gateway.ocsp.cursor import Cursor, Unreadable, Value, object_identifier
from gateway.ocsp.der import NotDer, check_der

BASIC: Final = "1.3.6.1.5.5.7.48.1.1"
"""Id-pkix-ocsp-basic, the one type of response that is defined."""

_TIME: Final = re.compile(rb"(\d{14})(?:[.,](\d{1,9}))?Z")
_ENUMERATED: Final = 0x0A
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_OCTET_STRING: Final = 0x04
_OID: Final = 0x06
_BOOLEAN: Final = 0x01
_SEQUENCE: Final = 0x30
_TIME_TAG: Final = 0x18
_EXPLICIT: Final = (0xA0, 0xA1, 0xA2)
_GOOD, _REVOKED, _UNKNOWN = 0x80, 0xA1, 0x82


class UnreadableResponse(ValueError):
    """Not an OCSP response. `part` is where, in the field names of RFC 6960."""

    def __init__(self, part: str, text: str) -> None:
        super().__init__(f"{part}: {text}")
        self.part = part


@dataclass(frozen=True, slots=True)
class ReadAlgorithm:
    """An AlgorithmIdentifier: dotted OID, and the parameters in DER (empty: absent)."""

    oid: str
    parameters: bytes


@dataclass(frozen=True, slots=True)
class ReadExtension:
    """An extension; `value` is what stands in extnValue."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class ReadCertID:
    """Which certificate a SingleResponse is about."""

    der: bytes
    hash_algorithm: ReadAlgorithm
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int


@dataclass(frozen=True, slots=True)
class ReadSingle:
    """A SingleResponse."""

    cert_id: ReadCertID
    status: Literal["good", "revoked", "unknown"]
    this_update: datetime
    next_update: datetime | None
    revocation_time: datetime | None = None
    reason: int | None = None
    extensions: tuple[ReadExtension, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadBasic:
    """A BasicOCSPResponse."""

    tbs: bytes
    """ResponseData in DER: what is signed."""
    responder_name: bytes | None
    """The DER of a Name; None where the responder is named by its key."""
    responder_key_hash: bytes | None
    produced_at: datetime
    singles: tuple[ReadSingle, ...]
    extensions: tuple[ReadExtension, ...]
    algorithm: ReadAlgorithm
    signature: bytes
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReadResponse:
    """An OCSPResponse."""

    status: int
    basic: ReadBasic | None
    """None where the status is an error."""
    deviations: tuple[str, ...] = ()
    """What is against the rules, and could be read all the same: each with the part that it is about."""

    def extension(self, oid: str) -> ReadExtension | None:
        """One of the responseExtensions."""
        extensions = self.basic.extensions if self.basic else ()
        return next((each for each in extensions if each.oid == oid), None)


def read_response(der: bytes) -> ReadResponse:
    """Read an OCSPResponse. Raises UnreadableResponse."""
    try:
        return _Reader(der).response()
    except Unreadable as error:
        raise UnreadableResponse(error.part, error.text) from error


def looks_like_response(der: bytes) -> bool:
    """Whether octets begin as an OCSPResponse does, whole or not: a SEQUENCE, in it an ENUMERATED."""
    if len(der) < 3 or der[0] != _SEQUENCE:
        return False
    return der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :][:1] == bytes([_ENUMERATED])


@dataclass
class _Reader:
    der: bytes
    deviations: list[str] = field(default_factory=list)

    def response(self) -> ReadResponse:
        try:
            check_der(self.der)
        except NotDer as error:
            self.deviations.append(f"OCSPResponse: not in DER: {error}")
        whole = Cursor(self.der)
        fields = whole.take("OCSPResponse", _SEQUENCE).inside("OCSPResponse")
        whole.finish("OCSPResponse")
        status = fields.take("responseStatus", _ENUMERATED).number()
        basic = None
        if not fields.at_end():
            outer = fields.take("responseBytes", _EXPLICIT[0]).inside("responseBytes")
            basic = self._response_bytes(outer.take("responseBytes", _SEQUENCE).inside("responseBytes"))
            outer.finish("responseBytes")
        fields.finish("OCSPResponse")
        if status == 0 and basic is None:
            raise Unreadable("responseBytes", "the status is successful, and there is no answer")
        if status != 0 and basic is not None:
            self.deviations.append("responseBytes: an error with an answer in it")
        return ReadResponse(status, basic, tuple(self.deviations))

    def _response_bytes(self, fields: Cursor) -> ReadBasic:
        kind = object_identifier(fields.take("responseType", _OID))
        octets = fields.take("response", _OCTET_STRING)
        fields.finish("responseBytes")
        if kind != BASIC:
            raise Unreadable("responseType", f"{kind} is not a basic response ({BASIC})")
        try:
            check_der(octets.content)
        except NotDer as error:
            self.deviations.append(f"response: not in DER: {error}")
        return self._basic(octets.inside("response"))

    def _basic(self, whole: Cursor) -> ReadBasic:
        fields = whole.take("BasicOCSPResponse", _SEQUENCE).inside("BasicOCSPResponse")
        whole.finish("response")
        data = fields.take("tbsResponseData", _SEQUENCE)
        algorithm = self._algorithm(fields, "signatureAlgorithm")
        bits = fields.take("signature", _BIT_STRING)
        if bits.content[:1] != b"\x00":
            raise Unreadable("signature", "a BIT STRING that is not whole octets")
        certificates: tuple[bytes, ...] = ()
        if not fields.at_end():
            outer = fields.take("certs", _EXPLICIT[0]).inside("certs")
            held = outer.take("certs", _SEQUENCE).inside("certs")
            outer.finish("certs")
            certificates = tuple(each.der for each in held.each("certs", _SEQUENCE))
            if not certificates:
                self.deviations.append("certs: there, and empty")
        fields.finish("BasicOCSPResponse")
        return self._response_data(data, algorithm, bits.content[1:], certificates)

    def _response_data(
        self, data: Value, algorithm: ReadAlgorithm, signature: bytes, certificates: tuple[bytes, ...]
    ) -> ReadBasic:
        fields = data.inside("tbsResponseData")
        if fields.tag() == _EXPLICIT[0]:
            outer = fields.take("version", _EXPLICIT[0]).inside("version")
            version = outer.take("version", _INTEGER).number()
            outer.finish("version")
            if version != 0:
                raise Unreadable("version", f"{version} is not v1(0)")
            self.deviations.append("version: v1 is spelled out, which DER does not allow for a DEFAULT")
        name, key_hash = self._responder_id(fields)
        produced_at = self._time(fields, "producedAt")
        held = fields.take("responses", _SEQUENCE).inside("responses")
        singles = tuple(
            self._single(each.inside(f"responses[{index}]"), f"responses[{index}]")
            for index, each in enumerate(held.each("responses", _SEQUENCE))
        )
        if not singles:
            self.deviations.append("responses: there is none")
        extensions = self._extensions(fields, _EXPLICIT[1], "responseExtensions")
        fields.finish("tbsResponseData")
        return ReadBasic(data.der, name, key_hash, produced_at, singles, extensions, algorithm, signature, certificates)

    def _responder_id(self, fields: Cursor) -> tuple[bytes | None, bytes | None]:
        outer = fields.take("responderID", _EXPLICIT[1], _EXPLICIT[2])
        inner = outer.inside("responderID")
        if outer.tag == _EXPLICIT[1]:
            name = inner.take("responderID.byName", _SEQUENCE).der
            inner.finish("responderID")
            return name, None
        key_hash = inner.take("responderID.byKey", _OCTET_STRING).content
        inner.finish("responderID")
        if len(key_hash) != 20:
            self.deviations.append(f"responderID.byKey: {len(key_hash)} octets, where a SHA-1 hash has 20")
        return None, key_hash

    def _single(self, fields: Cursor, part: str) -> ReadSingle:
        cert_id = self._cert_id(fields.take(f"{part}.certID", _SEQUENCE), f"{part}.certID")
        chosen = fields.take(f"{part}.certStatus", _GOOD, _REVOKED, _UNKNOWN)
        status: Literal["good", "revoked", "unknown"] = "unknown"
        revocation_time, reason = None, None
        if chosen.tag == _REVOKED:
            status = "revoked"
            revocation_time, reason = self._revoked(chosen.inside(f"{part}.certStatus"), f"{part}.certStatus")
        else:
            status = "good" if chosen.tag == _GOOD else "unknown"
            if chosen.content:
                raise Unreadable(f"{part}.certStatus", f"{status} with something in it")
        this_update = self._time(fields, f"{part}.thisUpdate")
        next_update = None
        if fields.tag() == _EXPLICIT[0]:
            outer = fields.take(f"{part}.nextUpdate", _EXPLICIT[0]).inside(f"{part}.nextUpdate")
            next_update = self._time(outer, f"{part}.nextUpdate")
            outer.finish(f"{part}.nextUpdate")
        extensions = self._extensions(fields, _EXPLICIT[1], f"{part}.singleExtensions")
        fields.finish(part)
        return ReadSingle(cert_id, status, this_update, next_update, revocation_time, reason, extensions)

    def _revoked(self, fields: Cursor, part: str) -> tuple[datetime, int | None]:
        moment = self._time(fields, f"{part}.revocationTime")
        reason = None
        if not fields.at_end():
            outer = fields.take(f"{part}.revocationReason", _EXPLICIT[0]).inside(f"{part}.revocationReason")
            reason = outer.take(f"{part}.revocationReason", _ENUMERATED).number()
            outer.finish(f"{part}.revocationReason")
            if reason == 0:
                self.deviations.append(f"{part}.revocationReason: unspecified(0) should be left out")
        fields.finish(part)
        return moment, reason

    def _cert_id(self, value: Value, part: str) -> ReadCertID:
        fields = value.inside(part)
        algorithm = self._algorithm(fields, f"{part}.hashAlgorithm")
        name_hash = fields.take(f"{part}.issuerNameHash", _OCTET_STRING).content
        key_hash = fields.take(f"{part}.issuerKeyHash", _OCTET_STRING).content
        serial = fields.take(f"{part}.serialNumber", _INTEGER).number()
        fields.finish(part)
        return ReadCertID(value.der, algorithm, name_hash, key_hash, serial)

    def _algorithm(self, fields: Cursor, part: str) -> ReadAlgorithm:
        inner = fields.take(part, _SEQUENCE).inside(part)
        oid = object_identifier(inner.take(f"{part}.algorithm", _OID))
        parameters = b"" if inner.at_end() else inner.take(f"{part}.parameters").der
        inner.finish(part)
        return ReadAlgorithm(oid, parameters)

    def _extensions(self, fields: Cursor, tag: int, part: str) -> tuple[ReadExtension, ...]:
        if fields.tag() != tag:
            return ()
        outer = fields.take(part, tag).inside(part)
        held = outer.take(part, _SEQUENCE).inside(part)
        outer.finish(part)
        extensions = []
        for index, each in enumerate(held.each(part, _SEQUENCE)):
            inner = each.inside(f"{part}[{index}]")
            oid = object_identifier(inner.take(f"{part}[{index}].extnID", _OID))
            critical = inner.tag() == _BOOLEAN and inner.take(f"{part}[{index}].critical", _BOOLEAN).content != b"\x00"
            value = inner.take(f"{part}[{index}].extnValue", _OCTET_STRING).content
            inner.finish(f"{part}[{index}]")
            extensions.append(ReadExtension(oid, critical, value))
        if not extensions:
            self.deviations.append(f"{part}: there, and empty")
        if len({each.oid for each in extensions}) != len(extensions):
            self.deviations.append(f"{part}: the same extension twice")
        return tuple(extensions)

    def _time(self, fields: Cursor, part: str) -> datetime:
        value = fields.take(part, _TIME_TAG)
        found = _TIME.fullmatch(value.content)
        if found is None:
            raise Unreadable(part, "not a GeneralizedTime in UTC, YYYYMMDDHHMMSSZ")
        try:
            moment = datetime.strptime(found[1].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError as error:
            raise Unreadable(part, "not a date and time of the years 1 to 9999") from error
        if found[2] is not None:
            self.deviations.append(f"{part}: fractions of a second are not allowed")
            moment += timedelta(microseconds=int(found[2].ljust(9, b"0")[:6]))
        return moment
