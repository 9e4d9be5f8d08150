"""Where the parts of a CA are: named one by one, or by openssl.cnf, or found in the places where guides put them.

Known are the layout of the "OpenSSL certificate authority" guide (certs/ca.cert.pem, private/ca.key.pem, newcerts/),
that of CA.pl (cacert.pem, private/cakey.pem), and that of Easy-RSA (ca.crt, private/ca.key, certs_by_serial/). Files
are looked for and not opened, but for the certificates among which the CA's own has to be found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from services.openssl_ca.config import DEFAULT, BadConfig, OpenSSLConfig, parse_config

_MAX_CONFIG = 1024 * 1024
_MAX_CANDIDATES = 2000
_CERTIFICATE_SUFFIXES = (".cert.pem", ".crt.pem", ".pem", ".crt", ".cer")
_INDEXES = ("index.txt", "index", "ca.db.index")
_CERTIFICATES = ("certs/ca.cert.pem", "certs/intermediate.cert.pem", "cacert.pem", "ca.crt", "certs/ca.crt")
_KEYS = ("private/ca.key.pem", "private/intermediate.key.pem", "private/cakey.pem", "private/ca.key")
_CHAINS = ("certs/ca-chain.cert.pem", "ca-chain.cert.pem", "certs/ca-chain.pem", "ca-chain.pem", "chain.pem")
_NEW_CERTS = ("newcerts", "certs_by_serial")
_SERIALS, _CRL_NUMBERS = ("serial",), ("crlnumber",)
_MAX_CRLS = 100


class PartMissing(ValueError):
    """A part that is needed is not there, or cannot be told from others. The text says how to name it."""


@dataclass(frozen=True)
class Parts:
    """The files of a CA. None: not named, or not there."""

    index: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    chain: Path | None = None
    new_certs: Path | None = None
    serial: Path | None = None
    crl_number: Path | None = None
    crls: tuple[Path, ...] = ()
    config: Path | None = None

    def existing(self) -> Parts:
        """Those that are there."""
        return Parts(*(_existing(getattr(self, field.name)) for field in fields(self)))

    def over(self, others: Parts) -> Parts:
        """These parts, with the others where these have nothing."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(others, **{name: value for name, value in mine.items() if value})


def _existing(part: Path | tuple[Path, ...] | None) -> Any:
    return part if not isinstance(part, Path) or part.exists() else None


def from_config(file: Path, folder: Path, section: str | None, environ: Mapping[str, str]) -> Parts:
    """The parts that a configuration names.

    `dir` is `folder`, whatever the file says: a CA that was moved or copied is read where it is now. Relative paths
    start there, too. Raises BadConfig, and OSError.
    """
    content = file.read_bytes()
    if len(content) > _MAX_CONFIG:
        raise BadConfig(0, "longer than 1 MiB: no openssl.cnf")
    text = content.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    first = parse_config(text, fixed={}, environ=environ)
    name = first.ca_section(section)
    owner = name if "dir" in first.sections[name] else DEFAULT
    config = parse_config(text, fixed={(owner, "dir"): str(folder)}, environ=environ)
    return _named(config, name, folder, file)


def _named(config: OpenSSLConfig, section: str, folder: Path, file: Path) -> Parts:
    def part(name: str) -> Path | None:
        value = config.get(section, name)
        return folder / os.fsdecode(os.fsencode(value)) if value else None

    crls = tuple(path for path in (part("crl"),) if path is not None and path.is_file())
    return Parts(
        index=part("database"),
        certificate=part("certificate"),
        key=part("private_key"),
        new_certs=part("new_certs_dir"),
        serial=part("serial"),
        crl_number=part("crlnumber"),
        crls=crls,
        config=file,
    )


def in_folder(folder: Path, is_ca: Callable[[Path], bool], *, given: Parts) -> Parts:
    """The parts at their usual places in a folder, as far as they are there and are not given already.

    `is_ca` tells whether a file holds one certificate, and that of a CA. Raises PartMissing where several might be the
    CA's own.
    """
    certificate = given.certificate or _own_certificate(folder, is_ca)
    return Parts(
        index=_first(folder, _INDEXES),
        certificate=certificate,
        key=(_key_of(certificate, folder) if certificate else None) or _only(folder, _KEYS),
        chain=_first(folder, _CHAINS),
        new_certs=next((path for name in _NEW_CERTS if (path := folder / name).is_dir()), None),
        serial=_first(folder, _SERIALS),
        crl_number=_first(folder, _CRL_NUMBERS),
        crls=tuple(_crls(folder)),
    )


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    return next((path for name in names if (path := folder / name).is_file()), None)


def _only(folder: Path, names: Iterable[str]) -> Path | None:
    found = [path for name in names if (path := folder / name).is_file()]
    return found[0] if len(found) == 1 else None


def _own_certificate(folder: Path, is_ca: Callable[[Path], bool]) -> Path | None:
    usual = [path for name in _CERTIFICATES if (path := folder / name).is_file()]
    if len(usual) == 1:
        return usual[0]
    found = usual or [path for path in _candidates(folder) if is_ca(path)]
    with_key = [path for path in found if _key_of(path, folder)] if len(found) > 1 else found
    if len(with_key) == 1:
        return with_key[0]
    if not found:
        return None
    listed = ", ".join(str(path) for path in found[:5])
    raise PartMissing(f"several files may be the CA's own certificate ({listed}): name it with --ca")


def _candidates(folder: Path) -> Iterator[Path]:
    for place in (folder / "certs", folder):
        if place.is_dir():
            files = (path for path in place.iterdir() if path.name.endswith(_CERTIFICATE_SUFFIXES))
            yield from sorted(path for path in islice(files, _MAX_CANDIDATES) if path.is_file())


def _key_of(certificate: Path, folder: Path) -> Path | None:
    """The key whose file has the name that goes with that of the certificate."""
    stem = next((certificate.name.removesuffix(s) for s in _CERTIFICATE_SUFFIXES if certificate.name.endswith(s)), "")
    names = (f"{stem}.key.pem", f"{stem}.key", f"{stem}key.pem", f"{stem.removesuffix('cert')}key.pem")
    return _first(folder / "private", names) if stem else None


def _crls(folder: Path) -> list[Path]:
    found = [path for name in ("crl.pem", "ca.crl") if (path := folder / name).is_file()]
    place = folder / "crl"
    if place.is_dir():
        files = (path for path in place.iterdir() if path.suffix in (".pem", ".crl", ".der"))
        found += sorted(path for path in islice(files, _MAX_CRLS) if path.is_file())
    return found
