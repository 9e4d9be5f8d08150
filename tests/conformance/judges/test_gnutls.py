"""GnuTLS's `ocsptool` agrees: delegated and direct, good and revoked, EC and RSA, with and without nonce."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.conformance.estate import Estate
from tests.conformance.judges.nursery import Leaf, Nursery, nursery
from tests.conformance.judges.openssl import ABOUT_A_CA, SIGNED_BY
from tests.conformance.judges.tools import require
from tests.conformance.wire import Responder, load_certificate

VERIFIED = "Verifying OCSP Response: Success."
DELEGATED = [issuer for issuer, (_, by) in SIGNED_BY.items() if by == "delegate"]
NONCES = ["--nonce", "--no-nonce"]


class OcspTool:
    """`ocsptool`, run beside the estate. Every answer that it gets is linted with the others."""

    def __init__(self, estate: Estate, folder: Path) -> None:
        self._program = require("ocsptool")
        self.estate = estate
        self._answers = (folder / f"answer{number}.der" for number in count())

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Run it as it is. Returns its exit status and what it said."""
        done = subprocess.run(
            [self._program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def ask(self, issuer: str, subject: Path, *options: str | Path) -> tuple[int, str, Path]:
        """Ask by POST. Returns the exit status, what it said, and the file of the answer."""
        answer = next(self._answers)
        about = ("--load-cert", subject, "--load-issuer", self.estate.ca_file(issuer))
        status, said = self.run(f"--ask={self.estate.responder.url}", *about, *options, "--outfile", answer)
        if answer.exists() and answer.stat().st_size > 5:
            Responder.heard.append(answer.read_bytes())
        return status, said, answer


@pytest.fixture(scope="module")
def ocsptool(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> OcspTool:
    """The program."""
    return OcspTool(estate, tmp_path_factory.mktemp("gnutls"))


@pytest.fixture(scope="module")
def leaves(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Issues certificates."""
    with nursery(estate, tmp_path_factory.mktemp("gnutls-leaves")) as made:
        yield made


@pytest.fixture(scope="module")
def by_status(leaves: Nursery, estate: Estate) -> Mapping[tuple[str, str], Path]:
    """A good and a revoked certificate of each issuer; of the offline roots, a good one."""
    issuers = [issuer for issuer in SIGNED_BY if issuer not in ABOUT_A_CA]
    good = {(issuer, "good"): leaves.issue(f"gnutls-good-{issuer}", issuer).file for issuer in issuers}
    revoked = {(issuer, "revoked"): leaves.issue(f"gnutls-revoked-{issuer}", issuer, 4).file for issuer in issuers}
    cas = {(root, "good"): estate.ca_file(issuing) for root, issuing in ABOUT_A_CA.items()}
    return {**good, **revoked, **cas}


QUESTIONS = [
    pytest.param(issuer, status, nonce, id=f"{issuer}-{status}{nonce}")
    for issuer in SIGNED_BY
    for status in ("good", "revoked")
    for nonce in NONCES
    if (issuer, status) not in {(root, "revoked") for root in ABOUT_A_CA}
]


@pytest.mark.rule("R1", "R33", "R35", "R43", "R64")
@pytest.mark.parametrize("trust", ["issuer", "--load-signer"])
@pytest.mark.parametrize(("issuer", "status", "nonce"), QUESTIONS)
def test_answers_verify(
    ocsptool: OcspTool, by_status: Mapping[tuple[str, str], Path], issuer: str, status: str, nonce: str, trust: str
) -> None:
    """Asked by POST, the answer verifies under the issuer, as a TLS client of GnuTLS checks it."""
    options = (trust, ocsptool.estate.ca_file(issuer)) if trust == "--load-signer" else ()
    code, said, _ = ocsptool.ask(issuer, by_status[issuer, status], nonce, *options)
    assert_verified(code, said, status, nonce)


@pytest.mark.rule("R64", "R65")
@pytest.mark.parametrize(("issuer", "status", "nonce"), [each for each in QUESTIONS if each.values[0] in DELEGATED])
def test_delegates_verify_by_trust_anchor(
    ocsptool: OcspTool, by_status: Mapping[tuple[str, str], Path], issuer: str, status: str, nonce: str
) -> None:
    """Trusting the issuer, GnuTLS finds the delegate in the answer; and finds it again in the stored answer.

    Direct answers enclose no certificate, and among trust anchors GnuTLS does not look for a signer named by key.
    """
    anchor = ("--load-trust", ocsptool.estate.ca_file(issuer))
    code, said, answer = ocsptool.ask(issuer, by_status[issuer, status], nonce, *anchor)
    assert_verified(code, said, status, nonce)
    code, said = ocsptool.run("--verify-response", "--load-response", answer, *anchor)
    assert said.rstrip().endswith(VERIFIED)
    assert code == 0


def assert_verified(code: int, said: str, status: str, nonce: str) -> None:
    """Verified, with this status, and a nonce if there was one in the request."""
    assert VERIFIED in said
    assert re.findall(r"Certificate Status: (\w+)", said) == [status]
    assert ("Nonce: " in said) is (nonce == "--nonce")
    assert code == 0


@pytest.mark.rule("R64")
@pytest.mark.parametrize("nonce", NONCES)
@pytest.mark.parametrize("issuer", SIGNED_BY)
def test_a_stranger_signs_for_nobody(
    ocsptool: OcspTool, by_status: Mapping[tuple[str, str], Path], issuer: str, nonce: str
) -> None:
    """The same answer does not verify under another CA."""
    stranger = ocsptool.estate.ca_file("rolled")
    code, said, _ = ocsptool.ask(issuer, by_status[issuer, "good"], nonce, "--load-signer", stranger)
    assert VERIFIED not in said
    assert "Verifying OCSP Response: " in said
    assert code != 0


@pytest.mark.rule("R54", "R55", "R58")
@pytest.mark.parametrize("issuer", SIGNED_BY)
def test_what_gnutls_reads(ocsptool: OcspTool, by_status: Mapping[tuple[str, str], Path], issuer: str) -> None:
    """The stored answer is read back: a basic response by key, about this serial number."""
    subject = by_status[issuer, "good"]
    _, _, answer = ocsptool.ask(issuer, subject, "--no-nonce")
    code, said = ocsptool.run("--response-info", "--load-response", answer)
    assert code == 0
    assert "Response Type: Basic OCSP Response" in said
    assert "Version: 1" in said
    assert re.search(r"Responder Key ID: [0-9a-f]{40}\n", said)
    serial = re.findall(r"Serial Number: ([0-9a-f]+)", said)
    assert [int(each, 16) for each in serial] == [load_certificate(subject).serial_number]
    algorithm = "RSA-SHA256" if issuer == "direct-rsa" else "ECDSA-SHA256"
    assert f"Signature Algorithm: {algorithm}\n" in said


@pytest.mark.rule("R47")
@pytest.mark.parametrize("issuer", [issuer for issuer in SIGNED_BY if issuer not in ABOUT_A_CA])
def test_the_time_of_revocation(ocsptool: OcspTool, leaves: Nursery, issuer: str) -> None:
    """GnuTLS reads the time that the CA recorded."""
    leaf: Leaf = leaves.issue(f"gnutls-timed-{issuer}", issuer, 1)
    assert leaf.revocation is not None
    _, said, _ = ocsptool.ask(issuer, leaf.file, "--nonce")
    assert f"Revocation time: {leaf.revocation.time:%a %b %d %H:%M:%S} UTC {leaf.revocation.time:%Y}\n" in said
