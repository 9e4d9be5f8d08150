"""The hashes of the keys that a file names, for `goodstanding keys`.

What it guarantees: nothing in a file is passed over. What is neither a key in some form nor a comment is refused, by
the number of its line or block, and then none of the file is used. Of a private key only its public half's hash is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from services.cli.failures import Failed
from services.cli.options import is_pem

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BLOCK = re.compile(rb"-----BEGIN ([^-\r\n]+)-----.*?-----END \1-----", re.DOTALL)
_WITHOUT_KEY = (b"EC PARAMETERS",)
"""openssl puts the curve before a private key."""
_KINDS = "certificates, certificate requests, public keys and private keys"
_MAX_NAMED = 5


def in_file(content: bytes, name: str) -> list[bytes]:
    """Hashes on lines, and keys in PEM: each key once, in the order of the file. Raises Failed, naming the mistake."""
    if not is_pem(content):
        try:
            content.decode("ascii")
        except UnicodeDecodeError:
            raise Failed(f"{name} holds neither PEM nor lines of hex; a key in DER is given by --cert FILE") from None
    outside, blocks = _parts(content)
    found = [(line, hash_of(text, f"{name}, line {line}")) for line, text in outside]
    found += _of_blocks(blocks, name) if blocks else []
    if not found:
        raise Failed(f"{name} is empty, and names no key")
    return list(dict.fromkeys(digest for _, digest in sorted(found)))


def of_certificate(content: bytes, name: str) -> list[bytes]:
    """As `in_file`, of keys alone: in DER too, and with the text that openssl puts before a block of PEM."""
    if not is_pem(content):
        return [_of_key(content, name)]
    outside, blocks = _parts(content)
    for line, text in outside:
        if _HASH.fullmatch(_plain(text)):
            raise Failed(f"{name}, line {line}, is a hash, and not a certificate; give the file without --cert")
    return list(dict.fromkeys(digest for _, digest in _of_blocks(blocks, name)))


def hash_of(text: str, place: str) -> bytes:
    """The hash that is written there. Raises Failed."""
    plain = _plain(text)
    if _HASH.fullmatch(plain):
        return bytes.fromhex(plain)
    if text.startswith("-----BEGIN "):
        raise Failed(f"{place}: this block has no end")
    raise Failed(
        f'{place}: a key is given by the SHA-256 of its SubjectPublicKeyInfo, 64 hex digits, or in PEM; "#" begins a '
        "comment"
    )


def _plain(text: str) -> str:
    return text.strip().replace(":", "").lower()


_Block = tuple[int, bytes, bytes]
"""The line it begins on, its kind, and all of it."""


def _parts(content: bytes) -> tuple[list[tuple[int, str]], list[_Block]]:
    """The lines outside of blocks that say something, and the blocks, with the numbers of their lines."""
    blocks: list[_Block] = []
    line, place = 1, 0
    for found in _BLOCK.finditer(content):
        line += content.count(b"\n", place, found.start())
        place = found.start()
        blocks.append((line, found[1], found[0]))
    without = _BLOCK.sub(lambda found: b"\n" * found[0].count(b"\n"), content)
    words = (line.partition("#")[0].strip() for line in without.decode("ascii", "replace").split("\n"))
    return [(number, word) for number, word in enumerate(words, 1) if word], blocks


def _of_blocks(blocks: list[_Block], name: str) -> list[tuple[int, bytes]]:
    """The lines and hashes of keys. Raises Failed for whatever holds none."""
    found: list[tuple[int, bytes]] = []
    others: list[str] = []
    for number, (line, kind, block) in enumerate(blocks, 1):
        if kind in _WITHOUT_KEY:
            continue
        try:
            found.append((line, _of_key(block, f"{name}, block {number}")))
        except _NoKey:
            others.append(f"block {number}, in line {line}: {kind.decode('ascii', 'replace')}")
    if others:
        more = f"; and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
        listed = "; ".join(others[:_MAX_NAMED]) + more
        raise Failed(f"{name} holds something else than {_KINDS} that can be read ({listed}): take it out first")
    if not found:
        raise Failed(f"{name} holds no key: {_KINDS} do")
    return found


class _NoKey(Failed):
    """Neither a key nor anything with one."""


def _of_key(content: bytes, name: str) -> bytes:
    """The hash of the key in a certificate, a request, or a file of its own, as it would stand in a certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as form

    from services.pki.unreadable import UNREADABLE

    pem = is_pem(content)
    readers: Sequence[Callable[[], Any]] = (
        lambda: (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(content).public_key(),
        lambda: (x509.load_pem_x509_csr if pem else x509.load_der_x509_csr)(content).public_key(),
        lambda: (form.load_pem_public_key if pem else form.load_der_public_key)(content),
        lambda: _public_half(content, name),
    )
    for reader in readers:
        with suppress(*UNREADABLE):
            return hashlib.sha256(
                reader().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
            ).digest()
    raise _NoKey(f"{name} holds something else than {_KINDS}, in PEM or DER")


def _public_half(content: bytes, name: str) -> Any:
    from cryptography.hazmat.primitives import serialization as form

    load = form.load_pem_private_key if is_pem(content) else form.load_der_private_key
    try:
        return load(content, None).public_key()
    except TypeError:  # there would have to be a passphrase
        cure = "give its certificate or public key (openssl pkey -in FILE -pubout) instead"
        raise Failed(f"{name} is encrypted; {cure}") from None
