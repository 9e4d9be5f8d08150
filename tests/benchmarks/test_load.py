"""The load generator, against a responder that can be bent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from benchmarks.issuing import request
from benchmarks.load import SUCCESSFUL, connection_each, keep_alive, receive
from benchmarks.machine import cpu_model
from benchmarks.processes import BenchmarkError
from benchmarks.questions import plain, post, with_nonce

BODY = b"....." + SUCCESSFUL + b"....."


@contextlib.contextmanager
def responder(answer: Callable[[int], bytes], *, close: bool) -> Iterator[str]:
    """Answers every request, whatever it asks, with `answer(number of the request)`. Gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while received := sock.recv(1 << 16):
                for number in range(received.count(b"?")):
                    sock.sendall(answer(number))
                if close:
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_every_answer_is_counted_once() -> None:
    """Over connections that stay open, and with one for each request."""
    with responder(lambda _: BODY, close=False) as address:
        load = keep_alive(address, lambda count: b"?" * count, 0.05)
        assert load.answered > 0
        assert load.rate == pytest.approx(load.answered / load.seconds)
    with responder(lambda _: BODY, close=True) as address:
        assert connection_each(address, lambda count: b"?" * count, 5.0, at_most=20).answered == 20


@pytest.mark.parametrize("cut", range(1, len(SUCCESSFUL)))
def test_an_answer_in_two_parts_is_one_answer(cut: int) -> None:
    """Wherever the network cuts it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        threading.Timer(0.01, theirs.sendall, (BODY[5 + cut :] + BODY,)).start()
        theirs.sendall(BODY[: 5 + cut])
        receive(ours, 2)


def test_errors_are_not_counted() -> None:
    """A responder that is quick to say tryLater is not quick."""
    with responder(lambda _: b"HTTP/1.0 200 OK\r\n\r\n0\x03\n\x01\x03", close=True) as address:
        with pytest.raises(BenchmarkError, match="no successful answer"):
            connection_each(address, lambda _: b"?", 0.1)
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
