"""Lists of known keys that an operator names: their formats, and what is said of mistakes in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.known_keys.lists import ListUnreadable, read_list, read_lists
from tests.known_keys.published import BADKEYS_EC, HARICA

_MODULUS_LINE = b"Modulus=%X\n" % HARICA.number
_SHA1 = hashlib.sha1(_MODULUS_LINE).hexdigest()
_SHA256 = hashlib.sha256(HARICA.number.to_bytes(256)).hexdigest()
_X_SHA256 = hashlib.sha256(BADKEYS_EC[0].number.to_bytes(32)).hexdigest()


def _list(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "blacklist.RSA-2048"
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        f"{_SHA1[20:]}\n",
        f"# Debian's\n\n{'0' * 20}\n{_SHA1[20:].upper()}\r\n{'f' * 20}",
        f"{_SHA256}\n{'0' * 64}\n",
    ],
    ids=["openssl-blacklist", "comments", "dwk_blocklists"],
)
def test_formats(tmp_path: Path, content: str) -> None:
    """Both formats name an RSA key, whatever stands around it, and no other key."""
    found = read_list(_list(tmp_path, content))
    assert found.name == "blacklist.RSA-2048"
    assert found.holds("rsa-2048", HARICA.number)
    assert not found.holds("rsa-2048", HARICA.number + 2)


def test_coordinates(tmp_path: Path) -> None:
    """A list of SHA-256 names EC keys too; one in Debian's format has no EC keys."""
    found = read_list(_list(tmp_path, _X_SHA256))
    assert found.holds("p256", BADKEYS_EC[0].number)
    x_line = hashlib.sha1(b"Modulus=%X\n" % BADKEYS_EC[0].number).hexdigest()[20:]
    assert not read_list(_list(tmp_path, x_line)).holds("p256", BADKEYS_EC[0].number)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "lists no key"),
        ("# nothing\n", "lists no key"),
        (f"#\n{'0' * 20}\n{'0' * 19}\n", "line 3: 20 or 64 hex digits are expected"),
        (f"{'0' * 40}\n", "line 1: 20 or 64 hex digits"),
        (f"{'0' * 19}g\n", "line 1: 20 or 64 hex digits"),
        (f"{'0' * 20}\n{'0' * 64}\n", "line 2: 64 hex digits, where those before have 20"),
        ("0" * 5000, "line 1: 20 or 64 hex digits"),
    ],
    ids=["empty", "comments only", "short", "whole SHA-1", "not hex", "mixed", "long"],
)
def test_mistakes(tmp_path: Path, content: str, problem: str) -> None:
    """What is wrong is told with the file and the line."""
    path = _list(tmp_path, content)
    with pytest.raises(ListUnreadable) as told:
        read_list(path)
    assert str(told.value).startswith(f"{path}: {problem}")


def test_all_that_is_wrong_is_told(tmp_path: Path) -> None:
    """Each file that is of no use has its line."""
    with pytest.raises(ListUnreadable) as told:
        read_lists([tmp_path / "missing", tmp_path, _list(tmp_path, "")])
    assert [line.split(": ", 1)[1] for line in str(told.value).splitlines()] == [
        "no such file",
        "cannot be read: Is a directory",
        "lists no key",
    ]
