"""`goodstanding import certificates`: a folder of files of all kinds, and the statuses from a revocation list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509

from services.cli.importing.findings import Findings
from services.cli.importing.folder_source import FolderSource
from services.cli.importing.records import Record
from services.cli.importing.revocation_lists import read_list
from services.cli.main import cli
from services.clock import utc_now
from services.pki.reasons import Reason
from tests.command import Up
from tests.openssl_ca.real_ca import RealCA, openssl


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> RealCA:
    """A root: 1000 and 1001 valid, 1002 superseded, 1003 on hold, 1004 compromised, without its certificate."""
    ca = RealCA(tmp_path_factory.mktemp("bob") / "ca", "bob").make()
    for name in ("one", "two", "three", "four", "five"):
        ca.issue(name)
    certs = ca.folder / "certs"
    ca.revoke(certs / "three.cert.pem", "-crl_reason", "superseded")
    ca.revoke(certs / "four.cert.pem", "-crl_hold", "holdInstructionReject")
    ca.revoke(certs / "five.cert.pem", "-crl_compromise", "20260102030405Z")
    ca.make_crl()
    return ca


@pytest.fixture
def files(bob: RealCA, tmp_path: Path) -> Path:
    """Its certificates in PEM, DER, a bundle and a folder below, among files that are none."""
    folder, certs = tmp_path / "files", bob.folder / "certs"
    (folder / "below").mkdir(parents=True)
    openssl("x509", "-in", certs / "one.cert.pem", "-outform", "DER", "-out", folder / "one.der")
    bundle = [(certs / f"{name}.cert.pem").read_text() for name in ("two", "three", "bob")]
    (folder / "bundle.pem").write_text("text before\n" + "\n".join(bundle))
    (folder / "below/four.crt").write_bytes((certs / "four.cert.pem").read_bytes())
    (folder / "four.key").write_bytes(bob.key.read_bytes())
    (folder / "README").write_text("Certificates of Bob's.\n")
    return folder


def check(bob: RealCA, files: Path, *, with_crl: bool = True) -> tuple[Findings, list[Record], FolderSource]:
    """Look at a folder as the command does."""
    findings = Findings()
    authority = x509.load_pem_x509_certificate(bob.certificate.read_bytes())
    crl = read_list(bob.crl, authority, findings) if with_crl else None
    source = FolderSource(files, authority, crl)
    source.check(findings, utc_now(), lambda _: None)
    return findings, list(source.records()), source


def test_files_of_all_kinds(bob: RealCA, files: Path) -> None:
    """PEM, DER, several in one file, in folders below: each comes with its place; what is no certificate is ignored."""
    findings, records, source = check(bob, files)
    assert findings.kept == []
    assert [(record.origin, record.serial, record.certificate is not None) for record in records] == [
        ("bundle.pem#1", "1001", True),
        ("bundle.pem#2", "1002", True),
        ("one.der", "1000", True),
        ("below/four.crt", "1003", True),
        ("bob.crl.pem:3", "1004", False),
    ]
    assert source.ignored == 2
    revocations = {record.serial: record.revocation for record in records}
    assert revocations["1000"] is None
    assert [(each.reason, each.hold_instruction) for each in revocations.values() if each] == [
        (Reason.SUPERSEDED, None),
        (Reason.CERTIFICATE_HOLD, "1.2.840.10040.2.3"),
        (Reason.KEY_COMPROMISE, None),
    ]
    assert records[-1].revocation is not None
    assert f"{records[-1].revocation.invalidity_time:%Y%m%d%H%M%SZ}" == "20260102030405Z"


def test_without_a_list(bob: RealCA, files: Path) -> None:
    """Without a revocation list nothing is revoked."""
    _, records, _ = check(bob, files, with_crl=False)
    assert [record.revocation for record in records] == [None] * 4


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        pytest.param("cut.pem", "cut", "CERTIFICATE_UNREADABLE", id="cut-off"),
        pytest.param("bad.crt", "bad", "CERTIFICATE_UNREADABLE", id="no-certificate"),
        pytest.param("inner.pem", "inner", "CERTIFICATE_UNREADABLE", id="damaged-inside"),
        pytest.param("other.pem", "other", "CERTIFICATE_NOT_BY_ISSUER", id="another-ca"),
    ],
)
def test_what_is_refused(bob: RealCA, files: Path, tmp_path: Path, name: str, content: str, code: str) -> None:
    """What looks like a certificate and cannot come in is told with its file; the others still do."""
    good = (bob.folder / "certs/one.cert.pem").read_bytes()
    contents = {
        "cut": good[:400],
        "bad": b"nothing",
        "inner": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "other": RealCA(tmp_path / "other", "other").make().certificate.read_bytes() if content == "other" else b"",
    }
    (files / name).write_bytes(contents[content])
    findings, records, _ = check(bob, files)
    assert [(each.code, each.origin, each.refused) for each in findings.kept] == [(code, name, True)]
    assert findings.refused == 1
    assert len([record for record in records if record.place not in set(findings.left_out())]) == 5


def test_an_error_cannot_drive_a_terminal(tmp_path: Path) -> None:
    """Names of certificates are escaped in errors, too: whoever made the certificate has chosen them."""
    key, file = tmp_path / "evil.key", tmp_path / "evil.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
    openssl("req", "-x509", *kind, "-subj", "/CN=a\x1b]0;b\x07", "-addext", "basicConstraints=CA:FALSE", "-out", file)
    done = CliRunner().invoke(cli, ["import", "certificates", str(tmp_path), "--ca", str(file)])
    assert done.exit_code == 1
    assert r"CN=a\x1b]0\;b\x07, which is no certificate of a CA" in done.output


def test_beginnings_without_end(bob: RealCA, files: Path) -> None:
    """A file of nothing but beginnings is one finding, after one pass over it: several would take hours."""
    (files / "many.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n" * 100_000)
    findings, _, _ = check(bob, files)
    assert [(each.code, each.origin) for each in findings.kept] == [("CERTIFICATE_UNREADABLE", "many.pem")]


def test_the_same_twice(bob: RealCA, files: Path) -> None:
    """A certificate that is in two files is told, and comes in once."""
    (files / "again.pem").write_bytes((bob.folder / "certs/one.cert.pem").read_bytes())
    findings, _, _ = check(bob, files)
    assert [(each.code, each.serial_number) for each in findings.kept] == [("DUPLICATE_SERIAL", "1000")]


def run(up: Up, *arguments: str | Path, status: int = 0) -> Any:
    """Run the import, and return its JSON."""
    command = ["import", "certificates", *arguments, "--json", "--data", up.data]
    done = CliRunner().invoke(cli, list(map(str, command)))
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_everything_comes_in(moved_in: Up, bob: RealCA, files: Path) -> None:
    """What the dry run tells comes in; what only the list has is revoked, too, and its certificate may follow."""
    options = (files, "--ca", bob.certificate, "--crl", bob.crl, "--name", "bob")
    planned = run(moved_in, *options, "--dry-run")
    assert planned["service"]["counts"]["added"] == 5
    assert planned["crl_number"] == "1000"
    done = run(moved_in, *options)
    assert done["service"]["counts"]["added"] == 5
    assert done["issuer"]["known"] is False
    assert run(moved_in, *options)["service"]["counts"]["unchanged"] == 5
    found = CliRunner().invoke(cli, ["status", "1004", "--issuer", "bob", "--json", "--data", str(moved_in.data)])
    assert json.loads(found.stdout)["revocation"]["reason"] == "keyCompromise"
    (files / "five.pem").write_bytes((bob.folder / "certs/five.cert.pem").read_bytes())
    counts = run(moved_in, *options)["service"]["counts"]
    assert (counts["completed"], counts["unchanged"], counts["refused"]) == (1, 4, 0)
    found = CliRunner().invoke(cli, ["get", "1004", "--issuer", "bob", "--json", "--data", str(moved_in.data)])
    end = x509.load_pem_x509_certificate((files / "five.pem").read_bytes()).not_valid_after_utc
    assert json.loads(found.stdout)["not_after_time"] == f"{end:%Y-%m-%dT%H:%M:%SZ}"


def test_a_list_of_another_ca(moved_in: Up, bob: RealCA, files: Path, tmp_path: Path) -> None:
    """A revocation list that the CA has not signed ends it: nobody knows what is revoked."""
    other = RealCA(tmp_path / "other", "other").make().make_crl()
    assert "has not signed" in run(moved_in, files, "--ca", bob.certificate, "--crl", other, status=1)
