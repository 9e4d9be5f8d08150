"""The services on one database, two gateways, and between them a line that can be disturbed: processes of their own.

Not `goodstanding up`, whose supervisor would mend what the tests break.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
from cryptography import x509

from goodstanding.ca.v1 import ca_pb2
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub
from tests.e2e.client import csr
from tests.e2e.system import BIN, environment, free_addresses
from tests.freshness.databases import WorldDatabase
from tests.freshness.line import Line
from tests.waiting import wait_until

GATEWAYS = 2
WORKERS = int(os.environ.get("FRESHNESS_WORKERS", "2"))
"""Processes of each gateway."""
_START_WITHIN = 60.0


class Service:
    """One `goodstanding serve`, which can be stopped, killed, paused and started again."""

    def __init__(self, name: str, folder: Path, settings: dict[str, str], is_up: Callable[[], bool]) -> None:
        self._command = [
            str(BIN / "goodstanding"),
            "serve",
            *name.split(),
            "--config",
            str(folder / "data/config.toml"),
        ]
        self._environment = environment(**{f"GOODSTANDING_{key}": value for key, value in settings.items()})
        self._log = folder / f"{name.partition(' ')[0]}-{id(self):x}.log"
        self._is_up = is_up
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Service:
        """Start it; `wait_up` tells when it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def wait_up(self) -> Service:
        """Wait until it serves."""
        wait_until(self._serves, within=_START_WITHIN)
        return self

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return self._is_up()

    def pids(self) -> list[int]:
        """Its processes: the first one, and its workers if it has any."""
        assert self._process is not None
        pid = self._process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, workers)]

    def pause(self) -> None:
        """Stop its processes where they are. Connections stay open."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes go on."""
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def ask_to_stop(self) -> None:
        """Ask it as an init system does; `stop` waits for its end."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.terminate()

    def stop(self) -> None:
        """End it."""
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def accepts(address: str) -> Callable[[], bool]:
    """Whether something takes connections there."""

    def ask() -> bool:
        host, port = address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            return False
        return True

    return ask


def is_ready(ops: str) -> Callable[[], bool]:
    """Whether a gateway says that it is ready."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"http://{ops}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    return ask


class World:
    """Everything, on one database."""

    def __init__(self, folder: Path, database: WorldDatabase) -> None:
        self.folder = folder
        self.database = database
        self.ca_address, self.status_address, *rest = free_addresses(2 + 2 * GATEWAYS)
        self.gateway_addresses, ops = rest[:GATEWAYS], rest[GATEWAYS:]
        self.line = Line(self.status_address)
        self.ca = Service("ca", folder, {}, accepts(self.ca_address))
        self.status = Service("status", folder, {}, accepts(self.status_address))
        self._ops = ops
        self.gateways: list[Service] = []
        self._others: list[Service] = []
        self._csr = csr("leaf.example.com")

    def start(self) -> World:
        """Make the data folder, and start everything."""
        addresses = ("--ca", self.ca_address, "--status", self.status_address, "--http", self.gateway_addresses[0])
        subprocess.run(
            [str(BIN / "goodstanding"), "init", "--data", "data", *addresses, "--database-url", self.database.url],
            cwd=self.folder, env=environment(), check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        self.line.start()
        name = "gateway" if WORKERS == 1 else f"gateway --workers {WORKERS}"
        for http, ops in zip(self.gateway_addresses, self._ops, strict=True):
            settings = {"GATEWAY__HTTP": http, "GATEWAY__OPS": ops, "GATEWAY__STATUS": self.line.address}
            self.gateways.append(Service(name, self.folder, settings, is_ready(ops)))
        services = [self.ca, self.status, *self.gateways]
        for service in services:
            service.start()
        for service in services:
            service.wait_up()
        return self

    def stop(self) -> None:
        """End everything that was started, whatever state it is in."""
        services = [*self.gateways, *self._others, self.status, self.ca]
        for service in services:
            service.ask_to_stop()
        for service in services:
            service.stop()
        self.line.stop()
        self.database.close()

    def replica(self, database_url: str) -> tuple[str, Service]:
        """Another status service, on another database, and its address."""
        (address,) = free_addresses(1)
        settings = {"STATUS__LISTEN": address, "DATABASE__URL": database_url}
        service = Service("status", self.folder, settings, accepts(address))
        self._others.append(service)
        return address, service.start().wait_up()

    @property
    def issuer(self) -> x509.Certificate:
        """The issuing CA's certificate."""
        return x509.load_pem_x509_certificate((self.folder / "data/ca/issuing.pem").read_bytes())

    def channel(self) -> grpc.Channel:
        """A new channel to the CA service, as the admin."""
        tls = self.folder / "data/tls"
        root, key, certificate = ((tls / name).read_bytes() for name in ("ca.pem", "admin.key", "admin.pem"))
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        return grpc.secure_channel(
            self.ca_address, grpc.ssl_channel_credentials(root, key, certificate), options=options
        )

    def issue(self, count: int) -> list[int]:
        """Issue so many certificates, and return their serial numbers."""
        request = ca_pb2.IssueCertificateRequest(csr_der=self._csr)
        with self.channel() as channel:
            stub = CertificateAuthorityServiceStub(channel)
            calls = [stub.IssueCertificate.future(request, timeout=30, wait_for_ready=True) for _ in range(count)]
            return [int(call.result().certificate.serial_number, 16) for call in calls]
