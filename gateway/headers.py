"""The HTTP headers of an answer, the same through both doors (R14, R71, R73-R81).

What may be cached says so, with a lifetime computed when it is served and cut to what remains; an error says
`no-store`; an answer to a nonce says nothing. Names are lower case and in one order, so that both doors write the same
octets.
"""

from __future__ import annotations

from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Final

from gateway.answer import Answer

Headers = list[tuple[bytes, bytes]]

CONTENT_TYPE: Final = (b"content-type", b"application/ocsp-response")
NO_STORE: Final = (b"cache-control", b"no-store")

_ERROR_LENGTH: Final = 5
_MAX_WIRED: Final = 4096


@lru_cache(maxsize=4096)
def http_date(time: int) -> bytes:
    """Seconds since 1970 as IMF-fixdate (RFC 9110, section 5.6.7)."""
    return formatdate(time, usegmt=True).encode("ascii")


def cache_control(max_age: int, next_update: int, now: int) -> tuple[bytes, bytes]:
    """Cache-Control of something that a newer version replaces before `next_update` (R73).

    Date + max-age stays below nextUpdate, so that no cache gives away what its reader would refuse (R76).
    """
    seconds = max(0, min(max_age, next_update - now - 1))
    return b"cache-control", b"max-age=%d, public, no-transform, must-revalidate" % seconds


def headers_of(answer: Answer, now: int) -> Headers:
    """All headers of an OCSP answer that is served at `now` (seconds since 1970)."""
    headers: Headers = [CONTENT_TYPE, (b"content-length", b"%d" % len(answer.body)), (b"date", http_date(now))]
    if answer.cacheable:
        headers += [
            (b"last-modified", http_date(answer.this_update)),
            (b"expires", http_date(answer.next_update)),
            (b"etag", answer.etag),
            cache_control(answer.max_age, answer.next_update, now),
        ]
    elif len(answer.body) == _ERROR_LENGTH:
        headers.append(NO_STORE)
    elif answer.next_update:
        # `unknown`: authoritative, so no-store is forbidden (R74), yet a certificate may be issued the next moment.
        headers.append((b"cache-control", b"max-age=0, must-revalidate"))
    return headers


def headers_of_not_modified(answer: Answer, now: int) -> Headers:
    """Headers of a 304 for a cacheable answer (RFC 9110, section 15.4.5; R78)."""
    return [
        (b"date", http_date(now)),
        (b"expires", http_date(answer.next_update)),
        (b"etag", answer.etag),
        cache_control(answer.max_age, answer.next_update, now),
    ]


def not_modified(etag: bytes, last_modified: int, if_none_match: bytes | None, if_modified_since: bytes | None) -> bool:
    """Whether what the client has is what we would send (RFC 9110, section 13.2.2).

    If-None-Match decides alone where it is given; a date that is no date is ignored.
    """
    if if_none_match is not None:
        tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
        return etag in tags or tags == [b"*"]
    if if_modified_since is None:
        return False
    try:
        since = parsedate_to_datetime(if_modified_since.decode("ascii")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return False
    return last_modified <= since


class Wire:
    """Whole HTTP/1.1 responses as octets, for the door below ASGI.

    Cacheable answers, and the heads of those with a nonce, are put together once per second: within it neither Date nor
    max-age can change.
    """

    __slots__ = ("_heads", "_ready", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._ready: dict[tuple[bytes, bool], bytes] = {}
        self._heads: dict[tuple[int, bool], bytes] = {}

    def response(self, answer: Answer, now: int, *, close: bool = False) -> bytes:
        """Status line, headers and body of an answer that is served at `now`."""
        if now != self._second:
            self._second = now
            self._ready.clear()
            self._heads.clear()
        if answer.etag:
            # The ETag is the hash of the body, and the body holds the times.
            return self._ready.get((answer.etag, close)) or self._remember(answer, now, close)
        if answer.next_update or len(answer.body) == _ERROR_LENGTH:
            return self._build(answer, now, close)
        return self._head(answer, now, close) + answer.body

    def _remember(self, answer: Answer, now: int, close: bool) -> bytes:
        octets = self._build(answer, now, close)
        if len(self._ready) < _MAX_WIRED:
            self._ready[answer.etag, close] = octets
        return octets

    def _head(self, answer: Answer, now: int, close: bool) -> bytes:
        """The head of an answer to one asker: it depends on nothing but the length of the body."""
        octets = self._heads.get((len(answer.body), close))
        if octets is None:
            octets = head(b"200 OK", headers_of(answer, now), close=close)
            if len(self._heads) < _MAX_WIRED:
                self._heads[len(answer.body), close] = octets
        return octets

    def _build(self, answer: Answer, now: int, close: bool) -> bytes:
        return head(b"200 OK", headers_of(answer, now), close=close) + answer.body

    def not_modified(self, answer: Answer, now: int, *, close: bool = False) -> bytes:
        """A 304 for a cacheable answer."""
        return head(b"304 Not Modified", headers_of_not_modified(answer, now), close=close)

    def refusal(self, status: bytes, now: int) -> bytes:
        """The last response on a connection whose request cannot be read; `status` is code and phrase."""
        body = status + b"\n"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"date", http_date(now)),
            NO_STORE,
        ]
        return head(status, headers, close=True) + body


def head(status: bytes, headers: Headers, *, close: bool) -> bytes:
    """Status line and headers, written as uvicorn writes them."""
    lines = [b"HTTP/1.1 ", status, b"\r\n"]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(lines)
