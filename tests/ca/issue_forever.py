"""A process that issues in a loop until it is killed, and says what it was told: for the test of durability.

Usage: issue_forever.py DATABASE_URL KEY_FILE CSR_FILE [FOLDER]
Lines: `try ID` before a call, `done ID SERIAL` after it succeeded. With a folder, which holds the keys, another process
signs: `signing PID`.
"""

from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path

from services.ca.authority import CertificateAuthority
from services.ca.issue import IssueCommand
from services.ca.keystore import HeldKeys
from services.ca.settings import AuthoritySettings
from services.ca.signing_messages import Setup
from services.ca.signing_pool import SigningPool
from services.ca.writer import Writer
from services.db.engine import Database
from services.pki.keys import load_key
from tests.ca.crowd import AT_ONCE, setup_of, signing_pids, start
from tests.ca.world import ManualClock, make_actor, with_id

output = threading.Lock()


def say(line: str) -> None:
    """One whole line, and out of this process, so that a kill cannot take it back."""
    with output:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def issue(authority: CertificateAuthority, csr: bytes, request_id: str) -> None:
    """Issue one."""
    say(f"try {request_id}")
    result = authority.issue(IssueCommand(csr_der=csr), with_id(make_actor("issuer"), request_id))
    say(f"done {request_id} {result.certificate.serial.hex()}")


def issue_forever(authority: CertificateAuthority, csr: bytes, worker: int) -> None:
    """Issue, with a request id each time."""
    for number in itertools.count():
        issue(authority, csr, f"{worker}-{number}")


def start_signing(authority: CertificateAuthority, writer: Writer, setup: Setup) -> None:
    """Have a signing process at work."""
    pool = SigningPool(setup, writer, authority.directory, ManualClock(), 1, AT_ONCE)
    authority.sign_with(pool)
    start(pool)
    say(f"signing {signing_pids()[0]}")


def main(url: str, key_file: str, csr_file: str, folder: str = "") -> None:
    """Run eight callers at once."""
    csr = Path(csr_file).read_bytes()
    key = load_key(Path(key_file).read_bytes(), None)
    db = Database.open(url)
    settings = AuthoritySettings(public_url="http://ocsp.example.com")
    writer = Writer(db)
    authority = CertificateAuthority(db, writer, HeldKeys({"issuing": key}), settings, clock=ManualClock())
    if folder:
        issue(authority, csr, "first")
        start_signing(authority, writer, setup_of(url, Path(folder), settings))
    for worker in range(8):
        threading.Thread(target=issue_forever, args=(authority, csr, worker)).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
