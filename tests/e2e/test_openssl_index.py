"""Ten thousand rows of index.txt, of every kind: `openssl ocsp -index` and the gateway say the same of each.

Of rows marked E, OpenSSL says nothing at all; that a certificate has expired is nothing that OCSP tells (RFC 6960,
section 2.2), so the gateway answers as for any other that is not revoked. And `removeFromCRL` is no reason to be
revoked (RFC 5280, section 5.3.1): we answer without a reason where OpenSSL repeats it.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from services.pki.hierarchy import make_root
from services.pki.keys import generate_key
from tests.e2e.system import System
from tests.openssl_ca.judge import Said, ask_index, batches, make_request, read_answer
from tests.waiting import wait_until

ROWS = 10_000
NOW = datetime.now(UTC).replace(microsecond=0)
UTC_TIME, GENERALIZED_TIME = "%y%m%d%H%M%SZ", "%Y%m%d%H%M%SZ"
EXPIRIES = (
    *((NOW + timedelta(days=days)).strftime(UTC_TIME) for days in (1, 400, -1, -4000)),
    *("491231235959Z", "20500101000000Z", "99991231235959Z", "500101000000Z"),
)
# The last one is still to come: OpenSSL takes it for revoked, and so do we.
REVOKED = tuple((NOW - timedelta(days=days)).strftime(UTC_TIME) for days in (0, 300, 9000, -2))
WORDS = (
    *("", ",unspecified", ",keyCompromise", ",CACompromise", ",affiliationChanged", ",superseded"),
    *(",cessationOfOperation", ",certificateHold", ",removeFromCRL", ",KEYCOMPROMISE"),
    *(",holdInstruction,holdInstructionNone", ",holdInstruction,holdInstructionCallIssuer"),
    *(",holdInstruction,holdInstructionReject", ",holdInstruction,1.2.840.10040.2.3"),
    *(",keyTime,20250102030405Z", ",CAkeyTime,19990102030405Z"),
)
SUBJECTS = ("/C=GB/O=Ex, Inc./CN=www.example.com", r"/CN=Zo\xC3\xAB", r"/CN=a\/b\+c/O=x+OU=y", "/CN=a/b", "")


def rows(random: Random) -> Iterator[tuple[int, str, str]]:
    """Serial number, state and line of each row: every kind with every expiry and all widths of serial numbers."""
    kinds = cycle([("V", ""), ("E", ""), *(("R", time + word) for word in WORDS for time in REVOKED)])
    expiries, subjects, widths = cycle(EXPIRIES), cycle(SUBJECTS), cycle(range(1, 21))
    taken: set[int] = set()
    while len(taken) < ROWS:
        width = next(widths)
        number = random.getrandbits(8 * width - 1)
        if number == 0 or number in taken:
            continue
        taken.add(number)
        digits = number.to_bytes((number.bit_length() + 7) // 8, "big").hex().upper()
        (state, revocation), expiry = next(kinds), next(expiries)
        if random.random() < 0.1:  # so that kinds do not always come with the same expiry
            next(expiries)
        yield number, state, f"{state}\t{expiry}\t{revocation}\t{digits}\tunknown\t{next(subjects)}\n"


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
