"""A process that issues in a loop until it is killed, and says what it was told: for the test of durability.

Usage: issue_forever.py DATABASE_URL KEY_FILE CSR_FILE
Lines: `try ID` before a call, `done ID SERIAL` after it succeeded.
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
from services.ca.writer import Writer
from services.db.engine import Database
from services.pki.keys import load_key
from tests.ca.world import ManualClock, make_actor, with_id

output = threading.Lock()


def say(line: str) -> None:
    """One whole line, and out of this process, so that a kill cannot take it back."""
    with output:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def issue_forever(authority: CertificateAuthority, csr: bytes, worker: int) -> None:
    """Issue, with a request id each time."""
    for number in itertools.count():
        request_id = f"{worker}-{number}"
        say(f"try {request_id}")
        result = authority.issue(IssueCommand(csr_der=csr), with_id(make_actor("issuer"), request_id))
        say(f"done {request_id} {result.certificate.serial.hex()}")


def main(url: str, key_file: str, csr_file: str) -> None:
    """Run eight callers at once."""
    csr = Path(csr_file).read_bytes()
    key = load_key(Path(key_file).read_bytes(), None)
    db = Database.open(url)
    settings = AuthoritySettings(public_url="http://ocsp.example.com")
    authority = CertificateAuthority(db, Writer(db), HeldKeys({"issuing": key}), settings, clock=ManualClock())
    for worker in range(8):
        threading.Thread(target=issue_forever, args=(authority, csr, worker)).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
