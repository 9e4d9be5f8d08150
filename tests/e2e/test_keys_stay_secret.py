"""Post-quantum keys end to end, and no key or passphrase anywhere but in its file: not in logs, errors or cores."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from services.pki.keys import load_key
from tests.e2e.system import System

KIND = mldsa.MLDSA65PublicKey


@pytest.fixture(scope="module")
def post_quantum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose authorities have ML-DSA-65 keys."""
    system = System(tmp_path_factory.mktemp("quantum"))
    addresses = ("--ca", system.ca, "--status", system.status, "--http", system.http, "--ops", system.ops)
    system.run("goodstanding", "init", "--key-type", "ml-dsa-65", *addresses)
    system.start()
    yield system
    assert system.stop() == 0


def certificate(file: Path) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(file.read_bytes())


def make_csr(folder: Path) -> Path:
    """A request for an ML-DSA-65 key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "quantum.example.com")])
    key = mldsa.MLDSA65PrivateKey.generate()
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
    file = folder / "leaf.csr"
    file.write_bytes(request.public_bytes(Encoding.PEM))
    return file


def test_an_ml_dsa_ca_from_issue_to_answer(post_quantum: System) -> None:
    """CA, leaf, responder and answer are all ML-DSA-65, and each signature verifies under the one above it."""
    system = post_quantum
    system.run("goodstanding", "issue", str(make_csr(system.folder)), "--out", "leaf.pem")
    leaf, issuing, root = (
        certificate(system.folder / name) for name in ("leaf.pem", "data/ca/issuing.pem", "data/ca/root.pem")
    )
    issuing.verify_directly_issued_by(root)
    leaf.verify_directly_issued_by(issuing)
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuing, SHA256()).build().public_bytes(Encoding.DER)
    posted = urllib.request.Request(system.url, request, {"Content-Type": "application/ocsp-request"})
    with urllib.request.urlopen(posted, timeout=10) as reply:
        answer = ocsp.load_der_ocsp_response(reply.read())
    assert answer.certificate_status == ocsp.OCSPCertStatus.GOOD
    responder, key = answer.certificates[0], answer.certificates[0].public_key()
    responder.verify_directly_issued_by(issuing)
    assert isinstance(key, KIND)
    key.verify(answer.signature, answer.tbs_response_bytes)
    assert all(isinstance(each.public_key(), KIND) for each in (leaf, issuing, root))


def secrets_of(system: System) -> list[bytes]:
    """Every passphrase, and every private key in the forms that a careless program would print."""
    passphrases = {file.stem: file.read_bytes().strip() for file in (system.data / "secrets").glob("*.passphrase")}
    found = list(passphrases.values())
    for name in ("root", "issuing"):
        key = load_key((system.data / f"ca/{name}.key").read_bytes(), passphrases[name])
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        found += [
            der,
            der.hex().encode(),
            base64.b64encode(der)[:40],
            der[-16:].hex().encode(),
            repr(der)[2:60].encode(),
        ]
    return found


def test_logs_and_errors_hold_no_secret(post_quantum: System) -> None:
    """What the services and the command have said holds no key and no passphrase, a failure with the key among it."""
    system = post_quantum
    said = system.run("goodstanding", "issue", "data/ca/issuing.key", check=False)
    assert said.returncode == 1
    system.run("goodstanding", "issuers", "--json")
    logs = (system.folder / "data.stderr").read_bytes()
    assert b"responder enrolled" in logs
    for secret in secrets_of(system):
        for text in (logs, said.stdout.encode(), said.stderr.encode()):
            assert secret not in text
    assert b"PRIVATE KEY" not in logs


@pytest.mark.parametrize("service", ["ca", "gateway"])
def test_processes_that_hold_keys_leave_no_core_file(post_quantum: System, service: str) -> None:
    """The limit is inherited by the workers of a gateway."""
    (pid,) = post_quantum.processes_of(service)
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0\s", limits)


def test_no_other_process_reads_their_memory() -> None:
    """A process that has called it is marked as one not to be dumped, nor to be attached to (prctl(2))."""
    code = """
import ctypes
from gateway.memory import keep_memory_private
get_dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
before = get_dumpable()
keep_memory_private()
print(before, get_dumpable())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "1 0\n"
