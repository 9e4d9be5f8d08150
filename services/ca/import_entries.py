"""The certificates of an import, one by one: what of each can be recorded, and what is odd about it.

Guarantees: nothing that is wrong with one keeps another out; what makes no sense beside a revocation (a reason that
there is none, a time to come) never keeps the revocation itself out. Reads no database: that is for `import_chunks`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

from cryptography import x509

from services.ca.bootstrap import CA_PROFILE
from services.clock import from_epoch, rfc3339, to_epoch
from services.db.certificates import search_name
from services.db.imports import ImportRow, search_names
from services.errors import InvalidArgument
from services.pki.foreign import ForeignCertificate, ForeignCertificateError, read_certificate
from services.pki.reasons import NAMES, Reason
from services.pki.serials import parse_serial, serial_from_int
from services.pki.unreadable import UNREADABLE

PROFILE = "imported"
"""The profile that imported certificates are listed under. No caller can ask for it."""

MAX_CERTIFICATE = 64 * 1024
MAX_ORIGIN = 200
_EARLIEST, _LATEST = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,40}", re.ASCII)
_LONGEST_OID = 255
# Of OpenSSL's one line (/C=DE/CN=name) and of RFC 4514 (CN=name,C=DE), where nothing in it is escaped.
_COMMON_NAME = re.compile(r"(?:^|[/,+] ?)CN ?= ?([^/,+\\]+)(?=$|[/,+])")


class SentRevocation(NamedTuple):
    """The revocation of a certificate as it was sent. Times are seconds since 1970."""

    revoked_at: int | None
    reason: int
    invalidity_at: int | None
    hold_instruction: str


class SentCertificate(NamedTuple):
    """A certificate as it was sent. Empty is what was left out."""

    origin: str
    serial_number: str
    der: bytes
    subject: str
    not_after: int | None
    not_before: int | None
    revocation: SentRevocation | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is odd about one certificate. `serial_number` is as sent where it is none."""

    origin: str
    serial_number: str
    code: str
    text: str
    refused: bool = False


