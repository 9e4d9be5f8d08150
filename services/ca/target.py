"""Which certificate a caller means: by issuer and serial number, or by the certificate itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from services.ca.issuers import IssuerDirectory
from services.db import certificates
from services.db.engine import Connection
from services.db.records import CertificateRecord
from services.errors import FailedPrecondition, InvalidArgument, NotFound
from services.pki.serials import format_serial, parse_serial, serial_from_int
from services.pki.unreadable import UNREADABLE


@dataclass(frozen=True, slots=True)
class BySerial:
    """By its serial number, and its issuer if more than one might have issued it."""

    serial: bytes
    issuer: str = ""

    @classmethod
    def parse(cls, text: str, issuer: str = "") -> BySerial:
        """Read a serial number in hex. Raises InvalidArgument (SERIAL_INVALID)."""
        return cls(parse_serial(text, "issuer_and_serial_number.serial_number"), issuer)

    def find(self, conn: Connection, issuers: IssuerDirectory) -> CertificateRecord:
        """The certificate. Raises NotFound ISSUER_UNKNOWN, CERTIFICATE_UNKNOWN; FailedPrecondition ISSUER_AMBIGUOUS."""
        if self.issuer:
            issuer = issuers.named(self.issuer, "issuer_and_serial_number.issuer")
            found = [certificates.get_certificate(conn, issuer.id, self.serial)]
        else:
            found = list(certificates.find_by_serial(conn, self.serial))
        return self.only(found)

    def find_among(self, found: Sequence[CertificateRecord], issuers: IssuerDirectory) -> CertificateRecord:
        """The certificate among those with its serial number. Raises as `find`."""
        if not self.issuer:
            return self.only(found)
        issuer = issuers.named(self.issuer, "issuer_and_serial_number.issuer")
        return self.only([record for record in found if record.issuer_id == issuer.id])

    def only(self, found: Sequence[CertificateRecord | None]) -> CertificateRecord:
        """The one certificate that was found. Raises as `find` for none, and for several."""
        match found:
            case [CertificateRecord() as record]:
                return record
            case [_, _, *_]:
                names = ", ".join(record.issuer_name for record in found if record)
                raise FailedPrecondition(
                    "ISSUER_AMBIGUOUS",
                    f"several issuers have issued this serial number; name one of {names}",
                    field="issuer_and_serial_number.issuer",
                )
        raise _unknown(self.serial, "issuer_and_serial_number.serial_number")


@dataclass(frozen=True, slots=True)
class ByCertificate:
    """By itself, in DER. A certificate that only looks like one of ours is not good enough."""

    der: bytes

    @property
    def serial(self) -> bytes:
        """Its serial number. Raises InvalidArgument CERTIFICATE_MALFORMED."""
        return _serial_of(self.der)

    def find(self, conn: Connection, issuers: IssuerDirectory) -> CertificateRecord:  # noqa: ARG002
        """The certificate that is stored with these very bytes.

        Raises InvalidArgument CERTIFICATE_MALFORMED; NotFound CERTIFICATE_UNKNOWN; FailedPrecondition
        CERTIFICATE_MISMATCH where another one with this serial number was issued, CERTIFICATE_NOT_STORED where there
        is nothing to compare with.
        """
        serial = _serial_of(self.der)
        found = certificates.find_by_serial(conn, serial)
        for record in found:
            if record.der == self.der:
                return record
        if not found:
            raise _unknown(serial, "certificate_der")
        if all(record.der is None for record in found):
            raise FailedPrecondition(
                "CERTIFICATE_NOT_STORED",
                "only the status of this serial number is stored, not the certificate; name issuer and serial number",
                field="certificate_der",
            )
        raise FailedPrecondition(
            "CERTIFICATE_MISMATCH",
            f"the certificate that was issued with serial number {format_serial(serial)} is another one",
            field="certificate_der",
        )


Target = BySerial | ByCertificate


def _serial_of(der: bytes) -> bytes:
    try:
        return serial_from_int(x509.load_der_x509_certificate(der).serial_number)
    except (*UNREADABLE, InvalidArgument) as error:
        raise InvalidArgument(
            "CERTIFICATE_MALFORMED", "this is not a certificate in DER", field="certificate_der"
        ) from error


def _unknown(serial: bytes, field: str) -> NotFound:
    return NotFound(
        "CERTIFICATE_UNKNOWN", f"no certificate with serial number {format_serial(serial)} was issued here", field=field
    )
