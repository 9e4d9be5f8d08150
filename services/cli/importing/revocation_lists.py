"""The revocation lists that a CA has published: the newest one is what its records are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from services.cli.importing.findings import Finding, Findings
from services.openssl_ca.index import Revocation
from services.pki.reasons import Reason
from services.pki.unreadable import UNREADABLE

_HOLD_INSTRUCTION = x509.ObjectIdentifier("2.5.29.23")
_REASONS = {
    x509.ReasonFlags.unspecified: Reason.UNSPECIFIED,
    x509.ReasonFlags.key_compromise: Reason.KEY_COMPROMISE,
    x509.ReasonFlags.ca_compromise: Reason.CA_COMPROMISE,
    x509.ReasonFlags.affiliation_changed: Reason.AFFILIATION_CHANGED,
    x509.ReasonFlags.superseded: Reason.SUPERSEDED,
    x509.ReasonFlags.cessation_of_operation: Reason.CESSATION_OF_OPERATION,
    x509.ReasonFlags.certificate_hold: Reason.CERTIFICATE_HOLD,
    x509.ReasonFlags.remove_from_crl: Reason.REMOVE_FROM_CRL,
    x509.ReasonFlags.privilege_withdrawn: Reason.PRIVILEGE_WITHDRAWN,
    x509.ReasonFlags.aa_compromise: Reason.AA_COMPROMISE,
}


class Entry(NamedTuple):
    """One entry of a list."""

    serial: bytes
    """Big-endian, without zeros in front."""
    revocation: Revocation


@dataclass(frozen=True)
class RevocationList:
    """A list that the CA has signed."""

    path: Path
    content: x509.CertificateRevocationList
    number: int | None

    @property
    def this_update(self) -> datetime:
        """When it was made."""
        return self.content.last_update_utc

    def serials(self) -> Iterator[bytes]:
        """The serial numbers of its entries, in order, without zeros in front."""
        for entry in self.content:
            yield serial_octets(entry.serial_number)

    def entries(self) -> Iterator[Entry]:
        """Its entries, in order. Raises ValueError for one whose extensions make no sense."""
        for entry in self.content:
            yield Entry(serial_octets(entry.serial_number), _revocation(entry))

    def entry(self, place: int) -> Entry:
        """The entry at a place, from 0. Raises ValueError as `entries`."""
        entry = self.content[place]
        return Entry(serial_octets(entry.serial_number), _revocation(entry))


def newest(paths: Iterable[Path], authority: x509.Certificate, findings: Findings) -> RevocationList | None:
    """The list with the highest number that the CA has signed; what is wrong with others is told in findings."""
    found: list[RevocationList] = []
    for path in paths:
        read = read_list(path, authority, findings)
        if read is not None:
            found.append(read)
    return max(found, key=lambda each: (each.number or 0, each.this_update), default=None)


def read_list(path: Path, authority: x509.Certificate, findings: Findings) -> RevocationList | None:
    """A list from a file, PEM or DER. None, and a finding, for one that cannot be used."""
    try:
        content = path.read_bytes()
        load = x509.load_pem_x509_crl if b"-----BEGIN " in content else x509.load_der_x509_crl
        crl = load(content)
        extensions = crl.extensions
    except OSError as error:
        _unusable(findings, path, "CRL_UNREADABLE", f"it cannot be read: {error.strerror}")
        return None
    except UNREADABLE:
        _unusable(findings, path, "CRL_UNREADABLE", "it is no revocation list, neither in PEM nor in DER")
        return None
    key = authority.public_key()
    if crl.issuer != authority.subject or not crl.is_signature_valid(key):  # type: ignore[arg-type]
        _unusable(findings, path, "CRL_OF_ANOTHER_CA", "the CA has not signed this revocation list")
        return None
    number = None
    for extension in extensions:
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            _unusable(findings, path, "CRL_PARTIAL", "a delta list says nothing about the others")
            return None
        if isinstance(extension.value, x509.IssuingDistributionPoint) and extension.value.indirect_crl:
            _unusable(findings, path, "CRL_PARTIAL", "an indirect list is of other CAs, too")
            return None
    return RevocationList(path, crl, number)


def serial_octets(number: int) -> bytes:
    """A serial number as octets, without zeros in front; empty for zero and below, which no certificate has."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big") if number > 0 else b""


def _unusable(findings: Findings, path: Path, code: str, text: str) -> None:
    findings.add(Finding(code, f"{text}; it is left aside", refused=False, origin=path.name))


def _revocation(entry: x509.RevokedCertificate) -> Revocation:
    reason = invalidity = instruction = None
    try:
        extensions = entry.extensions
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.CRLReason):
            reason = _REASONS[value.reason]
        elif isinstance(value, x509.InvalidityDate):
            invalidity = value.invalidity_date_utc
        elif isinstance(value, x509.CertificateIssuer):
            raise ValueError("an entry for a certificate of another CA")
        elif isinstance(value, x509.UnrecognizedExtension) and extension.oid == _HOLD_INSTRUCTION:
            instruction = _dotted(value.value)
    held = reason is Reason.CERTIFICATE_HOLD
    return Revocation(entry.revocation_date_utc.astimezone(UTC), reason, instruction if held else None, invalidity)


def _dotted(der: bytes) -> str | None:
    """An object identifier in DER with dots. None for one that has no arcs in the short form."""
    if len(der) < 3 or der[0] != 6 or der[1] != len(der) - 2 or der[-1] & 0x80:
        return None
    arcs, value = [], 0
    for octet in der[2:]:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))
