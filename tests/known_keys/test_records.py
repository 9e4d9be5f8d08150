"""Records of equal size, looked up where they lie."""

from __future__ import annotations

import random

import pytest

from services.known_keys.records import Malformed, Records, pack


def test_what_is_there_is_found() -> None:
    """Every record is found, at whatever place, and iterating gives them in order; no other record is found."""
    source = random.Random(6)
    made = {source.randbytes(6) for _ in range(20_000)} | {bytes(6), b"\xff" * 6}
    records = Records(pack(made), 6)
    assert all(record in records for record in made)
    assert list(records) == sorted(made)
    assert not any(other in records for other in (source.randbytes(6) for _ in range(20_000)) if other not in made)


def test_octets_across_two_records_are_none() -> None:
    """The end of a record and the beginning of the next make no record; one that lies behind is found all the same."""
    records = Records(pack([b"aa1234", b"aa5678", b"aa7856"]), 6)
    assert b"aa3456" not in records
    assert b"aa7878" not in records
    assert b"aa7856" in records
    assert b"aa5678" in records


@pytest.mark.parametrize("cut", [1, 4, 300_000])
def test_a_file_that_is_cut_off(cut: int) -> None:
    """It is noticed before anything is looked up."""
    octets = pack(number.to_bytes(6) for number in range(10_000))
    Records(octets, 6).check()
    with pytest.raises(Malformed):
        Records(octets[:-cut], 6).check()


def test_no_records() -> None:
    """There may be none."""
    records = Records(pack([]), 6)
    records.check()
    assert bytes(6) not in records
    assert list(records) == []
