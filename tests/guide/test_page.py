"""docs/from-openssl.md, as printed, in the folder that the guide leaves, with somebody at the terminal."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.system import BIN, System, environment
from tests.guide.classic import PASS_PHRASES, ClassicCA
from tests.guide.terminal import Answers, terminal
from tests.pages import assert_in_order, blocks, script_of

PAGE = Path(__file__).parents[2] / "docs" / "from-openssl.md"
START = "<!-- the services run from here on -->"
ANSWERS: Answers = {
    r"Passphrase of the key intermediate: ": PASS_PHRASES["intermediate"],
    r"Enter pass phrase for \S*intermediate.key.pem:": PASS_PHRASES["intermediate"],
    r"Enter pass phrase for \S*back/private/ca.key.pem:": PASS_PHRASES["intermediate"],
    r"Enter pass phrase for \S*ocsp.example.com.key.pem:": PASS_PHRASES["ocsp"],
    r"Passphrase of the key alice-ltd-root-ca: ": PASS_PHRASES["root"],
}
ASKS = re.compile(
    r"openssl ca .*-(revoke|gencrl)|openssl ocsp .*-rkey|goodstanding import openssl .*--name|goodstanding ca crl"
)


def commands(text: str, classic: ClassicCA, system: System) -> str:
    """The blocks of a part of the page, with the folder and the addresses of the test."""
    return script_of(text, system).replace("/root/ca", str(classic.folder))


def run(page: str, classic: ClassicCA, system: System) -> str:
    """Run the page in one shell on a terminal, with the pass phrases typed; what the terminal showed."""
    before, found, after = page.partition(START)
    assert found
    parts = (commands(before, classic, system), "read -p 'the other terminal: '", commands(after, classic, system))
    script = "\n".join((*parts, "echo the end"))
    with terminal(("bash", "-euo", "pipefail", "-c", script), system.folder, environment()) as shown:
        shown.expect("the other terminal: ")
        with services(system):
            shown.type("runs")
            status = shown.converse(ANSWERS, within=300)
        assert (status, shown.said[-8:]) == (0, "the end\n"), shown.said
        return shown.said


@contextmanager
def services(system: System) -> Iterator[None]:
    """What runs in the other terminal."""
    addresses = {name: getattr(system, name) for name in ("ca", "status", "http", "ops")}
    options = [word for name, address in addresses.items() for word in (f"--{name}", address)]
    with terminal((BIN / "goodstanding", "up", *options), system.folder, environment()) as shown:
        shown.expect(r"Passphrase of data/ocsp/ocsp.example.com.key.pem \(gateway-intermediate\): ")
        shown.type(PASS_PHRASES["ocsp"])
        shown.expect("there is not.*intermediate")
        shown.expect(r"\nready ")
        try:
            yield
        finally:
            shown.process.send_signal(signal.SIGTERM)
            shown.process.wait(30)


def openssl_time(column: str) -> str:
    """A time of index.txt, as openssl prints those of answers."""
    return f"{datetime.strptime(column, '%y%m%d%H%M%SZ').replace(tzinfo=UTC):%b %e %H:%M:%S %Y} GMT"


def test_the_page_works_as_printed(classic: ClassicCA) -> None:
    """From the guide's folder to a running system and back: the same responder, serial numbers, times."""
    system = System(classic.folder.parent)
    # The guide makes no list of the root. Whoever did has this file.
    (classic.folder / "crlnumber").write_text("1000\n")
    revoked_before = classic.rows()[1][2].partition(",")[0]
    said = run(PAGE.read_text(), classic, system)
    revoked_after = classic.rows()[3][2]
    assert_in_order(
        said,
        [
            r"\s1003\s+unknown\s+/C=GB",
            r"serial=1002",
            r"OCSP Signing",
            r"serial=1003",
            r"OCSP - URI:http://ocsp.example.com\n",
            r"Issuer +intermediate, new",
            r"Records +4 read, 3 valid, 1 revoked, 0 expired",
            r"Nothing odd was found\.",
            r"4 certificates: 4 added, 0 unchanged\. Issuer intermediate is known here\.",
            r"1 certificates: 0 added, 1 unchanged\. Issuer alice-ltd-root-ca is known here\.",
            r"alice-ltd-root-ca +offline",
            r"intermediate +active +alice-ltd-root-ca",
            r"Serial Number: 1003\n +Cert Status: good",
            r"Subject: .*CN ?= ?ocsp.example.com\n",
            r"0x1001: revoked\n",
            r"Reason: keyCompromise\n",
            rf"Revocation Time: {openssl_time(revoked_before)}\n",
            r"Database updated",
            rf"{revoked_after}\s+1003\s",
            r"4 certificates: 0 added, 3 unchanged, 1 revoked\.",
            r"test.example.com.cert.pem: revoked\n",
            rf"Revocation Time: {openssl_time(revoked_after)}\n",
            r"0x1000: good\n",
            r"issuing is retired",
            r"issued by intermediate",
            r"new.pem: OK",
            r"new.pem: good",
            r"crlNumber=0x10",
            r"revocation list 4096 of alice-ltd-root-ca: 0 entries",
            r"back: 5 certificates of intermediate: 3 valid, 2 revoked, 0 expired",
            rf"{revoked_after}\s+1003\s",
            r"crlNumber=0x10",
            rf"Cert Status: revoked\n +Revocation Time: {openssl_time(revoked_after)}\n",
        ],
    )
    assert said.count("Response verify OK") >= 5
    assert not re.search(r"verify error|Verify Failure|: error", said, re.IGNORECASE)


def test_what_asks_is_last_in_its_block() -> None:
    """Whatever is pasted behind a command that asks for a pass phrase would be taken for the pass phrase."""
    for block in blocks(PAGE.read_text()):
        *lines, _ = block.replace("\\\n", "").splitlines()
        assert not [line for line in lines if ASKS.search(line)]
