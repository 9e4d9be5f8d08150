"""The guide's ocsp.example.com pair signs, as `openssl ocsp -rsigner -rkey` has it sign, and other issuers enrol."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from gateway.issuers import Issuer
from gateway.signer_files import SignerPaths, UnusableSigner, load_pair, signer_of
from tests.command import command_line
from tests.e2e.system import BIN, System, environment
from tests.guide.classic import PASS_PHRASES, ClassicCA
from tests.guide.terminal import Terminal, terminal
from tests.waiting import wait_until

CONFIGURED = """
[[gateway.issuers.intermediate.signers]]
certificate = "../ca/intermediate/certs/ocsp.example.com.cert.pem"
key = "../ca/intermediate/private/ocsp.example.com.key.pem"
"""


class Place:
    """The classic folder, and beside it a data folder whose gateway shall sign with the guide's pair."""

    def __init__(self, classic: ClassicCA) -> None:
        self.classic = classic
        self.system = System(classic.folder.parent)
        self.system.run("goodstanding", "init", "--data", "data")
        with self.system.data.joinpath("config.toml").open("a") as config:
            config.write(CONFIGURED)

    def up(self) -> tuple[str | Path, ...]:
        """The command that starts everything, with two workers."""
        addresses = {name: getattr(self.system, name) for name in ("ca", "status", "http", "ops")}
        options = (word for name, address in addresses.items() for word in (f"--{name}", address))
        return (BIN / "goodstanding", "up", *options, "--workers", "2")

    def take_in(self) -> None:
        """Make the intermediate CA known to the services that run; its key stays where it is."""
        command = ("goodstanding", "import", "openssl", str(self.classic.intermediate))
        self.system.run(*command, "--name", "intermediate", "--offline")

    def ask(self) -> str:
        """Ask about the guide's server as its clients do."""
        trust = ("-CAfile", str(self.classic.certificate("ca-chain")))
        return self.system.ask(*trust, "-serial", "0x1003", issuer=self.classic.certificate("intermediate"))

    def readiness(self) -> dict[str, Any]:
        """What `/readyz` tells."""
        try:
            with urllib.request.urlopen(f"http://{self.system.ops}/readyz", timeout=5) as reply:
                return dict(json.loads(reply.read()))
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read()))

    def signer(self) -> x509.Certificate:
        """Whose certificate an answer encloses."""
        out = self.system.folder / "answer.der"
        out.unlink(missing_ok=True)
        self.system.run(
            "openssl",
            "ocsp",
            "-CAfile",
            str(self.classic.certificate("ca-chain")),
            "-issuer",
            str(self.classic.certificate("intermediate")),
            "-serial",
            "0x1003",
            "-url",
            self.system.url,
            "-respout",
            str(out),
        )
        return ocsp.load_der_ocsp_response(out.read_bytes()).certificates[0]

    def certificate(self) -> x509.Certificate:
        """The pair's."""
        return x509.load_pem_x509_certificate(self.classic.certificate("ocsp.example.com").read_bytes())


@pytest.fixture
def place(classic: ClassicCA) -> Place:
    """Nothing runs yet."""
    return Place(classic)


@pytest.fixture
def running(place: Place) -> Iterator[Terminal]:
    """Everything runs, and the pass phrase was typed."""
    with terminal(place.up(), place.system.folder, environment()) as shown:
        shown.expect(r"Passphrase of \S+ocsp.example.com.key.pem \(gateway-intermediate\): ")
        shown.type(PASS_PHRASES["ocsp"])
        shown.expect(r"\nready ")
        yield shown
        shown.process.send_signal(signal.SIGTERM)
        assert shown.process.wait(30) == 0


def gateway_of(up: int) -> int:
    """The process id of the gateway."""
    for child in Path(f"/proc/{up}/task/{up}/children").read_text().split():
        if b"gateway" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("there is no gateway")


def test_the_pair_signs(place: Place, running: Terminal) -> None:
    """A new issuer is answered for with it at once; it is followed; a gateway that dies asks nobody; others enrol."""
    place.take_in()
    wait_until(lambda: "Response verify OK" in place.ask(), within=20)
    assert place.signer() == place.certificate()
    assert "good" in place.system.ask("-cert", str(place.system.issue("www.example.org")))
    assert "without nocheck" in running.said

    gateway = gateway_of(running.process.pid)
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: not command_line(gateway), within=20)  # until then it may answer once more
    wait_until(lambda: "Response verify OK" in place.ask(), within=20)
    assert running.said.count("Passphrase of") == 1

    before = place.certificate()
    place.classic.issue("new.example.com", "ocsp", pass_phrase=PASS_PHRASES["ocsp"])
    for file in (place.classic.key, place.classic.certificate):
        file("new.example.com").rename(file("ocsp.example.com"))
    wait_until(lambda: place.signer() == place.certificate(), within=20)
    assert place.certificate() != before


