"""`goodstanding export openssl`: OpenSSL goes on from the folder that it writes, which is whole or not there."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from services.cli.failures import Failed
from services.cli.folder import DataFolder
from services.cli.index_writer import addresses
from services.cli.new_folder import new_folder
from tests.cli.test_commands import answer, invoke
from tests.command import PROGRAM, Up, make_csr
from tests.openssl_ca.judge import Said, ask_index, openssl
from tests.waiting import wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]
REASONS = (None, "keyCompromise", "cessationOfOperation", "certificateHold", "privilegeWithdrawn", "unspecified")
TOLD_BY_OPENSSL = {
    "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation", "certificateHold",
}  # fmt: skip
"""Other tests share the services, and revoke for other reasons than those above."""


@pytest.fixture
def run(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a client command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: invoke(*arguments, "--data", running.data)


@pytest.fixture
def issued(run: Run, tmp_path: Path) -> list[str]:
    """Serial numbers of certificates that were just issued: one good, and one revoked for each reason."""
    csr = make_csr(tmp_path)
    serials = [answer(run("issue", csr, "--out", "test.pem", "--json"))["serial_number"] for _ in REASONS]
    for serial, reason in zip(serials, REASONS, strict=True):
        if reason:
            assert run("revoke", serial, "--reason", reason, "--yes").returncode == 0
    return serials


def listed(run: Run) -> dict[str, Any]:
    """All certificates of the issuer, by serial number."""
    found = answer(run("list", "--issuer", "issuing", "--all", "--json"))["certificates"]
    return {each["serial_number"]: each for each in found}


def test_openssl_goes_on(run: Run, running: Up, issued: list[str], tmp_path: Path) -> None:
    """With the key in its place, OpenSSL tells statuses, updates, revokes, issues, and makes lists and answers."""
    wait_until(lambda: len(crl_entries(_fetch(running))) == _revoked(run), within=20)
    summary = answer(run("export", "openssl", "out", "--json"))
    here, out = listed(run), tmp_path / "out"
    assert set(issued) <= here.keys()
    assert summary["certificates"] == len(here) == summary["valid"] + summary["revoked"]
    assert summary["beyond_index"] == sum(reason_of(each) == "privilegeWithdrawn" for each in here.values())
    assert summary["crl"] is True
    assert summary["changed_meanwhile"] == summary["issued_meanwhile"] == 0
    config, secret = _with_key(out, Path(summary["key_file"]))

    for serial, reason in zip(issued, REASONS, strict=True):
        word = "Revoked (R)" if reason else "Valid (V)"
        assert f"{serial.upper()}={word}" in openssl("ca", *config, "-status", serial, check=False)
        pem = (out / "newcerts" / f"{serial.upper()}.pem").read_bytes()
        assert x509.load_pem_x509_certificate(pem).serial_number == int(serial, 16)

    before = (out / "index.txt").read_text()
    openssl("ca", *config, *secret, "-updatedb")
    assert (out / "index.txt").read_text() == before

    openssl("ca", *config, *secret, "-gencrl", "-out", tmp_path / "new.crl")
    new, ours = (x509.load_pem_x509_crl(file.read_bytes()) for file in (tmp_path / "new.crl", out / "crl.pem"))
    assert crl_entries(new) == {
        serial: (time, reason if reason in TOLD_BY_OPENSSL else None)
        for serial, (time, reason) in crl_entries(ours).items()
    }
    assert crl_number(new) == crl_number(ours) + 1 == int(summary["next_crl_number"], 16)
    assert new.is_signature_valid(x509.load_pem_x509_certificate((out / "ca.pem").read_bytes()).public_key())  # type: ignore[arg-type]

    openssl("ca", *config, *secret, "-batch", "-notext", "-extensions", "ocsp", "-in", "test.csr", "-out", "ocsp.pem")
    said = ask_index(out, out / "ca.pem", (Path("ocsp.pem"), Path("test.key")), (int(s, 16) for s in here), tmp_path)
    assert said == {int(serial, 16): _expected(each) for serial, each in here.items()}

    new_certificate = x509.load_pem_x509_certificate((tmp_path / "ocsp.pem").read_bytes())
    assert new_certificate.serial_number not in {int(serial, 16) for serial in here}
    openssl("ca", *config, *secret, "-revoke", "ocsp.pem")
    openssl("verify", "-CAfile", out / "chain.pem", "-partial_chain", "ocsp.pem")


def test_numbers_without_chance(run: Run, issued: list[str], tmp_path: Path) -> None:
    """Where somebody would rather count serial numbers up, the first one is free, too."""
    summary = answer(run("export", "openssl", "out", "--json"))
    assert int(summary["next_serial"], 16) > max(int(serial, 16) for serial in listed(run))
    config, secret = _with_key(tmp_path / "out", Path(summary["key_file"]))
    settings = tmp_path / "out" / "openssl.cnf"
    settings.write_text(settings.read_text().replace("rand_serial ", "# rand_serial "))
    openssl("ca", *config, *secret, "-batch", "-notext", "-in", "test.csr", "-out", "next.pem")
    made = x509.load_pem_x509_certificate((tmp_path / "next.pem").read_bytes())
    assert made.serial_number == int(summary["next_serial"], 16)
    # It names the same addresses as the certificates of before, so that those who check it find us.
    before = x509.load_pem_x509_certificate((tmp_path / "test.pem").read_bytes())
    kinds = x509.AuthorityInformationAccess, x509.CRLDistributionPoints
    for kind in kinds:
        assert (
            made.extensions.get_extension_for_class(kind).value == before.extensions.get_extension_for_class(kind).value
        )


def test_for_people(run: Run, issued: list[str], running: Up, tmp_path: Path) -> None:
    """The message counts, says where the key is, and what to type; what was lost is on standard error."""
    done = run("export", "openssl", "a folder", "--issuer", "issuing")
    assert done.returncode == 0
    assert f"certificates of issuing: {len(listed(run)) - _revoked(run)} valid, {_revoked(run)} revoked" in done.stdout
    key = running.data / "ca" / "issuing.key"
    assert f"cp {key} 'a folder/private/ca.key.pem'" in done.stdout
    assert "have a reason or an invalidity time that index.txt cannot hold" in done.stderr
    assert not any((tmp_path / "a folder" / "private").iterdir())
    assert b"PRIVATE KEY" not in b"".join(
        file.read_bytes() for file in tmp_path.glob("a folder/**/*") if file.is_file()
    )


def test_root(run: Run, tmp_path: Path) -> None:
    """An issuer that is offline leaves as well, with its list."""
    summary = answer(run("export", "openssl", "root", "--issuer", "root", "--json"))
    assert (summary["issuer"], summary["crl"], summary["next_crl_number"]) == ("root", True, "02")
    rows = (tmp_path / "root" / "index.txt").read_text().splitlines()
    assert len(rows) == 2  # its own certificate, and that of the issuing CA


def test_refused(run: Run, tmp_path: Path) -> None:
    """A folder that is not empty, a file, a link, the working folder, and an unknown issuer are refused, and stay."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "index.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for target, word in [("full", "not empty"), ("link", "no folder"), (".", "where you are")]:
        done = run("export", "openssl", target)
        assert (done.returncode, word in done.stderr) == (1, True), done.stderr
    assert run("export", "openssl", "file").returncode == 2
    done = run("export", "openssl", "empty", "--issuer", "elsewhere")
    assert done.returncode == 1
    assert "ISSUER_UNKNOWN" in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "file", "full", "link"]
    assert run("export", "openssl", "empty").returncode == 0
    assert (tmp_path / "empty" / "index.txt").exists()


