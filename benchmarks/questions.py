"""OCSP requests over HTTP, made beforehand: as few instructions as can be are left for the moment of asking."""

from __future__ import annotations

import base64
import hashlib
import os
import urllib.parse
from collections.abc import Callable, Sequence
from itertools import cycle

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

NONCE_SIZE = 16

Messages = Callable[[int], bytes]
"""The next so many HTTP requests, one behind the other."""


def certificate_ids(issuer: x509.Certificate) -> Callable[[int], ocsp.OCSPRequestBuilder]:
    """Requests about one issuer's certificates, by serial number, with the SHA-1 CertIDs of RFC 5019."""
    name_hash = hashlib.sha1(issuer.subject.public_bytes()).digest()
    key_hash = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest
    return lambda serial: ocsp.OCSPRequestBuilder().add_certificate_by_hash(name_hash, key_hash, serial, SHA1())


def plain(
    issuer: x509.Certificate,
    serials: Sequence[int],
    *,
    keep_alive: bool,
    batch: int = 1,
    method: str = "POST",
    path: str = "/",
) -> Messages:
    """Requests without a nonce, round and round through the certificates, always `batch` together."""
    ask = certificate_ids(issuer)
    write = get if method == "GET" else post
    each = [
        write(ask(serial).build().public_bytes(Encoding.DER), keep_alive=keep_alive, path=path) for serial in serials
    ]
    batches = cycle([b"".join(each[at : at + batch]) for at in range(0, len(each) - batch + 1, batch)])
    return lambda _count: next(batches)


def with_nonce(issuer: x509.Certificate, serials: Sequence[int], *, keep_alive: bool, path: str = "/") -> Messages:
    """Requests with a new random nonce each, round and round through the certificates."""
    ask, stand_in = certificate_ids(issuer), os.urandom(NONCE_SIZE)
    parts = []
    for serial in serials:
        request = ask(serial).add_extension(x509.OCSPNonce(stand_in), critical=False).build()
        message = post(request.public_bytes(Encoding.DER), keep_alive=keep_alive, path=path)
        before, _, after = message.partition(stand_in)
        parts.append((before, after))
    endless = cycle(parts)

    def messages(count: int) -> bytes:
        pieces = []
        for _ in range(count):
            before, after = next(endless)
            pieces += [before, os.urandom(NONCE_SIZE), after]
        return b"".join(pieces)

    return messages


def post(der: bytes, *, keep_alive: bool, path: str = "/") -> bytes:
    """An OCSP request as an HTTP POST (RFC 6960 appendix A.1)."""
    closing = "" if keep_alive else "Connection: close\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\n"
        f"{closing}Content-Length: {len(der)}\r\n\r\n"
    )
    return head.encode() + der


def get(der: bytes, *, keep_alive: bool, path: str = "/") -> bytes:
    """An OCSP request as an HTTP GET (RFC 6960 appendix A.1)."""
    closing = "" if keep_alive else "Connection: close\r\n"
    return f"GET {path}{url_part(der)} HTTP/1.1\r\nHost: localhost\r\n{closing}\r\n".encode()


def url_part(der: bytes) -> str:
    """An OCSP request as the last part of a URL: base64, escaped."""
    return urllib.parse.quote(base64.b64encode(der), safe="")
