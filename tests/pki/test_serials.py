"""Serial numbers."""

from __future__ import annotations

import pytest

from services.errors import InvalidArgument
from services.pki.serials import format_serial, new_serial, parse_serial, serial_from_int, serial_to_int


def test_new_serials_are_random_in_every_bit() -> None:
    """A thousand serials are unique, 16 octets long, and no bit of them is fixed."""
    serials = [new_serial() for _ in range(1000)]  # R89
    assert len(set(serials)) == 1000
    assert {len(serial) for serial in serials} == {16}
    numbers = [serial_to_int(serial) for serial in serials]
    for bit in range(128):
        assert 350 < sum(number >> bit & 1 for number in numbers) < 650, f"bit {bit}"


@pytest.mark.parametrize(
    ("text", "serial"),
    [
        ("4f0a", b"\x4f\x0a"),
        ("4F0A", b"\x4f\x0a"),
        ("0x4f0a", b"\x4f\x0a"),
        ("0X4F0A", b"\x4f\x0a"),
        ("4f:0a", b"\x4f\x0a"),
        ("004f0a", b"\x4f\x0a"),
        ("00:4f:0a", b"\x4f\x0a"),
        ("f0a", b"\x0f\x0a"),
        (" 4f0a\n", b"\x4f\x0a"),
        ("10", b"\x10"),
        ("ff" * 20, b"\xff" * 20),
    ],
)
def test_hex_is_read_in_its_usual_spellings(text: str, serial: bytes) -> None:
    """Case, prefix, colons and leading zeros don't matter, and digits are hex, never decimal."""
    assert parse_serial(text) == serial
    assert parse_serial(format_serial(serial)) == serial


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0x",
        "00:00",
        "-1",
        "xyz",
        "4f 0a",
        "4f:0a:",
        ":4f",
        "4f::0a",
        "4f0:a",
        "0x4f:0a",
        "01" * 21,
        "1" * 5000,
        "4f\x00",
        "٤٢",
        "1e5.0",
    ],
)
def test_what_is_not_a_serial_is_refused(text: str) -> None:
    """Anything else gets SERIAL_INVALID on the field that was named."""
    with pytest.raises(InvalidArgument) as caught:
        parse_serial(text, "target.serial_number")
    assert caught.value.reason == "SERIAL_INVALID"
    assert caught.value.violations[0].field == "target.serial_number"


@pytest.mark.parametrize("number", [0, -1, 2**160])
def test_numbers_that_no_certificate_can_have_are_refused(number: int) -> None:
    """Zero, negative numbers and 21 octets are not serial numbers."""
    with pytest.raises(InvalidArgument):
        serial_from_int(number)


def test_numbers_and_octets_are_the_same_thing() -> None:
    """Going from number to octets and back changes nothing."""
    for number in (1, 127, 128, 255, 256, 2**159, 2**160 - 1):
        assert serial_to_int(serial_from_int(number)) == number
