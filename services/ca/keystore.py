"""The issuing keys: read at the start or when an issuer comes in, then held in memory for nobody but the signing code.

Where a key is, its issuer's reference says: `SCHEME:REST`. There is one scheme, `file:PATH`, an encrypted PEM file
below the configuration's folder; a reference without scheme is such a path, too. Hardware modules and key services will
be further schemes, each a `KeySource` (docs/decisions/key-stores.md).

A key that is missing leaves its issuer unable to sign, which health shows, until it is there; revoking goes on.
Everything else about a key that is wrong (the passphrase, the content, the owner) stops the start, because an operator
is there to read it, and keeps a new issuer out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

import structlog

from services.config import ConfigError
from services.db.records import IssuerRecord
from services.errors import DomainError, FailedPrecondition, InvalidArgument, Unavailable
from services.pki.issuers import PrivateKey, public_key_of
from services.pki.keys import KeyUnusable, load_key

_logger = structlog.get_logger(__name__)

FILE = "file"
RETRY_SECONDS = 1.0
"""How long a key that could not be opened is not tried again."""


class KeyStore(Protocol):
    """Where signing keys come from."""

    def signer(self, issuer: IssuerRecord) -> PrivateKey:
        """The issuer's key. Raises Unavailable (KEY_UNAVAILABLE); nothing is signed then."""

    def check(self, reference: str, issuer: str, public_key_der: bytes) -> None:
        """Make sure that the key for a new issuer is there and can be used, before the issuer is recorded.

        Raises FailedPrecondition (KEY_MISSING, KEY_MISMATCH, KEY_UNREADABLE, KEY_PASSPHRASE_MISSING, ...) and
        InvalidArgument (KEY_REFERENCE_INVALID).
        """


MAX_KEY_SIZE = 1024 * 1024
"""Octets that are read of a file which is to hold a key: a reference may name any file of the data folder."""


class KeySource(Protocol):
    """What knows the references of one scheme."""

    def open(self, reference: str, issuer: str, public_key_der: bytes) -> PrivateKey:
        """The key at a reference, which has to be the one that belongs to the public key of that issuer.

        Raises FailedPrecondition: KEY_MISSING where it is not there, KEY_MISMATCH where it is another, other reasons
        where it cannot be used.
        """


