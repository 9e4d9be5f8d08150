"""`goodstanding revoke` for many certificates: every way to name them, dry runs, questions, and what is told."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from services.cli.main import cli
from tests.command import PROGRAM, Up

PKCS8 = PrivateFormat.PKCS8


class Desk:
    """A user with a running system: makes keys and certificates, and revokes."""

    def __init__(self, running: Up, folder: Path) -> None:
        self.data, self.folder = running.data, folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = f"{uuid.uuid4().hex}.example.com"

    def request(self) -> bytes:
        """A certificate request for the key."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, hashes.SHA256())
        return request.public_bytes(Encoding.PEM)

    def issue(self, count: int) -> list[str]:
        """Certificates for one key and name; their serial numbers. The files are 0.pem and so on."""
        (self.folder / "csr.pem").write_bytes(self.request())
        found = []
        for number in range(count):
            done = self.run("issue", "csr.pem", "--out", f"{number}.pem", "--json")
            found.append(str(json.loads(done.stdout)["serial_number"]))
        return found

    def run(self, *arguments: str, status: int = 0, input: str = "") -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run a command, in this process."""
        result = CliRunner().invoke(cli, [*arguments, "--data", str(self.data)], input=input)
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert result.exit_code == status, result.output
        return subprocess.CompletedProcess([], result.exit_code, result.stdout, result.stderr)

    def revoke(self, *arguments: str, status: int = 0, **more: Any) -> list[Any]:
        """Revoke, and return the lines of JSON."""
        done = self.run("revoke", *arguments, "--json", status=status, **more)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def state(self, serial: str) -> str:
        """What the status service says."""
        told = json.loads(self.run("status", serial, "--json").stdout)
        return str((told["revocation"] or {}).get("reason", told["status"]))


@pytest.fixture
def desk(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A user in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Desk(running, tmp_path)


def counts(line: Any) -> dict[str, int]:
    """The sum, without zeros."""
    return {outcome: count for outcome, count in line["summary"].items() if count}


def test_several_serial_numbers(desk: Desk) -> None:
    """A line for each, and the sum; what is so already is skipped, and what is refused is told on standard error."""
    first, second = desk.issue(2)
    desk.run("revoke", first, "--reason", "superseded")
    done = desk.run("revoke", first, second, "--reason", "superseded")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{first} of issuing: already revoked since ")
    assert lines[1].startswith(f"{second} of issuing: revoked since ")
    assert lines[2:] == ["1 revoked, 1 skipped, being so already."]
    done = desk.run("revoke", "0a", second, "--reason", "affiliationChanged", status=1)
    assert done.stdout == "2 refused.\n"
    assert done.stderr.splitlines() == [
        "0a: refused: no certificate with serial number 0a was issued here [CERTIFICATE_UNKNOWN]",
        f"{second} of issuing: refused: it is revoked already, for superseded; only keyCompromise may take the place "
        "of another reason [ALREADY_REVOKED]",
    ]


def test_several_certificates(desk: Desk) -> None:
    """By themselves; in PEM and DER."""
    desk.issue(2)
    der = x509.load_pem_x509_certificate(Path("1.pem").read_bytes()).public_bytes(Encoding.DER)
    Path("1.der").write_bytes(der)
    *results, summary = desk.revoke("--cert", "0.pem", "--cert", "1.der", "--reason", "certificateHold")
    assert [each["outcome"] for each in results] == ["held", "held"]
    assert counts(summary) == {"held": 2}
    assert counts(desk.revoke("--cert", "0.pem", "--cert", "1.der", "--reason", "removeFromCRL")[-1]) == {"released": 2}


@pytest.mark.parametrize("name", ["serials.txt", "-"])
def test_a_file_of_serial_numbers(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With comments and reasons; refusals name the line; interrupted or not, it can be repeated."""
    monkeypatch.setattr("services.cli.bulk_requests.LIST_LENGTH", 2)  # several calls
    one, two, three = desk.issue(3)
    text = f"# touched\nserial={one.upper()}\n\n 0x{two}  keycompromise # this one\n{three},superseded\nfeed\n"
    Path("serials.txt").write_text(text)
    lines = desk.revoke("--serials", name, "--reason", "affiliationChanged", "--dry-run", status=1, input=text)
    assert counts(lines[-1]) == {"revoked": 3, "refused": 1}
    assert desk.state(one) == "good"
    table = desk.run("revoke", "--serials", name, "--reason", "superseded", "--dry-run", status=1, input=text).stdout
    assert "\nfeed  " in table
    assert "line 6" not in table
    done = desk.run("revoke", "--serials", name, "--reason", "affiliationChanged", status=1, input=text)
    assert "line 6: refused: no certificate with serial number feed" in done.stderr
    assert done.stdout.endswith("3 revoked, 1 refused.\n")
    assert [desk.state(each) for each in (one, two, three)] == ["affiliationChanged", "keyCompromise", "superseded"]
    again = desk.revoke("--serials", name, "--reason", "affiliationChanged", status=1, input=text)
    assert counts(again[-1]) == {"unchanged": 3, "refused": 1}


