"""Fetches an answer over HTTP, within bounds of time and size, and asks nothing but what it was told to ask.

No redirect is followed (most OCSP clients do not either), and only http and https are spoken.
"""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from services.cli.explaining.subject import MAX_OCTETS, is_url
from services.cli.failures import Failed

WITHIN: Final = 10.0
"""Seconds for everything, finding the address too."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; empty if it was not sent."""
        return next((value for key, value in self.headers if key.lower() == name), "")


def fetch(
    url: str, body: bytes | None = None, media_type: str = "", *, within: float = WITHIN, proxies: bool = True
) -> Reply:
    """GET a URL, or POST a body to it. Whatever the HTTP status is, it is a reply.

    Through the proxy that the environment names, if it may be (`proxies`).

    Raises Failed: no reply in time, a longer one than `MAX_OCTETS`, or none at all.
    """
    if not is_url(url):
        raise Failed(f"{url} is neither http nor https")
    try:
        headers = {"content-type": media_type} if media_type else {}
        request = urllib.request.Request(url, body, headers)  # noqa: S310  (checked above)
        request.full_url.encode("ascii")
    except ValueError as error:
        raise Failed(f"{url} is not a URL: {error}") from error
    found: list[Reply | Exception] = []

    def work() -> None:
        try:
            found.append(_fetch(request, within, proxies))
        except Exception as error:  # noqa: BLE001  (it is raised where it is waited for)
            found.append(error)

    # A thread, because neither finding an address nor reading drop by drop can be given an end otherwise.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(within)
    outcome = found[0] if found else TimeoutError(f"no whole reply within {within:g} s")
    if isinstance(outcome, Reply):
        return outcome
    if isinstance(outcome, Failed):
        raise outcome
    raise Failed(f"{url}: {_text(outcome)}") from outcome


def _fetch(request: urllib.request.Request, within: float, proxies: bool) -> Reply:
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler(None if proxies else {}))
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler())
    response = opener.open(request, timeout=within)
    if response is None:
        raise Failed(f"{request.full_url} cannot be fetched")
    with response:
        body = response.read(MAX_OCTETS + 1)
        if len(body) > MAX_OCTETS:
            raise Failed(f"{request.full_url}: the reply has more than {MAX_OCTETS} octets")
        return Reply(response.status, tuple(response.headers.items()), body)


def _text(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError):
        reason = error.reason
        return str(reason.strerror or reason) if isinstance(reason, OSError) else str(reason)
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP reply ({type(error).__name__})"
    return str(error) or type(error).__name__
