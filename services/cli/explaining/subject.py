"""What a user gave to be explained: a serial number, a certificate, an OCSP request or an OCSP response.

Whatever the octets, `recognise` returns what they are or raises Failed: nothing in them is executed or followed.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from gateway.ocsp.reading import looks_like_response
from gateway.ocsp.request import MalformedRequest, parse_request
from gateway.paths import decode
from services.cli.explaining.certificates import load_certificate
from services.cli.failures import Failed
from services.errors import InvalidArgument
from services.pki.serials import format_serial, parse_serial

MAX_OCTETS: Final = 1024 * 1024
"""Of whatever is to be explained. Answers have one or two thousand, long ones 30."""

_PEM: Final = re.compile(
    rb"-----BEGIN (OCSP RESPONSE|OCSP REQUEST|CERTIFICATE)-----\s+([A-Za-z0-9+/=\s]*)-----END \1-----"
)
_SPACES: Final = re.compile(rb"\s+")
_OPENED: Final = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")


class Kind(StrEnum):
    """What something is."""

    SERIAL = "serial-number"
    CERTIFICATE = "certificate"
    REQUEST = "request"
    RESPONSE = "response"


_LABELS: Final = {
    b"OCSP RESPONSE": Kind.RESPONSE,
    b"OCSP REQUEST": Kind.REQUEST,
    b"CERTIFICATE": Kind.CERTIFICATE,
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be explained."""

    kind: Kind
    origin: str
    """Where it came from, for people."""
    der: bytes = b""
    serial: str = ""
    """In lower-case hex, where it is a serial number."""
    url: str = ""
    """Where it came from a URL."""

    def certificate(self) -> x509.Certificate:
        """The certificate that it is. Raises Failed."""
        try:
            return load_certificate(self.der)
        except ValueError as error:
            raise Failed(f"{self.origin} is not a certificate: {error}") from error


def find(text: str, kind: Kind | None) -> Subject:
    """What an argument means: a URL, a serial number, a file, or base64. Raises Failed."""
    if is_url(text):
        return of_url(text, kind)
    if kind is None and (serial := _serial(text)) is not None:
        return Subject(Kind.SERIAL, f"serial number {serial}", serial=serial)
    if text == "-" or _is_there(text):
        return of_file(text, kind)
    content = text.encode("utf-8", "replace")
    if _base64(content)[:1] != b"\x30":
        raise Failed(f"{text}: no such file, and neither a serial number in hex, base64 of DER nor an http URL")
    return recognise(content, "the argument", kind)


def of_file(name: str, kind: Kind | None = None) -> Subject:
    """What a file holds, or standard input for `-`. Raises Failed, OSError."""
    return recognise(read_bounded(name), "standard input" if name == "-" else name, kind)


def is_file(name: str) -> bool:
    """Whether there is a file of that name."""
    return bool(name) and _is_there(name) and Path(name).is_file()


def read_bounded(name: str) -> bytes:
    """The content of a file, or of standard input for `-`. Raises Failed: it is too long, or no file; OSError."""
    if name != "-":
        _require_file(name)
    with sys.stdin.buffer if name == "-" else Path(name).open("rb") as file:
        content = file.read(MAX_OCTETS + 1)
    if len(content) > MAX_OCTETS:
        raise Failed(f"{name} has more than {MAX_OCTETS} octets: that is no certificate, request or response")
    return content


def _require_file(name: str) -> None:
    """Raise Failed for a pipe or a device, which may be waited for in vain; OSError where there is nothing.

    What the shell has opened for us is read: `goodstanding explain <(base64 -d request)`.
    """
    mode = Path(name).stat().st_mode
    if stat.S_ISDIR(mode):
        raise Failed(f"{name} is a folder: name a file in it")
    if not stat.S_ISREG(mode) and not name.startswith(_OPENED):
        raise Failed(f"{name} is no regular file: what comes through a pipe is given as - (… | goodstanding explain -)")


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # such as a name that is too long for any file
        return False


def is_url(text: str) -> bool:
    """Whether it is an address to ask, rather than a file."""
    return text.lower().startswith(("http://", "https://"))


def of_url(url: str, kind: Kind | None = None) -> Subject:
    """The request that a URL carries in its path, or what will be fetched from it (no octets yet). Raises Failed."""
    try:
        path = urlsplit(url).path
    except ValueError as error:
        raise Failed(f"{url} is not a URL: {error}") from error
    der = _request_in(path.encode("utf-8", "replace"))
    if der is not None and kind in (None, Kind.REQUEST):
        return Subject(Kind.REQUEST, "the URL", der=der, url=url)
    return Subject(kind or Kind.RESPONSE, url, url=url)


def _request_in(path: bytes) -> bytes | None:
    """The request in a path, behind whatever prefix; None if there is nothing like one."""
    starts = [at for at in range(len(path)) if path[at : at + 1] == b"/"]
    found = [der for at in starts[:32] if (der := decode(path[at:]))[:1] == b"\x30"]
    for der in found:
        try:
            parse_request(der, max_requests=1000)
        except MalformedRequest:
            continue
        return der
    return found[0] if found else None


def recognise(content: bytes, origin: str, kind: Kind | None = None) -> Subject:
    """What these octets are: DER, PEM, base64, or a URL in text. Raises Failed."""
    if found := _PEM.search(content):
        try:
            der = base64.b64decode(_SPACES.sub(b"", found[2]), validate=True)
        except binascii.Error as error:
            raise Failed(f"{origin}: the PEM block {found[1].decode()} is not base64: {error}") from error
        return Subject(kind or _LABELS[found[1]], origin, der=der)
    if content[:1] == b"\x30":
        return Subject(kind or classify(content), origin, der=content)
    text = content.strip()
    if is_url(text[:8].decode("latin-1")):
        url = of_url(text.split()[0].decode("utf-8", "replace"), kind)
        if url.der:
            return url
        raise Failed(f"{origin} holds a URL without an OCSP request in it: give the URL itself, to have it fetched")
    der = _base64(text)
    if der[:1] == b"\x30":
        return Subject(kind or classify(der), origin, der=der)
    if kind is not None:
        return Subject(kind, origin, der=content)
    raise Failed(
        f"{origin} is no certificate, OCSP request or OCSP response: expected DER, PEM or base64. Say with --as what "
        "it should be, to be told what is wrong with it"
    )


def classify(der: bytes) -> Kind:
    """What DER is. What is broken counts as what it begins like, and as a request if that says nothing."""
    if looks_like_response(der):
        return Kind.RESPONSE
    try:
        load_certificate(der)
    except ValueError:
        return Kind.CERTIFICATE if _looks_like_certificate(der) else Kind.REQUEST
    return Kind.CERTIFICATE


def _looks_like_certificate(der: bytes) -> bool:
    """Whether octets begin as a certificate does, whole or not: two SEQUENCEs, a version and a serial number."""
    for _ in range(2):
        if len(der) < 3 or der[0] != 0x30:
            return False
        der = der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :]
    return der.removeprefix(b"\xa0\x03\x02\x01")[1:2] == b"\x02" or der[:1] == b"\x02"


def _base64(text: bytes) -> bytes:
    """What base64 says, percent-encoded or in lines or not; nothing if it is not base64."""
    return decode(_SPACES.sub(b"", text))


def _serial(text: str) -> str | None:
    try:
        return format_serial(parse_serial(text))
    except InvalidArgument:
        return None