def test_serial_numbers_through_a_pipe(desk: Desk) -> None:
    """A named pipe, such as the shell makes of <(…), is as good as a file."""
    (serial,) = desk.issue(1)
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(f"{serial} superseded\n"))
    writer.start()
    assert counts(desk.revoke("--serials", "pipe")[-1]) == {"revoked": 1}
    writer.join()
    assert desk.state(serial) == "superseded"


MISTAKES = {
    "no serial": ("0a\nxyz\n", "serials.txt, line 2: not a serial number"),
    "no reason": ("0a unused\n", "serials.txt, line 1: 'unused' is no reason; one of unspecified, keyCompromise"),
    "too much": ("0a superseded 0b\n", "line 1: give a serial number"),
    "two": ("xyz\n0a\n0b unused\n", "line 1: not a serial number in hex, as in 4f0a… or 4f:0a:… or 0x4f0a…; line 3: "),
    "many": ("xyz\n" * 12, "; and 2 more lines. Nothing was sent"),
    "nothing": ("# nothing\n", "serials.txt lists no serial number"),
}


@pytest.mark.parametrize(("text", "told"), MISTAKES.values(), ids=MISTAKES)
def test_files_with_mistakes(desk: Desk, text: str, told: str) -> None:
    """The line is named, and nothing was sent."""
    Path("serials.txt").write_text(text)
    done = desk.run("revoke", "--serials", "serials.txt", status=1)
    assert told in done.stderr
    assert done.stdout == ""


def test_a_key_in_every_form(desk: Desk) -> None:
    """Certificate, request, public and private key; a private key's public half is all that is sent."""
    serials = desk.issue(2)
    public = desk.key.public_key().public_bytes
    forms = {
        "csr.der": x509.load_pem_x509_csr(desk.request()).public_bytes(Encoding.DER),
        "public.pem": public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "public.der": public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "private.pem": desk.key.private_bytes(Encoding.PEM, PKCS8, NoEncryption()),
        "private.der": desk.key.private_bytes(Encoding.DER, PKCS8, NoEncryption()),
    }
    forms["both.pem"] = forms["private.pem"] + Path("0.pem").read_bytes()
    for name, content in forms.items():
        Path(name).write_bytes(content)
    for name in ("0.pem", "csr.pem", *forms):
        *results, _ = desk.revoke("--key", name, "--reason", "keyCompromise", "--dry-run")
        assert [each["serial_number"] for each in results] == serials, name
    Path("locked.pem").write_bytes(desk.key.private_bytes(Encoding.PEM, PKCS8, BestAvailableEncryption(b"secret")))
    Path("garbage").write_bytes(b"garbage")
    for name, told in (("locked.pem", "-pubout"), ("garbage", "holds no certificate")):
        assert told in desk.run("revoke", "--key", name, "--dry-run", status=1).stderr


def test_a_dry_run_shows_a_table(desk: Desk) -> None:
    """Serial number, now, then and subject; then the real thing needs --yes where nobody can be asked."""
    first, second = desk.issue(2)
    desk.run("revoke", first, "--reason", "certificateHold")
    arguments = ("revoke", "--key", "csr.pem", "--reason", "superseded")
    lines = desk.run(*arguments, "--dry-run").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["SERIAL", "NUMBER", "NOW", "THEN", "SUBJECT"],
        [first, "on", "hold", "revoked:", "superseded", f"CN={desk.name}"],
        [second, "good", "revoked:", "superseded", f"CN={desk.name}"],
        ["2", "would", "be", "revoked.", "Nothing", "was", "recorded."],
    ]
    assert "--yes" in desk.run(*arguments, status=2).stderr
    assert desk.state(second) == "good"
    assert desk.run(*arguments, "--yes").stdout.splitlines()[-1] == "2 revoked."
    assert desk.state(second) == "superseded"


def test_filters(desk: Desk) -> None:
    """They combine; what nothing fits is no failure."""
    (serial,) = desk.issue(1)
    filters = ["--name", desk.name, "--profile", "server", "--issuer", "issuing", "--state", "valid"]
    filters += ["--issued-by", "spiffe://goodstanding/admin/admin", "--issued-from", "2026-01-01"]
    filters += ["--issued-before", "2126-01-01", "--expires-from", "2026-01-01", "--expires-before", "2126-01-01"]
    result, summary = desk.revoke(*filters, "--yes", "--reason", "cessationOfOperation")
    assert (result["serial_number"], result["outcome"], result["earlier_revocation"]) == (serial, "revoked", None)
    assert result["revocation"]["reason"] == "cessationOfOperation"
    assert counts(summary) == {"revoked": 1}
    assert desk.run("revoke", *filters, "--yes").stdout == "No certificate fits.\n"


