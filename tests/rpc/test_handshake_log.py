"""A failed handshake is in the server's log, and explained on the client's side."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from goodstanding.ca.v1 import ca_pb2_grpc
from services.logs import Ration, explain_handshake
from services.rpc.client import explain, open_channel

from .conftest import DAY, SERVER, Authority, Credential, get, write_tls

ADMIN = x509.UniformResourceIdentifier("spiffe://goodstanding/admin/alice")
SERVE = Path(__file__).with_name("serve_tiny.py")


@dataclass
class Process:
    """A server in a process of its own, as in production: its log set-up comes before its first import of grpc."""

    process: subprocess.Popen[str]
    port: int

    def log(self, wanted: str) -> dict[str, Any]:
        """The next log event of that name."""
        assert self.process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            until = time.monotonic() + 5
            while selector.select(until - time.monotonic()):
                event: dict[str, Any] = json.loads(self.process.stderr.readline())
                if event["event"] == wanted:
                    return event
        raise AssertionError(f"no event {wanted!r}")

    def told_so_far(self) -> list[dict[str, Any]]:
        """What is in the log and was not read yet."""
        assert self.process.stderr is not None
        events = []
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            while selector.select(0.1):
                events.append(json.loads(self.process.stderr.readline()))
        return events


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Process]:
    """One server for all cases."""
    folder = tmp_path_factory.mktemp("tls")
    files = write_tls(folder, authority, authority.server())
    command = [sys.executable, str(SERVE), str(files.root), str(files.certificate), str(files.key)]
    # An operator's wish for a quiet core must not silence the handshakes.
    environment = os.environ | {"GRPC_VERBOSITY": "NONE"}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, bufsize=0, env=environment)
    try:
        running = Process(started, 0)
        running.port = running.log("serving")["port"]
        yield running
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(10)
        assert started.stderr is not None
        started.stderr.close()


CASES: dict[str, tuple[Callable[[Authority], Credential], str, str]] = {
    "expired": (
        lambda ours: ours.client(age=20 * DAY),
        "the client certificate has expired",
        "the client certificate expired on",
    ),
    "of another authority": (
        lambda _: Authority().client(),
        "the client certificate is of another authority",
        "the client certificate is not of the root it is used with",
    ),
    "for servers": (
        lambda ours: ours.odd([ADMIN], [SERVER]),
        "the client certificate is not for clients (extended key usage)",
        "the client certificate is not for clients (extended key usage)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_both_sides_say_why(case: str, process: Process, authority: Authority) -> None:
    """The server logs why a handshake failed, and the client explains it with a cure."""
    make, logged, explained = CASES[case]
    text = explained_failure(f"127.0.0.1:{process.port}", authority, make(authority))
    assert text.startswith(explained)
    assert "goodstanding credential" in text
    event = process.log("tls handshake failed")
    assert event["reason"] == logged
    assert event["level"] == "warning"


def test_no_certificate_at_all_is_logged(process: Process, authority: Authority) -> None:
    """A client that shows no certificate is logged; every client of ours has one."""
    credentials = grpc.ssl_channel_credentials(authority.root.pem)
    with grpc.secure_channel(f"127.0.0.1:{process.port}", credentials) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.GetCertificate(get(), timeout=5)
    assert process.log("tls handshake failed")["reason"] == "no client certificate"


def test_refusals_after_the_handshake_are_logged(process: Process, authority: Authority) -> None:
    """A certificate without any extended key usage passes TLS; the first check refuses, logs and explains it."""
    text = explained_failure(f"127.0.0.1:{process.port}", authority, authority.odd([ADMIN], None))
    assert text.endswith("[CREDENTIAL_NOT_CLIENT_AUTH]")
    assert process.log("call refused")["reason"] == "CREDENTIAL_NOT_CLIENT_AUTH"


def test_other_connection_failures_are_told_apart(process: Process, authority: Authority) -> None:
    """Nothing there, no TLS there, another installation's server, a server certificate that we do not trust."""
    client = authority.client()
    with socket.socket() as unused, socket.create_server(("127.0.0.1", 0)) as plain:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert "nothing listens on" in explained_failure(address, authority, client)
        address = f"127.0.0.1:{plain.getsockname()[1]}"
        assert "does not answer in TLS" in explained_failure(address, authority, client, timeout=1)
    elsewhere = Authority()
    text = explained_failure(f"127.0.0.1:{process.port}", elsewhere, elsewhere.client())
    assert "the certificate of the server" in text
    assert "self-signed certificate" in text or "unable to get local issuer" in text


def explained_failure(address: str, authority: Authority, credential: Credential, timeout: float = 5) -> str:
    """What a user is told about a call that fails."""
    material = (authority.root.pem, credential.pem, credential.key_pem)
    with open_channel(address, *material) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetCertificate(get(), timeout=timeout)
    text = explain(caught.value, address=address, ca_pem=material[0], cert_pem=material[1], key_pem=material[2])
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the client certificate is not a certificate", {"cert_pem": b"x"}),
        ("the root certificate is not a certificate", {"ca_pem": b""}),
        ("the client key is not a private key", {"key_pem": b"x"}),
        ("the client key does not belong", {"key_pem": Authority().root.key_pem}),
    ],
)
def test_useless_material_is_refused_at_once(what: str, change: dict[str, bytes], authority: Authority) -> None:
    """A channel is not opened with files that cannot work."""
    client = authority.client(age=timedelta())
    material = {"ca_pem": authority.root.pem, "cert_pem": client.pem, "key_pem": client.key_pem} | change
    with pytest.raises(ValueError, match=what):
        open_channel("127.0.0.1:1", **material)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Handshake failed with error SSL_ERROR_SSL: x:OPENSSL_internal:HTTP_REQUEST", "HTTP_REQUEST"),
        ("something else", None),
    ],
)
def test_core_lines_that_are_not_known_are_passed_on(line: str, reason: str | None) -> None:
    """A reason that we have no words for is logged in the core's."""
    assert explain_handshake(line) == reason


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "terminal"])
def test_a_log_line_cannot_drive_a_terminal(as_json: bool) -> None:
    """What a library quotes of a stranger's octets comes out escaped, on a line of its own."""
    text = "refused a\x1b[2J\x9b2J\nfake"
    code = (
        "import logging, sys\n"
        "from services.logs import _configure\n"
        f"_configure('ca', sys.stdout, {as_json})\n"
        f"logging.getLogger('library').warning('%s', {text!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert "\x1b[2J" not in done.stdout
    assert "\x9b" not in done.stdout
    assert "fake" in done.stdout


def test_ration_lets_one_a_second_pass_after_the_first_few() -> None:
    """Whoever has thousands of handshakes fail fills no log, and the log says how many there were."""
    now = 0.0
    ration = Ration(3, lambda: now)
    assert [ration.take() for _ in range(5)] == [0, 0, 0, None, None]
    now = 1.0
    assert [ration.take() for _ in range(2)] == [2, None]
    now = 100.0
    assert [ration.take() for _ in range(4)] == [1, 0, 0, None]


def test_flood_of_failed_handshakes_leaves_a_short_log(process: Process) -> None:
    """Several hundred strangers leave a few dozen lines, and one of them says how many were not told."""
    for _ in range(300):
        _knock(process.port)
    told = 0
    until = time.monotonic() + 20
    while time.monotonic() < until:
        _knock(process.port)
        events = process.told_so_far()
        told += len(events)
        if any(event.get("not_told", 0) > 200 for event in events):
            break
    else:
        raise AssertionError("nothing says how many were not told")
    assert told < 60


def _knock(port: int) -> None:
    """Someone who does not even speak TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.recv(100)
