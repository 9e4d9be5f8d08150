"""`goodstanding explain` on a running system: what it says is what the gateway then answers."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from services.cli.main import cli
from services.pki.der import key_bits, public_key_der
from tests.cli.answers import Answers, make
from tests.e2e import client
from tests.e2e.system import System, free_addresses

LEAVES = ("good", "revoked", "hold")


@dataclass
class World:
    """A running system with issuers of every kind."""

    system: System
    leaves: dict[str, x509.Certificate]

    def ca(self, name: str) -> x509.Certificate:
        """The certificate of an issuer."""
        return x509.load_pem_x509_certificate((self.system.data / f"ca/{name}.pem").read_bytes())

    def run(self, *arguments: str | Path) -> Result:
        """Run `goodstanding explain` in this process."""
        return CliRunner().invoke(cli, ["explain", *map(str, arguments), "--data", str(self.system.data)])

    def explain(self, *arguments: str | Path) -> dict[str, Any]:
        """What it says, as JSON."""
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def request(
        self, serial: int, issuer: str = "issuing", *, key_of: str = "", sha256: bool = False, nonce: bytes = b""
    ) -> bytes:
        """A request; `key_of`: with the key of another issuer than the name is of."""
        algorithm: hashes.SHA1 | hashes.SHA256 = hashes.SHA256() if sha256 else hashes.SHA1()
        name, key = self.ca(issuer), self.ca(key_of or issuer)
        name_hash, key_hash = _hash(name.subject.public_bytes(), algorithm), _hash(_bits(key), algorithm)
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name_hash, key_hash, serial, algorithm)
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return builder.build().public_bytes(Encoding.DER)

    def ask(self, request: bytes) -> str:
        """What the gateway answers: the certificate's status, or the error."""
        headers = {"content-type": "application/ocsp-request"}
        with urllib.request.urlopen(urllib.request.Request(self.system.url, request, headers), timeout=10) as reply:
            answer = ocsp.load_der_ocsp_response(reply.read())
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return answer.response_status.name.lower()
        return answer.certificate_status.name.lower()


