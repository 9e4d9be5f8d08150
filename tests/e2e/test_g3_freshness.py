"""G3 on a running system: after a revocation nobody is told `good` beyond the bound, whatever fails."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from goodstanding.ca.v1 import ca_pb2
from tests.e2e.client import csr, services
from tests.e2e.system import System
from tests.e2e.test_ocsp import request_for

BOUND = 1.0
# The bound is for the moment of writing; the asker sees the answer a little later.
ON_THE_WAY = 0.3


@dataclass
class Asker:
    """Asks for one certificate again and again, and notes what it was told, and when."""

    address: str
    request: bytes
    told: list[tuple[float, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.told.append(self._ask())

    def _ask(self) -> tuple[float, str]:
        connection = http.client.HTTPConnection(self.address, timeout=5)
        try:
            connection.request("POST", "/", self.request, {"Content-Type": "application/ocsp-request"})
            body = connection.getresponse().read()
        except OSError:
            time.sleep(0.01)
            return time.monotonic(), "no answer"
        finally:
            connection.close()
        response = ocsp.load_der_ocsp_response(body)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return time.monotonic(), response.response_status.name
        return time.monotonic(), response.certificate_status.name

    def wait_for(self, word: str, within: float = 10.0) -> float:
        """Wait until it was told that, from now on. Returns when."""
        begin = len(self.told)
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for moment, said in self.told[begin:]:
                if said == word:
                    return moment
            time.sleep(0.005)
        raise AssertionError(f"{word} did not come; lately: {self.told[-5:]}")

    def never_good_after(self, moment: float) -> None:
        """G3: no answer that came after the bound may be good."""
        late = [(when - moment, said) for when, said in self.told if when > moment + BOUND + ON_THE_WAY]
        assert late, "nobody asked after the bound"
        assert "GOOD" not in {said for _, said in late}, [each for each in late if each[1] == "GOOD"][:5]


def test_a_revocation_is_seen_within_the_bound(system: System) -> None:
    """Healthy: revoked is answered within the bound, for a certificate that everybody asks about."""
    leaf = system.issue("hot.example.com")
    with services(system) as admin, Asker(system.http, request_for(system, leaf)) as asker:
        asker.wait_for("GOOD")
        serial = f"{x509.load_pem_x509_certificate(leaf.read_bytes()).serial_number:x}"
        request = ca_pb2.RevokeCertificateRequest()
        request.issuer_and_serial_number.serial_number = serial
        admin.ca.RevokeCertificate(request)
        revoked_at = time.monotonic()
        assert asker.wait_for("REVOKED") < revoked_at + BOUND
        time.sleep(BOUND + 2 * ON_THE_WAY)
    asker.never_good_after(revoked_at)
    assert "GOOD" not in {said for when, said in asker.told if when > revoked_at + BOUND}


def stall(pids: list[int]) -> Callable[[], None]:
    """Stop processes without ending them: connections stay open, nothing is answered."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    return go_on


def kill(pids: list[int]) -> Callable[[], None]:
    """End processes at once; the supervisor brings them back."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return lambda: None


@pytest.mark.parametrize(("fault", "service"), [(stall, "status"), (kill, "status"), (kill, "gateway"), (kill, "ca")])
def test_faults(own_system: System, fault: Callable[[list[int]], Callable[[], None]], service: str) -> None:
    """A service that hangs or dies around a revocation leads to errors, never to good beyond the bound."""
    with services(own_system) as admin:
        wanted = ca_pb2.IssueCertificateRequest(csr_der=csr("fault.example.com"))
        reply = admin.ca.IssueCertificate(wanted, wait_for_ready=True, timeout=30)
        leaf = own_system.folder / "fault.pem"
        leaf.write_text(reply.certificate_pem)
        request = ca_pb2.RevokeCertificateRequest(certificate_der=reply.certificate.certificate_der)
        with Asker(own_system.http, request_for(own_system, leaf)) as asker:
            asker.wait_for("GOOD")
            if service == "ca":
                admin.ca.RevokeCertificate(request)
                revoked_at = time.monotonic()
                repair = fault(own_system.processes_of(service))
            else:
                repair = fault(own_system.processes_of(service))
                admin.ca.RevokeCertificate(request)
                revoked_at = time.monotonic()
            time.sleep(BOUND + 2 * ON_THE_WAY + 0.5)
            repair()
            asker.wait_for("REVOKED")
        asker.never_good_after(revoked_at)
