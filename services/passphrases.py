"""Where the passphrases of keys come from. They are never logged, and never part of an error."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from services.config import ConfigError, KeyPlaces, passphrase_file


class PassphraseError(ConfigError):
    """No passphrase, or one that cannot be read. The text says where it was looked for."""


def read_passphrase(
    name: str,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    prompt: Callable[[str], str] | None = None,
    ask: bool = True,
) -> bytes:
    """The passphrase of the key `name` ("issuing", "root", …), without the newline at its end.

    Looked for in this order: environment GOODSTANDING_PASSPHRASE_<NAME> (upper case, anything but letters and digits as
    _), $CREDENTIALS_DIRECTORY/<name> (systemd), `file`, and, if we may `ask`, a prompt where standard input is a
    terminal.
    The first that exists counts, even where it cannot be read or is empty: that is an error.
    Raises PassphraseError.
    """
    environ = os.environ if environ is None else environ
    variable = "GOODSTANDING_PASSPHRASE_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    if variable in environ:
        return _checked(os.fsencode(environ[variable]), f"environment variable {variable}")
    credential = _systemd_credential(name, environ)
    if credential is not None:
        return _read(credential)
    if file is not None:
        return _read(file)
    asked = _ask(f"Passphrase of the key {name}: ", prompt) if ask else None
    if asked is None:
        raise PassphraseError(
            f"no passphrase for the key {name}: set passphrase_file in [ca], {variable}, or a systemd credential {name}"
        )
    return _checked(asked.encode(), "the prompt")


def issuer_passphrase(places: KeyPlaces, issuer: str, *, ask: bool = True) -> bytes:
    """The passphrase of an issuer's key, as `read_passphrase` finds it. Raises PassphraseError."""
    return read_passphrase(issuer, file=passphrase_file(places, issuer), ask=ask)


def _systemd_credential(name: str, environ: Mapping[str, str]) -> Path | None:
    """The file that systemd's LoadCredential= or SetCredential= made for this service, if it did."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, name) if folder and "/" not in name else None
    return path if path is not None and path.is_file() else None


def _read(path: Path) -> bytes:
    try:
        return _checked(path.read_bytes(), str(path))
    except OSError as error:
        raise PassphraseError(f"passphrase file {path}: cannot be read: {error.strerror}") from None


def _checked(content: bytes, source: str) -> bytes:
    passphrase = content.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase:
        raise PassphraseError(f"the passphrase from {source} is empty")
    return passphrase


def _ask(question: str, prompt: Callable[[str], str] | None) -> str | None:
    if prompt is not None:
        return prompt(question)
    return getpass.getpass(question) if sys.stdin is not None and sys.stdin.isatty() else None
