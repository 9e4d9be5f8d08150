"""Text for terminals. Every service imports this for its errors: it needs nothing of the CA's."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text with control characters escaped, so that a name in a certificate cannot drive a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
