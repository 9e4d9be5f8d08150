"""The client commands against running services, from CSR to revocation, as people and programs use them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services.cli import client
from services.cli.main import cli
from services.pki.serials import format_serial, serial_from_int
from tests.command import PROGRAM, Up, make_csr
from tests.waiting import wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def hex_of(certificate: x509.Certificate) -> str:
    """A serial number as it is shown."""
    return format_serial(serial_from_int(certificate.serial_number))


def invoke(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: what it calls are real services, and a hundred starts of Python are saved."""
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert isinstance(result.exception, SystemExit | None), result.exception
    return subprocess.CompletedProcess([], result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def run(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a client command in an empty folder, with the options behind the subcommand."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: invoke(*arguments, "--data", running.data)


@pytest.fixture
def csr(tmp_path: Path) -> Path:
    """A certificate request for test.example.com, made by openssl, with a common name only."""
    return make_csr(tmp_path)


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON of a command that succeeded."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_issue_to_a_file(run: Run, csr: Path, tmp_path: Path) -> None:
    """--out writes the certificate, --chain puts the issuing CA behind it, and the summary names the serial number."""
    done = run("issue", csr, "--out", "test.pem", "--chain")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    leaf, issuing = x509.load_pem_x509_certificates((tmp_path / "test.pem").read_bytes())
    leaf.verify_directly_issued_by(issuing)
    assert hex_of(leaf) in done.stderr
    assert "DNS:test.example.com" in done.stderr


def test_issue_to_standard_output(run: Run, csr: Path) -> None:
    """Without --out the certificate, and nothing else, is on standard output, ready for a pipe."""
    done = run("issue", csr)
    assert done.stdout.startswith("-----BEGIN CERTIFICATE-----")
    assert done.stdout.endswith("-----END CERTIFICATE-----\n")
    assert len(x509.load_pem_x509_certificates(done.stdout.encode())) == 1


def test_issue_der(run: Run, csr: Path, tmp_path: Path) -> None:
    """A certificate request in DER is taken as well."""
    request = x509.load_pem_x509_csr(csr.read_bytes())
    (tmp_path / "test.der").write_bytes(request.public_bytes(Encoding.DER))
    assert answer(run("issue", "test.der", "--json"))["subject_alternative_names"] == ["DNS:test.example.com"]


def test_issue_options(run: Run, csr: Path) -> None:
    """Names, profile, issuer and days of the options are in the certificate."""
    names = ["DNS:a.example.com", "email:a@example.com", "URI:https://a.example.com/x"]
    options = [part for name in names for part in ("--san", name)]
    value = answer(run("issue", csr, "--profile", "client", "--days", "2", "--issuer", "issuing", *options, "--json"))
    certificate = x509.load_pem_x509_certificate(value["certificate_pem"].encode())
    assert sorted(value["subject_alternative_names"]) == sorted(names)
    assert value["profile"] == "client"
    assert 1.9 < (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() / 86400 < 2.1


def test_dry_run(run: Run, csr: Path) -> None:
    """--dry-run checks everything and issues nothing."""
    before = answer(run("list", "--json", "--limit", "10000"))["certificates"]
    done = run("issue", csr, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Nothing was issued" in done.stderr
    assert done.stdout == ""
    assert answer(run("list", "--json", "--limit", "10000"))["certificates"] == before


def test_request_id(run: Run, csr: Path) -> None:
    """The same request id gets the same certificate (G6), and another payload under it is refused."""
    first, again = (answer(run("issue", csr, "--request-id", "retry-1", "--json")) for _ in range(2))
    assert first["serial_number"] == again["serial_number"]
    refused = run("issue", csr, "--request-id", "retry-1", "--days", "3")
    assert refused.returncode == 1
    assert "REQUEST_ID_REUSED" in refused.stderr


def test_life_of_a_certificate(run: Run, csr: Path, tmp_path: Path) -> None:
    """Issued, on hold, released, revoked: status, get and list follow at once."""
    serial = answer(run("issue", csr, "--out", "test.pem", "--chain", "--json"))["serial_number"]
    assert answer(run("status", "--cert", "test.pem", "--json"))["status"] == "good"
    held = answer(run("revoke", serial, "--reason", "certificateHold", "--json"))
    assert held["revocation"]["reason"] == "certificateHold"
    assert answer(run("status", serial, "--json"))["status"] == "revoked"
    assert answer(run("revoke", serial, "--reason", "removeFromCRL", "--json"))["revocation"] is None
    assert answer(run("status", serial, "--json"))["status"] == "good"
    since = "2026-01-02T03:04:05Z"
    options = ["--reason", "keycompromise", "--invalidity-time", since]
    revoked = answer(run("revoke", "--cert", "test.pem", *options, "--json"))
    assert revoked["revocation"]["reason"] == "keyCompromise"
    assert revoked["revocation"]["invalidity_time"] == since
    assert answer(run("status", serial, "--json"))["revocation"]["reason"] == "keyCompromise"
    got = answer(run("get", "--cert", "test.pem", "--json"))
    assert (got["serial_number"], got["state"]) == (serial, "revoked")
    assert got["issued_by"]["identity"] == "spiffe://goodstanding/admin/admin"
    listed = answer(run("list", "--state", "revoked", "--json"))["certificates"]
    assert serial in [each["serial_number"] for each in listed]


def test_for_people(run: Run, csr: Path) -> None:
    """Without --json there are lines and tables for people."""
    serial = answer(run("issue", csr, "--json"))["serial_number"]
    shown = run("status", serial).stdout
    assert shown.splitlines()[0].split() == ["Status", "good"]
    assert "DNS:test.example.com" in run("get", serial).stdout
    assert serial in run("list").stdout
    assert "revoked since" in run("revoke", serial).stdout
    assert [line.split()[0] for line in run("issuers").stdout.splitlines()] == ["NAME", "root", "issuing"]


def colons(serial: str) -> str:
    """The serial number as openssl shows it."""
    return ":".join(serial[i : i + 2] for i in range(0, len(serial), 2))


@pytest.mark.parametrize("spell", [str.upper, "0x{}".format, colons], ids=["upper case", "0x", "colons"])
def test_spellings_of_serial_numbers(spell: Callable[[str], str], run: Run, csr: Path) -> None:
    """A serial number is hex in any case, with 0x or with colons."""
    serial = answer(run("issue", csr, "--json"))["serial_number"]
    assert answer(run("status", spell(serial), "--json"))["serial_number"] == serial


def test_unknown_is_an_answer(run: Run) -> None:
    """The status of what was never issued is unknown, with exit status 0."""
    assert answer(run("status", "0badcafe", "--json"))["status"] == "unknown"


def test_list_pages(run: Run, csr: Path) -> None:
    """--limit is the number of certificates, the latest first; that there are more is told."""
    serials = [answer(run("issue", csr, "--json"))["serial_number"] for _ in range(3)]
    listed = answer(run("list", "--limit", "2", "--name", "TEST.example.com", "--json"))
    assert [each["serial_number"] for each in listed["certificates"]] == serials[:0:-1]
    assert listed["more"] is True
    assert "more than 2" in run("list", "--limit", "2").stderr


REFUSALS = {
    "no CSR": (["issue", "garbage"], "CSR_MALFORMED"),
    "unknown profile": (["issue", "test.csr", "--profile", "king"], "PROFILE_UNKNOWN"),
    "unknown issuer": (["issue", "test.csr", "--issuer", "nobody"], "ISSUER_UNKNOWN"),
    "own trust domain": (
        ["issue", "test.csr", "--profile", "client", "--san", "URI:spiffe://goodstanding/admin/a"],
        "NAME_RESERVED",
    ),
    "the responder's profile": (["issue", "test.csr", "--profile", "ocsp-responder"], "PROFILE_NOT_ALLOWED"),
    "no serial number": (["revoke", "not-hex"], "SERIAL_INVALID"),
    "never issued": (["revoke", "0badcafe"], "CERTIFICATE_UNKNOWN"),
    "get what was never issued": (["get", "0badcafe"], "CERTIFICATE_UNKNOWN"),
}


@pytest.mark.parametrize(("arguments", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(arguments: list[str], reason: str, run: Run, csr: Path, tmp_path: Path) -> None:
    """What the services refuse is one line on standard error with the stable reason, and exit status 1."""
    (tmp_path / "garbage").write_bytes(b"garbage")
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_explicit_options(running: Up, run: Run, tmp_path: Path) -> None:
    """Address and credential can come from options alone, without a data folder; the role is the credential's."""
    made = ["credential", "new", "--name", f"reader-{tmp_path.name.replace('_', '-')}", "--role", "reader"]
    value = answer(run(*made, "--out", tmp_path / "out", "--json"))
    run_file = json.loads((running.data / "run.json").read_text())
    options = ["--tls-ca", tmp_path / "out/ca.pem", "--cert-file", value["certificate"], "--key-file", value["key"]]
    ca = [*options, "--ca-address", run_file["ca"]]
    assert invoke("list", *ca).returncode == 0
    assert invoke("status", "0a", *options, "--status-address", run_file["status"]).returncode == 0
    refused = invoke("revoke", "0a", *ca)
    assert refused.returncode == 1
    assert "ROLE_NOT_ALLOWED" in refused.stderr
    answer(run("credential", "deny", value["fingerprint"], "--json"))
    wait_until(lambda: invoke("list", *ca).returncode == 1, 3)
    denied = invoke("list", *ca)
    assert denied.returncode == 1
    assert "CREDENTIAL_DENIED" in denied.stderr


def test_nobody_there(run: Run) -> None:
    """An address where nobody listens is one line that says what to do."""
    done = run("issuers", "--ca-address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_gives_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that accepts and never answers is given up within 15 seconds (here 4), explanation included."""
    assert client.TIME_LIMIT == 15
    monkeypatch.setattr(client, "TIME_LIMIT", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        done = run("issuers", "--ca-address", f"127.0.0.1:{silent.getsockname()[1]}")
        spent = time.monotonic() - begin
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "does not answer in TLS" in done.stderr
    assert spent < 4


def test_issue_to_a_folder_that_is_not_there(run: Run, csr: Path, tmp_path: Path) -> None:
    """A certificate that could not be written is not issued."""
    before = answer(run("list", "--json", "--limit", "10000"))["certificates"]
    for out, why in ((tmp_path / "nowhere/x.pem", "No such file or directory"), (csr / "x.pem", "Not a directory")):
        done = run("issue", csr, "--out", out)
        assert done.returncode == 1
        assert done.stderr == f"Error: cannot write {out}: {why}; nothing was issued\n"
    assert answer(run("list", "--json", "--limit", "10000"))["certificates"] == before


@pytest.mark.parametrize("as_json", [False, True], ids=["PEM", "JSON"])
def test_issue_to_a_full_disk(as_json: bool, run: Run, csr: Path) -> None:
    """A certificate that turns out not to be written is not lost: it is on standard output, and the error says so."""
    done = run("issue", csr, "--out", "/dev/full", "--request-id", f"full-{as_json}", *(["--json"] if as_json else []))
    assert done.returncode == 1
    pem = json.loads(done.stdout)["certificate_pem"] if as_json else done.stdout
    serial = hex_of(x509.load_pem_x509_certificate(pem.encode()))
    assert done.stderr.count("\n") == 1
    assert "/dev/full cannot be written: No space left on device" in done.stderr
    assert f"serial number {serial}, request id full-{as_json}" in done.stderr


@pytest.mark.parametrize("as_json", [False, True], ids=["PEM", "JSON"])
def test_issue_to_standard_output_that_is_full(as_json: bool, running: Up, csr: Path) -> None:
    """What was issued and could not be printed is not lost: the error says so, and how to fetch it."""
    command = [*PROGRAM, "issue", str(csr), "--data", str(running.data), *(["--json"] if as_json else [])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert (
        "the certificate was issued, but cannot be written: No space left on device; `goodstanding get" in done.stderr
    )


def test_issue_says_which_file_is_wrong(run: Run, csr: Path, tmp_path: Path) -> None:
    """What is wrong with a request comes with the name of its file, and each further mistake on a line of its own."""
    weak = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak.example.com")])
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(weak, hashes.SHA256())
    (tmp_path / "weak.csr").write_bytes(signed.public_bytes(Encoding.PEM))
    done = run("issue", "weak.csr", "--san", "DNS:a..b", "--san", "URI:x", "--dry-run")
    first, *others = done.stderr.splitlines()
    assert first == "Error: weak.csr: RSA keys need 2048 bits; this has 1024 [KEY_TOO_SMALL] (field csr_pem)"
    assert others[0] == "  field subject_alternative_names.dns_names[0]: not a DNS name: 'a..b' [NAME_INVALID]"
    assert others[1].startswith("  field subject_alternative_names.uris[0]: ")
    done = run("issue", csr, "--profile", "nope")
    assert done.stderr.startswith("Error: there is no profile 'nope'; one of client, ")


def test_issue_to_nobody(run: Run, csr: Path) -> None:
    """Where nothing listens nothing was issued, and there is no doubt about it."""
    done = run("issue", csr, "--ca-address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "nothing listens on 127.0.0.1:1" in done.stderr
    assert "not known" not in done.stderr


def test_issue_in_doubt(run: Run, csr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it may have been issued the error says how to find out."""
    monkeypatch.setattr(client, "TIME_LIMIT", 3.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run("issue", csr, "--ca-address", f"127.0.0.1:{silent.getsockname()[1]}")
    assert "whether it was issued is not known: repeat with --request-id" in done.stderr


@pytest.mark.parametrize("command", ["status", "revoke", "get"])
def test_no_certificate(command: str, run: Run, tmp_path: Path) -> None:
    """A file that holds no certificate is named."""
    (tmp_path / "garbage").write_bytes(b"garbage")
    done = run(command, "--cert", "garbage")
    assert done.returncode == 1
    assert done.stderr == "Error: garbage holds no certificate, neither in PEM nor in DER\n"


def test_certificate_beside_its_key(run: Run, csr: Path, tmp_path: Path) -> None:
    """The certificate is found behind its key in one file."""
    serial = answer(run("issue", csr, "--out", "test.pem", "--json"))["serial_number"]
    (tmp_path / "both.pem").write_bytes((tmp_path / "test.key").read_bytes() + (tmp_path / "test.pem").read_bytes())
    assert answer(run("status", "--cert", "both.pem", "--json"))["serial_number"] == serial


def test_another_root(run: Run, running: Up, pristine: Path) -> None:
    """A root that is not the server's is one line on standard error: gRPC's core adds none of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    command = [*PROGRAM, "issuers", "--data", str(running.data), "--tls-ca", str(pristine / "tls/ca.pem")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("Error: the client certificate is not of the root it is used with")


def test_data_before_the_subcommand(running: Up, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--data means the same before the subcommand, more than the environment does, and less than after it."""
    monkeypatch.setenv("GOODSTANDING_DATA", "/nowhere/1")
    assert invoke("--data", running.data, "issuers").returncode == 0
    assert invoke("--data", running.data, "credential", "list").returncode == 0
    assert invoke("--data", "/nowhere/2", "issuers", "--data", running.data).returncode == 0
    assert "/nowhere/2 is no initialised data folder" in invoke("--data", "/nowhere/2", "issuers").stderr
    assert "/nowhere/1 is no initialised data folder" in invoke("issuers").stderr
