"""Page sizes and page tokens as in AIP-158: a token is opaque, and good only for the query that it came from.

A token holds the place where the page ended and a digest of the filters. It needs no signature: it says nothing that
its reader may not ask for directly, and a forged place only starts the listing elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence

from services.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_VERSION = b"\x01"
_DIGEST_SIZE = 12


def page_size(requested: int) -> int:
    """0 -> the default, too large -> the maximum. Raises InvalidArgument PAGE_SIZE_INVALID when negative."""
    if requested < 0:
        raise InvalidArgument("PAGE_SIZE_INVALID", "page_size must not be negative", field="page_size")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def encode_token(cursor: Sequence[int], filters: Sequence[str]) -> str:
    """A token for the page after `cursor` (such as issued_at, id) of the query with these filters.

    `filters`: everything of the request that selects or orders what is listed, in a fixed order; not the page size.
    """
    place = struct.pack(f">{len(cursor)}q", *cursor)
    return base64.urlsafe_b64encode(_VERSION + _digest(filters) + place).rstrip(b"=").decode()


def decode_token(token: str, filters: Sequence[str], *, length: int = 2) -> tuple[int, ...] | None:
    """The cursor in a token; None for an empty token (the first page).

    Raises InvalidArgument PAGE_TOKEN_INVALID (field page_token) for garbage and for a token of another query.
    """
    if not token:
        return None
    data = _decoded(token)
    if len(data) != 1 + _DIGEST_SIZE + 8 * length or data[:1] != _VERSION:
        raise _invalid("page_token is not a next_page_token of this service")
    if data[1 : 1 + _DIGEST_SIZE] != _digest(filters):
        raise _invalid("page_token belongs to a query with other filters; start again without it")
    return struct.unpack(f">{length}q", data[1 + _DIGEST_SIZE :])


def _decoded(token: str) -> bytes:
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
    # One place, one token: other spellings of the same bytes (stray bits, padding) are not ours.
    return data if base64.urlsafe_b64encode(data).rstrip(b"=").decode() == token else b""


def _digest(filters: Sequence[str]) -> bytes:
    state = hashlib.sha256()
    for value in filters:
        encoded = value.encode("utf-8", "surrogatepass")
        state.update(struct.pack(">I", len(encoded)) + encoded)
    return state.digest()[:_DIGEST_SIZE]


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument("PAGE_TOKEN_INVALID", message, field="page_token")
