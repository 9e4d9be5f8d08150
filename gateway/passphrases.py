"""Where the passphrases of signers' keys come from. They are never logged, and never part of an error."""

from __future__ import annotations

import getpass
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

Prompt = Callable[[str], str]


class PassphraseError(Exception):
    """No passphrase, or one that cannot be read. The text says where it was looked for."""


def variable_of(name: str) -> str:
    """The environment variable for the passphrase `name`."""
    return "GOODSTANDING_PASSPHRASE_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def question_for(name: str, key: Path) -> str:
    """What somebody is asked for the passphrase `name` of that key."""
    return f"Passphrase of {key} ({name}): "


def has_source(name: str, *, file: Path | None = None, environ: Mapping[str, str] | None = None) -> bool:
    """Whether `read_passphrase` would look somewhere before it asks."""
    environ = os.environ if environ is None else environ
    return variable_of(name) in environ or _systemd_credential(name, environ) is not None or file is not None


def read_passphrase(
    name: str,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    prompt: Callable[[], str] | None = None,
) -> bytes:
    """The passphrase `name`, without the newline at its end.

    Looked for in this order: environment GOODSTANDING_PASSPHRASE_<NAME> (upper case, anything but letters and digits as
    _), $CREDENTIALS_DIRECTORY/<name> (systemd), `file`, and `prompt`, if there is one.
    The first that exists counts, even where it cannot be read or is empty: that is an error.

    Raises PassphraseError.
    """
    environ = os.environ if environ is None else environ
    variable = variable_of(name)
    if variable in environ:
        return _checked(os.fsencode(environ[variable]), f"environment variable {variable}")
    credential = _systemd_credential(name, environ)
    if credential is not None:
        return _read(credential)
    if file is not None:
        return _read(file)
    if prompt is not None:
        return _checked(prompt().encode(), "the prompt")
    raise PassphraseError(f"no passphrase: set passphrase_file, {variable}, or a systemd credential {name}")


def terminal() -> Prompt | None:
    """How to ask whoever sits before the terminal; None if nobody does."""
    return _ask if sys.stdin is not None and sys.stdin.isatty() else None


def _ask(question: str) -> str:
    try:
        with _ends_at_once():
            return getpass.getpass(question)
    except EOFError:
        raise PassphraseError("no passphrase was typed") from None


@contextmanager
def _ends_at_once() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a wait for somebody who types, as exceptions: the terminal gets its echo back."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (as signal calls it)
        sys.exit(128 + number)

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


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
