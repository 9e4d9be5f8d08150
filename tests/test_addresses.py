"""Addresses and URLs as operators write them."""

from __future__ import annotations

import pytest

from services.addresses import parse_address, parse_http_url


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:65535", ("::1", 65535)), ("localhost:1", ("localhost", 1))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    """HOST:PORT, with brackets around IPv6."""
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", ":1", "::1:1", "x:65536", "x:-1", "x:1 ", "http://x:1"])
def test_bad_addresses(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


def test_a_url_loses_the_slash_at_its_end() -> None:
    """Paths are appended to it."""
    assert parse_http_url("http://ocsp.example.com:2560/pki/") == "http://ocsp.example.com:2560/pki"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ocsp.example.com",
        "https://x",
        "http://",
        "http://x?a",
        "http://x#a",
        "http://a@x",
        "http://x:99999",
        "http://h x/",
        "http://h\nx",
        "http://h/\x1b",
        'http://h/"',
        "http://h/%zz",
        "http://ü.example",
    ],
)
def test_bad_urls(text: str) -> None:
    """Only what a client without any trusted certificate can fetch, and nothing behind the path."""
    with pytest.raises(ValueError, match="plain URL"):
        parse_http_url(text)


def test_no_https() -> None:
    """The reason is told: it looks right to most people."""
    with pytest.raises(ValueError, match="would have to check that of https first"):
        parse_http_url("https://ocsp.example.com")