class HeldKeys:
    """Keys by the name of their issuer. Those that are not held yet are opened when they are first asked for."""

    def __init__(
        self,
        keys: Mapping[str, PrivateKey],
        source: KeySource | None = None,
        *,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = dict(keys)
        self._source = source
        self._ticks = ticks
        self._lock = threading.Lock()
        self._failed_at: dict[str, float] = {}

    def signer(self, issuer: IssuerRecord) -> PrivateKey:
        """The issuer's key. Raises Unavailable (KEY_UNAVAILABLE)."""
        if issuer.key_ref is None:  # it went offline: what was held of it is not to be used any more
            self._keys.pop(issuer.name, None)
        key = self._keys.get(issuer.name)
        if key is None or public_key_of(key) != issuer.public_key_der:
            with self._lock:  # one of many callers opens it
                key = self._keys.get(issuer.name)
                if key is None or public_key_of(key) != issuer.public_key_der:
                    key = self._keys[issuer.name] = self._open(issuer)
        return key

    def check(self, reference: str, issuer: str, public_key_der: bytes) -> None:
        """As KeyStore.check. The key is not held by that: the record of its issuer may still be refused."""
        if self._source is None:
            raise FailedPrecondition("KEY_MISSING", f"there are no keys here, and none at {reference}")
        self._source.open(reference, issuer, public_key_der)

    def _open(self, issuer: IssuerRecord) -> PrivateKey:
        unavailable = Unavailable("KEY_UNAVAILABLE", f"the key of issuer {issuer.name} is not loaded")
        failed_at = self._failed_at.get(issuer.name, float("-inf"))
        if self._source is None or issuer.key_ref is None or self._ticks() - failed_at < RETRY_SECONDS:
            raise unavailable
        try:
            key = self._source.open(issuer.key_ref, issuer.name, issuer.public_key_der)
        except DomainError as error:
            self._failed_at[issuer.name] = self._ticks()
            _logger.warning("issuing key cannot be opened", issuer=issuer.name, reason=error.reason, why=error.message)
            raise unavailable from error
        _logger.info("issuing key opened", issuer=issuer.name)
        return key


class KeyFiles:
    """Encrypted PEM files (PKCS #8). `passphrase` is called with the name of the issuer."""

    def __init__(self, base: Path, passphrase: Callable[[str], bytes]) -> None:
        self._base = base
        self._passphrase = passphrase

    def open(self, reference: str, issuer: str, public_key_der: bytes) -> PrivateKey:
        """Read a key. Raises FailedPrecondition, and PassphraseError (a ConfigError) as `passphrase` does."""
        file = key_file(reference, self._base)
        key = self._read(file, issuer)
        if public_key_of(key) != public_key_der:
            raise FailedPrecondition("KEY_MISMATCH", f"{file} is not the key of issuer {issuer}; put its own key there")
        return key

    def _read(self, file: Path, issuer: str) -> PrivateKey:
        try:
            with file.open("rb") as content:
                return load_key(content.read(MAX_KEY_SIZE), self._passphrase(issuer))
        except FileNotFoundError as error:
            raise FailedPrecondition("KEY_MISSING", f"the key of issuer {issuer} is not there: {file}") from error
        except OSError as error:
            text = f"the key of issuer {issuer} cannot be read: {file}: {error.strerror}"
            raise FailedPrecondition("KEY_UNREADABLE", text) from error
        except KeyUnusable as error:
            raise KeyUnusable(error.reason, f"the key of issuer {issuer}, {file}: {error.message}") from error


class _Discreet:
    """A source whose errors may be told to callers far away: without folders of this machine, and never a stop."""

    def __init__(self, base: Path, source: KeySource) -> None:
        self._base = base
        self._source = source

    def open(self, reference: str, issuer: str, public_key_der: bytes) -> PrivateKey:
        try:
            return self._source.open(reference, issuer, public_key_der)
        except ConfigError as error:
            raise FailedPrecondition("KEY_PASSPHRASE_MISSING", self._plain(str(error))) from None
        except FailedPrecondition as error:
            raise FailedPrecondition(error.reason, self._plain(error.message)) from None

    def _plain(self, text: str) -> str:
        return text.replace(f"{self._base.resolve()}/", "").replace(f"{self._base}/", "")


def key_file(reference: str, base: Path) -> Path:
    """The file that a reference names. Raises FailedPrecondition (KEY_REFERENCE_UNKNOWN) for another scheme."""
    scheme, colon, rest = reference.partition(":")
    if colon and scheme != FILE:
        raise FailedPrecondition(
            "KEY_REFERENCE_UNKNOWN", f"keys at {scheme[:16]}: are not known to this release; it knows file:PATH"
        )
    return base / (rest if colon else reference)


def check_reference(reference: str) -> None:
    """Refuse what no caller may name: whatever is not a file below the folder of the configuration.

    Raises InvalidArgument (KEY_REFERENCE_INVALID, on `key_reference`).
    """
    scheme, _, rest = reference.partition(":")
    path = PurePosixPath(rest)
    if scheme != FILE or not rest or "\0" in rest or path.is_absolute() or ".." in path.parts or len(reference) > 512:
        text = "a key reference is file:PATH, with a path below the folder of the configuration"
        raise InvalidArgument("KEY_REFERENCE_INVALID", text, field="key_reference")


def load_keys(
    issuers: Iterable[IssuerRecord],
    base: Path,
    passphrase: Callable[[str], bytes],
    later: Callable[[str], bytes] | None = None,
) -> HeldKeys:
    """Read the key of every issuer that has one; files are relative to `base`.

    `passphrase` is called with the issuer's name now, and `later`, which must not ask anybody, for issuers that come
    in afterwards. Raises FailedPrecondition: KEY_UNREADABLE, KEY_MISMATCH, and what `load_key` raises, with the issuer
    and the file in the text; and what `passphrase` raises.
    """
    source = KeyFiles(base, passphrase)
    keys: dict[str, PrivateKey] = {}
    for issuer in issuers:
        if issuer.key_ref is None:
            continue
        if not key_file(issuer.key_ref, base).exists():
            _logger.error("issuing key missing", issuer=issuer.name, file=str(key_file(issuer.key_ref, base)))
            continue
        keys[issuer.name] = source.open(issuer.key_ref, issuer.name, issuer.public_key_der)
    return HeldKeys(keys, _Discreet(base, KeyFiles(base, later or passphrase)))
