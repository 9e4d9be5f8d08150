"""DER by hand, for the two things that declared types cannot do.

`check_der` accepts exactly one value in DER, whatever its type. It is run on what `gateway.ocsp.types` keeps as raw
TLVs, because those are decoded only one level deep. It never recurses, and reads every octet a bounded number of times.
`tlv` writes one value: responses are put together from constant parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

MAX_DEPTH: Final = 32
"""Deeper than any name or certificate nests; bounds the work for SETs."""

_SET: Final = 0x31
_CONSTRUCTED: Final = 0x20
_CONSTRUCTED_UNIVERSAL: Final = frozenset({0x08, 0x0B, 0x10, 0x11, 0x1D})
"""EXTERNAL, EMBEDDED PDV, SEQUENCE, SET, CHARACTER STRING. DER wants all other universal types primitive."""
_RESERVED_UNIVERSAL: Final = frozenset({0x00, 0x0F})
_OBJECT_IDENTIFIER: Final = re.compile(rb"(?:[\x00-\x7f]|[\x81-\xff][\x80-\xff]*[\x00-\x7f])+", re.DOTALL)
_UTC_TIME: Final = re.compile(rb"\d{12}Z")
_GENERALIZED_TIME: Final = re.compile(rb"\d{14}(?:\.\d*[1-9])?Z")


class NotDer(ValueError):
    """The octets are not one value in DER (X.690 section 10 and 11)."""


def tlv(tag: int, content: bytes) -> bytes:
    """Return `content` as one DER value under a one-octet tag."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + content


def check_der(der: bytes) -> None:
    """Check that `der` is one whole value in DER, with everything in it.

    Contents of OCTET STRINGs and of primitive context-specific values are opaque here.

    Raises NotDer: it is not, or nests deeper than `MAX_DEPTH`.
    """
    end, inner = _value(der, 0, len(der))
    if end != len(der):
        raise NotDer("trailing octets")
    # A frame: where the next element starts, where the frame ends, and the element before if the order matters (SET).
    frames = [] if inner is None else [(inner, end, der[0] == _SET, b"")]
    while frames:
        at, limit, ordered, before = frames.pop()
        if at == limit:
            continue
        end, inner = _value(der, at, limit)
        if ordered:
            element = der[at:end]
            if element < before:
                raise NotDer("SET out of order")
            before = element
        frames.append((end, limit, ordered, before))
        if inner is not None:
            frames.append((inner, end, der[at] == _SET, b""))
            if len(frames) > MAX_DEPTH:
                raise NotDer("nested too deep")


def header(der: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return where the content of the value at `at` starts and ends. Raises NotDer: cut off, or the length is not."""
    start, length = _length(der, _tag_end(der, at, limit), limit)
    if start + length > limit:
        raise NotDer(f"cut off: {length} octets are announced, {max(0, limit - start)} are there")
    return start, start + length


def _value(der: bytes, at: int, limit: int) -> tuple[int, int | None]:
    """Check one header, and primitive content; return the value's end, and its content's start if constructed."""
    tag_end = _tag_end(der, at, limit)
    start, length = _length(der, tag_end, limit)
    end = start + length
    if end > limit:
        raise NotDer("value longer than what holds it")
    first = der[at]
    universal = None if first & 0xC0 else first & 0x1F
    if universal in _RESERVED_UNIVERSAL:
        raise NotDer("reserved tag")
    if universal is not None and bool(first & _CONSTRUCTED) != (universal in _CONSTRUCTED_UNIVERSAL):
        raise NotDer("wrong form for the type")
    if first & _CONSTRUCTED:
        return end, start
    if universal in _CONTENT_CHECKS and not _CONTENT_CHECKS[universal](der[start:end]):
        raise NotDer("content not in DER")
    return end, None


def _tag_end(der: bytes, at: int, limit: int) -> int:
    if at >= limit:
        raise NotDer("tag missing")
    if der[at] & 0x1F != 0x1F:
        return at + 1
    # A long tag number: base 128, no leading zero digit, only where the short form is too small; four octets at most.
    number = 0
    for index in range(at + 1, min(at + 5, limit)):
        number = number << 7 | der[index] & 0x7F
        if number == 0:
            break
        if der[index] < 0x80:
            if number < 0x1F:
                break
            return index + 1
    raise NotDer("tag number")


def _length(der: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return where the content starts, and its length."""
    if at >= limit:
        raise NotDer("length missing")
    first = der[at]
    if first < 0x80:
        return at + 1, first
    start = at + 1 + (first & 0x7F)
    size = der[at + 1 : start]
    # Indefinite (0x80), longer than any input (4 octets), cut off, or not the shortest form.
    if not 1 <= len(size) <= 4 or start > limit or size[0] == 0:
        raise NotDer("length not in DER")
    length = int.from_bytes(size)
    if length < 0x80:
        raise NotDer("length not in DER")
    return start, length


def _minimal_integer(content: bytes) -> bool:
    if len(content) < 2:
        return len(content) == 1
    return content[:1] not in (b"\x00", b"\xff") or (content[0] ^ content[1]) & 0x80 != 0


def _bit_string(content: bytes) -> bool:
    if not content or content[0] > 7:
        return False
    unused = content[0]
    return content == b"\x00" if len(content) == 1 else content[-1] & ((1 << unused) - 1) == 0


def _whole(pattern: re.Pattern[bytes]) -> Callable[[bytes], bool]:
    return lambda content: pattern.fullmatch(content) is not None


_CONTENT_CHECKS: Final[Mapping[int | None, Callable[[bytes], bool]]] = {
    0x01: lambda content: content in (b"\x00", b"\xff"),  # BOOLEAN
    0x02: _minimal_integer,  # INTEGER
    0x03: _bit_string,  # BIT STRING
    0x05: lambda content: not content,  # NULL
    0x06: _whole(_OBJECT_IDENTIFIER),
    0x0A: _minimal_integer,  # ENUMERATED
    0x0D: _whole(_OBJECT_IDENTIFIER),  # RELATIVE-OID
    0x17: _whole(_UTC_TIME),
    0x18: _whole(_GENERALIZED_TIME),
}
