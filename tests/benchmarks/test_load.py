"""The load generator, against a responder that can be bent."""

from __future__ import annotations

import base64
import socket
import threading
import urllib.parse

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from benchmarks.issuing import request
from benchmarks.load import SUCCESSFUL, Line, connection_each, keep_alive, pipelined, receive
from benchmarks.machine import cpu_model
from benchmarks.processes import BenchmarkError
from benchmarks.questions import plain, post, with_nonce
from tests.benchmarks.bent import ANSWER, responder


def test_every_answer_is_counted_once() -> None:
    """Over connections that stay open, and with one for each request."""
    with responder(lambda _: ANSWER, close=False) as address:
        for load in (
            keep_alive(address, lambda count: b"?" * count, 0.05),
            pipelined(address, lambda count: b"?" * count, 0.05),
        ):
            assert load.answered > 0
            assert load.rate == pytest.approx(load.answered / load.seconds)
        assert keep_alive(address, lambda count: b"?" * count, 5.0, at_most=70).answered == 70
    with responder(lambda _: ANSWER, close=True) as address:
        assert connection_each(address, lambda count: b"?" * count, 5.0, at_most=20).answered == 20


@pytest.mark.parametrize("cut", range(1, len(SUCCESSFUL)))
def test_an_answer_in_two_parts_is_one_answer(cut: int) -> None:
    """Wherever the network cuts it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        start = ANSWER.index(SUCCESSFUL) + cut
        threading.Timer(0.01, theirs.sendall, (ANSWER[start:] + ANSWER,)).start()
        theirs.sendall(ANSWER[:start])
        receive(ours, 2)


def test_the_next_request_waits_for_the_end_of_the_answer() -> None:
    """Octet by octet: it is whole once, and only then; and the line is ready for the next one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = Line(ours)
        for _ in range(2):
            seen = []
            for at in range(len(ANSWER)):
                theirs.sendall(ANSWER[at : at + 1])
                seen.append(line.answered())
            assert seen == [False] * (len(ANSWER) - 1) + [True]


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n0\x03\n\x01\x03", id="tryLater"),
        pytest.param(b"HTTP/1.1 500 Oh\r\n\r\nno such luck", id="an error in plain text"),
        pytest.param(ANSWER.replace(SUCCESSFUL, bytes(len(SUCCESSFUL))), id="something else in DER"),
        pytest.param(ANSWER + b"H", id="more than was asked for"),
        pytest.param(b"", id="the end"),
    ],
)
def test_only_one_whole_successful_answer_will_do(response: bytes) -> None:
    """Anything else ends the run."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(response)
        with pytest.raises(BenchmarkError, match="no successful answer"):
            Line(ours).answered()


def test_errors_are_not_counted() -> None:
    """A responder that is quick to say tryLater is not quick."""
    with responder(lambda _: b"HTTP/1.0 200 OK\r\n\r\n0\x03\n\x01\x03", close=True) as address:
        with pytest.raises(BenchmarkError, match="no successful answer"):
            connection_each(address, lambda _: b"?", 0.1)
        with pytest.raises(BenchmarkError, match="no successful answer"):
            pipelined(address, lambda _: b"?", 0.1)
        with pytest.raises(BenchmarkError, match="no successful answer"):
            keep_alive(address, lambda count: b"?" * count, 0.1)


def certificate() -> x509.Certificate:
    """A CA's certificate: any on P-256."""
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, SHA256())


def test_requests_are_what_they_say() -> None:
    """One HTTP request each; with a nonce, a different one each time."""
    issuer = certificate()
    for messages in (plain(issuer, [1, 2], keep_alive=False), with_nonce(issuer, [1, 2], keep_alive=False)):
        asked = [ocsp.load_der_ocsp_request(messages(1).partition(b"\r\n\r\n")[2]) for _ in range(3)]
        assert [request.serial_number for request in asked] == [1, 2, 1]
    nonces = {request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce for request in asked}
    assert len(nonces) == 3
    assert post(b"der", keep_alive=True).count(b"close") == 0
    got = plain(issuer, [1], keep_alive=True, method="GET")(1).split(b" ")[1].decode().removeprefix("/")
    assert ocsp.load_der_ocsp_request(base64.b64decode(urllib.parse.unquote(got))).serial_number == 1
    assert plain(issuer, [1, 2, 3], keep_alive=True, batch=3)(3).count(b"POST / HTTP/1.1\r\n") == 3


def test_certificate_requests_are_for_one_name() -> None:
    """P-256, the name as CN and as SAN."""
    csr = x509.load_der_x509_csr(request("a.example.com"))
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example.com"]
    assert csr.is_signature_valid


def test_the_processor_is_named() -> None:
    """From /proc/cpuinfo where it is told."""
    assert cpu_model("processor\t: 0\nmodel name\t: Fast 9000\nmodel name\t: Fast 9000\n") == "Fast 9000"
    assert cpu_model("") != ""
