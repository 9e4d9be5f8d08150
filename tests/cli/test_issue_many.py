"""`goodstanding issue --many`: a folder of requests becomes one of certificates, also when it took two attempts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from cryptography import x509

from services.cli import issue_many
from tests.cli.test_commands import invoke
from tests.command import Up
from tests.e2e.client import csr

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def run(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: invoke("issue", "--many", *arguments, "--data", running.data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty requests, and a file that is none of ours."""
    made = tmp_path / "requests"
    made.mkdir()
    for number in range(60):
        (made / f"{number}.csr").write_bytes(csr(f"host-{number}.example.com"))
    (made / "notes.txt").write_text("not a request")
    return made


def serials(folder: Path) -> dict[str, int]:
    """The serial numbers of the certificates in a folder, by name."""
    return {file.stem: x509.load_pem_x509_certificate(file.read_bytes()).serial_number for file in folder.glob("*.crt")}


def test_a_folder(run: Run, folder: Path) -> None:
    """Each request has its certificate beside it; what was lost is handed out again, what is there is left alone."""
    done = run(folder)
    assert (done.returncode, done.stderr) == (0, "60 issued, 0 failed\n")
    found = serials(folder)
    assert found.keys() == {str(number) for number in range(60)}
    assert len(set(found.values())) == 60
    for name in ("7", "8"):
        (folder / f"{name}.crt").unlink()
    (folder / "9.crt").write_text("something else")
    again = run(folder)
    told = "0 issued, 2 issued before and handed out once more, 58 there already, 0 failed; for new ones, give another"
    assert again.stderr == f"{told} --request-id\n"
    assert (folder / "9.crt").read_text() == "something else"
    (folder / "9.crt").unlink()
    assert run(folder).returncode == 0
    assert serials(folder) == found
    assert not list(folder.glob(".*"))


def test_new_ones(run: Run, running: Up, folder: Path, tmp_path: Path) -> None:
    """In another folder, and under another request id, there are new certificates; a revoked one is told to be so."""
    one, two = folder / "1.csr", tmp_path / "same.csr"
    two.write_bytes(one.read_bytes())
    (tmp_path / "out").mkdir()
    assert run(one, two).stderr == "2 issued, 0 failed\n"
    assert run(one, "--out", tmp_path / "out").stderr == "1 issued, 0 failed\n"
    found = [*serials(folder).values(), *serials(tmp_path).values(), *serials(tmp_path / "out").values()]
    assert len(set(found)) == 3
    revoked = invoke("revoke", "--cert", folder / "1.crt", "--reason", "superseded", "--data", running.data)
    assert revoked.returncode == 0, revoked.stderr
    (folder / "1.crt").unlink()
    again = run(one)
    assert f"{one}: was issued before, and is revoked now\n0 issued, 1 issued before" in again.stderr
    (folder / "1.crt").unlink()
    assert run(one, "--request-id", "autumn").stderr == "1 issued, 0 failed\n"


def test_out_and_json(run: Run, folder: Path, tmp_path: Path) -> None:
    """--out takes the certificates, --chain what is above them, --json has a line for each."""
    out = tmp_path / "certificates"
    missing = run(folder, "--out", out)
    assert missing.returncode == 1
    assert "make it first" in missing.stderr
    out.mkdir()
    done = run(folder / "1.csr", folder / "2.csr", "--out", out, "--chain", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["csr"] for line in lines} == {str(folder / "1.csr"), str(folder / "2.csr")}
    assert {Path(line["certificate"]).name for line in lines} == {"1.crt", "2.crt"}
    assert all(len(x509.load_pem_x509_certificates(file.read_bytes())) == 2 for file in out.iterdir())
    assert not list(folder.glob("*.crt"))


def test_bad_ones_stop_no_other(run: Run, folder: Path, tmp_path: Path) -> None:
    """What is refused is named with its reason; the exit status tells that not all is well."""
    (folder / "5.csr").write_bytes(b"no request")
    (folder / "6.csr").write_bytes(bytes(200_000))
    done = run(folder, "--profile", "client", "--days", "3")
    assert done.returncode == 1
    assert f"{folder / '5.csr'}: " in done.stderr
    assert "[CSR_MALFORMED]" in done.stderr
    assert f"{folder / '6.csr'}: larger than" in done.stderr
    assert "58 issued, 2 failed" in done.stderr
    assert len(serials(folder)) == 58


def test_a_dry_run(run: Run, folder: Path) -> None:
    """Nothing is issued or written."""
    done = run(folder, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "60 would be issued, 0 failed\n")
    assert not serials(folder)


def test_what_cannot_be_meant(run: Run, folder: Path, tmp_path: Path) -> None:
    """Two for one target, an empty folder, standard input, and several without --many."""
    (folder / "1.req").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for arguments, status, text in (
        ([folder], 1, "rename one"),
        ([tmp_path / "empty"], 1, "no certificate request"),
        (["-"], 2, "standard input"),
    ):
        done = run(*arguments)
        assert (done.returncode, text in done.stderr) == (status, True)
    alone = invoke("issue", folder, "--data", tmp_path)
    assert (alone.returncode, "need --many" in alone.stderr) == (2, True)
    assert not serials(folder)


def test_ctrl_c_tells_how_far_it_came(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends it early comes after the sum so far; the same command again does the rest."""
    take, taken = issue_many._take, iter(range(100))

    def interrupted(*arguments: Any, **options: Any) -> None:
        if next(taken) == 20:
            raise KeyboardInterrupt
        take(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(issue_many, "_take", interrupted)
        done = run(folder)
    assert done.returncode == 1
    assert "It ended early, after: 20 issued, 0 failed\n" in done.stderr
    assert len(serials(folder)) == 20
    rest = run(folder)
    assert "20 there already, 0 failed" in rest.stderr
    assert len(set(serials(folder).values())) == 60
