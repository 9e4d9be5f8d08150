"""Imports into a running system: nothing is restarted, and whatever breaks off is completed by the same import."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import import_pb2
from goodstanding.ca.v1.ca_pb2 import IssueCertificateRequest, ListIssuersRequest
from goodstanding.ca.v1.import_pb2_grpc import ImportServiceStub
from services.clock import utc_now
from services.pki.hierarchy import make_root
from services.pki.issuers import PrivateKey
from services.pki.keys import encrypt_key, generate_key
from tests.ca.importing import END, Request, chunk, entry, header, revoked
from tests.ca.world import make_csr
from tests.e2e.client import services
from tests.e2e.system import System
from tests.waiting import wait_until

NOW = utc_now()
FIRST = 0x100000
ROWS = 6000
IN_A_MESSAGE = 500


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system, with a credential for whoever imports."""
    running = System(tmp_path_factory.mktemp("imports")).start()
    running.run("goodstanding", "credential", "new", "--role", "importer", "--name", "mover")
    yield running
    assert running.stop() == 0


class OldCa:
    """A CA whose key and certificate are laid into the data folder, and its rows."""

    def __init__(self, system: System, name: str) -> None:
        self.name = name
        key: PrivateKey = generate_key("p256")
        self.certificate = make_root(name=name, key=key, now=NOW - timedelta(days=900))
        (system.data / f"ca/{name}.key").write_bytes(encrypt_key(key, b"of the old CA"))
        (system.data / f"secrets/{name}.passphrase").write_bytes(b"of the old CA\n")
        (system.data / f"ca/{name}.pem").write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def requests(self) -> Iterator[Request]:
        """The whole import: every third certificate is revoked."""
        der = self.certificate.public_bytes(Encoding.DER)
        yield header(issuer=self.name, certificates_der=[der], key_reference=f"file:ca/{self.name}.key")
        ends = {"seconds": int((NOW + timedelta(days=90)).timestamp())}
        for begin in range(FIRST, FIRST + ROWS, IN_A_MESSAGE):
            yield chunk(
                *(
                    entry(n, revoked(NOW - timedelta(days=1), 1) if n % 3 == 0 else None, not_after_time=ends)
                    for n in range(begin, begin + IN_A_MESSAGE)
                )
            )
        yield END


@contextlib.contextmanager
def importing(system: System) -> Iterator[ImportServiceStub]:
    """The service, as the importer."""
    tls = system.data / "tls"
    files = (tls / name for name in ("ca.pem", "mover.key", "mover.pem"))
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    with grpc.secure_channel(system.ca, credentials) as channel:
        yield ImportServiceStub(channel)


def ask(system: System, ca: OldCa, serial: int) -> str:
    """What the gateway says of a serial number, verified."""
    chain = ("-CAfile", str(system.data / f"ca/{ca.name}.pem"), "-issuer", str(system.data / f"ca/{ca.name}.pem"))
    done = system.run("openssl", "ocsp", *chain, "-serial", str(serial), "-url", system.url, "-no_nonce", check=False)
    return done.stdout + done.stderr


def answers(system: System, ca: OldCa, serial: int, word: str) -> bool:
    """Whether the gateway says so."""
    return word in ask(system, ca, serial)


def known(system: System) -> set[str]:
    """The issuers that the ca tells of."""
    with services(system) as stubs:
        return {each.name for each in stubs.ca.ListIssuers(ListIssuersRequest(), timeout=10).issuers}


@contextlib.contextmanager
def issuing_all_the_while(system: System) -> Iterator[list[str]]:
    """Somebody issues one certificate after the other, and every one of them succeeds. Yields the serial numbers."""
    issued: list[str] = []
    failed: list[Exception] = []
    done = threading.Event()

    def issue() -> None:
        with services(system) as stubs:
            request = IssueCertificateRequest(issuer="issuing", csr_der=make_csr())
            while not done.is_set():
                try:
                    certificate = stubs.ca.IssueCertificate(request, timeout=15).certificate
                except grpc.RpcError as error:
                    failed.append(error)
                    return
                issued.append(certificate.serial_number)

    thread = threading.Thread(target=issue)
    thread.start()
    try:
        wait_until(lambda: bool(issued), within=15)
        yield issued
    finally:
        done.set()
        thread.join(20)
    assert not failed, failed[0]


