"""DER, octet by octet: what is not in the one form that DER allows is refused, whatever libraries make of it."""

from __future__ import annotations

from collections.abc import Iterator

from asn1crypto import parser

UNIVERSAL, PRIMITIVE, CONSTRUCTED = 0, 0, 1
BOOLEAN, INTEGER, SEQUENCE, SET, GENERALIZED_TIME = 1, 2, 16, 17, 24


def values(der: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Class, tag number and content of every value, outer ones first. Fails where the encoding is not DER."""
    rest = der
    while rest:
        kind, method, tag, _, content, trailer = parser.parse(rest)
        encoded = parser.emit(kind, method, tag, content)
        # `emit` writes the shortest form; lengths that are longer, or indefinite, differ from it.
        assert not trailer
        assert rest.startswith(encoded), f"not the shortest form: {rest[:20].hex()}"
        rest = rest[len(encoded) :]
        if kind == UNIVERSAL:
            _check_universal(method, tag, content)
        yield kind, tag, content
        if method == CONSTRUCTED:
            yield from values(content)


def _check_universal(method: int, tag: int, content: bytes) -> None:
    assert method == (CONSTRUCTED if tag in {SEQUENCE, SET} else PRIMITIVE), f"tag {tag}"
    if tag == BOOLEAN:
        # FALSE is a default everywhere here, and so is left out.
        assert content == b"\xff"
    if tag == INTEGER:
        assert content
        shorter = len(content) > 1 and (content[0], content[1] & 0x80) in {(0, 0), (0xFF, 0x80)}
        assert not shorter, content.hex()


def times(der: bytes) -> list[bytes]:
    """The content of every GeneralizedTime, in order."""
    return [content for kind, tag, content in values(der) if (kind, tag) == (UNIVERSAL, GENERALIZED_TIME)]
