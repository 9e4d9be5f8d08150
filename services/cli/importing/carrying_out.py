"""An import from beginning to end: read, check, report, and, if nothing speaks against it, send.

In this order, so that whatever goes wrong leaves nothing behind that matters: the key is opened; every record is
checked; CAs above are recorded; the key is written down encrypted; the records go to the service, which makes the
issuer known at the end. The same command again completes what was cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import import_pb2
from goodstanding.types.v1 import types_pb2
from services.ca.hierarchy import check_name
from services.cli import output
from services.cli.authorities import Office, chain_of
from services.cli.failures import Failed
from services.cli.found_authorities import (
    Found,
    above_to_import,
    check_chain,
    name_for,
    read_certificates,
    require_authority,
)
from services.cli.importing.findings import Findings
from services.cli.importing.key_place import ImportedKey, PassphraseMissing, key_in_place, needs_key, open_key
from services.cli.importing.progress import bar
from services.cli.importing.records import Record, Source
from services.cli.importing.report import Report
from services.cli.importing.revocation_lists import RevocationList
from services.cli.importing.sending import Sending, header_of, send
from services.cli.options import Connection
from services.cli.recording_authorities import active_note, request
from services.clock import utc_now
from services.pki.crls import MAX_CARRIED_ON
from services.pki.unreadable import UNREADABLE

_REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)

AGAIN = "run the same command again: it goes on where this one ended"


@dataclass(frozen=True)
class Wanted:
    """What the user wants, whatever the records come from."""

    connection: Connection
    certificate: Path
    chain: Path | None
    key: Path | None
    passphrase_file: Path | None
    name: str | None
    retired: bool
    skip_bad: bool
    dry_run: bool
    as_json: bool


@dataclass(frozen=True)
class Opened:
    """The records of a CA, and what its files say besides."""

    source: Source
    size: int | None
    """What ticks of a check add up to."""
    crl: RevocationList | None = None
    crl_number: int | None = None
    """The highest that was used."""
    next_serial: int | None = None
    notes: tuple[str, ...] = ()


Opener = Callable[[x509.Certificate, Findings], Opened]


def carry_out(wanted: Wanted, opener: Opener) -> None:
    """Do it. Raises Failed, and click's Exit where something was refused."""
    try:
        job = _prepare(wanted, opener)
    except KeyboardInterrupt:
        raise Failed(f"interrupted: nothing was sent; {AGAIN}") from None
    try:
        _carry_out(wanted, job)
    except KeyboardInterrupt:
        raise Failed(f"interrupted: {job.so_far()}; {AGAIN}") from None


def _carry_out(wanted: Wanted, job: _Job) -> None:
    try:
        if wanted.dry_run:
            _rehearse(job)
        elif job.keeps_back:
            count = job.report.findings.refused
            would = "1 record would" if count == 1 else f"{count} records would"
            raise Failed(
                f"nothing was sent: {would} be left out, as the report says. Mend what it names, or leave it out with "
                "--skip-bad"
            )
        else:
            _import(job)
    finally:
        job.tell()
    response = job.report.service
    if job.keeps_back or (response is not None and response.counts.refused_count):
        raise click.exceptions.Exit(1)


@dataclass
class _Job:
    """An import of which everything was checked."""

    wanted: Wanted
    source: Source
    report: Report
    office: Office | None
    found: Found
    above: list[tuple[str, x509.Certificate]]
    key: ImportedKey | None
    shown: bool = False
    sending: Sending | None = None

    @property
    def keeps_back(self) -> bool:
        """Whether records would be left out that nobody has given up."""
        return bool(self.report.findings.refused) and not self.wanted.skip_bad

    def so_far(self) -> str:
        """What there is of it while it has not ended."""
        if self.wanted.dry_run:
            return "nothing was recorded"
        if self.sending is None:
            return "none of it was sent"
        if self.sending.ended:
            return f"all was sent, and `goodstanding issuers` tells whether {self.found.name} is known"
        if self.report.known:
            return "what came in so far stays, each certificate as a whole"
        return "nothing is half imported, and nobody is told of the issuer yet"

    def show(self) -> None:
        """Show people what was found, once."""
        if not self.shown and not self.wanted.as_json:
            self.report.show()
        self.shown = True

    def tell(self) -> None:
        """Print what was not printed yet."""
        self.show()
        if self.wanted.as_json:
            self.report.emit()
        else:
            self.report.show_outcome()


def _prepare(wanted: Wanted, opener: Opener) -> _Job:
    certificate, *others = read_certificates(wanted.certificate)
    _require_ca(wanted.certificate, certificate)
    require_authority(certificate)
    notes: list[str] = []
    office = _office(wanted, notes)
    known = office.known(certificate) if office else None
    name = _name(wanted, office, known, certificate)
    found = Found(name, certificate, (*others, *(read_certificates(wanted.chain) if wanted.chain else ())))
    above: list[tuple[str, x509.Certificate]] = []
    if office is not None:
        above = above_to_import(office, found)
        check_chain(found, above, office)
    key = _key(wanted, office, known, found, notes)
    findings = Findings()
    opened = opener(certificate, findings)
    _require_numbers_above(opened.crl_number)
    with bar("Checking", opened.size) as move:
        tally = opened.source.check(findings, utc_now(), move)
    report = Report(
        source=opened.source.name,
        issuer=name,
        subject=certificate.subject.rfc4514_string(),
        known=known is not None if office else None,
        findings=findings,
        tally=tally,
        key=_key_text(wanted, office, known, key),
        above=tuple(each for each, _ in above),
        crl=_described(opened.crl),
        crl_number=opened.crl_number,
        next_serial=opened.next_serial,
        notes=[*notes, *opened.notes],
        dry_run=wanted.dry_run,
    )
    if office is not None and key is not None and not wanted.retired:
        report.notes += active_note(office, name, ())
    return _Job(wanted, opened.source, report, office, found, above, key)


