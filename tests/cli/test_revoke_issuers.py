"""`goodstanding revoke` of what more hangs on: the certificate of an issuer, and a key that is in no certificate."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.command import Up

from .test_revoke_many import Desk, on_terminal

COMPROMISE = ("--reason", "cACompromise")
REVOKED_WITH_IT = re.compile(r"all that it issued is revoked with it \(1 certificate that is valid\)")


@pytest.fixture
def desk(moved_in: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A user in an empty folder, who may make issuers and end them."""
    monkeypatch.chdir(tmp_path)
    return Desk(moved_in, tmp_path)


@pytest.fixture
def doomed(desk: Desk) -> str:
    """An issuer that has issued one certificate, 0.pem; its own is at `certificate_of`."""
    name = f"doomed-{uuid.uuid4().hex[:8]}"
    desk.run("ca", "create-intermediate", "--parent", "root", "--name", name, "--yes")
    (desk.folder / "csr.pem").write_bytes(desk.request())
    desk.run("issue", "csr.pem", "--issuer", name, "--out", "0.pem")
    return name


def certificate_of(desk: Desk, issuer: str) -> str:
    """The file of a CA certificate."""
    return str(desk.data / "ca" / f"{issuer}.pem")


def test_a_dry_run_tells_what_ends_with_it(desk: Desk, doomed: str) -> None:
    """How many certificates are revoked with their issuer; for a reason that is no compromise, that none is."""
    certificate = certificate_of(desk, doomed)
    told = desk.run("revoke", "--cert", certificate, *COMPROMISE, "--dry-run")
    assert "the change is allowed. Nothing was recorded." in told.stdout
    assert REVOKED_WITH_IT.search(told.stderr)
    notes = json.loads(desk.run("revoke", "--cert", certificate, *COMPROMISE, "--dry-run", "--json").stdout)["notes"]
    assert len(notes) == 1
    assert f"the issuer {doomed}" in notes[0]
    told = desk.run("revoke", "--cert", certificate, "--reason", "superseded", "--dry-run")
    assert "(1 certificate that is valid) is not revoked with it" in told.stderr
    told = desk.run("revoke", "--cert", certificate, "--cert", "0.pem", *COMPROMISE, "--dry-run")
    assert REVOKED_WITH_IT.search(told.stderr)
    told = desk.run("revoke", "--cert", certificate_of(desk, "root"), *COMPROMISE, "--dry-run")
    assert re.search(r"valid, its own among them\), .* What .*\bissuing issued, below it, stays as it is", told.stderr)
    assert desk.run("revoke", "--cert", "0.pem", "--dry-run").stderr == ""


@pytest.mark.parametrize("more", [[], ["--cert", "0.pem"]], ids=["alone", "among others"])
def test_on_a_terminal_it_asks(desk: Desk, doomed: str, more: list[str]) -> None:
    """Whoever says no has changed nothing. A certificate that is no issuer's is revoked without a question."""
    certificate = certificate_of(desk, doomed)
    status, shown = on_terminal(desk, "revoke", "--cert", certificate, *more, *COMPROMISE, answer=b"n\n")
    assert status == 1, shown
    assert REVOKED_WITH_IT.search(" ".join(shown.split())), shown
    assert json.loads(desk.run("status", "--cert", certificate, "--json").stdout)["status"] == "good"
    status, shown = on_terminal(desk, "revoke", "--cert", "0.pem", answer=b"n\n")
    assert (status, "[y/N]" in shown) == (0, False), shown


def test_afterwards_it_reminds(desk: Desk, doomed: str) -> None:
    """Without a terminal it is revoked as ever; what the ca service cannot do is told: its root's list."""
    done = desk.run("revoke", "--cert", certificate_of(desk, doomed), *COMPROMISE)
    assert "revoked since" in done.stdout
    assert "`goodstanding ca crl root`" in done.stderr
    assert desk.run("revoke", "--cert", certificate_of(desk, doomed), *COMPROMISE, "--dry-run").stderr == ""
    assert json.loads(desk.run("status", "--cert", "0.pem", "--json").stdout)["status"] == "revoked"


def test_an_issuer_that_cannot_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of issuers is a courtesy: no revocation waits for a certificate of one that cannot be read."""
    (desk.folder / "csr.pem").write_bytes(desk.request())
    desk.run("issue", "csr.pem", "--issuer", "issuing", "--out", "0.pem")

    def unreadable(_: object) -> None:
        raise ValueError("none of ours")

    monkeypatch.setattr("services.cli.own_certificates.x509.load_der_x509_certificate", unreadable)
    assert desk.revoke("--name", desk.name, "--yes")[-1]["summary"]["revoked"] == 1


def test_a_key_without_certificates(desk: Desk) -> None:
    """It is not blocked by a revocation of nothing, and the command says what blocks it."""
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Path("nk.key").write_bytes(key)
    done = desk.run("revoke", "--key", "nk.key", "--reason", "keyCompromise", "--yes")
    assert done.stdout == "No certificate fits.\n"
    cure = "keys block --cert nk.key"
    assert f"`goodstanding {cure}`" in done.stderr
    assert desk.revoke("--key", "nk.key", "--reason", "keyCompromise", "--dry-run")[-1]["notes"]
    assert desk.run(*cure.split()).stderr == "1 key blocked; 0 were blocked before\n"
