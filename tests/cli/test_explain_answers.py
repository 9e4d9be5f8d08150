"""`goodstanding explain` of answers: of `openssl ocsp`, of other CAs, and of ones with something wrong in them."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.explaining.answers import explain_answer, read_answer
from services.cli.explaining.meanings import RESPONSE_STATUSES
from services.cli.explaining.subject import Kind, recognise
from services.cli.explaining.verification import Given
from services.cli.failures import Failed
from services.cli.main import cli
from tests.cli.answers import DAY, GOOD, NOW, REVOKED, Answers

NOWHERE = ("--data", "/nonexistent-data-folder")


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """The files."""
    return Answers(tmp_path_factory.mktemp("answers"))


def run(*arguments: str | Path) -> Result:
    """Run `goodstanding explain` in this process, without any services."""
    return CliRunner().invoke(cli, ["explain", *map(str, arguments), *NOWHERE])


def explain(*arguments: str | Path) -> dict[str, Any]:
    """What it says, as JSON."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def failed(told: dict[str, Any]) -> list[str]:
    """The names of the checks that failed."""
    return [check["name"] for check in told["verification"]["checks"] if check["outcome"] == "failed"]


def warned(told: dict[str, Any]) -> str:
    """What the warnings say."""
    return " ".join(check["text"] for check in told["verification"]["checks"] if check["outcome"] == "warning")


def test_of_openssl(answers: Answers) -> None:
    """An answer of `openssl ocsp` verifies, also against the request that it is to (R33)."""
    file = answers.openssl("good")
    told = explain(file, "--issuer", answers.folder / "ca.pem", "--request", answers.folder / "good.req")
    assert told["verification"]["outcome"] == "passed", told["verification"]
    (single,) = told["certificates"]
    assert (single["status"], single["serial_number"]) == ("good", f"{GOOD:x}")
    assert told["responder"]["by"] == "name"
    assert told["responder"]["delegated"] is True
    assert {check["name"] for check in told["verification"]["checks"]} >= {"signature", "responder", "times", "nonce"}


def test_revoked_by_openssl(answers: Answers) -> None:
    """Time and reason of a revocation are told, and that there is nothing to hope for."""
    file = answers.openssl("revoked", "gone", "-no_nonce", "-sha256")
    told = explain(file, "--issuer", answers.folder / "ca.pem", "--cert", answers.folder / "gone.pem")
    (single,) = told["certificates"]
    assert (single["status"], single["reason"]) == ("revoked", "keyCompromise")
    assert single["revocation_time"] == f"{NOW - DAY:%Y-%m-%dT%H:%M:%SZ}"
    assert single["hash_algorithm"] == "sha256"
    assert single["serial_number"] == f"{REVOKED:x}"
    assert told["verification"]["outcome"] == "passed"
    assert "Do not trust" in told["advice"]


def test_the_issuer_itself(answers: Answers) -> None:
    """A CA may sign for itself, and needs no certificate enclosed (R64, R67)."""
    told = explain(answers.made("direct", "ca", enclosed=()), "--issuer", answers.folder / "ca.pem")
    assert told["verification"]["outcome"] == "passed"
    assert told["responder"]["delegated"] is False


BENT: dict[str, tuple[Callable[[Answers, str], Path], list[str], str]] = {
    "without OCSPSigning": (lambda a, n: a.made(n, "plain", enclosed=("plain",)), ["responder"], "wrong certificate"),
    "for servers": (lambda a, n: a.made(n, "server", enclosed=("server",)), ["responder"], "wrong certificate"),
    "another CA's delegate": (
        lambda a, n: a.made(n, "foreign", enclosed=("foreign",)),
        ["responder"],
        "wrong certificate",
    ),
    "delegate has ended": (
        lambda a, n: a.made(n, "ended", enclosed=("ended",)),
        ["responder's certificate"],
        "renewed",
    ),
    "ended": (lambda a, n: a.made(n, this_update=NOW - 9 * DAY, next_update=NOW - DAY), ["times"], "Fetch it again"),
    "not yet valid": (
        lambda a, n: a.made(n, this_update=NOW + DAY, next_update=NOW + 2 * DAY),
        ["times"],
        "clock",
    ),
    "another issuer": (lambda a, n: a.made(n, issuer="other"), ["issuer"], "--issuer FILE"),
    "changed": (lambda a, n: _changed(a, n), ["signature"], "Do not believe"),
    "signed by another key": (
        lambda a, n: a.signed_again(n, b"\x80\x00", b"\x82\x00", "foreign"),
        ["signature"],
        "Do not believe",
    ),
}