def _require_numbers_above(used: int | None) -> None:
    """Raise Failed for a CRL number that ours could not go on from: random ones may be that long."""
    if used is not None and used > MAX_CARRIED_ON:
        raise Failed(
            f"the CA's last revocation list has the number {used:x}, and lists made here can go on from "
            f"{MAX_CARRIED_ON:x} at most: import a copy of the folder without crlnumber and revocation lists, and they "
            "begin anew"
        )


def _rehearse(job: _Job) -> None:
    """Have the service check everything, if it runs and knows the CAs above."""
    if job.office is None:
        return
    if job.above:
        names = ", ".join(name for name, _ in job.above)
        job.report.notes.append(f"the service was not asked: it does not know {names} yet, which would come in first")
        return
    job.report.service = _send(job, _sending(job, ""))


def _import(job: _Job) -> None:
    office = job.office
    assert office is not None
    job.show()
    for name, certificate in job.above:
        office.record(request(name, [certificate]))
    sending = job.sending = _sending(job, "")
    with key_in_place(office, job.key, lambda error: sending.ended and not _was_refused(error)) as reference:
        sending.header.key_reference = reference
        sending.header.retired = job.wanted.retired and bool(reference)
        job.report.service = _send(job, sending)
    office.save_certificate(job.found.name, chain_of(job.report.service.issuer))
    job.report.done = True


def _sending(job: _Job, reference: str) -> Sending:
    header = header_of(
        job.found.name,
        job.found.certificate.public_bytes(Encoding.DER),
        key_reference=reference,
        crl_number=job.report.crl_number,
        source=job.source.name,
        validate_only=job.wanted.dry_run,
    )
    return Sending(header, _to_send(job.source, job.report.findings))


def _send(job: _Job, sending: Sending) -> import_pb2.ImportCertificatesResponse:
    with bar("Sending", job.report.tally.total) as move:
        sending.tick = move
        return send(job.wanted.connection, sending, retry=AGAIN)


def _to_send(source: Source, findings: Findings) -> Iterator[Record]:
    """The records without those that are left out."""
    left_out = findings.left_out()
    skipped = next(left_out, 0)
    for record in source.records():
        while skipped and skipped < record.place:
            skipped = next(left_out, 0)
        if record.place != skipped:
            yield record


def _was_refused(error: BaseException) -> bool:
    """Whether the service has said no, so that nothing of the end was carried out."""
    cause = error.__cause__
    return isinstance(cause, grpc.Call) and cause.code() in _REFUSALS


def _require_ca(file: Path, certificate: x509.Certificate) -> None:
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*UNREADABLE, x509.ExtensionNotFound):
        is_ca = False
    if not is_ca:
        subject = certificate.subject.rfc4514_string()
        raise Failed(f"{file} holds {subject}, which is no certificate of a CA: name the CA's own with --ca")


def _office(wanted: Wanted, notes: list[str]) -> Office | None:
    """The data folder with its running service. For a dry run there need be none."""
    try:
        office = Office(wanted.connection)
        office.fetch()
        return office
    except Failed as error:
        if not wanted.dry_run:
            raise
        notes.append(f"the service was not asked: {error.message}")
        return None


def _name(wanted: Wanted, office: Office | None, known: types_pb2.Issuer | None, certificate: x509.Certificate) -> str:
    taken = list(office.issuers) if office else []
    if known is not None:
        if wanted.name not in (None, known.name):
            raise Failed(f"this CA is known already, as issuer {known.name}: leave --name out")
        return known.name
    if wanted.name is None:
        return name_for(certificate, taken)
    check_name(wanted.name)
    if wanted.name in taken:
        raise Failed(f"there is an issuer {wanted.name} already, and it is another CA: choose another --name")
    return wanted.name


def _key(
    wanted: Wanted, office: Office | None, known: types_pb2.Issuer | None, found: Found, notes: list[str]
) -> ImportedKey | None:
    if wanted.key is None or not needs_key(known):
        return None
    try:
        return open_key(office, found.name, wanted.key, wanted.passphrase_file, found.certificate)
    except PassphraseMissing as error:
        if not wanted.dry_run:
            raise
        notes.append(f"the key was not opened: {error.message}")
        return None


def _key_text(wanted: Wanted, office: Office | None, known: types_pb2.Issuer | None, key: ImportedKey | None) -> str:
    if not needs_key(known):
        return "the service has it already"
    if wanted.key is None:
        return "none: the issuer is offline, and issues nothing here"
    if key is None:
        return f"{wanted.key}, not opened"
    if office is None:
        return f"{wanted.key}, that of the certificate"
    return f"{key.source}, to be encrypted anew in {office.files(key.name)[0]}" if not key.in_place else str(key.source)


def _described(crl: RevocationList | None) -> output.Json | None:
    if crl is None:
        return None
    return {
        "file": str(crl.path),
        "number": f"{crl.number:x}" if crl.number is not None else None,
        "this_update_time": f"{crl.this_update:%Y-%m-%dT%H:%M:%SZ}",
        "entries": len(crl.content),
    }
