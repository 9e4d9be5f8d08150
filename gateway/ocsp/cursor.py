"""Walks over DER value by value, and says where something is wrong: for explanations of what others made.

Definite lengths only, in their shortest form. Nothing recurses, and no octet is copied more often than it is nested.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.ocsp.der import NotDer, header

_NAMES: Final = {
    0x01: "BOOLEAN",
    0x02: "INTEGER",
    0x03: "BIT STRING",
    0x04: "OCTET STRING",
    0x05: "NULL",
    0x06: "OBJECT IDENTIFIER",
    0x0A: "ENUMERATED",
    0x0C: "UTF8String",
    0x13: "PrintableString",
    0x17: "UTCTime",
    0x18: "GeneralizedTime",
    0x30: "SEQUENCE",
    0x31: "SET",
}
_LONGEST_NUMBER: Final = 64
"""Octets. Serial numbers have 20."""
_LONGEST_OID: Final = 64


class Unreadable(ValueError):
    """Something is not there, or is something else. `part` says where."""

    def __init__(self, part: str, text: str) -> None:
        super().__init__(f"{part}: {text}")
        self.part = part
        self.text = text


class Value:
    """One value: its tag, and where it stands."""

    __slots__ = ("_at", "_der", "_end", "_start", "part", "tag")

    def __init__(self, der: bytes, at: int, start: int, end: int, part: str) -> None:
        self._der, self._at, self._start, self._end = der, at, start, end
        self.tag = der[at]
        self.part = part

    @property
    def der(self) -> bytes:
        """The whole value."""
        return self._der[self._at : self._end]

    @property
    def content(self) -> bytes:
        """What is in it."""
        return self._der[self._start : self._end]

    def inside(self, part: str) -> Cursor:
        """A cursor over what is in it."""
        return Cursor(self._der, self._start, self._end, part)

    def number(self) -> int:
        """It, as an INTEGER or ENUMERATED. Raises Unreadable."""
        content = self.content
        if not 1 <= len(content) <= _LONGEST_NUMBER:
            raise Unreadable(self.part, f"a number of {len(content)} octets")
        return int.from_bytes(content, "big", signed=True)


class Cursor:
    """A place in a row of values."""

    def __init__(self, der: bytes, at: int = 0, end: int | None = None, part: str = "") -> None:
        self._der = der
        self._at = at
        self._end = len(der) if end is None else end
        self._part = part

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at >= self._end

    def tag(self) -> int | None:
        """The first octet of the next value; None at the end."""
        return None if self.at_end() else self._der[self._at]

    def take(self, part: str, *tags: int) -> Value:
        """The next value, which has one of these tags (none: any). Raises Unreadable."""
        at = self._at
        wanted = " or ".join(map(tag_name, tags)) or "a value"
        if self.at_end():
            raise Unreadable(part, f"missing at octet {at}: expected {wanted}")
        if tags and self._der[at] not in tags:
            raise Unreadable(part, f"at octet {at}: expected {wanted}, found {tag_name(self._der[at])}")
        try:
            start, end = header(self._der, at, self._end)
        except NotDer as error:
            raise Unreadable(part, f"at octet {at}: {error}") from error
        self._at = end
        return Value(self._der, at, start, end, part)

    def each(self, part: str, tag: int) -> Iterator[Value]:
        """All values that are left, each with this tag. Raises Unreadable."""
        index = 0
        while not self.at_end():
            yield self.take(f"{part}[{index}]", tag)
            index += 1

    def finish(self, part: str) -> None:
        """Raise Unreadable unless nothing is left."""
        if not self.at_end():
            raise Unreadable(part, f"at octet {self._at}: {self._end - self._at} octets too many")


def tag_name(tag: int) -> str:
    """A tag for a reader."""
    if tag & 0xC0 == 0x80:
        return f"[{tag & 0x1F}]"
    return _NAMES.get(tag, f"tag 0x{tag:02x}")


def object_identifier(value: Value) -> str:
    """An OBJECT IDENTIFIER in dotted form. Raises Unreadable."""
    content = value.content
    if not 1 <= len(content) <= _LONGEST_OID or content[-1] & 0x80:
        raise Unreadable(value.part, "not an object identifier")
    numbers: list[int] = []
    number = 0
    for octet in content:
        number = number << 7 | octet & 0x7F
        if octet < 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