def _changed(answers: Answers, name: str) -> Path:
    file = answers.made(name, status=ocsp.OCSPCertStatus.UNKNOWN)
    content = file.read_bytes()
    assert content.count(b"\x82\x00\x18") == 1
    file.write_bytes(content.replace(b"\x82\x00\x18", b"\x80\x00\x18"))
    return file


@pytest.mark.parametrize("name", BENT)
def test_bent(name: str, answers: Answers) -> None:
    """What a client must not believe fails at the check that is meant for it, and is explained all the same."""
    make, checks, advice = BENT[name]
    told = explain(make(answers, name.replace(" ", "-")), "--issuer", answers.folder / "ca.pem")
    assert failed(told) == checks
    assert told["verification"]["outcome"] == "failed"
    assert advice in told["advice"]


def test_named_wrongly(answers: Answers) -> None:
    """An answer whose responderID names somebody else than who signed is told as such (R55)."""
    key_hash = x509.SubjectKeyIdentifier.from_public_key(answers.pairs["responder"].certificate.public_key()).digest
    file = answers.signed_again("misnamed", key_hash, bytes(20))
    told = explain(file, "--issuer", answers.folder / "ca.pem")
    (check,) = [check for check in told["verification"]["checks"] if check["name"] == "signature"]
    assert check["outcome"] == "failed"
    assert "responderID names somebody else" in check["text"]


def test_another_name_and_key(answers: Answers) -> None:
    """A CertID of a CA with the same name and another key says that it is so (R28, R32)."""
    told = explain(answers.made("same-name"), "--issuer", answers.folder / "other.pem")
    (check,) = [check for check in told["verification"]["checks"] if check["name"] == "issuer"]
    assert "it has the name of issuer the given issuer, but another key" in check["text"]


def test_another_certificate_or_request(answers: Answers) -> None:
    """An answer about another certificate, or to another request, is no answer."""
    answers.openssl("one")
    answers.openssl("two")
    ca, folder = ("--issuer", answers.folder / "ca.pem"), answers.folder
    assert failed(explain(folder / "one.der", *ca, "--cert", folder / "gone.pem")) == ["certificate"]
    assert failed(explain(folder / "one.der", *ca, "--request", folder / "two.req")) == ["nonce"]
    answers.openssl("three", "gone", "-no_nonce")
    found = explain(folder / "three.der", *ca, "--request", folder / "one.req")
    assert failed(found) == ["request"]
    assert "no nonce" in warned(found)


def test_at_another_time(answers: Answers) -> None:
    """`--at` verifies as of another time."""
    file, ca = answers.made("later"), ("--issuer", answers.folder / "ca.pem")
    assert failed(explain(file, *ca, "--at", f"{NOW + 8 * DAY:%Y-%m-%dT%H:%M:%SZ}")) == ["times"]
    assert not failed(explain(file, *ca, "--at", f"{NOW + 6 * DAY:%Y-%m-%dT%H:%M:%SZ}"))


def test_warnings(answers: Answers) -> None:
    """What clients may stumble over is a warning, and no failure."""
    ca = ("--issuer", answers.folder / "ca.pem")
    assert "no nextUpdate" in warned(explain(answers.made("endless", next_update=None), *ca))
    long = answers.made("long", next_update=NOW + 301 * DAY)
    assert "longer than the responder's certificate" in warned(explain(long, *ca))
    soon = answers.made("soon", this_update=NOW + timedelta(minutes=1))
    assert "a clock is wrong" in warned(explain(soon, *ca, "--at", f"{NOW:%Y-%m-%dT%H:%M:%SZ}"))


def test_without_an_issuer(answers: Answers) -> None:
    """Without the issuer everything is told, and that it was not verified to the end."""
    told = explain(answers.made("alone"))
    assert told["verification"]["outcome"] == "not-checked"
    assert "--issuer" in told["advice"]
    assert told["certificates"][0]["status"] == "good"


