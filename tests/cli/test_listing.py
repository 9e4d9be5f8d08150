"""Long lists from the command: filters, forms, and a table that fits."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.cells import cell_len

from services.cli import bulk, output
from services.cli.commands.list import COLUMNS as LISTED
from services.cli.listing import Column, Format, show
from tests.cli.test_commands import answer, hex_of, invoke
from tests.command import Up, make_csr

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a client command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: invoke(*arguments, "--data", running.data)


@pytest.fixture
def certificate(run: Run, tmp_path: Path) -> x509.Certificate:
    """A certificate that was just issued, for ten days."""
    assert run("issue", make_csr(tmp_path), "--out", "test.pem", "--days", "10").returncode == 0
    return x509.load_pem_x509_certificate((tmp_path / "test.pem").read_bytes())


def test_filters_of_the_command(run: Run, certificate: x509.Certificate) -> None:
    """Each filter finds the certificate, and what it does not fit leaves it out."""
    serial = hex_of(certificate)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key)
    fits = [
        ("--serial-prefix", serial[:9].upper()),
        ("--public-key", digest.finalize().hex()),
        ("--by", "spiffe://goodstanding/admin/admin", "--issuer", "issuing"),
        ("--issued-from", "2020-01-01", "--profile", "server"),
        ("--expiring", "11d"),
        ("--expires-before", "2999-01-01", "--state", "valid"),
    ]
    for options in fits:
        found = answer(run("list", *options, "--all", "--json"))
        assert serial in [each["serial_number"] for each in found["certificates"]], options
        assert found["more"] is False
    for options in [
        ("--expiring", "9d"),
        ("--issued-before", "2020-01-01"),
        ("--reason", "superseded"),
        ("--issued-by", "me"),
    ]:
        found = answer(run("list", *options, "--all", "--json"))["certificates"]
        assert serial not in [each["serial_number"] for each in found], options


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--serial-prefix", "12"], 1),
        (["--public-key", "12"], 1),
        (["--public-key", "zz"], 2),
        (["--expiring", "soon"], 2),
        (["--expiring", "3d", "--state", "valid"], 2),
        (["--json", "--json-lines"], 2),
    ],
)
def test_filters_that_cannot_be(run: Run, options: list[str], status: int) -> None:
    """What makes no sense is refused, with the field or the option."""
    assert run("list", *options).returncode == status


def test_forms_hold_the_same(run: Run, certificate: x509.Certificate) -> None:
    """One document, lines and CSV tell of the same certificates."""
    document = answer(run("list", "--limit", "3", "--json"))["certificates"]
    lines = run("list", "--limit", "3", "--json-lines").stdout.splitlines()
    assert [json.loads(line) for line in lines] == document
    rows = list(csv.DictReader(run("list", "--limit", "3", "--csv").stdout.splitlines()))
    assert [row["serial_number"] for row in rows] == [each["serial_number"] for each in document]
    assert rows[0]["not_after"] == document[0]["not_after_time"]


def test_counts(run: Run, certificate: x509.Certificate) -> None:
    """Counts are those of the list, and add up."""
    counted = answer(run("count", "--json"))
    listed = answer(run("list", "--all", "--json"))["certificates"]
    assert sum(counted["total"].values()) == len(listed)
    (servers,) = [each for each in counted["counts"] if each["profile"] == "server"]
    assert servers["valid"] == sum(each["profile"] == "server" and each["state"] == "valid" for each in listed)
    assert "total" in run("count", "--issuer", "issuing").stdout
    assert run("count", "--issuer", "nobody").returncode == 1


def numbered() -> Iterator[dict[str, Any]]:
    """More than anybody could wait for."""
    number = 0
    while True:
        yield {"name": f"{number}" + "x" * 50, "serial": "7f" * 16}
        number += 1


COLUMNS = (Column("NAME", lambda value: value["name"], cut=True), Column("SERIAL", lambda value: value["serial"]))


def test_a_list_is_printed_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    """A list without an end is printed up to its limit, in every form."""
    for form in (Format(), Format(json=True), Format(lines=True), Format(csv=True)):
        assert show(form, "things", COLUMNS, numbered(), 500)
        printed = capsys.readouterr().out
        assert "499xxx" in printed
        assert "500xxx" not in printed


def test_a_table_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are cut to the width of a terminal, and serial numbers never."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show(Format(), "things", COLUMNS, numbered(), 300)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 301
    assert {len(line) for line in lines[1:]} == {60}
    assert all(line.endswith("7f" * 16) and "…" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("space", "titles"),
    [
        (140, ["SERIAL NUMBER", "STATE", "REASON", "NAMES", "PROFILE", "ISSUER", "ISSUED", "NOT AFTER"]),
        (112, ["SERIAL NUMBER", "STATE", "REASON", "NAMES", "PROFILE", "ISSUER", "NOT AFTER"]),
        (80, ["SERIAL NUMBER", "STATE", "NAMES", "NOT AFTER"]),
        (60, ["SERIAL NUMBER", "STATE", "NAMES"]),
    ],
)
def test_a_narrow_terminal_has_fewer_columns(
    space: int, titles: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are as long as the terminal is wide at the most; characters that take two places count as two."""
    monkeypatch.setenv("COLUMNS", str(space))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    rows: list[dict[str, Any]] = [
        {
            "serial_number": "7f" * 16,
            "state": "revoked",
            "revocation": {"reason": "cessationOfOperation"},
            "subject_alternative_names": [],
            "subject": name,
            "profile": "ocsp-responder",
            "issuer": "an-issuer-with-a-name",
            "issue_time": "2026-11-23T01:36:51Z",
            "not_after_time": "2026-11-26T01:36:51Z",
        }
        for name in ("CN=" + "x" * 60, "CN=" + "日本" * 30, "CN=é")
    ]
    show(Format(), "certificates", LISTED, rows, None)
    head, *lines = capsys.readouterr().out.splitlines()
    assert re.split("  +", head) == titles
    assert [cell_len(line) for line in lines] == [cell_len(lines[0])] * 3 if titles[-1] == "NOT AFTER" else True
    assert max(map(cell_len, lines)) <= space


