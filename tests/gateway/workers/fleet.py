"""A gateway with two workers as real processes, and connections of which it is known which worker has them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.conformance.estate import Gateway, Setting
from tests.e2e.system import System
from tests.waiting import wait_until

_ESTABLISHED = "01"


def question(system: System, certificate: Path) -> bytes:
    """An OCSP request about a certificate of the issuing CA."""
    issuer = x509.load_pem_x509_certificate((system.data / "ca/issuing.pem").read_bytes())
    asked = x509.load_pem_x509_certificate(certificate.read_bytes())
    builder = ocsp.OCSPRequestBuilder().add_certificate(asked, issuer, SHA256())
    return builder.build().public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Reply:
    """What a worker answered."""

    body: bytes
    etag: str | None
    max_age: str | None

    @property
    def ocsp(self) -> ocsp.OCSPResponse:
        """The answer, decoded."""
        return ocsp.load_der_ocsp_response(self.body)

    @property
    def says(self) -> str:
        """The certificate's status, or that of the answer where there is none."""
        successful = self.ocsp.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        return (self.ocsp.certificate_status if successful else self.ocsp.response_status).name.lower()


class Connection:
    """A connection that stays open."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._http = http.client.HTTPConnection(host, int(port), timeout=10)
        self._http.connect()
        assert isinstance(self._http.sock, socket.socket)
        self.sock = self._http.sock
        self.port: int = self.sock.getsockname()[1]

    def ask(self, request: bytes) -> Reply:
        """Ask by POST. Raises OSError or HTTPException: the connection is lost."""
        self._http.request("POST", "/", request, {"content-type": "application/ocsp-request"})
        return self.reply()

    def reply(self) -> Reply:
        """Read an answer."""
        response = self._http.getresponse()
        assert response.status == 200
        return Reply(response.read(), response.headers["etag"], response.headers["cache-control"])

    def begin(self, request: bytes) -> None:
        """Send all of a request but its last octet."""
        self._http.putrequest("POST", "/")
        self._http.putheader("content-type", "application/ocsp-request")
        self._http.putheader("content-length", str(len(request)))
        self._http.endheaders(request[:-1])

    def finish(self, request: bytes) -> Reply:
        """Send the last octet, and read the answer."""
        self._http.send(request[-1:])
        return self.reply()

    def close(self) -> None:
        """Close it."""
        self._http.close()


class Fleet:
    """The processes of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.connections: list[Connection] = []

    @property
    def parent(self) -> int:
        """The parent's process id."""
        assert self.gateway.process is not None
        return self.gateway.process.pid

    def workers(self) -> list[int]:
        """The workers' process ids."""
        return children(self.parent)

    def connect(self, worker: int | None = None) -> Connection:
        """A connection; if a worker is named, to that one, for the others are held while it is made."""
        others = [] if worker is None else [pid for pid in self.workers() if pid != worker]
        while True:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            try:
                connection, owner = self._connect()
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
            if worker in (None, owner):
                return connection

    def _connect(self) -> tuple[Connection, int]:
        """A connection, and who took it."""
        connection = Connection(self.gateway.http)
        self.connections.append(connection)
        owners: list[int] = []

        def is_taken() -> bool:
            owners.extend(owner for owner in [self.owner(connection)] if owner is not None)
            return bool(owners)

        wait_until(is_taken, 10)
        return connection, owners[0]

    def owner(self, connection: Connection) -> int | None:
        """The worker that has taken a connection."""
        ours = int(self.gateway.http.rpartition(":")[2])
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            local, remote = (int(address.rpartition(":")[2], 16) for address in words[1:3])
            if (local, remote, words[3]) == (ours, connection.port, _ESTABLISHED):
                inode = f"socket:[{words[9]}]"
                return next((pid for pid in self.workers() if inode in sockets(pid)), None)
        return None

    def readiness(self) -> dict[str, Any]:
        """What `/readyz` tells."""
        try:
            with urllib.request.urlopen(f"http://{self.gateway.ops}/readyz", timeout=5) as reply:
                return dict(json.loads(reply.read()))
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read()))

    def is_ready(self) -> bool:
        """Whether all workers are ready."""
        return bool(self.readiness()["ready"])

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        with urllib.request.urlopen(f"http://{self.gateway.ops}/metrics", timeout=5) as reply:
            text = reply.read().decode()
        found = [
            float(value)
            for pairs, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
            if all(f'{label}="{wanted}"' in pairs for label, wanted in labels.items())
        ]
        assert found, f"no {name} with {labels}"
        return sum(found)


@contextmanager
def running(system: System, name: str, more: str = "", **settings: Setting) -> Iterator[Fleet]:
    """A gateway of its own, with two workers; ended afterwards, whatever is left of it."""
    system.run("goodstanding", "credential", "new", "--name", name, "--role", "responder", "--out", name)
    gateway = Gateway(system, system.folder / name, {"workers": 2, **settings}, more).start()
    fleet = Fleet(gateway)
    try:
        yield fleet
    finally:
        for connection in fleet.connections:
            connection.close()
        gateway.stop()


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def sockets(pid: int) -> set[str]:
    """The sockets that a process has open. Gateways keep their memory to themselves: only root may look."""
    if os.geteuid() != 0:
        pytest.skip("only root sees what a process that holds keys has open")
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there, and not just its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