@pytest.mark.parametrize("status", [*RESPONSE_STATUSES, 4, 77])
def test_every_status(status: int, tmp_path: Path) -> None:
    """Every responseStatus is explained with a cure, also those that do not exist."""
    if status == 0:
        return
    file = tmp_path / "error.der"
    file.write_bytes(bytes((0x30, 3, 0x0A, 1, status)))
    told = explain(file)
    assert told["response_status"]["number"] == status
    assert told["advice"]
    shown = run(file)
    assert shown.output.rstrip().splitlines()[-1].startswith("What to do: ")


def test_spellings(answers: Answers, tmp_path: Path) -> None:
    """DER, PEM and base64 are the same answer, from files and standard input."""
    der = answers.made("spelt").read_bytes()
    text = base64.encodebytes(der)
    pem = b"-----BEGIN OCSP RESPONSE-----\n" + text + b"-----END OCSP RESPONSE-----\n"
    told = []
    for content in (der, text, pem, base64.b64encode(der)):
        (tmp_path / "answer").write_bytes(content)
        told.append(explain(tmp_path / "answer"))
        done = CliRunner().invoke(cli, ["explain", "-", "--json", *NOWHERE], input=content)
        assert json.loads(done.stdout)["certificates"] == told[0]["certificates"]
    assert all(each == told[0] for each in told)


def test_pipes(answers: Answers, tmp_path: Path) -> None:
    """A pipe that nobody writes into, or a device, is not waited for; what the shell has opened is read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for arguments in ((pipe,), (answers.made("piped"), "--cert", pipe), ("/dev/zero",)):
        done = run(*arguments)
        assert done.exit_code == 1
        assert "is no regular file" in done.stderr
    assert "is a folder" in run(tmp_path).stderr
    reading, writing = os.pipe()
    os.write(writing, answers.made("piped").read_bytes())
    os.close(writing)
    try:
        assert explain(f"/dev/fd/{reading}")["verification"] == explain(answers.made("piped"))["verification"]
    finally:
        os.close(reading)


def test_for_people(answers: Answers) -> None:
    """Names cannot drive a terminal, and the last line says what to do."""
    ca = answers.folder / "ca.pem"
    shown = run(
        answers.made("shown", "leaf", enclosed=("leaf",)), "--issuer", ca, "--cert", answers.folder / "leaf.pem"
    )
    assert shown.exit_code == 0
    assert "\x1b" not in shown.output
    assert "leaf\\x1b[31m.example.com" in shown.output
    assert shown.output.rstrip().splitlines()[-1].startswith("What to do: Do not believe the answer")
    assert "failed: the extended key usage" in shown.output or "failed: its certificate has no extended" in shown.output


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no certificate, OCSP request or OCSP response"),
        (b"hello world\n", "no certificate, OCSP request or OCSP response"),
        (b"\x30\x82\x01\x00\x0a\x01\x00", "cut off"),
        (b"\x30\x03\x0a\x01\x00", "responseBytes"),
        (b"-----BEGIN OCSP RESPONSE-----\nMAM=\n-----END OCSP RESPONSE-----", "cut off"),
        (b"-----BEGIN OCSP RESPONSE-----\nM\n-----END OCSP RESPONSE-----", "not base64"),
        (bytes(2 * 1024 * 1024), "more than 1048576 octets"),
    ],
    ids=["empty", "text", "cut off", "no answer", "PEM", "bad PEM", "too long"],
)
def test_broken(content: bytes, text: str, tmp_path: Path) -> None:
    """What cannot be read is told in one line with the part at fault, and exit status 1."""
    (tmp_path / "file").write_bytes(content)
    done = run(tmp_path / "file")
    assert done.exit_code == 1
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("--fetch", "abcd"), ("abcd", "--request", __file__), ("abcd", "--at", "2026-01-01"), ("x", "--as", "novel")],
    ids=["nothing", "fetch what", "a request for a serial number", "a time for a serial number", "no such kind"],
)
def test_usage(arguments: tuple[str, ...]) -> None:
    """What makes no sense is exit status 2."""
    assert run(*arguments).exit_code == 2


class Site(BaseHTTPRequestHandler):
    """Answers by path."""

    pages: dict[str, tuple[int, dict[str, str], bytes]] = {}  # noqa: RUF012 - filled by the test

    def do_GET(self) -> None:
        status, headers, body = self.pages.get(self.path, (404, {}, b"nothing here"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """A web server."""
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_from_a_url(site: str, answers: Answers) -> None:
    """Answers are fetched, with their headers told; redirects are not followed, and what is no answer is no answer."""
    der = answers.made("web").read_bytes()
    Site.pages = {
        "/answer": (200, {"Content-Type": "application/ocsp-response", "Cache-Control": "max-age=7"}, der),
        "/moved": (302, {"Location": f"{site}/answer"}, b""),
        "/page": (200, {}, b"<html>"),
        "/long": (200, {}, bytes(2 * 1024 * 1024)),
    }
    told = explain(f"{site}/answer", "--issuer", answers.folder / "ca.pem")
    assert told["verification"]["outcome"] == "passed"
    assert told["http"] == {
        "status": 200,
        "content_type": "application/ocsp-response",
        "cache_control": "max-age=7",
    }
    for path, text in (("moved", "redirects to"), ("page", "not an OCSP response"), ("long", "more than")):
        done = run(f"{site}/{path}")
        assert (done.exit_code, text in done.stderr) == (1, True), done.stderr
    assert "HTTP 404" in run(f"{site}/none").stderr
    assert run("ftp://127.0.0.1/answer").exit_code == 1


ODD = [{"summary": 1}, {"answer": None}, {"watch": []}, {"certificates": None}, {"refusal": "no"}]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: next(iter(odd)))
def test_a_gateway_that_says_something_else(site: str, answers: Answers, odd: dict[str, object]) -> None:
    """Whatever answers at the operator's address, it is told in one line."""
    whole: dict[str, object] = {
        "summary": "",
        "advice": "",
        "certificates": [],
        "answer": {},
        "watch": {},
        "policy": {},
    }
    whole |= dict.fromkeys(("refusal", "request", "issuer", "signer"))
    Site.pages = {"/explain": (200, {}, json.dumps({"explanations": [whole | odd]}).encode())}
    answers.openssl("odd")
    done = run(answers.folder / "odd.req", "--ops-address", site.removeprefix("http://"))
    assert done.exit_code == 1
    assert "no operator address of a gateway" in done.stderr


