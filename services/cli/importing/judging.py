"""What is odd about one record by itself: its dates, its serial number, the certificate that goes with it.

What the service would refuse is refused here already, so that it is told before anything is sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from services.cli.importing.findings import Finding, Findings
from services.cli.importing.records import Record, Tally
from services.openssl_ca.oneline import subject_line
from services.pki.foreign import ForeignCertificateError, read_certificate
from services.pki.reasons import Reason

_MAX_SERIAL_DIGITS: Final = 40
_SECOND: Final = timedelta(seconds=1)


class Judge:
    """Looks at records one by one."""

    def __init__(self, authority: x509.Certificate, findings: Findings, now: datetime) -> None:
        self._authority = authority
        self._begin, self._end = authority.not_valid_before_utc, authority.not_valid_after_utc
        self._findings = findings
        self._now = now
        self.tally = Tally()

    def take(self, record: Record, *, marked_expired: bool = False) -> bool:
        """Look at a record and its certificate, and count it. Returns False for one that is refused."""
        self._count(record)
        try:
            self._serial(record)
            if record.certificate is not None:
                self._compare(record, record.certificate)
        except ForeignCertificateError as refused:
            self._tell(record, refused.code, str(refused), refused=True)
            return False
        self._dates(record, marked_expired=marked_expired)
        return True

    def _serial(self, record: Record) -> None:
        if len(record.serial) > _MAX_SERIAL_DIGITS:
            told = "a serial number longer than 20 octets (RFC 5280, section 4.1.2.2)"
            raise ForeignCertificateError("SERIAL_INVALID", told)
        if not record.serial.strip("0"):
            raise ForeignCertificateError("SERIAL_INVALID", "the serial number zero")

    def _compare(self, record: Record, der: bytes) -> None:
        found = read_certificate(der, self._authority)
        if found.serial_number != int(record.serial, 16):
            told = f"its certificate has the serial number {found.serial_number:x}"
            raise ForeignCertificateError("SERIAL_MISMATCH", told)
        if not found.verified:
            told = "the signature of its certificate is of a kind that cannot be verified: only the status comes in"
            self._tell(record, "CERTIFICATE_SIGNATURE_UNSUPPORTED", told)
        if found.not_after != record.expiry:
            told = (
                f"its certificate expires {found.not_after:%Y-%m-%dT%H:%M:%SZ}, not {record.expiry:%Y-%m-%dT%H:%M:%SZ}"
            )
            self._tell(record, "NOT_AFTER_DIFFERS", f"{told}; the certificate counts")
        if record.subject:
            self._compare_subject(record, der)

    def _compare_subject(self, record: Record, der: bytes) -> None:
        try:
            subject = subject_line(der)
        except ValueError:
            return
        # Where there is no subject, OpenSSL writes the serial number.
        if subject and _plain(subject) != _plain(record.subject):
            told = f"its certificate is for {subject}, not for {record.subject}; the certificate counts"
            self._tell(record, "SUBJECT_DIFFERS", told)

    def _dates(self, record: Record, *, marked_expired: bool) -> None:
        expiry, revocation = record.expiry, record.revocation
        if marked_expired and expiry > self._now:
            told = f"marked as expired, but its time runs until {expiry:%Y-%m-%d}: it counts as valid until then"
            self._tell(record, "EXPIRY_IN_FUTURE", told)
        if expiry < self._begin:
            self._tell(record, "EXPIRY_BEFORE_CA", f"expired {expiry:%Y-%m-%d}, before the CA's certificate began")
        if expiry > self._end:
            self._tell(record, "EXPIRY_AFTER_CA", f"expires {expiry:%Y-%m-%d}, after the CA's own certificate")
        if revocation is None:
            if not marked_expired and expiry < self._now:
                self._tell(record, "EXPIRED_UNMARKED", f"marked as valid, but expired {expiry:%Y-%m-%d}")
            return
        if revocation.time > self._now:
            told = f"revoked at {revocation.time:%Y-%m-%dT%H:%M:%SZ}, which is still to come: it is revoked from now on"
            self._tell(record, "REVOCATION_TIME_IN_FUTURE", told)
        if revocation.invalidity_time is not None and revocation.invalidity_time > self._now:
            told = f"invalid since {revocation.invalidity_time:%Y-%m-%dT%H:%M:%SZ}, which is still to come"
            self._tell(record, "INVALIDITY_TIME_IN_FUTURE", told)
        if revocation.time - expiry > _SECOND:
            self._tell(record, "REVOKED_AFTER_EXPIRY", f"revoked {revocation.time:%Y-%m-%d}, when it had expired")
        if revocation.time < self._begin:
            told = f"revoked {revocation.time:%Y-%m-%d}, before the CA's certificate began"
            self._tell(record, "REVOKED_BEFORE_CA", told)
        if revocation.reason is Reason.REMOVE_FROM_CRL:
            told = "the reason removeFromCRL is only for delta lists: it comes in as revoked, without a reason"
            self._tell(record, "REASON_DROPPED", told)

    def _count(self, record: Record) -> None:
        tally = self.tally
        tally.total += 1
        if record.certificate is None:
            tally.status_only += 1
        else:
            tally.with_certificate += 1
        if record.revocation is not None:
            tally.revoked += 1
            tally.on_hold += record.revocation.reason is Reason.CERTIFICATE_HOLD
        elif record.expiry < self._now:
            tally.expired += 1
        else:
            tally.valid += 1

    def _tell(self, record: Record, code: str, text: str, *, refused: bool = False) -> None:
        found = Finding(code, text, refused, record.origin, None, record.serial.lower())
        self._findings.add(found, record.place)


def _plain(subject: str) -> str:
    """A subject in a form in which those of old and new versions of OpenSSL are equal."""
    return subject.replace("\\/", "/").replace("\\+", "+").replace("+", "/")