class RefusedError(Exception):
    """One certificate that is kept out."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Entry(NamedTuple):
    """A certificate that can be recorded."""

    origin: str
    row: ImportRow


class EntryReader:
    """Checks certificates of one issuer. `authority` has the issuer's key and name; `now` is in seconds since 1970."""

    def __init__(self, authority: x509.Certificate, now: int) -> None:
        self._authority = authority
        self._not_before = to_epoch(authority.not_valid_before_utc)
        self._now = now
        self.findings: list[Finding] = []

    def read(self, sent: SentCertificate) -> Entry | None:
        """What can be recorded of it; None for one that is refused. Adds what is odd to `findings`."""
        try:
            return Entry(sent.origin, self._row(sent))
        except RefusedError as refused:
            self._find(sent, refused.code, refused.text, refused=True)
            return None

    def _row(self, sent: SentCertificate) -> ImportRow:
        if sent.der:
            return self._from_certificate(sent)
        serial = _serial(sent.serial_number)
        if sent.not_after is None:
            raise RefusedError("NOT_AFTER_MISSING", "neither a certificate nor the end of its validity is given")
        not_before = self._not_before if sent.not_before is None else sent.not_before
        subject = sent.subject
        if "\0" in subject:  # PostgreSQL cannot hold it
            subject = subject.replace("\0", "\ufffd")
            self._find(sent, "SUBJECT_CHANGED", "the subject holds a NUL, which is recorded as U+FFFD")
        found = _COMMON_NAME.search(subject)
        names = (search_name(found[1]),) if found else ()
        begins, ends = _time(not_before, "not_before_time"), _time(sent.not_after, "not_after_time")
        row = ImportRow(serial, None, subject, names, "[]", PROFILE, None, begins, ends)
        return row if sent.revocation is None else self._revoked(sent, sent.revocation, row)

    def _from_certificate(self, sent: SentCertificate) -> ImportRow:
        if len(sent.der) > MAX_CERTIFICATE:
            raise RefusedError("CERTIFICATE_MALFORMED", f"larger than {MAX_CERTIFICATE} octets")
        try:
            found = read_certificate(sent.der, self._authority)
        except ForeignCertificateError as error:
            raise RefusedError(error.code, str(error)) from None
        serial = _serial_of(found)
        if sent.serial_number and _serial(sent.serial_number) != serial:
            raise RefusedError("SERIAL_MISMATCH", f"the certificate has another serial number: {serial.hex()}")
        if not found.verified:
            text = "its signature is of a kind that cannot be verified here: the status alone is recorded"
            self._find(sent, "CERTIFICATE_SIGNATURE_UNSUPPORTED", text)
        if not found.extensions_readable:
            self._find(sent, "EXTENSIONS_UNREADABLE", "it is recorded as it is, and not found by its names")
        not_after = to_epoch(found.not_after)
        if sent.not_after is not None and sent.not_after != not_after:
            text = f"the certificate ends at {rfc3339(found.not_after)}, and not at {_told(sent.not_after)}"
            self._find(sent, "NOT_AFTER_DIFFERS", f"{text}: its own time is recorded")
        names = [name.partition(":")[2] for name in found.alternative_names]
        row = ImportRow(
            serial,
            sent.der if found.verified else None,
            found.subject.replace("\0", "\ufffd"),
            search_names(name.replace("\0", "\ufffd") for name in (found.common_name or "", *names)),
            json.dumps(found.alternative_names),
            CA_PROFILE if found.is_ca else PROFILE,
            found.public_key_sha256 if found.verified else None,
            to_epoch(found.not_before),
            not_after,
        )
        if sent.revocation is None:
            return row
        if sent.revocation.revoked_at is not None and sent.revocation.revoked_at < row.not_before:
            self._find(sent, "REVOKED_BEFORE_VALIDITY", f"it was revoked before {rfc3339(found.not_before)}, its begin")
        return self._revoked(sent, sent.revocation, row)

    def _revoked(self, sent: SentCertificate, revocation: SentRevocation, row: ImportRow) -> ImportRow:
        revoked_at, reason, invalidity_at, instruction = revocation
        if revoked_at is None:
            raise RefusedError("REVOCATION_TIME_MISSING", "it is revoked, and not told since when")
        if _time(revoked_at, "revocation_time") > self._now:
            self._find(sent, "REVOCATION_TIME_IN_FUTURE", f"revoked at {_told(revoked_at)}: it is revoked from now on")
        if invalidity_at is not None and not _EARLIEST <= invalidity_at <= self._now:
            self._find(sent, "INVALIDITY_TIME_IN_FUTURE", f"its invalidity time is {_told(invalidity_at)}")
            invalidity_at = invalidity_at if _EARLIEST <= invalidity_at <= _LATEST else None
        if reason not in NAMES or reason == Reason.REMOVE_FROM_CRL:
            self._find(sent, "REASON_DROPPED", f"{reason} is no reason to be revoked: it is recorded without one")
            reason = Reason.UNSPECIFIED
        odd = reason != Reason.CERTIFICATE_HOLD or len(instruction) > _LONGEST_OID or not _OID.fullmatch(instruction)
        if instruction and odd:
            text = "a hold instruction is an object identifier, and only of certificates on hold: it is left out"
            self._find(sent, "HOLD_INSTRUCTION_DROPPED", text)
            instruction = ""
        return row._replace(
            revoked_at=revoked_at, reason=int(reason), invalidity_at=invalidity_at, hold_instruction=instruction or None
        )

    def _find(self, sent: SentCertificate, code: str, text: str, *, refused: bool = False) -> None:
        self.findings.append(Finding(sent.origin[:MAX_ORIGIN], _shown_serial(sent), code, text, refused))


def _serial(text: str) -> bytes:
    try:
        return parse_serial(text)
    except InvalidArgument as error:
        raise RefusedError(error.reason, error.message) from None


def _serial_of(found: ForeignCertificate) -> bytes:
    try:
        return serial_from_int(found.serial_number)
    except InvalidArgument as error:
        raise RefusedError(error.reason, error.message) from None


def _shown_serial(sent: SentCertificate) -> str:
    if not sent.serial_number and sent.der:
        try:
            return format(x509.load_der_x509_certificate(sent.der).serial_number, "x")
        except UNREADABLE:
            return ""
    try:
        return _serial(sent.serial_number).hex()
    except RefusedError:
        return sent.serial_number[:MAX_ORIGIN]


def _time(seconds: int, what: str) -> int:
    if not _EARLIEST <= seconds <= _LATEST:
        raise RefusedError("TIME_INVALID", f"{what} must be a time of the years 1 to 9999")
    return seconds


def _told(seconds: int) -> str:
    return rfc3339(from_epoch(seconds)) if _EARLIEST <= seconds <= _LATEST else "no time of the years 1 to 9999"
