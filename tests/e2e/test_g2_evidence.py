"""G2: `good` is signed only for what this CA issued, and a failure anywhere becomes an error and never `good`."""

from __future__ import annotations

import os
import secrets
import signal

from cryptography import x509

from tests.e2e.system import System


def test_what_was_never_issued_is_never_good(system: System) -> None:
    """R44: neighbours of an issued serial number, random ones, zero, and one of the root's."""
    issued = x509.load_pem_x509_certificate(system.issue("neighbour.example.com").read_bytes()).serial_number
    issuing = x509.load_pem_x509_certificate((system.data / "ca/issuing.pem").read_bytes()).serial_number
    others = [issued - 1, issued + 1, issuing, 0, 1, *(secrets.randbits(127) for _ in range(10))]
    said = system.ask(*(word for serial in others for word in ("-serial", f"0x{serial:x}")))
    assert "Response verify OK" in said
    assert said.count(": unknown") == len(others)
    assert ": good" not in said


def test_without_the_status_service_nothing_is_good(own_system: System) -> None:
    """R72: when the status service hangs, the answer is tryLater; when it goes on, the truth again."""
    leaf = own_system.issue("leaf.example.com")
    assert ": good" in own_system.ask("-cert", str(leaf))
    pids = own_system.processes_of("status")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert ": good" not in own_system.ask_until("trylater", "-cert", str(leaf))
        assert ": good" not in own_system.ask("-cert", str(leaf))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert own_system.ask_until(": good", "-cert", str(leaf))
