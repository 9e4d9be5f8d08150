"""The folder of `openssl ca`: which files it consists of, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography import x509

from services.cli.failures import Failed
from services.cli.found_authorities import read_certificates
from services.cli.importing.carrying_out import Opened
from services.cli.importing.findings import Finding, Findings
from services.cli.importing.index_source import IndexSource
from services.cli.importing.revocation_lists import RevocationList, newest
from services.openssl_ca.config import BadConfig
from services.openssl_ca.layout import PartMissing, Parts, from_config, in_folder
from services.openssl_ca.numbers import parse_number
from services.pki.unreadable import UNREADABLE

_MAX_NUMBER_FILE = 4096


def find(
    folder: Path, config: Path | None, section: str | None, given: Parts, environ: Mapping[str, str]
) -> tuple[Parts, list[str]]:
    """The parts as they are named, or else by the configuration, or else where they are. With notes. Raises Failed."""
    notes: list[str] = []
    folder = folder.absolute()
    configured = _configured(folder, config, section, environ, notes)
    named = given.over(configured)
    try:
        there = in_folder(folder, _is_ca, given=named)
    except PartMissing as error:
        raise Failed(str(error)) from None
    parts = named.over(there)
    if not given.crls:
        parts = replace(parts, crls=tuple(dict.fromkeys((*configured.crls, *there.crls))))
    return parts, notes


def require(folder: Path, parts: Parts, given: Parts, *, offline: bool) -> None:
    """Raise Failed for a part that is not there and has to be. `given` are those that the user has named."""
    needed = [
        ("index.txt", parts.index, given.index, "--index"),
        ("the CA's own certificate", parts.certificate, given.certificate, "--ca"),
    ]
    if not offline:
        needed.append(("the CA's private key", parts.key, given.key, "--key, or leave it out with --offline"))
    for what, path, named, option in needed:
        if path is None:
            raise Failed(f"{what} was not found in {folder}: name it with {option}")
        if not path.is_file():
            by = f" (as {parts.config} has it)" if parts.config and named is None else ""
            problem = "is no file" if path.exists() else "is not there"
            raise Failed(f"{what}: {path}{by} {problem}: name it with {option}")


def open_records(parts: Parts, authority: x509.Certificate, findings: Findings, notes: list[str]) -> Opened:
    """The rows, the newest revocation list, and the numbers. Raises OSError."""
    assert parts.index is not None
    crl = newest(parts.crls, authority, findings)
    source = IndexSource(parts.index, parts.new_certs, authority, crl)
    next_crl = _number(parts.crl_number, findings)
    if parts.new_certs is None or not parts.new_certs.is_dir():
        notes = [
            *notes,
            "there are no certificates in newcerts: only statuses come in, and nothing shows that they are of this CA",
        ]
    return Opened(
        source=source,
        size=source.octets,
        crl=crl,
        crl_number=_highest(next_crl, crl),
        next_serial=_number(parts.serial, findings),
        notes=tuple(notes),
    )


def _configured(
    folder: Path, config: Path | None, section: str | None, environ: Mapping[str, str], notes: list[str]
) -> Parts:
    file = config or folder / "openssl.cnf"
    if config is None and not file.is_file():
        return Parts()
    try:
        parts = from_config(file, folder, section, environ)
        # Nobody has named this file: what it names counts as far as it is there.
        return parts if config is not None else parts.existing()
    except BadConfig as error:
        if config is not None or section is not None:
            raise Failed(f"{file}: {error}") from None
        notes.append(f"{file} was not used: {error}")
        return Parts()


def _is_ca(path: Path) -> bool:
    try:
        found = read_certificates(path)
        return len(found) == 1 and found[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*UNREADABLE, Failed, OSError, x509.ExtensionNotFound):
        return False


def _number(path: Path | None, findings: Findings) -> int | None:
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(_MAX_NUMBER_FILE)
    try:
        return parse_number(content)
    except ValueError as error:
        findings.add(Finding("NUMBER_UNREADABLE", f"{error}; it is left aside", refused=False, origin=path.name))
        return None


def _highest(next_number: int | None, crl: RevocationList | None) -> int | None:
    """The highest CRL number that was used."""
    used = [next_number - 1] if next_number else []
    if crl is not None and crl.number is not None:
        used.append(crl.number)
    return max(used, default=None)