def test_a_new_issuer_is_answered_for(system: System) -> None:
    """Others issue on meanwhile; a moment after the end the gateway answers, with a responder of its own."""
    ca = OldCa(system, "moved")
    before = {service: system.processes_of(service) for service in ("ca", "status", "gateway")}
    with importing(system) as stub, issuing_all_the_while(system) as issued:
        begun = len(issued)
        response = stub.ImportCertificates(ca.requests(), timeout=60)
        wait_until(lambda: len(issued) > begun, within=15)
    assert (response.counts.added_count, len(response.findings)) == (ROWS, 0)
    wait_until(lambda: answers(system, ca, FIRST, ": good"), within=10)
    said = ask(system, ca, FIRST + 2)
    assert "Response verify OK" in said
    assert (": revoked" in said, "Reason: keyCompromise" in said) == (True, True)
    assert ": unknown" in ask(system, ca, FIRST + ROWS)
    assert {service: system.processes_of(service) for service in before} == before
    crl = system.folder / "moved.crl"
    fetch = ("curl", "-sf", f"{system.url}/crl/{ca.name}.crl", "-o", str(crl))
    wait_until(lambda: system.run(*fetch, check=False).returncode == 0, within=15)
    found = x509.load_der_x509_crl(crl.read_bytes())
    assert len(found) == ROWS // 3


def rows_of(system: System) -> int:
    """How many rows have come in, whether anybody is told of them or not."""
    with contextlib.closing(sqlite3.connect(f"file:{system.data / 'goodstanding.db'}?mode=ro", uri=True)) as db:
        found: int = db.execute("SELECT count(*) FROM certificates WHERE profile = 'imported'").fetchone()[0]
        return found


def test_whatever_breaks_off(system: System) -> None:
    """A client that goes away, and a ca killed in the middle: nobody hears of it; the same import completes it."""
    before = rows_of(system)
    ca = OldCa(system, "broken")
    with importing(system) as stub:
        for end in ("cancel", "kill"):
            half = threading.Event()
            go_on = threading.Event()

            def halted(half: threading.Event = half, go_on: threading.Event = go_on) -> Iterator[Request]:
                for place, request in enumerate(ca.requests()):
                    if place == 5:
                        half.set()
                        go_on.wait(30)
                        return
                    yield request

            future = stub.ImportCertificates.future(halted(), timeout=60)
            assert half.wait(30)
            wait_until(lambda: rows_of(system) > before, within=20)
            if end == "cancel":
                future.cancel()
            else:
                (pid,) = system.processes_of("ca")
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
                future.result(30)
            go_on.set()
            wait_until(lambda: _is_up(system), within=20)
            assert ca.name not in known(system)
            assert ": good" not in ask(system, ca, FIRST)
        counts = _import(stub, ca).counts
    assert (counts.received_count, counts.added_count + counts.unchanged_count) == (ROWS, ROWS)
    assert counts.added_count < ROWS, "whole messages of the first runs are there"
    wait_until(lambda: answers(system, ca, FIRST, ": good"), within=10)
    assert answers(system, ca, FIRST + 2, ": revoked")


def _import(stub: ImportServiceStub, ca: OldCa) -> import_pb2.ImportCertificatesResponse:
    """Once the first run was noticed to be gone."""
    found: list[import_pb2.ImportCertificatesResponse] = []

    def attempt() -> bool:
        try:
            found.append(stub.ImportCertificates(ca.requests(), timeout=60, wait_for_ready=True))
        except grpc.RpcError:
            return False
        return True

    wait_until(attempt, within=60)
    return found[0]


def _is_up(system: System) -> bool:
    try:
        return bool(known(system))
    except grpc.RpcError:
        return False
