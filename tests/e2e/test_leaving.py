"""Leaving with OpenSSL: docs/leaving.md as printed, and ten thousand rows of every kind, there and back.

Of rows marked E, OpenSSL says nothing at all; that a certificate has expired is nothing that OCSP tells (RFC 6960,
section 2.2), so the gateway answers as for any other that is not revoked. And `removeFromCRL` is no reason to be
revoked (RFC 5280, section 5.3.1): we answer without a reason where OpenSSL repeats it.
"""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from services.pki.hierarchy import make_root
from services.pki.keys import generate_key
from tests.e2e.system import System
from tests.openssl_ca.generated import NOW, ROWS, rows
from tests.openssl_ca.judge import Said, ask_index, batches, make_request, read_answer
from tests.pages import script_of
from tests.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "leaving.md"
EXPECTED = (
    r"ca: 3 certificates of issuing: 2 valid, 1 revoked, 0 expired\.",
    r"The key is not in it\. Take it along, encrypted as it is:\n  cp data/ca/issuing\.key ca/private/ca\.key\.pem",
    r"=Revoked \(R\)",
    r"=Valid \(V\)",
    r"crlNumber=0x0[2-9]",
    r"third\.pem: OK",
    r"0x[0-9A-F]+: revoked\n.*\n\s+Reason: superseded",
    r"0x[0-9A-F]+: revoked\n.*\n\s+Reason: keyCompromise",
    r"\n5 certificates: 2 would be added, 2 unchanged, 1 would be revoked\. Nothing was recorded\.\n",
)


def test_the_page_works_as_printed(own_system: System) -> None:
    """Every command succeeds, from the first certificate to the answer of OpenSSL's responder."""
    commands = script_of(PAGE.read_text(), own_system)
    done = own_system.run("bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{commands}\necho the end", timeout=120)
    assert done.stdout.endswith("the end\n")
    position = 0
    for pattern in EXPECTED:
        found = re.compile(pattern).search(done.stdout, position)
        assert found, f"{pattern!r} is missing after:\n{done.stdout[:position]}\n----\n{done.stdout[position:]}"
        position = found.end()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of another CA."""
    folder = tmp_path / "old"
    folder.mkdir()
    key = generate_key("p256")
    ca = make_root(name="Old CA", key=key, now=NOW - timedelta(days=3000))
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (folder / "ca.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "crlnumber").write_text("1000\n")
    (folder / "index.txt.attr").write_text("unique_subject = no\n")
    return folder


def test_every_row(old: Path, own_system: System, tmp_path: Path) -> None:
    """The same status, time and reason for every serial number, before and after; and once more from an export."""
    system = own_system
    made = list(rows(Random(2560)))
    (old / "index.txt").write_text("".join(line for _, _, line in made))
    serials = [number for number, _, _ in made]
    signer = (old / "ca.pem", old / "ca.key")
    by_openssl = ask_index(old, old / "ca.pem", signer, serials, tmp_path)
    assert {number for number, state, _ in made if state != "E"} == by_openssl.keys()
    expected = {number: Said("good") for number, state, _ in made if state == "E"} | by_openssl

    named = ("--ca", str(old / "ca.pem"), "--key", str(old / "ca.key"), "--name", "old")
    done = system.run("goodstanding", "import", "openssl", str(old), *named, "--json", check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    ca = x509.load_pem_x509_certificate((old / "ca.pem").read_bytes())
    wait_until(lambda: _answers(system, ca, serials[0]), within=20)
    by_gateway: dict[int, Said] = {}
    for batch in batches(serials, 100):
        by_gateway |= read_answer(_ask(system, make_request(ca, batch)))
    assert by_gateway == {number: _without_remove(said) for number, said in expected.items()}

    summary = json.loads(system.run("goodstanding", "export", "openssl", "out", "--issuer", "old", "--json").stdout)
    assert summary["certificates"] == ROWS + 2  # and those of the CA itself, and of the gateway
    assert int(summary["next_crl_number"], 16) > 0x1000
    out = system.folder / "out"
    again = ask_index(out, out / "ca.pem", signer, serials, tmp_path)
    written = [line.split("\t") for line in (out / "index.txt").read_text().splitlines()]
    expired = {int(row[3], 16) for row in written if row[0] == "E"}
    assert again == {number: said for number, said in by_gateway.items() if number not in expired}

    done = system.run("goodstanding", "import", "openssl", "out", "--name", "old", "--offline", "--dry-run", "--json")
    report = json.loads(done.stdout)
    assert (report["records"]["left_out"], report["service"]["counts"]["unchanged"]) == (0, ROWS + 2)


def _without_remove(said: Said) -> Said:
    return said._replace(reason=None) if said.reason == x509.ReasonFlags.remove_from_crl.value else said


def _ask(system: System, request: bytes) -> bytes:
    headers = {"Content-Type": "application/ocsp-request"}
    asked = urllib.request.Request(system.url, request, headers)
    with urllib.request.urlopen(asked, timeout=20) as answered:
        return bytes(answered.read())


def _answers(system: System, ca: x509.Certificate, serial: int) -> bool:
    answer = ocsp.load_der_ocsp_response(_ask(system, make_request(ca, [serial])))
    return answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
