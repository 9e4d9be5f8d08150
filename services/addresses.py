"""Addresses as people write them: HOST:PORT with square brackets around an IPv6 host, and plain http URLs."""

from __future__ import annotations

import re


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT or [IPV6]:PORT -> host (no brackets) and port. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]]+)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051")
    return match[1] or match[2], int(match[3])


def parse_http_url(text: str) -> str:
    """The public URL of a gateway, without a slash at its end. Raises ValueError."""
    # It goes into every certificate: plain ASCII, a host, perhaps a port and a path, and nothing else. No https:
    # whoever checks a certificate would need a checked certificate first (RFC 5280, section 8).
    if text.lower().startswith("https:"):
        raise ValueError(
            "must be a plain URL, such as http://ocsp.example.com: whoever checks a certificate would have to check "
            "that of https first"
        )
    match = re.fullmatch(r"http://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?", text)
    if match is None or int(match[1] or 80) > 65535:
        raise ValueError("must be a plain URL, such as http://ocsp.example.com or http://127.0.0.1:2560")
    return text.rstrip("/")
