"""The records of an index.txt, with the certificates that newcerts has of them.

Rows come and go one by one: memory is the same for ten and for ten million. What only all of them together show comes
from `joining`: serial numbers and subjects that are there twice, revocation lists that say otherwise, certificates
without a row.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.cli.failures import Failed
from services.cli.importing.findings import PER_CODE, Finding, Findings
from services.cli.importing.joining import KEY_OCTETS, Joining, text_key
from services.cli.importing.judging import Judge
from services.cli.importing.records import Record, Tally, Tick
from services.cli.importing.revocation_lists import RevocationList
from services.openssl_ca.index import BadLine, IndexRow, is_comment, normal_serial, parse_row
from services.openssl_ca.more import MoreLines
from services.openssl_ca.writing import MORE_SUFFIX
from services.pki.unreadable import UNREADABLE

_MAX_LINE = 64 * 1024
_MAX_CERTIFICATE = 1024 * 1024
_TICK = 1000


class Kind(IntEnum):
    """What a serial number was found on: the lower bits of its tag."""

    VALID = 0
    EXPIRED = 1
    REVOKED = 2
    REVOKED_LATER = 3
    """After the revocation list was made, so that it need not be on it."""
    LISTED = 4
    """The revocation list has it."""
    FILE = 5
    """newcerts has it."""


class IndexSource:
    """An index.txt."""

    def __init__(
        self, index: Path, new_certs: Path | None, authority: x509.Certificate, crl: RevocationList | None
    ) -> None:
        self.index = index
        self.crl = crl
        self._short = index.name
        self._authority = authority
        # Strings: for a million rows, Path objects are most of the time.
        with_files = new_certs is not None and new_certs.is_dir() and any(_serials_of_files(new_certs))
        self._new_certs = new_certs if with_files else None
        self._prefix = f"{new_certs}{os.sep}" if with_files else None
        self._seen = _state_of(index)

    @property
    def name(self) -> str:
        """The path of the index."""
        return str(self.index)

    @property
    def octets(self) -> int:
        """How long the index is."""
        return self._seen[1]

    def check(self, findings: Findings, now: datetime, tick: Tick) -> Tally:
        """Look at every row. Raises OSError."""
        checking = _Checking(self, self._authority, findings, now)
        with checking.serials, checking.subjects:
            with self.index.open("rb") as file:
                for number, line in _lines(file):
                    checking.take(number, line)
                    if number % _TICK == 0:
                        tick(file.tell())
            tick(self.octets)
            checking.add_others(self._new_certs)
            checking.compare_serials()
            checking.compare_subjects()
        self._check_more(findings)
        self._require_same()
        return checking.judge.tally

    def records(self) -> Iterator[Record]:
        """The rows that can be read, each with its certificate. Raises Failed where the index has changed meanwhile."""
        with self._more() as more:
            for number, row in self._rows():
                try:
                    certificate = self.certificate(row)
                except (OSError, ValueError):
                    certificate = None
                yield self.record(number, more.complete(row), certificate)
        self._require_same()

    def _rows(self) -> Iterator[tuple[int, IndexRow]]:
        with self.index.open("rb") as file:
            for number, line in _lines(file):
                if not is_comment(line) and line.endswith(b"\n"):
                    with contextlib.suppress(BadLine):
                        yield number, parse_row(line[:-1], number)

    @contextmanager
    def _more(self) -> Iterator[MoreLines]:
        """What an export from here has written beside the index."""
        file = self.index.with_name(self.index.name + MORE_SUFFIX)
        if not file.is_file():
            yield MoreLines(())
            return
        with file.open(encoding="ascii", errors="replace") as lines:
            yield MoreLines(lines)

    def _check_more(self, findings: Findings) -> None:
        with self._more() as more:
            if not more.waits:
                return
            for _, row in self._rows():
                more.complete(row)
            left, origin = more.left(), self.index.name + MORE_SUFFIX
        for bad in more.bad:
            findings.add(Finding(bad.code, bad.text, refused=False, origin=f"{origin}:{bad.line}"), bad.line)
        if left:
            told = f"{left} of its lines belong to no row: they are left aside"
            findings.add(Finding("MORE_WITHOUT_ROW", told, refused=False, origin=origin))

    def record(self, number: int, row: IndexRow, certificate: x509.Certificate | None) -> Record:
        """A row as a record."""
        der = certificate.public_bytes(Encoding.DER) if certificate is not None else None
        return Record(number, self._short, row.serial, der, row.subject, row.expiry, row.revocation, number)

    def certificate(self, row: IndexRow) -> x509.Certificate | None:
        """The certificate of a row. None: there is none. Raises OSError, and ValueError for a file that is none."""
        if self._prefix is None:
            return None
        try:
            with open(f"{self._prefix}{row.serial}.pem", "rb", opener=_open_at_once) as file:
                content = file.read(_MAX_CERTIFICATE) or b""
        except FileNotFoundError:
            return None
        try:
            if b"-----BEGIN " in content:
                return x509.load_pem_x509_certificate(content)
            return x509.load_der_x509_certificate(content)
        except UNREADABLE as error:
            raise ValueError(str(error)) from error

    def subjects(self, wanted: set[int]) -> dict[int, str]:
        """The subjects of some rows by their lines."""
        found: dict[int, str] = {}
        with self.index.open("rb") as file:
            for number, line in _lines(file):
                if number in wanted:
                    found[number] = parse_row(line[:-1], number).subject
        return found

    def _require_same(self) -> None:
        if _state_of(self.index) != self._seen:
            raise Failed(f"{self.index} was changed while it was read: stop what issues with it, and start again")


class _Checking:
    """One look at all rows."""

    def __init__(self, source: IndexSource, authority: x509.Certificate, findings: Findings, now: datetime) -> None:
        self.serials, self.subjects = Joining(), Joining()
        self.judge = Judge(authority, findings, now)
        self._source = source
        self._findings = findings
        self._listed = source.crl.this_update if source.crl else None
        self._others = False

    def take(self, number: int, line: bytes) -> None:
        """Look at one line."""
        if is_comment(line):
            return
        try:
            row = _row(number, line)
        except BadLine as error:
            self._tell(error.code, error.text, number, column=error.column, refused=True)
            self.judge.tally.unreadable += 1
            return
        self._look(number, line, row)
        certificate = None
        try:
            certificate = self._source.certificate(row)
        except OSError as error:
            told = f"the certificate {row.serial}.pem cannot be read: {error.strerror}"
            self._tell("CERTIFICATE_FILE_UNREADABLE", told, number, serial=row.serial, refused=True)
            self._remember(number, row)
            return
        except ValueError:
            told = f"{row.serial}.pem holds no certificate that can be read: only the status comes in"
            self._tell("CERTIFICATE_UNREADABLE", told, number, serial=row.serial)
        record = self._source.record(number, row, certificate)
        if self.judge.take(record, marked_expired=row.state == "E") and row.state == "V":
            self.subjects.add(text_key(row.subject), number)
        self._remember(number, row)

    def add_others(self, new_certs: Path | None) -> None:
        """Add what the revocation list and newcerts have."""
        if self._source.crl is not None:
            self._others = True
            for serial in self._source.crl.serials():
                if 0 < len(serial) <= 20:
                    self.serials.add(serial, Kind.LISTED)
        if new_certs is not None:
            self._others = True
            for serial in _serials_of_files(new_certs):
                self.serials.add(serial, Kind.FILE)

    def compare_serials(self) -> None:
        """Tell what is odd about serial numbers."""
        for serial, tags in self.serials.groups(single=self._others):
            # Lines in order first, and then what has no line: those tags are below all others.
            rows = [tag for tag in tags if tag >> 3]
            kinds = {Kind(tag & 7) for tag in tags if not tag >> 3}
            if len(rows) > 1:
                self._twice(serial, rows)
            if Kind.LISTED in kinds:
                self._listed_one(serial, rows)
            elif self._listed is not None and any(tag & 7 == Kind.REVOKED for tag in rows):
                told = "revoked, but the revocation list does not have it"
                self._tell("NOT_LISTED", told, rows[0] >> 3, serial=serial.hex())
            if Kind.FILE in kinds and not rows:
                told = "newcerts has this certificate, but the index has no row for it: it does not come in"
                self._tell("CERTIFICATE_WITHOUT_ROW", told, 0, serial=serial.hex())

    def compare_subjects(self) -> None:
        """Tell which subjects have several valid certificates: with unique_subject OpenSSL takes no two."""
        groups: list[list[int]] = []
        more = 0
        for _, lines in self.subjects.groups(single=False):
            if len(groups) < PER_CODE:
                groups.append(lines)
            else:
                more += 1
        subjects = self._source.subjects({lines[0] for lines in groups}) if groups else {}
        for lines in sorted(groups):
            told = f"{len(lines)} valid certificates have the subject {subjects[lines[0]]}: {_listed(lines)}"
            self._tell("DUPLICATE_SUBJECT", told, lines[0])
        for _ in range(more):
            self._tell("DUPLICATE_SUBJECT", "", 0)

    def _look(self, number: int, line: bytes, row: IndexRow) -> None:
        if line.endswith(b"\r\n"):
            self._tell("LINE_END", "the line ends as on Windows", number, serial=row.serial)
        if not line.isascii():
            told = "the subject has characters that OpenSSL escapes: they come in escaped, as OpenSSL writes them"
            self._tell("SUBJECT_NOT_ASCII", told, number, column=6, serial=row.serial)

    def _remember(self, number: int, row: IndexRow) -> None:
        if len(row.serial) <= 2 * KEY_OCTETS:
            self.serials.add(bytes.fromhex(row.serial), number << 3 | self._kind(row))

    def _kind(self, row: IndexRow) -> Kind:
        if row.state == "V":
            return Kind.VALID
        if row.revocation is None:
            return Kind.EXPIRED
        on_list = self._listed is not None and row.revocation.time < self._listed and row.expiry > self._listed
        return Kind.REVOKED if on_list else Kind.REVOKED_LATER

    def _twice(self, serial: bytes, rows: list[int]) -> None:
        """Of several rows one stays: the first one that is revoked, or else the first."""
        revoked = (tag for tag in rows if tag & 7 in (Kind.REVOKED, Kind.REVOKED_LATER))
        kept = next(revoked, rows[0]) >> 3
        lines = [tag >> 3 for tag in rows]
        for line in lines:
            if line != kept:
                told = f"the serial number is in {_listed(lines)}; that of line {kept} would stay"
                self._tell("DUPLICATE_SERIAL", told, line, serial=serial.hex(), refused=True)

    def _listed_one(self, serial: bytes, rows: list[int]) -> None:
        if not rows:
            told = "the revocation list has it, but the index has no row for it: it does not come in"
            self._tell("LISTED_WITHOUT_ROW", told, 0, serial=serial.hex())
        for tag in rows:
            if tag & 7 not in (Kind.REVOKED, Kind.REVOKED_LATER):
                told = "not revoked, but the revocation list says that it is: which of them is right?"
                self._tell("REVOKED_IN_LIST", told, tag >> 3, serial=serial.hex(), refused=True)

    def _tell(
        self,
        code: str,
        text: str,
        line: int,
        *,
        column: int | None = None,
        serial: str | None = None,
        refused: bool = False,
    ) -> None:
        origin = f"{self._source.index.name}:{line}" if line else ""
        number = serial.lower() if serial else None
        self._findings.add(Finding(code, text, refused, origin, column, number), line)


def _row(number: int, line: bytes) -> IndexRow:
    if not line.endswith(b"\n"):
        told = (
            "longer than 64 KiB"
            if len(line) >= _MAX_LINE
            else "the file ends in the middle of this line, which OpenSSL does not read then: cut off?"
        )
        raise BadLine(number, None, "LINE_TRUNCATED", told)
    return parse_row(line[:-1], number)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers and newlines; of one that is longer than any row only the beginning, without one."""
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        yield number, line
        rest = line
        while len(rest) == _MAX_LINE and not rest.endswith(b"\n"):
            rest = file.readline(_MAX_LINE)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file. A pipe among the certificates is read as empty, instead of waiting for somebody to write into it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _state_of(index: Path) -> tuple[int, int, int]:
    found = index.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _serials_of_files(folder: Path) -> Iterator[bytes]:
    """The serial numbers that name the files in newcerts."""
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122
            try:
                serial = bytes.fromhex(normal_serial(stem)) if suffix == ".pem" else b""
            except ValueError:
                continue
            if 0 < len(serial) <= 20:
                yield serial


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:5]))
    return f"lines {shown} and {len(lines) - 5} more" if len(lines) > 5 else f"lines {shown}"
