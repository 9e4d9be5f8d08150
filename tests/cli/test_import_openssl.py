"""`goodstanding import openssl` with folders of the real `openssl ca`, into a running system that is not restarted."""

from __future__ import annotations

import json
import os
import pty
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import import_pb2, import_pb2_grpc
from services.cli.authorities import Office
from services.cli.client import connect
from services.cli.failures import Failed
from services.cli.folder import DataFolder
from services.cli.importing.key_place import key_in_place, open_key
from services.cli.importing.sending import header_of
from services.cli.main import cli
from services.cli.options import Connection
from services.pki.keys import load_key
from tests.command import PROGRAM, Up
from tests.openssl_ca.real_ca import PASSPHRASE, RealCA, openssl
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> RealCA:
    """A root of the real `openssl ca`."""
    return RealCA(tmp_path_factory.mktemp("alice") / "ca", "ca").make()


@pytest.fixture(scope="module")
def passphrase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the passphrase and one newline, which is not part of it."""
    file = tmp_path_factory.mktemp("passphrase") / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    return file


def issuing(root: RealCA, name: str) -> RealCA:
    """A CA below the root: 1000 valid, 1001 superseded, 1002 on hold, 1003 compromised, 1004 without certificate."""
    ca = RealCA(root.folder / name, name, root).make()
    ca.issue("www.example.com")
    ca.revoke(ca.issue("old.example.com"), "-crl_reason", "superseded")
    ca.revoke(ca.issue("held.example.com"), "-crl_hold", "holdInstructionCallIssuer")
    ca.revoke(ca.issue("stolen.example.com"), "-crl_compromise", "20260102030405Z")
    ca.revoke(ca.issue("lost.example.com"))
    (ca.folder / "newcerts/1004.pem").unlink()
    ca.make_crl()
    return ca


def run(up: Up, ca: RealCA, *options: str | Path, status: int = 0, **environment: str) -> Result:
    """Run the import to its end, without a terminal."""
    arguments = ["import", "openssl", ca.folder, "--data", up.data, *options]
    done = CliRunner().invoke(cli, list(map(str, arguments)), env=environment)
    assert done.exit_code == status, done.output
    assert PASSPHRASE not in done.output
    return done


def report(up: Up, ca: RealCA, *options: str | Path, status: int = 0) -> dict[str, Any]:
    """Run the import, and return its JSON."""
    found: dict[str, Any] = json.loads(run(up, ca, "--json", *options, status=status).stdout)
    return found


def ask(up: Up, *arguments: str) -> Any:
    """What another command says in JSON."""
    done = CliRunner().invoke(cli, [*arguments, "--json", "--data", str(up.data)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def issuers(up: Up) -> dict[str, str]:
    """The issuers that are known, with their states."""
    return {each["name"]: each["state"] for each in ask(up, "issuers")["issuers"]}


def counts(received: int, added: int, unchanged: int = 0, revoked: int = 0) -> dict[str, int]:
    """What the service counts, if nothing is refused."""
    return {
        "received": received,
        "added": added,
        "unchanged": unchanged,
        "revoked": revoked,
        "completed": 0,
        "refused": 0,
    }


def files_of(up: Up, name: str) -> list[Path]:
    """The files of a key that are there."""
    places = (up.data / "ca" / f"{name}.key", up.data / "secrets" / f"{name}.passphrase")
    return [place for place in places if place.exists()]


def test_everything_comes_in(moved_in: Up, root: RealCA, passphrase: Path) -> None:
    """A dry run records nothing; the import brings all in; a second one brings what is new; OCSP answers for all."""
    ca, name = issuing(root, "everything"), "alice-ltd-everything"
    planned = report(moved_in, ca, "--dry-run", "--passphrase-file", passphrase)
    assert planned["done"] is False
    assert planned["records"] == {
        "total": 5,
        "valid": 1,
        "revoked": 4,
        "on_hold": 1,
        "expired": 0,
        "with_certificate": 4,
        "status_only": 1,
        "unreadable": 0,
        "left_out": 0,
    }
    assert (planned["crl_number"], planned["next_serial_number"]) == ("1000", "1005")
    assert name not in issuers(moved_in)
    assert files_of(moved_in, name) == []

    done = report(moved_in, ca, "--passphrase-file", passphrase)
    assert done["done"] is True
    assert done["service"]["counts"] == counts(5, 5, 0, 0)
    assert issuers(moved_in)[name] == "active"
    secret = (moved_in.data / "secrets" / f"{name}.passphrase").read_bytes().strip()
    kept = (moved_in.data / "ca" / f"{name}.key").read_bytes()
    assert secret != PASSPHRASE.encode()
    assert load_key(kept, secret) is not None

    found = {each["serial_number"]: each for each in ask(moved_in, "list", "--issuer", name)["certificates"]}
    assert found["1000"]["state"] == "valid"
    reasons = {serial: (found[serial]["revocation"] or {}).get("reason") for serial in ("1001", "1002", "1003", "1004")}
    assert reasons == {"1001": "superseded", "1002": "certificateHold", "1003": "keyCompromise", "1004": "unspecified"}
    assert found["1003"]["revocation"]["invalidity_time"] == "2026-01-02T03:04:05Z"
    assert found["1004"]["subject"] == "/C=GB/O=Alice Ltd/CN=lost.example.com"

    ca.issue("new.example.com")
    ca.revoke(ca.folder / "certs/www.example.com.cert.pem", "-crl_reason", "cessationOfOperation")
    again = report(moved_in, ca)  # The key is there already: nobody asks for a passphrase.
    assert again["service"]["counts"] == counts(6, 1, 4, 1)
    assert ask(moved_in, "status", "1000", "--issuer", name)["revocation"]["reason"] == "cessationOfOperation"


def test_the_gateway_answers(moved_in: Up, root: RealCA, passphrase: Path, tmp_path: Path) -> None:
    """The real `openssl ocsp` gets the imported statuses from the gateway, signed for the imported CA."""
    ca = issuing(root, "answered")
    run(moved_in, ca, "--passphrase-file", passphrase)
    url = f"http://{DataFolder(moved_in.data).running().http}"  # type: ignore[union-attr]
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(ca.chain.read_text())
    serials = [argument for serial in ("1000", "1001", "1004") for argument in ("-serial", f"0x{serial}")]
    command = ["openssl", "ocsp", "-issuer", str(ca.certificate), "-CAfile", str(trusted), "-url", url, *serials]

    told = ""

    def answered() -> bool:
        nonlocal told
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = done.stdout
        return done.returncode == 0 and "Response verify OK" in done.stderr

    wait_until(answered, 30)
    assert "0x1000: good" in told
    assert "0x1001: revoked" in told
    assert "Reason: superseded" in told
    assert "0x1004: revoked" in told


def test_bad_rows_stop_everything(moved_in: Up, root: RealCA, passphrase: Path) -> None:
    """With a row that cannot be read nothing comes in, and the report has its line; it can be left out."""
    ca, name = issuing(root, "bad"), "alice-ltd-bad"
    ca.add_rows(["V\t330101000000Z\t\t123\tunknown\t/CN=odd", "V\t330101000000Z\t\t1234\tunknown\t/CN=fine"])
    done = run(moved_in, ca, "--passphrase-file", passphrase, status=1)
    assert "index.txt:6, column 4" in done.stdout
    assert "--skip-bad" in done.stderr
    assert name not in issuers(moved_in)
    assert files_of(moved_in, name) == []
    planned = report(moved_in, ca, "--dry-run", "--passphrase-file", passphrase, status=1)
    assert [each["code"] for each in planned["findings"] if each["refused"]] == ["SERIAL_INVALID"]
    done_now = report(moved_in, ca, "--skip-bad", "--passphrase-file", passphrase)
    assert done_now["service"]["counts"]["added"] == 6


def test_a_revocation_list_with_a_number_too_high(moved_in: Up, root: RealCA, passphrase: Path) -> None:
    """Where none would be left for lists made here, nothing comes in, and a line says what to do."""
    ca = issuing(root, "random")
    (ca.folder / "crlnumber").write_text(f"{'7F' * 19}\n")
    done = run(moved_in, ca, "--dry-run", "--passphrase-file", passphrase, status=1)
    assert "without crlnumber" in done.stderr


def test_the_index_of_another_ca(moved_in: Up, root: RealCA, passphrase: Path) -> None:
    """Rows whose certificates another CA has signed are refused, every one of them with its line."""
    ca, other = issuing(root, "mixed"), issuing(root, "other")
    options = ("--index", other.index, "--newcerts", other.folder / "newcerts", "--passphrase-file", passphrase)
    found = report(moved_in, ca, *options, status=1)
    refused = [each["origin"] for each in found["findings"] if each["code"] == "CERTIFICATE_NOT_BY_ISSUER"]
    assert refused == ["index.txt:1", "index.txt:2", "index.txt:3", "index.txt:4"]
    assert found["done"] is False
    assert "alice-ltd-mixed" not in issuers(moved_in)


def test_passphrases(moved_in: Up, root: RealCA, passphrase: Path, tmp_path: Path) -> None:
    """A wrong passphrase, none, or another key end it with a line; the environment may tell the passphrase."""
    ca, name = issuing(root, "secret"), "alice-ltd-secret"
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    assert "does not open" in run(moved_in, ca, "--passphrase-file", wrong, status=1).stderr
    told = run(moved_in, ca, status=1).stderr
    assert "GOODSTANDING_PASSPHRASE_ALICE_LTD_SECRET" in told
    assert "--passphrase-file" in told
    another = run(moved_in, ca, "--key", root.key, "--passphrase-file", passphrase, status=1)
    assert "is not the key of the certificate" in another.stderr
    assert files_of(moved_in, name) == []
    run(moved_in, ca, GOODSTANDING_PASSPHRASE_ALICE_LTD_SECRET=PASSPHRASE)
    assert issuers(moved_in)[name] == "active"


def test_a_prompt_on_a_terminal(moved_in: Up, root: RealCA) -> None:
    """On a terminal the passphrase is asked for, and not shown."""
    ca = issuing(root, "asked")
    controller, terminal = pty.openpty()
    command = [*PROGRAM, "import", "openssl", str(ca.folder), "--data", str(moved_in.data)]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, text=True, start_new_session=True
    )
    os.close(terminal)
    try:
        shown = b""
        while b"Passphrase" not in shown:
            shown += os.read(controller, 1024)
        os.write(controller, f"{PASSPHRASE}\n".encode())
        # Reading a terminal whose other end was closed is an error on Linux.
        with suppress(OSError):
            while True:
                shown += os.read(controller, 1024)
        assert process.stdout is not None
        assert "5 added" in process.stdout.read()
        assert process.wait(60) == 0
        assert PASSPHRASE.encode() not in shown
    finally:
        os.close(controller)
        process.kill()
        process.communicate()


def test_without_its_key(moved_in: Up, root: RealCA) -> None:
    """With --offline no key is looked for: the issuer is known, and issues nothing; its key may follow."""
    ca = issuing(root, "offline")
    shutil.rmtree(ca.folder / "private")
    assert "--offline" in run(moved_in, ca, status=1).stderr
    run(moved_in, ca, "--offline")
    assert issuers(moved_in)["alice-ltd-offline"] == "offline"


def test_part_by_part(moved_in: Up, root: RealCA, passphrase: Path, tmp_path: Path) -> None:
    """Parts may be anywhere, if they are named; then the folder needs none of them, and nothing has to be known."""
    ca = issuing(root, "parts")
    parts = ("--index", ca.index, "--ca", ca.certificate, "--key", ca.key, "--chain", ca.chain)
    options = (*parts, "--newcerts", ca.folder / "newcerts", "--crl", ca.crl, "--name", "by-parts", "--retired")
    empty = RealCA(tmp_path)
    report(moved_in, empty, *options, "--passphrase-file", passphrase)
    assert issuers(moved_in)["by-parts"] == "retired"


def test_a_part_that_is_not_there(moved_in: Up, root: RealCA, tmp_path: Path) -> None:
    """It is told who has named it: the user, or openssl.cnf."""
    ca = issuing(root, "incomplete")
    for missing, problem in ((tmp_path / "gone", "is not there"), (tmp_path, "is no file")):
        told = run(moved_in, ca, "--index", missing, status=1).stderr
        assert f"index.txt: {missing} {problem}: name it with --index" in told
    ca.config.write_text(ca.config.read_text().replace("/index.txt", "/gone.txt"))
    told = run(moved_in, ca, "--config", ca.config, status=1).stderr
    assert f"{ca.folder / 'gone.txt'} (as {ca.config} has it) is not there" in told


def test_no_service(root: RealCA, tmp_path: Path, passphrase: Path) -> None:
    """A dry run needs no service and no data folder; an import does."""
    ca = issuing(root, "alone")
    nowhere = Up.__new__(Up)
    nowhere.data = tmp_path / "nowhere"
    found = report(nowhere, ca, "--dry-run", "--passphrase-file", passphrase)
    assert found["service"] is None
    assert "not asked" in found["notes"][0]
    assert found["records"]["total"] == 5
    told = run(nowhere, ca, "--dry-run", "--passphrase-file", passphrase).stdout
    assert told.endswith("Nothing was recorded.\n")
    assert "not initialised" in run(nowhere, ca, "--passphrase-file", passphrase, status=1).stderr


def test_a_ca_without_key_usage(moved_in: Up, passphrase: Path, tmp_path: Path) -> None:
    """Made by hand, it may lack key usage and key identifier: it comes in and issues, and OpenSSL believes it all."""
    ca = RealCA(tmp_path / "plain", "plain").make()
    request = ("req", "-x509", "-config", ca.config, "-key", ca.key, "-passin", f"pass:{PASSPHRASE}", "-days", "3650")
    lines = ("[ plain_ca ]", "basicConstraints = critical, CA:true", "subjectKeyIdentifier = none")
    ca.config.write_text(ca.config.read_text() + "\n".join((*lines, "authorityKeyIdentifier = none\n")))
    openssl(*request, "-extensions", "plain_ca", "-subj", "/CN=plain", "-out", ca.certificate)
    assert "X509v3 Key Usage" not in openssl("x509", "-in", ca.certificate, "-noout", "-text")
    assert "Subject Key Identifier" not in openssl("x509", "-in", ca.certificate, "-noout", "-text")
    ca.issue("old.example.com")
    run(moved_in, ca, "--passphrase-file", passphrase, "--name", "plain")
    assert issuers(moved_in)["plain"] == "active"
    csr, new = tmp_path / "new.csr", tmp_path / "new.pem"
    kind = ("-newkey", "ed25519", "-nodes", "-keyout", tmp_path / "new.key")
    openssl("req", "-new", *kind, "-subj", "/CN=new.example.com", "-out", csr)
    issued = ["issue", str(csr), "--issuer", "plain", "--out", str(new), "--data", str(moved_in.data)]
    assert CliRunner().invoke(cli, issued).exit_code == 0
    assert "OK" in openssl("verify", "-CAfile", ca.certificate, new)
    url = f"http://{DataFolder(moved_in.data).running().http}"  # type: ignore[union-attr]
    command = ["openssl", "ocsp", "-issuer", ca.certificate, "-CAfile", ca.certificate, "-url", url, "-cert", new]

    def answered() -> bool:
        done = subprocess.run([*map(str, command), "-serial", "0x1000"], capture_output=True, text=True, check=False)
        return "Response verify OK" in done.stderr and done.stdout.count(": good") == 2

    wait_until(answered, 30)


def test_an_import_that_is_given_up(moved_in: Up, root: RealCA, passphrase: Path) -> None:
    """Cut off in the middle, given up, and begun anew under another name; a name with nothing to give up says so."""
    ca = issuing(root, "wrong")
    root_too = ("import", "certificates", str(ca.folder / "crl"), "--ca", str(root.certificate))
    assert CliRunner().invoke(cli, [*root_too, "--data", str(moved_in.data)]).exit_code == 0
    certificate = x509.load_pem_x509_certificate(ca.certificate.read_bytes()).public_bytes(Encoding.DER)
    header = header_of("wrong", certificate, key_reference="", crl_number=None, source="", validate_only=False)
    with connect(Connection(moved_in.data), "ca") as service:
        unfinished = iter([import_pb2.ImportCertificatesRequest(header=header)])
        with pytest.raises(Failed, match="IMPORT_UNFINISHED"):
            service.upload(import_pb2_grpc.ImportServiceStub(service.channel).ImportCertificates, unfinished)
    left = moved_in.data / "ca/wrong.key"
    left.touch()

    again = ["import", "abandon", "wrong", "--data", str(moved_in.data)]
    assert CliRunner().invoke(cli, [*again, "--dry-run"]).exit_code == 0
    refused = run(moved_in, ca, "--passphrase-file", passphrase, "--name", "right", status=1)
    assert "goodstanding import abandon wrong" in refused.stderr
    done = CliRunner().invoke(cli, [*again, "--yes"])
    assert done.exit_code == 0, done.output
    assert "give up the import of issuer wrong (CN=Alice Ltd wrong,O=Alice Ltd,C=GB), which began 2" in done.stdout
    assert f"left in the data folder: {left}; remove" in done.stdout
    gone = CliRunner().invoke(cli, [*again, "--yes"])
    assert (gone.exit_code, "ISSUER_UNKNOWN" in gone.stderr) == (1, True)
    run(moved_in, ca, "--passphrase-file", passphrase, "--name", "right")
    assert issuers(moved_in)["right"] == "active"
    assert "ISSUER_NOT_PENDING" in CliRunner().invoke(cli, [*again[:2], "right", *again[3:], "--yes"]).stderr


def test_ctrl_c(moved_in: Up, root: RealCA, passphrase: Path) -> None:
    """Interrupted in the middle, nothing is known and no key stays; the same command again completes it."""
    ca, name = issuing(root, "interrupted"), "alice-ltd-interrupted"
    ca.add_rows(
        [f"V\t330101000000Z\t\t{number:08X}\tunknown\t/CN={number}" for number in range(0x10000, 0x10000 + 15000)]
    )
    command = [*PROGRAM, "import", "openssl", ca.folder, "--data", moved_in.data, "--passphrase-file", passphrase]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(files_of(moved_in, name)) == 2 or process.poll() is not None, 60)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in told
    assert "the same command again" in told
    assert name not in issuers(moved_in)
    assert files_of(moved_in, name) == []
    found = report(moved_in, ca, "--passphrase-file", passphrase)["service"]["counts"]
    assert found["added"] + found["unchanged"] == 15005
    assert issuers(moved_in)[name] == "active"


def test_a_full_disk(pristine: Path, root: RealCA, passphrase: Path, tmp_path: Path) -> None:
    """A key that cannot be written leaves nothing behind; one that is there already is used."""
    data = tmp_path / "data"
    shutil.copytree(pristine, data)
    office = Office(Connection(data))
    certificate = x509.load_pem_x509_certificate(root.certificate.read_bytes())
    key = open_key(office, "alice", root.key, passphrase, certificate)
    before = sorted(data.rglob("*"))
    with (
        pytest.raises(OSError, match="File too large"),
        no_room(),
        key_in_place(office, key, lambda _: False),
    ):
        raise AssertionError
    assert sorted(data.rglob("*")) == before
    with pytest.raises(Failed, match="later"), key_in_place(office, key, lambda _: True):
        raise Failed("later")
    kept = open_key(office, "alice", Path("/gone"), None, certificate)
    assert kept.in_place
    with key_in_place(office, kept, lambda _: False) as reference:
        assert reference == "file:ca/alice.key"


@contextmanager
def no_room() -> Iterator[None]:
    """No file may have more than no octets: as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