def test_fetching_what_was_asked(site: str, answers: Answers) -> None:
    """With --fetch the answer to the request in a GET URL is checked against that very request."""
    answers.openssl("asked")
    request = base64.b64encode((answers.folder / "asked.req").read_bytes()).decode()
    path = "/ocsp/" + request.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    Site.pages = {path: (200, {"Content-Type": "application/ocsp-response"}, answers.made("not-asked").read_bytes())}
    done = run(
        f"{site}{path}", "--fetch", "--issuer", answers.folder / "ca.pem", "--json", "--ops-address", "127.0.0.1:1"
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert "no nonce" in warned(told["fetched"])
    assert not told["services"]["reached"]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_answer(data: st.DataObject, answers: Answers, fuzzed: bytes) -> None:
    """Whatever becomes of an answer's octets: it is explained, or there is one line about it, and never a traceback."""

    def bent(der: bytes) -> bytes:
        octets = bytearray(der)
        for _ in range(data.draw(st.integers(0, 3))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        return bytes(octets)

    known = [answers.pairs[name].certificate.public_bytes(Encoding.DER) for name in ("leaf", "ca")]
    try:
        leaf, ca = (recognise(bent(der), "it", Kind.CERTIFICATE).certificate() for der in known)
        subject = recognise(bent(fuzzed), "it", Kind.RESPONSE)
        read = read_answer(subject.der, "it")
    except Failed:
        return
    told = explain_answer(read, "it", Given(NOW, [("the CA", ca), ("another", answers.other.certificate)], leaf))
    json.dumps(told)
    assert told["summary"]
    assert told["advice"]


@pytest.fixture(scope="session")
def fuzzed(answers: Answers) -> bytes:
    """The answer that is bent by `test_any_answer`."""
    return answers.made("fuzz", enclosed=("responder", "foreign"), status=ocsp.OCSPCertStatus.REVOKED).read_bytes()


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_anything(content: bytes) -> None:
    """Any octets are something, or one line says that they are nothing."""
    try:
        recognise(content, "it")
    except Failed as error:
        assert str(error.message).count("\n") == 0  # noqa: PT017