def test_full_disk(running: Up, issued: list[str], tmp_path: Path) -> None:
    """Where a file cannot be written to its end, nothing stays behind."""
    limited = 'ulimit -f 1; trap "" XFSZ; exec "$@"'  # 1 KiB for each file: index.txt has more
    command = [*PROGRAM, "export", "openssl", "out", "--data", str(running.data)]
    done = subprocess.run(
        ["bash", "-c", limited, "bash", *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "nothing of it was kept" in done.stderr
    assert not [each for each in tmp_path.iterdir() if "out" in each.name]


def test_bar(running: Up, tmp_path: Path) -> None:
    """On a terminal a bar shows how far it came; what was written is on standard output all the same."""
    master, slave = pty.openpty()
    command = [*PROGRAM, "export", "openssl", "out", "--issuer", "root", "--data", str(running.data)]
    try:
        done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave, timeout=60, check=True)
        assert b"Exporting" in os.read(master, 4096)
    finally:
        os.close(slave)
        os.close(master)
    assert done.stdout.startswith(b"out: 2 certificates of root")


@pytest.mark.parametrize("what", [KeyboardInterrupt, RuntimeError])
def test_interrupted(what: type[BaseException], tmp_path: Path) -> None:
    """What ends it early leaves nothing, and an empty folder stays empty."""
    (tmp_path / "out").mkdir()

    def begin() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "newcerts").mkdir()
            (folder / "newcerts" / "0A.pem").touch()
            raise what

    with pytest.raises(what):
        begin()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert not any((tmp_path / "out").iterdir())


def test_taken_meanwhile(tmp_path: Path) -> None:
    """A folder that somebody else has filled in the meantime is left alone."""

    def write() -> None:
        with new_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").touch()

    with pytest.raises(Failed, match="not empty"):
        write()
    assert [each.name for each in tmp_path.glob("**/*")] == ["out", "theirs"]


def test_certificate_without_addresses() -> None:
    """No address is made up for what cannot be read."""
    assert addresses(b"\x30\x00") == ((), (), ())


def crl_entries(crl: x509.CertificateRevocationList) -> dict[int, tuple[datetime, str | None]]:
    """Time and reason by serial number."""
    return {each.serial_number: (each.revocation_date_utc, _reason(each)) for each in crl}


def crl_number(crl: x509.CertificateRevocationList) -> int:
    """Its number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def reason_of(certificate: dict[str, Any]) -> str | None:
    """Why a certificate is revoked."""
    return (certificate["revocation"] or {}).get("reason")


def _reason(entry: x509.RevokedCertificate) -> str | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except x509.ExtensionNotFound:
        return None


def _expected(certificate: dict[str, Any]) -> Said:
    revocation = certificate["revocation"]
    if revocation is None:
        return Said("good")
    reason = revocation["reason"]
    time = datetime.fromisoformat(revocation["revocation_time"])
    return Said("revoked", time, reason if reason in TOLD_BY_OPENSSL else None)


def _revoked(run: Run) -> int:
    return sum(each["revocation"] is not None for each in listed(run).values())


def _fetch(running: Up) -> x509.CertificateRevocationList:
    found = DataFolder(running.data).running()
    assert found is not None
    with urllib.request.urlopen(f"http://{found.http}/crl/issuing.crl", timeout=10) as answered:
        return x509.load_der_x509_crl(answered.read())


def _with_key(out: Path, key: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    shutil.copy(key, out / "private" / "ca.key.pem")
    passphrase = key.parent.parent / "secrets" / f"{key.stem}.passphrase"
    return ("-config", str(out / "openssl.cnf")), ("-passin", f"file:{passphrase}")
