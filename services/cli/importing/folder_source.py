"""The certificates in the files of a folder, with their statuses from a revocation list.

Files are read one by one; memory grows with the revocation list, and not with the certificates. What the list has
without a certificate comes after them, as revoked, and valid no longer than the CA.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.cli.failures import Failed
from services.cli.importing.findings import Finding, Findings
from services.cli.importing.joining import Joining
from services.cli.importing.judging import Judge
from services.cli.importing.records import Record, Tally, Tick
from services.cli.importing.revocation_lists import Entry, RevocationList, serial_octets
from services.openssl_ca.index import Revocation
from services.pki.paths import same_issuer
from services.pki.unreadable import UNREADABLE

_BEGIN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_END = re.compile(rb"-----END (?:X509 |TRUSTED )?CERTIFICATE-----")
_MAX_FILE = 256 * 1024 * 1024
_SUFFIXES = (".der", ".crt", ".cer")


class _Read(NamedTuple):
    """A certificate in a file, or why there is none."""

    origin: str
    certificate: x509.Certificate | None
    problem: str = ""
    code: str = "CERTIFICATE_UNREADABLE"


class FolderSource:
    """Certificates of one CA, somewhere in a folder."""

    def __init__(self, folder: Path, authority: x509.Certificate, crl: RevocationList | None) -> None:
        """Raises Failed for a revocation list with an entry that makes no sense."""
        self.folder = folder
        self._authority = authority
        self._crl = crl
        self._listed = _places(crl)
        self._matched = bytearray(len(crl.content) if crl else 0)
        """Which entries of the list are of certificates that are there."""
        self._expected: int | None = None
        self.ignored = 0
        """How many files hold no certificate."""

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def check(self, findings: Findings, now: datetime, tick: Tick) -> Tally:
        """Look at every certificate."""
        judge = Judge(self._authority, findings, now)
        place = 0
        with Joining() as serials:
            for place, read in enumerate(self._reads(), 1):
                if read.certificate is None:
                    findings.add(Finding(read.code, read.problem, True, read.origin), place)
                    judge.tally.unreadable += 1
                    continue
                record = self._record(place, read.origin, read.certificate)
                if judge.take(record):
                    serials.add(serial_octets(read.certificate.serial_number), place)
                tick(place)
            for serial, places in serials.groups(single=False):
                told = f"{len(places)} certificates have this serial number; one that is the same counts once"
                findings.add(Finding("DUPLICATE_SERIAL", told, refused=False, serial_number=serial.hex()))
        for record in self._listed_only(place):
            judge.take(record)
        self._expected = place
        return judge.tally

    def records(self) -> Iterator[Record]:
        """The certificates, and then what only the revocation list has. Raises Failed where files came or went."""
        place = 0
        for place, read in enumerate(self._reads(), 1):
            if read.certificate is not None:
                yield self._record(place, read.origin, read.certificate)
        if place != self._expected:
            raise Failed(f"{self.folder} was changed while it was read: start again")
        yield from self._listed_only(place)

    def _record(self, place: int, origin: str, certificate: x509.Certificate) -> Record:
        revocation = self._revocation(serial_octets(certificate.serial_number))
        serial = f"{certificate.serial_number:x}" if certificate.serial_number > 0 else "00"
        der = certificate.public_bytes(Encoding.DER)
        return Record(place, origin, serial, der, "", certificate.not_valid_after_utc, revocation)

    def _revocation(self, serial: bytes) -> Revocation | None:
        place = self._listed.get(serial)
        if place is None or self._crl is None:
            return None
        self._matched[place] = 1
        return self._crl.entry(place).revocation

    def _listed_only(self, place: int) -> Iterator[Record]:
        """Entries of the list without a certificate. When they expire is not known: not after the CA."""
        if self._crl is None:
            return
        end = self._authority.not_valid_after_utc
        for number, (serial, at) in enumerate(self._listed.items(), place + 1):
            if not self._matched[at]:
                entry: Entry = self._crl.entry(at)
                origin = f"{self._crl.path.name}:{at + 1}"
                yield Record(number, origin, serial.hex(), None, "", end, entry.revocation)

    def _reads(self) -> Iterator[_Read]:
        self.ignored = 0
        for folder, folders, files in os.walk(self.folder, onerror=_raise):
            folders.sort()
            for name in sorted(files):
                path = Path(folder, name)
                yield from self._file(path, str(path.relative_to(self.folder)))

    def _file(self, path: Path, name: str) -> Iterator[_Read]:
        try:
            if not path.is_file() or path.stat().st_size > _MAX_FILE:
                self.ignored += 1
                return
            content = path.read_bytes()
        except OSError as error:
            yield _Read(name, None, f"it cannot be read: {error.strerror}", "CERTIFICATE_FILE_UNREADABLE")
            return
        found = list(_certificates(name, content))
        if not found:
            self.ignored += 1
        # The CA's own certificate is no record of what it has issued to others.
        yield from (each for each in found if each.certificate is None or not self._own(each.certificate))

    def _own(self, certificate: x509.Certificate) -> bool:
        return certificate.subject == self._authority.subject and same_issuer(certificate, self._authority)


def _certificates(name: str, content: bytes) -> Iterator[_Read]:
    blocks = list(_blocks(content))
    for number, block in enumerate(blocks, 1):
        origin = f"{name}#{number}" if len(blocks) > 1 else name
        try:
            yield _Read(origin, x509.load_pem_x509_certificate(block))
        except UNREADABLE:
            yield _Read(origin, None, "it holds no certificate that can be read")
    if blocks or b"-----BEGIN " in content:
        if content.count(b"-----BEGIN CERTIFICATE-----") > len(blocks):
            yield _Read(name, None, "it ends in the middle of a certificate: cut off?")
        return
    try:
        yield _Read(name, x509.load_der_x509_certificate(content))
    except UNREADABLE:
        if name.lower().endswith(_SUFFIXES):
            yield _Read(name, None, "it holds no certificate that can be read")


def _blocks(content: bytes) -> Iterator[bytes]:
    """From each beginning to the next end. One pass over the file, whatever is in it: an expression would take many."""
    at = 0
    while (begin := _BEGIN.search(content, at)) and (end := _END.search(content, begin.end())):
        yield content[begin.start() : end.end()]
        at = end.end()


def _places(crl: RevocationList | None) -> dict[bytes, int]:
    """Where in the list each serial number is. Raises Failed where an entry makes no sense."""
    found: dict[bytes, int] = {}
    if crl is None:
        return found
    try:
        for place, entry in enumerate(crl.entries()):
            if entry.serial and len(entry.serial) <= 20:
                found.setdefault(entry.serial, place)
    except ValueError as error:
        raise Failed(f"{crl.path}: an entry of the revocation list cannot be read: {error}") from None
    return found


def _raise(error: OSError) -> None:
    raise error
