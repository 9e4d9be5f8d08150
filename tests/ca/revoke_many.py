"""A process that revokes everything of a profile, and says what it was told: for the test of durability.

Usage: revoke_many.py DATABASE_URL
Lines: `done SERIAL` for each certificate, once its step is durable.
"""

from __future__ import annotations

import sys

from services.ca import selection
from services.ca.authority import CertificateAuthority
from services.ca.bulk import BulkCommand
from services.ca.keystore import HeldKeys
from services.ca.selection import ByFilter
from services.ca.settings import AuthoritySettings
from services.ca.writer import Writer
from services.db.engine import Database
from tests.ca.world import ManualClock, make_actor


def main(url: str) -> None:
    """Revoke in small steps."""
    selection.STEP = 7
    db = Database.open(url)
    settings = AuthoritySettings(public_url="http://ocsp.example.com")
    authority = CertificateAuthority(db, Writer(db), HeldKeys({}), settings, clock=ManualClock())
    run = authority.bulk.start(BulkCommand(selection=ByFilter(profile="server")), make_actor("revoker"))
    while step := run.find():
        for result in run.carry_out(step).result():
            assert result.record is not None
            sys.stdout.write(f"done {result.record.serial.hex()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