def _hash(content: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(content)
    return digest.finalize()


def _bits(certificate: x509.Certificate) -> bytes:
    return key_bits(public_key_der(certificate))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The system: `issuing`, a retired issuer, and one whose key is compromised."""
    system = System(tmp_path_factory.mktemp("explained")).start()
    try:
        for name in ("old", "doomed"):
            system.run("goodstanding", "ca", "create-intermediate", "--parent", "root", "--name", name, "--yes")
        issuers = {**dict.fromkeys(LEAVES, "issuing"), "of-old": "old", "of-doomed": "doomed"}
        leaves = {name: client.issue(system, f"{name}.example.com", issuer=by) for name, by in issuers.items()}
        for name, reason in (("revoked", "superseded"), ("hold", "certificateHold")):
            system.run("goodstanding", "revoke", f"{leaves[name].serial_number:x}", "--reason", reason)
        system.run("goodstanding", "ca", "retire", "old", "--yes")
        doomed = str(system.data / "ca/doomed.pem")
        system.run("goodstanding", "revoke", "--cert", doomed, "--reason", "keyCompromise", "--yes")
        yield World(system, leaves)
    finally:
        system.stop()


@dataclass(frozen=True)
class Case:
    """A request, and what is said of it."""

    make: Callable[[World], bytes]
    answer: str
    cause: str | None
    why: str | None = None
    advice: str = ""


def of(name: str, issuer: str = "issuing", **options: Any) -> Callable[[World], bytes]:
    """A request about a certificate."""
    return lambda world: world.request(world.leaves[name].serial_number, issuer, **options)


CASES = {
    "good": Case(of("good"), "good", "NOT_REVOKED", advice="Nothing."),
    "good, SHA-256": Case(of("good", sha256=True), "good", "NOT_REVOKED"),
    "good, with a nonce": Case(of("good", nonce=b"n" * 32), "good", "NOT_REVOKED"),
    "revoked": Case(of("revoked"), "revoked", "REVOKED", advice="Issue another certificate"),
    "on hold": Case(of("hold"), "revoked", "ON_HOLD", advice="removeFromCRL"),
    "never issued": Case(
        lambda world: world.request(0xDEADBEEF), "unknown", "SERIAL_NUMBER_NOT_ISSUED", advice="Check the serial number"
    ),
    "of another issuer": Case(of("of-old"), "unknown", "SERIAL_NUMBER_NOT_ISSUED", advice='Was issuer "old" meant?'),
    "retired issuer": Case(of("of-old", "old"), "good", "NOT_REVOKED"),
    "compromised issuer": Case(of("of-doomed", "doomed"), "revoked", "ISSUER_COMPROMISED"),
    "made with the root": Case(
        of("good", key_of="root"),
        "unauthorized",
        "ISSUER_NOT_KNOWN",
        "issuer-not-ours",
        'Make it with the certificate of "issuing"',
    ),
    "malformed": Case(lambda _: b"\x30\x03\x02\x01\x01", "malformed_request", None, "malformed", "Correct the client"),
    "a long nonce": Case(of("good", nonce=b"n" * 129), "malformed_request", None, "malformed"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_explained_is_answered(name: str, world: World, tmp_path: Path) -> None:
    """Status service, gateway and the answer over HTTP say the same, and the cure is that of the case."""
    case = CASES[name]
    der = case.make(world)
    file = tmp_path / "request.der"
    file.write_bytes(der)
    told = world.explain("--as", "request", file)
    answered = world.ask(der)
    assert answered == case.answer
    (gateway,) = told["gateway"]["explanations"]
    assert (gateway["refusal"]["why"] if gateway["refusal"] else None) == case.why
    if case.why:
        assert gateway["answer"]["status"] == answered
    else:
        assert gateway["certificates"][0]["status"] == answered
        assert gateway["signer"]["not_after_time"] > gateway["answer"]["certificates"][0]["this_update"]
    if case.cause is None:
        assert "OCSP_REQUEST_MALFORMED" in told["services"]["error"]
    else:
        (service,) = told["services"]["explanations"]
        assert service["cause"] == case.cause
        expected = "unknown" if answered == "unauthorized" else answered
        assert service["record"]["status"] == expected
    assert told["disagreement"] is None
    assert case.advice in told["advice"]
    shown = world.run("--as", "request", file)
    assert shown.output.rstrip().splitlines()[-1] == f"What to do: {told['advice']}"


def test_every_spelling(world: World, tmp_path: Path) -> None:
    """Serial number, certificate, request in DER, in base64 and in a URL are one question."""
    leaf = world.leaves["revoked"]
    pem = tmp_path / "leaf.pem"
    pem.write_bytes(leaf.public_bytes(Encoding.PEM))
    der = world.request(leaf.serial_number)
    (tmp_path / "request.der").write_bytes(der)
    text = base64.b64encode(der).decode()
    (tmp_path / "url.txt").write_text(f"{world.system.url}/{quote(text, safe='')}\n")
    for arguments in (
        (f"{leaf.serial_number:x}",),
        (f"{leaf.serial_number:x}", "--issuer", "issuing"),
        (f"0x{leaf.serial_number:X}", "--issuer", world.system.data / "ca/issuing.pem"),
        ("--cert", pem),
        (pem,),
        (tmp_path / "request.der",),
        (text,),
        (f"{world.system.url}/{text}",),
        (f"{world.system.url}/ocsp/{quote(text, safe='')}",),
        (tmp_path / "url.txt",),
    ):
        told = world.explain(*arguments)
        assert told["services"]["explanations"][0]["cause"] == "REVOKED", arguments
        (gateway,) = told["gateway"]["explanations"]
        assert gateway["certificates"][0]["reason"] == 4
        assert told["services"]["explanations"][0]["changes"][0]["action"] == "revoke"


def test_fetched(world: World) -> None:
    """An answer of ours is fetched and verified with the issuers that the status service knows."""
    text = base64.b64encode(world.request(world.leaves["good"].serial_number, nonce=b"n" * 32)).decode()
    told = world.explain(f"{world.system.url}/{text}", "--fetch")
    assert told["fetched"]["verification"]["outcome"] == "passed", told["fetched"]["verification"]
    assert told["fetched"]["http"]["status"] == 200
    assert told["fetched"]["verification"]["issuer"] == 'issuer "issuing"'
    gateway = told["gateway"]["explanations"][0]
    assert told["fetched"]["responder"]["value"] == gateway["signer"]["key_hash"]


def test_an_answer_of_somebody_else(world: World, tmp_path: Path) -> None:
    """An answer of another CA is no failure of ours: its issuer has to be given, by file or by name."""
    answers = Answers(tmp_path)
    file = answers.made("foreign")
    assert world.explain(file)["verification"]["outcome"] == "not-checked"
    assert world.explain(file, "--issuer", tmp_path / "ca.pem")["verification"]["outcome"] == "passed"
    assert world.explain(file, "--issuer", "issuing")["verification"]["outcome"] == "failed"
    assert "no issuer of that name" in world.run(file, "--issuer", "nobody").stderr
    assert "no such file" in world.run(file, "--issuer", "no/such.pem").stderr


def test_a_certificate_of_somebody_else(world: World, tmp_path: Path) -> None:
    """A certificate of another CA is not ours, and the gateway is asked only where its issuer is given."""
    authority = make("Somebody else", ca=True)
    foreign = make("foreign", authority, serial=0x77)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "foreign.pem").write_bytes(foreign.pem)
    told = world.explain(tmp_path / "foreign.pem")
    assert told["services"]["explanations"][0]["cause"] == "ISSUER_NOT_KNOWN"
    assert told["gateway"]["reached"] is None
    told = world.explain(tmp_path / "foreign.pem", "--issuer", tmp_path / "ca.pem")
    assert told["gateway"]["explanations"][0]["refusal"]["why"] == "issuer-not-ours"


def test_one_of_the_two_is_away(world: World, tmp_path: Path) -> None:
    """Whichever part cannot be reached, the other is told, with the missing one named; without both it fails."""
    (nowhere,) = free_addresses(1)
    leaf = world.leaves["good"]
    serial = f"{leaf.serial_number:x}"
    told = world.explain(serial, "--ops-address", nowhere)
    assert told["services"]["reached"] is True
    assert (told["gateway"]["reached"], "refused" in told["gateway"]["error"].lower()) == (False, True)
    shown = world.run(serial, "--ops-address", nowhere).output
    assert "Gateway: NOT REACHED, this part is missing" in shown

    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    for arguments in ((serial, "--issuer", "issuing"), (tmp_path / "leaf.pem",)):
        told = world.explain(*arguments, "--status-address", nowhere)
        assert told["services"]["reached"] is False
        assert told["gateway"]["explanations"][0]["certificates"][0]["status"] == "good"
        shown = world.run(*arguments, "--status-address", nowhere).output
        assert "Status service: NOT REACHED, this part is missing" in shown

    done = world.run(serial, "--issuer", "issuing", "--status-address", nowhere, "--ops-address", nowhere)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nothing could be explained" in done.stderr


def test_too_long(world: World, tmp_path: Path) -> None:
    """A request that is longer than any may be is refused unread, and that is said (R11)."""
    file = tmp_path / "long.der"
    file.write_bytes(world.request(world.leaves["good"].serial_number) + bytes(40_000))
    done = world.run("--as", "request", file)
    assert done.exit_code == 1
    assert "HTTP 413" in done.stderr


def test_not_the_operator_address(world: World) -> None:
    """The public address is not the operator's, and the message says so."""
    told = world.explain(f"{world.leaves['good'].serial_number:x}", "--ops-address", world.system.http)
    assert "no operator address of a gateway" in told["gateway"]["error"]


def test_the_cache_is_told(world: World) -> None:
    """A second look comes from the cache, with the age of its evidence below the bound (G3)."""
    leaf = client.issue(world.system, "cached.example.com", issuer="issuing")
    first, second = (world.explain(f"{leaf.serial_number:x}")["gateway"]["explanations"][0] for _ in range(2))
    assert (first["certificates"][0]["source"], first["answer"]["ready"]) == ("look-up", False)
    assert (second["certificates"][0]["source"], second["answer"]["ready"]) == ("cache", True)
    assert 0 <= second["certificates"][0]["evidence_age_seconds"] < 1
    assert second["answer"]["der"] == first["answer"]["der"]