@pytest.mark.parametrize(
    ("space", "titles"), [(140, "NOW THEN SUBJECT"), (80, "NOW THEN SUBJECT"), (68, "THEN SUBJECT"), (60, "THEN")]
)
def test_a_dry_run_fits_the_terminal(
    space: int, titles: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a bulk revocation would do is no wider than the terminal, and says in any case what becomes of what."""
    monkeypatch.setenv("COLUMNS", str(space))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    result: dict[str, Any] = {
        "name": None,
        "serial_number": "7f" * 16,
        "subject": "CN=" + "x" * 60,
        "outcome": "revoked",
    }
    result |= {"earlier_revocation": None, "revocation": {"reason": "keyCompromise"}}
    bulk.show([result], as_json=False, dry_run=True, total=1)
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["SERIAL", "NUMBER", *titles.split()]
    assert "revoked: keyCompromise" in line
    assert max(len(head), len(line)) <= space


def test_dates_stay_whole_in_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a narrow terminal long texts are folded, and not names and dates beside them."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.table(("NAME", "NOT AFTER", "HASH"), [("issuing", "2036-11-22T08:00:13Z", "7f" * 32)])
    printed = capsys.readouterr().out
    assert "2036-11-22T08:00:13Z" in printed
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines())) <= 80


def test_csv_is_safe_for_spreadsheets(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that looks like a formula is text; control characters are escaped."""
    found = [{"name": "=1+1", "serial": 'a,"b"'}, {"name": "\x1b[2J", "serial": ""}]
    show(Format(csv=True), "things", COLUMNS, found, None)
    assert capsys.readouterr().out.splitlines() == ["name,serial", '\'=1+1,"a,""b"""', "\\x1b[2J,"]