def test_a_revoked_pair_signs_no_more(place: Place, running: Terminal) -> None:
    """Neither a client that asks for the responder's status would believe it, nor does the gateway itself."""
    place.take_in()
    wait_until(lambda: "1003: good" in place.ask(), within=20)
    place.system.run("goodstanding", "revoke", "1002", "--issuer", "intermediate", "--reason", "superseded")
    wait_until(lambda: "unauthorized" in place.ask(), within=20)
    assert "is revoked since" in str(place.readiness()["problems"])
    assert "signer from files is revoked and signs no more" in running.said


def test_a_wrong_pass_phrase(place: Place) -> None:
    """Nothing runs afterwards, and what is wrong is told."""
    with terminal(place.up(), place.system.folder, environment()) as shown:
        shown.expect("Passphrase of")
        shown.type("alice guesses")
        shown.expect(r"Error: .* the passphrase does not open \S+ocsp.example.com.key.pem")
        assert shown.end() == 1


def test_nobody_is_asked_without_a_terminal(place: Place) -> None:
    """The message names the three ways to give a pass phrase."""
    command = [str(BIN / "goodstanding"), "serve", "gateway", "--config", "data/config.toml"]
    done = place.system.run(*command, check=False, input="")
    assert done.returncode == 1
    assert "set passphrase_file, GOODSTANDING_PASSPHRASE_GATEWAY_INTERMEDIATE, or a systemd credential" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_pair_of_another_issuer(classic: ClassicCA, workers: str) -> None:
    """R65: whose it is can be told a moment after the start, which is refused all the same, with the reason."""
    system = System(classic.folder.parent, GOODSTANDING_PASSPHRASE_GATEWAY_ISSUING=PASS_PHRASES["ocsp"])
    system.run("goodstanding", "init", "--data", "data")
    with system.data.joinpath("config.toml").open("a") as config:
        config.write(CONFIGURED.replace("intermediate.signers", "issuing.signers"))
    addresses = {name: getattr(system, name) for name in ("ca", "status", "http", "ops")}
    options = [word for name, address in addresses.items() for word in (f"--{name}", address)]
    done = system.run("goodstanding", "up", *options, "--workers", workers, check=False)
    assert done.returncode == 1
    assert "gateway.issuers.issuing.signers, number 1: " in done.stderr
    assert "ocsp.example.com.cert.pem cannot speak for issuing: it is not signed by the issuer" in done.stderr
    assert "\nready " not in done.stdout
    assert "Traceback" not in done.stderr


Change = Callable[[ClassicCA], tuple[str, str]]


def _server(classic: ClassicCA) -> tuple[str, str]:
    return "www.example.com", "server"


def _of_the_root(classic: ClassicCA) -> tuple[str, str]:
    sign = ("ca", "-config", "openssl.cnf", "-extensions", "ocsp", "-days", "375", "-notext", "-policy", "policy_loose")
    csr, out = classic.intermediate / "csr/ocsp.example.com.csr.pem", classic.certificate("other")
    classic.openssl(*sign, "-in", csr, "-out", out, pass_phrase=PASS_PHRASES["root"])
    classic.key("ocsp.example.com").rename(classic.key("other"))
    return "other", "ocsp"


def _expired(classic: ClassicCA) -> tuple[str, str]:
    csr, out = classic.intermediate / "csr/ocsp.example.com.csr.pem", classic.certificate("expired")
    dates = ("-startdate", "20240101000000Z", "-enddate", "20250110000000Z")
    # The guide's index has a certificate of that name already.
    (classic.intermediate / "index.txt.attr").write_text("unique_subject = no\n")
    classic.ca("-extensions", "ocsp", *dates, "-notext", "-in", csr, "-out", out)
    classic.key("ocsp.example.com").rename(classic.key("expired"))
    return "expired", "ocsp"


def _mismatch(classic: ClassicCA) -> tuple[str, str]:
    classic.key("test.example.com").rename(classic.key("ocsp.example.com"))
    return "ocsp.example.com", "server"


def _weak(classic: ClassicCA) -> tuple[str, str]:
    classic.issue("weak.example.com", "ocsp", 1024, PASS_PHRASES["ocsp"])
    return "weak.example.com", "ocsp"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_server, "lacks the extended key usage OCSPSigning"),
        (_of_the_root, "cannot speak for intermediate: it is not signed by the issuer"),
        (_expired, r"has expired at 2025-01-10T00:00:00\+00:00: have another one issued"),
        (_mismatch, "is not the key of"),
        (_weak, "an RSA key of 1024"),
    ],
    ids=["of a server", "of another issuer", "expired", "of another key", "weak"],
)
def test_pairs_that_clients_would_refuse(change: Change, text: str, classic: ClassicCA) -> None:
    """R64, R65: as openssl makes them."""
    name, phrase = change(classic)
    paths = SignerPaths("gateway-intermediate", classic.certificate(name), classic.key(name))
    intermediate = x509.load_pem_x509_certificate(classic.certificate("intermediate").read_bytes())
    spki = intermediate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    der = (intermediate.public_bytes(Encoding.DER),)
    issuer = Issuer("intermediate", True, intermediate.subject.public_bytes(), spki, der, 1)
    with pytest.raises(UnusableSigner, match=text):
        signer_of(load_pair(paths, datetime.now(UTC), lambda: PASS_PHRASES[phrase].encode()), issuer)
