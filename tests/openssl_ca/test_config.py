"""openssl.cnf: values are those that the real `openssl` finds, and what would change their meaning is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from services.openssl_ca.config import BadConfig, parse_config
from services.openssl_ca.layout import from_config
from services.openssl_ca.numbers import parse_number

BASICS = """\
HOME = .          # in the default section
[ ca ]
default_ca = CA_default

[CA_default]
dir = /root/ca
"""


def value(line: str, name: str = "x") -> str | None:
    """What a line in the section CA_default comes to."""
    config = parse_config(f"{BASICS}{line}\n", fixed={}, environ={"WHERE": "/env"})
    return config.get("CA_default", name)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("x = $dir/certs", "/root/ca/certs", id="variable"),
        pytest.param("x = ${dir}/certs", "/root/ca/certs", id="braces"),
        pytest.param("x = $(dir)/certs", "/root/ca/certs", id="parentheses"),
        pytest.param("x = $ca::default_ca", "CA_default", id="of-another-section"),
        pytest.param("x = ${ca::default_ca}.pem", "CA_default.pem", id="of-another-section-in-braces"),
        pytest.param("x = $HOME/x", "./x", id="of-the-default-section"),
        pytest.param("x = $ENV::WHERE/x", "/env/x", id="of-the-environment"),
        pytest.param("x=a#b", "a", id="comment"),
        pytest.param(r"x = a\#b", "a#b", id="escaped"),
        pytest.param(r"x = a\tb\\", "a\tb\\", id="escapes"),
        pytest.param('x = "a # b" c', "a # b c", id="quotes"),
        pytest.param("x = '$dir'", "$dir", id="quoted-variable"),
        pytest.param('x = "$dir"', "$dir", id="double-quoted-variable"),
        pytest.param("x = a\\\nb", "ab", id="continued"),
        pytest.param("x = a\r", "a", id="windows-line"),
        pytest.param("CA_default::x = y\n[other]\n", "y", id="section-in-the-name"),
        pytest.param("x = 1\nx = 2", "2", id="twice"),
        pytest.param(".pragma = abspath:true\nx = y", "y", id="harmless-pragma"),
        pytest.param("y = 1", None, id="absent"),
    ],
)
def test_values(line: str, expected: str | None) -> None:
    """Values are read with variables, quotes, escapes, comments and continued lines."""
    assert value(line) == expected


@pytest.mark.parametrize(
    ("line", "number", "told"),
    [
        pytest.param("x = $nothing", 7, "nothing has no value", id="variable"),
        pytest.param("x = $ENV::NOTHING", 7, "NOTHING", id="environment"),
        pytest.param(".include other.cnf", 7, "not included", id="include"),
        pytest.param(".pragma = dollarid:true", 7, "pragma", id="dollars"),
        pytest.param("[ open", 7, "no ]", id="section"),
        pytest.param("just words", 7, "neither", id="no-value"),
        pytest.param("a = " + "x" * 32_000 + "\nb = $a$a" * 400, 269, "in all", id="values-that-grow"),
        pytest.param("x = " + "${" * 100_000, 7, "longer than 64 KiB", id="names-that-do-not-end"),
    ],
)
def test_what_is_refused(line: str, number: int, told: str) -> None:
    """A line that cannot be understood is refused with its number."""
    with pytest.raises(BadConfig, match=told) as caught:
        value(line)
    assert caught.value.line == number


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[ca]\n", "no default_ca", id="no-default"),
        pytest.param("[ca]\ndefault_ca = gone\n", "no section", id="no-section"),
    ],
)
def test_which_ca(text: str, told: str) -> None:
    """The CA's section has to be there."""
    with pytest.raises(BadConfig, match=told):
        parse_config(text, fixed={}, environ={}).ca_section()


def test_a_moved_folder(tmp_path: Path) -> None:
    """`dir` is the folder that is named, wherever the file says that the CA is; relative paths start there, too."""
    config = tmp_path / "openssl.cnf"
    config.write_text(f"{BASICS}database = $dir/index.txt\nserial = serial\ncertificate = /elsewhere/ca.pem\n")
    parts = from_config(config, tmp_path, None, {})
    assert (parts.index, parts.serial) == (tmp_path / "index.txt", tmp_path / "serial")
    assert parts.certificate == Path("/elsewhere/ca.pem")


def test_openssl_reads_the_same(tmp_path: Path) -> None:
    """The real `openssl ca` finds its index where we do, through quotes, escapes, variables and continued lines."""
    config = tmp_path / "odd.cnf"
    config.write_text(
        f"base = {tmp_path}\n[ca]\nnone =\ndefault_ca = \"CA\\\n1\"\n[CA1] # x\nname = 'in''dex' # y\n"
        "database = ${base}/$name\\.txt$(ca::none)\nnew_certs_dir = $base\nserial = $base/serial\n"
    )
    found = from_config(config, tmp_path, None, {}).index
    assert found == tmp_path / "index.txt"
    found.write_text("V\t330101000000Z\t\t1003\tunknown\t/CN=a\n")
    asked = ["openssl", "ca", "-config", str(config), "-status", "1003"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stderr
    assert "1003=Valid (V)" in told


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"1000\n", 0x1000, id="usual"),
        pytest.param(b"0A", 10, id="no-newline"),
        pytest.param(b" ff \r\n", 255, id="blanks"),
        pytest.param(b"12\\\n34\n", 0x1234, id="continued"),
    ],
)
def test_numbers(content: bytes, expected: int) -> None:
    """A file with a number is hex, whatever its digits look like."""
    assert parse_number(content) == expected


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"0x10\n", b"-1\n", b"1" * 129], ids=["empty", "line", "x", "-", "long"]
)
def test_no_numbers(content: bytes) -> None:
    """Anything else is none."""
    with pytest.raises(ValueError):
        parse_number(content)
