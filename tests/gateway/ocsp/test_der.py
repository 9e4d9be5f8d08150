from __future__ import annotations

import pytest
from asn1crypto import core, parser
from hypothesis import given
from hypothesis import strategies as st

from gateway.ocsp.der import MAX_DEPTH, NotDer, check_der, tlv

GOOD = {
    "null": "0500",
    "boolean false": "010100",
    "boolean true": "0101ff",
    "integer zero": "020100",
    "integer with sign octet": "02020080",
    "negative integer": "0202ff7f",
    "enumerated": "0a0101",
    "empty octet string": "0400",
    "octets that look like BER": "04023080",
    "bit string": "03020780",
    "empty bit string": "030100",
    "oid": "06052b0e03021a",
    "utc time": "170d3236303130323033303430355a",
    "generalized time": "180f32303236303130323033303430355a",
    "generalized time with a fraction": "181132303236303130323033303430352e355a",
    "sequence": "30060101ff020105",
    "empty sequence": "3000",
    "set in order": "3106020101020102",
    "set with equal elements": "3106020101020101",
    "explicit tag": "a0030201ff",
    "opaque content": "80020080",
    "long tag number": "9f1f00",
    "longer tag number": "9f810000",
    "long length": "048180" + 128 * "aa",
    "two-octet length": "04820100" + 256 * "aa",
}
BAD = {
    "nothing": "",
    "tag alone": "30",
    "cut off": "040201",
    "cut off length": "0482",
    "trailing octet": "050000",
    "inner value sticks out": "3003040501",
    "trailing octet inside": "3003050000",
    "non-minimal length, one octet": "04810100",
    "non-minimal length, two octets": "04820001aa",
    "leading zero in length": "048200" + "80" + 128 * "aa",
    "indefinite length": "30800000",
    "reserved length": "04ff",
    "length of 5 octets": "04850100000000",
    "constructed octet string": "2403040100",
    "constructed bit string": "2303030100",
    "constructed string": "2c030c0161",
    "primitive sequence": "1000",
    "primitive set": "1100",
    "end of contents": "0000",
    "reserved type": "0f00",
    "boolean 01": "010101",
    "boolean of two octets": "0102ffff",
    "empty boolean": "0100",
    "empty integer": "0200",
    "leading zero in integer": "02020001",
    "leading ones in integer": "0202ff80",
    "leading zero in enumerated": "0a020001",
    "null with content": "050100",
    "bit string without count": "0300",
    "bit string with 8 unused": "03020800",
    "bit string with unused bits set": "03020781",
    "empty bit string with unused bits": "030101",
    "empty oid": "0600",
    "oid cut off": "06022b8e",
    "oid with leading 80": "06032b8001",
    "utc time without seconds": "170b323630313032303330345a",
    "utc time with offset": "1711" + b"260102030405+0100".hex(),
    "generalized time with trailing zero": "181132303236303130323033303430352e305a",
    "generalized time with empty fraction": "18103230323630313032303330343035" + "2e5a",
    "generalized time, local": "180e3230323630313032303330343035",
    "set out of order": "3106020102020101",
    "long form of a short tag": "9f1e00",
    "long tag with leading zero": "9f801f00",
    "tag number cut off": "9f81",
    "tag number too long": "9fffffffff7f00",
}


@pytest.mark.parametrize("encoded", GOOD.values(), ids=GOOD.keys())
def test_der_is_accepted(encoded: str) -> None:
    """One value in DER passes."""
    check_der(bytes.fromhex(encoded))


# R17
@pytest.mark.parametrize("wrap", [False, True], ids=["alone", "inside"])
@pytest.mark.parametrize("encoded", BAD.values(), ids=BAD.keys())
def test_anything_else_is_refused(encoded: str, wrap: bool) -> None:
    """What is not DER is refused, at the top and inside another value."""
    value = bytes.fromhex(encoded)
    if wrap:
        # Nothing at all inside is an empty SEQUENCE: put half a value there.
        value = tlv(0x30, value or b"\x04")
    with pytest.raises(NotDer):
        check_der(value)


def test_depth_is_bounded() -> None:
    """Values nest up to the limit and no deeper."""
    value = b"\x05\x00"
    for _ in range(MAX_DEPTH):
        value = tlv(0x30, value)
    check_der(value)
    with pytest.raises(NotDer):
        check_der(tlv(0x30, value))


@given(st.binary(max_size=64))
def test_any_octets_pass_or_are_not_der(octets: bytes) -> None:
    """No octets make the checker fail in another way than NotDer."""
    try:
        check_der(octets)
    except NotDer:
        return
    _, _, _, header, content, trailer = parser.parse(octets, strict=True)
    assert (header + content, trailer) == (octets, b"")


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 24])
def test_tlv_writes_the_shortest_length(length: int) -> None:
    """Lengths are written in the fewest octets."""
    encoded = tlv(0x04, bytes(length))
    assert encoded == core.OctetString(bytes(length)).dump()
