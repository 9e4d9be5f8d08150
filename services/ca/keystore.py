"""The issuing keys: read once at the start, then held in memory and handed to nobody but the signing code.

A key file that is missing leaves its issuer unable to sign, which health shows; revoking goes on. Everything else about
a key that is wrong (the passphrase, the content, the owner) stops the start, because an operator is there to read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from services.db.records import IssuerRecord
from services.errors import FailedPrecondition, Unavailable
from services.pki.issuers import PrivateKey, public_key_of
from services.pki.keys import KeyUnusable, load_key

_logger = structlog.get_logger(__name__)


class KeyStore(Protocol):
    """Where signing keys come from."""

    def signer(self, issuer: IssuerRecord) -> PrivateKey:
        """The issuer's key. Raises Unavailable (KEY_UNAVAILABLE); nothing is signed then."""


class HeldKeys:
    """Keys by the name of their issuer."""

    def __init__(self, keys: Mapping[str, PrivateKey]) -> None:
        self._keys = dict(keys)

    def signer(self, issuer: IssuerRecord) -> PrivateKey:
        """The issuer's key. Raises Unavailable (KEY_UNAVAILABLE)."""
        key = self._keys.get(issuer.name)
        if key is None:
            raise Unavailable("KEY_UNAVAILABLE", f"the key of issuer {issuer.name} is not loaded")
        return key


def load_keys(issuers: Iterable[IssuerRecord], base: Path, passphrase: Callable[[str], bytes]) -> HeldKeys:
    """Read the key of every issuer that has one; `key_ref` is relative to `base`.

    `passphrase` is called with the issuer's name. Raises FailedPrecondition: KEY_UNREADABLE, KEY_MISMATCH, and what
    `load_key` raises, with the issuer and the file in the text; and what `passphrase` raises.
    """
    keys: dict[str, PrivateKey] = {}
    for issuer in issuers:
        if issuer.key_ref is None:
            continue
        file = base / issuer.key_ref
        if not file.exists():
            _logger.error("issuing key missing", issuer=issuer.name, file=str(file))
            continue
        keys[issuer.name] = _load(issuer, file, passphrase)
    return HeldKeys(keys)


def _load(issuer: IssuerRecord, file: Path, passphrase: Callable[[str], bytes]) -> PrivateKey:
    try:
        key = load_key(file.read_bytes(), passphrase(issuer.name))
    except OSError as error:
        raise FailedPrecondition(
            "KEY_UNREADABLE", f"the key of issuer {issuer.name} cannot be read: {file}: {error.strerror}"
        ) from error
    except KeyUnusable as error:
        raise KeyUnusable(error.reason, f"the key of issuer {issuer.name}, {file}: {error.message}") from error
    if public_key_of(key) != issuer.public_key_der:
        raise FailedPrecondition(
            "KEY_MISMATCH", f"{file} is not the key of issuer {issuer.name}; put its own key there"
        )
    return key
