"""A folder of certificates from anywhere, and the revocation list that goes with it."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from services.cli.failures import Failed
from services.cli.importing.carrying_out import Opened
from services.cli.importing.findings import Findings
from services.cli.importing.folder_source import FolderSource
from services.cli.importing.revocation_lists import read_list


def open_records(folder: Path, crl: Path | None, authority: x509.Certificate, findings: Findings) -> Opened:
    """The certificates, and what the list says of them. Raises Failed for a list that cannot be used."""
    found = None
    if crl is not None:
        found = read_list(crl, authority, findings)
        if found is None:
            raise Failed(f"{crl}: {findings.kept[-1].text.removesuffix('; it is left aside')}")
    notes = () if crl else ("there is no revocation list: all of them come in as not revoked",)
    return Opened(
        source=FolderSource(folder, authority, found),
        size=None,
        crl=found,
        crl_number=found.number if found else None,
        notes=notes,
    )
