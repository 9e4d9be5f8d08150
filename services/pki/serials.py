"""Serial numbers: 1 to 20 octets, positive, unpredictable (R89); in text always lower-case hex.

As `bytes` it is big-endian, unsigned and without leading zero octets, so that equal numbers are equal bytes.
"""

from __future__ import annotations

import re
import secrets

from services.errors import InvalidArgument

MAX_OCTETS = 20
"""RFC 5280, section 4.1.2.2."""

_RANDOM_OCTETS = 16
_PLAIN = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,128})", re.ASCII)
_COLONS = re.compile(r"[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{2}){1,63}", re.ASCII)


def new_serial() -> bytes:
    """Draw 16 octets from the system's random generator, the first of them not zero.

    All bits are random: forcing the top bit to zero would only shorten the encoding by an octet.
    """
    while True:
        serial = secrets.token_bytes(_RANDOM_OCTETS)
        if serial[0]:
            return serial


def parse_serial(text: str, field: str = "serial_number") -> bytes:
    """Read hex, in any case, with `0x` in front or with colons between octets. Digits alone are hex too, never decimal.

    Raises InvalidArgument (SERIAL_INVALID, on `field`) for anything else, for zero, and beyond 20 octets.
    """
    if (serial := _as_written_here(text)) is not None:
        return serial
    digits = _digits(text.strip())
    if digits is None:
        raise InvalidArgument(
            "SERIAL_INVALID",
            "not a serial number in hex, as in 4f0a… or 4f:0a:… or 0x4f0a…",
            field=field,
        )
    return serial_from_int(int(digits, 16), field)


def _as_written_here(text: str) -> bytes | None:
    """Quickly, since nearly all are in batches: two digits an octet, and nothing else."""
    try:
        serial = bytes.fromhex(text)
    except ValueError:
        return None
    # fromhex also takes spaces, which the length gives away.
    return serial if 1 <= len(serial) <= MAX_OCTETS and serial[0] and len(text) == 2 * len(serial) else None


def _digits(text: str) -> str | None:
    if plain := _PLAIN.fullmatch(text):
        return plain.group(1)
    return text.replace(":", "") if _COLONS.fullmatch(text) else None


def format_serial(serial: bytes) -> str:
    """Write lower-case hex, two digits an octet, without prefix."""
    return serial.hex()


def serial_to_int(serial: bytes) -> int:
    """The serial number as a number."""
    return int.from_bytes(serial, "big")


def serial_from_int(number: int, field: str = "serial_number") -> bytes:
    """The number as a serial number. Raises InvalidArgument (SERIAL_INVALID) unless it is 1 to 2^160 - 1."""
    serial = number.to_bytes((number.bit_length() + 7) // 8, "big") if number > 0 else b""
    if not 1 <= len(serial) <= MAX_OCTETS:
        raise InvalidArgument("SERIAL_INVALID", "a serial number is positive and at most 20 octets long", field=field)
    return serial
