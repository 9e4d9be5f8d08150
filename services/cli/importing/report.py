"""What an import found, would do, and did: for people as tables, for programs as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from services.cli import output
from services.cli.importing.findings import Finding, Findings
from services.cli.importing.records import Tally

if TYPE_CHECKING:
    from goodstanding.ca.v1 import import_pb2

_SHOWN_PER_CODE = 5
_SHOWN_OF_SERVICE = 100
_COUNTS = ("received", "added", "unchanged", "revoked", "completed", "refused")


@dataclass
class Report:
    """All that is told about one import."""

    source: str
    issuer: str
    subject: str
    known: bool | None
    """Whether the service knows the issuer already; None where it was not asked."""
    findings: Findings
    tally: Tally = field(default_factory=Tally)
    key: str = ""
    above: tuple[str, ...] = ()
    """The names of the CAs above that come in, too."""
    crl: output.Json | None = None
    crl_number: int | None = None
    next_serial: int | None = None
    notes: list[str] = field(default_factory=list)
    service: import_pb2.ImportCertificatesResponse | None = None
    """What the service said."""
    dry_run: bool = False
    done: bool = False

    def emit(self) -> None:
        """Print it as JSON."""
        left_out = self.findings.total - len(self.findings.kept)
        output.emit(
            {
                "source": self.source,
                "issuer": {"name": self.issuer, "subject": self.subject, "known": self.known, "key": self.key or None},
                "issuers_above": list(self.above),
                "records": {**self.tally.as_json(), "left_out": self.findings.refused},
                "crl": self.crl,
                "crl_number": _hex(self.crl_number),
                "next_serial_number": _hex(self.next_serial),
                "finding_counts": self.findings.counts,
                "findings": [_described(each) for each in self.findings.kept],
                "omitted_findings_count": left_out,
                "service": self._service(),
                "notes": self.notes,
                "validate_only": self.dry_run,
                "done": self.done,
            }
        )

    def show(self) -> None:
        """Print what was found."""
        tally = self.tally
        known = {True: ", known already", False: ", new", None: ""}[self.known]
        crl = self.crl
        output.details(
            (
                ("Source", self.source),
                ("Issuer", f"{self.issuer}{known}: {self.subject}"),
                ("Key", self.key),
                ("Above it", ", ".join(self.above)),
                ("Records", _sum(tally)),
                ("Certificates", f"{tally.with_certificate} with the certificate, {tally.status_only} status only"),
                ("Revocation list", f"{crl['file']}: number {crl['number']}, {crl['entries']} entries" if crl else ""),
                ("CRL number", f"{_hex(self.crl_number)}: lists made here go on above it" if self.crl_number else ""),
                ("Next serial", f"{_hex(self.next_serial)}: not used, new ones are random" if self.next_serial else ""),
            )
        )
        self._show_findings()
        for note in self.notes:
            click.echo(output.plain(f"Note: {note}"))

    def show_outcome(self) -> None:
        """Print what the service did, or would do."""
        if self.service is None:
            if self.dry_run:
                click.echo("Nothing was recorded.")
            return
        told = self.findings.counts
        fresh = [each for each in self.service.findings if each.refused or each.code not in told]
        for finding in fresh[:_SHOWN_OF_SERVICE]:
            word = "refused" if finding.refused else "odd"
            click.echo(output.plain(f"  {word}: {finding.origin}: {finding.text} [{finding.code}]"))
        hidden = len(fresh[_SHOWN_OF_SERVICE:]) + self.service.omitted_findings_count
        if hidden:
            click.echo(f"  … and {hidden} more")
        counts = self.service.counts
        would = "would be " if self.dry_run else ""
        parts = [f"{counts.added_count} {would}added", f"{counts.unchanged_count} unchanged"]
        if counts.revoked_count:
            parts.append(f"{counts.revoked_count} {would}revoked")
        if counts.completed_count:
            parts.append(f"{counts.completed_count} {would}completed with their certificates")
        if counts.refused_count:
            parts.append(f"{counts.refused_count} {would}refused")
        end = ". Nothing was recorded." if self.dry_run else f". Issuer {self.issuer} is known here."
        click.echo(f"{counts.received_count} certificates: {', '.join(parts)}{end}")

    def _show_findings(self) -> None:
        counts = self.findings.counts
        if not counts:
            click.echo("Nothing odd was found.")
            return
        shown: Counter[str] = Counter()
        for code in sorted(counts, key=self._order):
            for finding in self.findings.kept:
                if finding.code == code and finding.text and shown[code] < _SHOWN_PER_CODE:
                    shown[code] += 1
                    click.echo(output.plain(_line(finding)))
            if counts[code] > shown[code]:
                click.echo(f"  … {counts[code]} in all [{code}]")

    def _order(self, code: str) -> tuple[bool, str]:
        """Those that keep something out come first."""
        refused = any(each.refused for each in self.findings.kept if each.code == code)
        return not refused, code

    def _service(self) -> output.Json | None:
        if self.service is None:
            return None
        counts = self.service.counts
        return {
            "counts": {name: getattr(counts, f"{name}_count") for name in _COUNTS},
            "findings": [
                {
                    "origin": each.origin,
                    "serial_number": each.serial_number,
                    "code": each.code,
                    "text": each.text,
                    "refused": each.refused,
                }
                for each in self.service.findings
            ],
            "omitted_findings_count": self.service.omitted_findings_count,
        }


def _sum(tally: Tally) -> str:
    parts = [f"{tally.total} read", f"{tally.valid} valid", f"{tally.revoked} revoked", f"{tally.expired} expired"]
    if tally.on_hold:
        parts[2] += f" ({tally.on_hold} of them on hold)"
    if tally.unreadable:
        parts.append(f"{tally.unreadable} unreadable")
    return ", ".join(parts)


def _line(finding: Finding) -> str:
    where = finding.origin or "-"
    column = f", column {finding.column}" if finding.column else ""
    serial = f" ({finding.serial_number})" if finding.serial_number else ""
    word = "refused" if finding.refused else "odd"
    return f"  {word}: {where}{column}{serial}: {finding.text} [{finding.code}]"


def _described(finding: Finding) -> output.Json:
    return {
        "origin": finding.origin or None,
        "column": finding.column,
        "serial_number": finding.serial_number,
        "code": finding.code,
        "text": finding.text,
        "refused": finding.refused,
    }


def _hex(number: int | None) -> str | None:
    if number is None:
        return None
    digits = f"{number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)
