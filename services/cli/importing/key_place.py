"""The key of a CA that is imported: opened with its passphrase, and encrypted anew in the data folder.

It never leaves this machine. Both files are whole or absent; they go again where it is certain that the service has no
use for them, and stay where it might.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.authorities import KeyPlace, Office
from services.cli.failures import Failed
from services.cli.recording_authorities import reference_of
from services.passphrases import PassphraseError, read_passphrase
from services.pki import der, keys
from services.pki.issuers import PrivateKey, public_key_of


class PassphraseMissing(Failed):
    """Nothing tells the passphrase, and there is no terminal to ask on."""


@dataclass(frozen=True)
class ImportedKey:
    """A key that was opened, and where it goes."""

    key: PrivateKey
    name: str
    source: Path
    in_place: bool
    """Whether it is in the data folder already: from a run that was cut off."""


def open_key(office: Office | None, name: str, file: Path, given: Path | None, of: x509.Certificate) -> ImportedKey:
    """Open the key of a CA certificate. Raises Failed: no passphrase, a wrong one, or the key of something else."""
    if office is not None and (kept := _kept(office, name, of)) is not None:
        return kept
    key = _open(name, file, given)
    if public_key_of(key) != der.public_key_der(of):
        raise Failed(f"{file} is not the key of the certificate {of.subject.rfc4514_string()}: name its key with --key")
    return ImportedKey(key, name, file, in_place=False)


def needs_key(known: types_pb2.Issuer | None) -> bool:
    """Whether a key would be new to the service."""
    return known is None or known.state == types_pb2.ISSUER_STATE_OFFLINE


@contextmanager
def key_in_place(
    office: Office, key: ImportedKey | None, may_be_used: Callable[[BaseException], bool]
) -> Iterator[str]:
    """Have the key in the data folder, and say what the service calls it.

    After a failure its files are removed, unless they were there before, or `may_be_used` says of the failure that the
    service may have them in use. Raises Failed, and OSError.
    """
    if key is None:
        yield ""
        return
    if key.in_place:
        yield reference_of(key.name)
        return
    files = office.files(key.name)[:2]
    try:
        office.save_key(key.name, key.key)
        yield reference_of(key.name)
    except BaseException as error:
        if may_be_used(error):
            output.note(f"The key stays in {files[0]}: whether the service has it in use is not known.")
        else:
            for file in files:
                file.unlink(missing_ok=True)
        raise


def _open(name: str, file: Path, given: Path | None) -> PrivateKey:
    content = file.read_bytes()
    passphrase = None
    if b"ENCRYPTED" in content:
        try:
            passphrase = read_passphrase(name, file=given)
        except PassphraseError as error:
            if given is not None:
                raise Failed(str(error)) from None
            told = f"{error}; or name its file with --passphrase-file, or leave the key out with --offline"
            raise PassphraseMissing(told) from None
    try:
        return keys.load_key(content, passphrase)
    except keys.KeyUnusable as error:
        raise Failed(f"cannot open {file}: {error.message}") from None


def _kept(office: Office, name: str, of: x509.Certificate) -> ImportedKey | None:
    """The key that an earlier run has left. Raises Failed where files of that name are of something else."""
    file, passphrase, *_ = office.files(name)
    if not file.exists() and not passphrase.exists():
        return None
    if file.is_file() and passphrase.is_file():
        key = KeyPlace(name, file, passphrase).open()
        if public_key_of(key) == der.public_key_der(of):
            return ImportedKey(key, name, file, in_place=True)
    raise Failed(f"{file} or {passphrase} is there already, and not of this CA: choose another name with --name")