def test_names_as_tables_print_them(desk: Desk) -> None:
    """With their kind in front, which is no part of the name."""
    (serial,) = desk.issue(1)
    for name in (f"DNS:{desk.name}", f"dns:{desk.name.upper()}", desk.name):
        assert desk.revoke("--name", name, "--dry-run")[0]["serial_number"] == serial
        assert serial in desk.run("list", "--name", name).stdout
    assert "'--name': it is empty" in desk.run("revoke", "--name", "DNS:", "--yes", status=2).stderr


@pytest.mark.parametrize("command", [["revoke", "--yes"], ["list"]], ids=["revoke", "list"])
def test_filters_that_nothing_can_fit(desk: Desk, command: list[str]) -> None:
    """A profile that there is not, or a name in the place of an identity, is told: it looks like nothing left to do."""
    assert "There is no profile nope; there are ca, client, " in desk.run(*command, "--profile", "nope").stderr
    assert "spiffe://goodstanding/issuer/NAME" in desk.run(*command, "--issued-by", "nope").stderr
    nobody = ["--name", "nobody.example.com", "--profile", "server", "--issued-by", "spiffe://goodstanding/issuer/a"]
    assert desk.run(*command, *nobody).stderr == ""


def test_the_same_key(desk: Desk) -> None:
    """A compromise takes the others with that key along."""
    serials = desk.issue(3)
    options = ("--reason", "keyCompromise", "--same-key")
    assert (
        "2 others with the same key: they would be revoked, too"
        in desk.run("revoke", serials[0], *options, "--dry-run").stdout
    )
    desk.run("revoke", serials[2], "--reason", "superseded")
    desk.run("revoke", serials[2], "--reason", "keyCompromise")
    assert desk.run("revoke", "--cert", "1.pem", *options).stdout.splitlines()[1:] == [
        "2 others with the same key: revoked; 1 of them were already"
    ]
    first, others = desk.run("revoke", "--cert", "1.pem", *options).stdout.splitlines()
    assert first.startswith(f"{serials[1]} of issuing: already revoked since ")
    assert others == "2 others with the same key: revoked already"
    assert [desk.state(each) for each in serials] == ["keyCompromise"] * 3
    told = json.loads(desk.run("revoke", serials[0], *options, "--json").stdout)
    assert told["others_with_same_key_count"] == 2


def test_what_is_so_already(desk: Desk) -> None:
    """One that is revoked is not said to be revoked now, and a retry is no such; nor is a plain reason a way down."""
    (serial,) = desk.issue(1)
    compromise = ("revoke", serial, "--reason", "keyCompromise")
    assert f"{serial} of issuing: revoked since" in desk.run(*compromise, "--request-id", "first").stdout
    assert f"{serial} of issuing: revoked since" in desk.run(*compromise, "--request-id", "first").stdout
    for option in (["--json"], ["--dry-run", "--json"]):
        assert json.loads(desk.run(*compromise, *option).stdout)["unchanged"] is True
    assert "already revoked since" in desk.run(*compromise, "--dry-run").stdout
    refused = desk.run("revoke", serial, status=1).stderr
    assert "already, for keyCompromise; no other reason takes the place of that" in refused


def test_a_later_invalidity_time(desk: Desk) -> None:
    """Of several the earliest counts, and that another one was not recorded is told."""
    one, two = desk.issue(2)
    times = ("2025-11-03T09:30:00Z", "2025-11-04T09:30:00Z")
    earlier, later = (("--reason", "keyCompromise", "--invalidity-time", each) for each in times)
    assert desk.run("revoke", one, two, *earlier).stderr == ""
    assert "An earlier --invalidity-time is recorded" in desk.run("revoke", one, *later).stderr
    assert "For 2 certificates an earlier" in desk.run("revoke", one, two, *later).stderr
    assert "notes" not in json.loads(desk.run("revoke", one, *earlier, "--json").stdout)


def on_terminal(desk: Desk, *arguments: str, answer: bytes) -> tuple[int, str]:
    """Run it on a terminal, and answer its question. Returns the exit status and all that was shown."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [*PROGRAM, *arguments, "--data", str(desk.data)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            octets = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        shown += octets
        if b"[y/N]:" in octets:
            os.write(ours, answer)
    os.close(ours)
    return process.wait(30), shown.decode()


def test_on_a_terminal(desk: Desk) -> None:
    """It says what would be, asks, and shows a bar; no is no."""
    serials = desk.issue(2)
    arguments = ("revoke", "--name", desk.name, "--reason", "superseded")
    status, shown = on_terminal(desk, *arguments, answer=b"n\n")
    assert (status, desk.state(serials[0])) == (1, "good"), shown
    assert "2 would be revoked. Nothing was recorded." in shown
    status, shown = on_terminal(desk, *arguments, answer=b"y\n")
    assert (status, desk.state(serials[0])) == (0, "superseded"), shown
    assert "2/2" in shown
    assert "2 revoked." in shown
