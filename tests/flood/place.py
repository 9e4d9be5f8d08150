"""What is flooded: the CA and status services and one gateway with a small cache, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client.parser import text_string_to_metric_families

from goodstanding.ca.v1 import ca_pb2
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub
from tests.e2e.client import csr
from tests.e2e.system import BIN, environment, free_addresses
from tests.flood.asker import Counts, Orders
from tests.flood.questions import HOT, IssuerNames
from tests.freshness.world import Service, accepts, is_ready

TAU = 1.0
"""As configured by default."""
ROOT = Path(__file__).parents[2]
_PAGE = os.sysconf("SC_PAGE_SIZE")
_AT_ONCE = 100


class Asking:
    """An asker at work."""

    def __init__(self, orders: Orders) -> None:
        command = [sys.executable, "-m", "tests.flood.asker"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(orders)) + "\n")
        self._process.stdin.flush()

    def end(self) -> Counts:
        """Wait for its end (without a time of its own: end it), and return what it counted."""
        said, wrong = self._process.communicate(timeout=600)
        assert self._process.returncode == 0, wrong
        return Counts.from_json(said)

    def kill(self) -> None:
        """End it, whatever state it is in."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Place:
    """Everything that runs, and the certificates that are asked about."""

    def __init__(self, folder: Path, *, cache_entries: int, max_pending: int) -> None:
        self.folder = folder
        self.cache_entries = cache_entries
        self.max_pending = max_pending
        self.ca_address, self.status_address, self.http, self.ops = free_addresses(4)
        limits = {"GATEWAY__CACHE_ENTRIES": str(cache_entries), "GATEWAY__MAX_PENDING": str(max_pending)}
        self.ca = Service("ca", folder, {}, accepts(self.ca_address))
        self.status = Service("status", folder, {}, accepts(self.status_address))
        self.gateway = Service("gateway", folder, limits, is_ready(self.ops))
        self._csr = csr("leaf.example.com")
        self._askings: list[Asking] = []

    def start(self) -> Place:
        """Make the data folder, and start everything."""
        addresses = ("--ca", self.ca_address, "--status", self.status_address, "--http", self.http, "--ops", self.ops)
        subprocess.run(
            [str(BIN / "goodstanding"), "init", "--data", "data", *addresses],
            cwd=self.folder, env=environment(), check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        services = [self.ca, self.status, self.gateway]
        for service in services:
            service.start()
        for service in services:
            service.wait_up()
        return self

    def stop(self) -> None:
        """End everything that was started, whatever state it is in."""
        for asking in self._askings:
            asking.kill()
        services = [self.gateway, self.status, self.ca]
        for service in services:
            service.ask_to_stop()
        for service in services:
            service.stop()

    @property
    def issuer(self) -> x509.Certificate:
        """The issuing CA's certificate."""
        return x509.load_pem_x509_certificate((self.folder / "data/ca/issuing.pem").read_bytes())

    @property
    def names(self) -> IssuerNames:
        """What CertIDs call the issuing CA."""
        issuer = self.issuer
        key = issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return IssuerNames.of(issuer.subject.public_bytes(), key)

    def channel(self) -> grpc.Channel:
        """A new channel to the CA service, as the admin."""
        tls = self.folder / "data/tls"
        root, key, certificate = ((tls / name).read_bytes() for name in ("ca.pem", "admin.key", "admin.pem"))
        return grpc.secure_channel(self.ca_address, grpc.ssl_channel_credentials(root, key, certificate))

    def issue(self, count: int) -> list[int]:
        """Issue so many certificates, and return their serial numbers."""
        request = ca_pb2.IssueCertificateRequest(csr_der=self._csr)
        serials: list[int] = []
        with self.channel() as channel:
            stub = CertificateAuthorityServiceStub(channel)
            while (missing := count - len(serials)) > 0:
                calls = [stub.IssueCertificate.future(request, timeout=60) for _ in range(min(missing, _AT_ONCE))]
                serials += [int(call.result().certificate.serial_number, 16) for call in calls]
        return serials

    def revoke(self, serial: int) -> float:
        """Revoke a certificate, and return when that was confirmed (monotonic clock)."""
        request = ca_pb2.RevokeCertificateRequest(request_id=uuid.uuid4().hex)
        request.issuer_and_serial_number.issuer = "issuing"
        request.issuer_and_serial_number.serial_number = f"{serial:x}"
        with self.channel() as channel:
            CertificateAuthorityServiceStub(channel).RevokeCertificate(request, timeout=30)
        return time.monotonic()

    def ask(self, kind: str, serials: Sequence[int], seconds: float = 0.0, **more: float) -> Asking:
        """Have somebody ask; `more` as in `Orders`."""
        settings = {"connections": 32, **more}
        names = self.names
        orders = Orders(self.http, kind, names.names, names.keys, list(serials), seconds, **settings)  # type: ignore[arg-type]
        asking = Asking(orders)
        self._askings.append(asking)
        return asking

    def ask_hot(self, serials: Sequence[int], seconds: float) -> Counts:
        """Ask what everybody asks, and wait for the end."""
        return self.ask(HOT, serials, seconds).end()

    def metrics(self) -> dict[str, float]:
        """What the gateway tells operators, by the samples' names; with the value of the label `source`, if any."""
        with urllib.request.urlopen(f"http://{self.ops}/metrics", timeout=20) as reply:
            text = reply.read().decode()
        return {
            ":".join(
                [sample.name, *(sample.labels[key] for key in ("source", "door") if key in sample.labels)]
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def resident(service: Service) -> int:
    """The memory of a service that is in RAM, in octets."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in service.pids())
