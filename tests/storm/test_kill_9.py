"""G1 for the whole service: `kill -9` of the ca in a storm of issues and revocations, again and again.

`STORM_KILLS` says how often (`make storm`: a hundred times in a row on each database), `STORM_SEED` when,
`STORM_SECONDS` how late at the latest: with some seconds, signing processes take part.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from cryptography import x509

from services.db.engine import Database
from tests.command import goodstanding
from tests.e2e.client import csr
from tests.e2e.system import free_addresses
from tests.freshness.world import Service, accepts
from tests.storm.clients import Crowd
from tests.storm.ledger import Ledger

KILLS = int(os.environ.get("STORM_KILLS", "3"))
SEED = int(os.environ.get("STORM_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
LONGEST = float(os.environ.get("STORM_SECONDS", "0.6"))
"""Seconds from the first answer of a round to the kill."""


async def storm_and_kill(crowd: Crowd, ca: Service, address: str, tls: Path, seconds: float) -> None:
    """One round."""
    begun = asyncio.Event()
    storm = asyncio.create_task(crowd.storm(address, tls, begun))
    first = asyncio.create_task(begun.wait())
    try:
        async with asyncio.timeout(60):
            await asyncio.wait([storm, first], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([storm], timeout=seconds)  # it does not end by itself, unless it fails
            await asyncio.to_thread(ca.kill)
            await storm
    finally:
        first.cancel()
        storm.cancel()


def test_kill_9_in_a_storm(empty_database_url: str, tmp_path: Path) -> None:
    """After each kill all that was acknowledged is there and valid, and nothing twice or half; retries get the same."""
    data, (address, *others) = tmp_path / "data", free_addresses(4)
    options = zip(("--ca", "--status", "--http", "--ops"), (address, *others), strict=True)
    goodstanding(
        "init",
        "--data",
        data,
        "--database-url",
        empty_database_url,
        *(word for pair in options for word in pair),
        check=True,
    )
    issuer = x509.load_pem_x509_certificate((data / "ca/issuing.pem").read_bytes())
    ledger = Ledger()
    crowd = Crowd(ledger, csr("storm.example.com"))
    db = Database.open(empty_database_url)
    ca = Service("ca", tmp_path, {}, accepts(address))
    chance = random.Random(SEED)
    try:
        for kill in range(KILLS):
            before = len(ledger.issued)
            ca.start().wait_up()
            asyncio.run(storm_and_kill(crowd, ca, address, data / "tls", chance.uniform(0, LONGEST)))
            assert len(ledger.issued) > before
            try:
                ledger.check(db, issuer)
            except AssertionError as error:
                raise AssertionError(f"after kill {kill + 1}, STORM_SEED={SEED}: {error}") from error
    finally:
        ca.stop()
        db.close()
    assert ledger.revoked
    assert crowd.repeated
    sys.stdout.write(
        f"{KILLS} kills: {len(ledger.issued)} issued, {len(ledger.revoked)} revoked, {crowd.repeated} repeated; "
        f"all there, none twice (STORM_SEED={SEED})\n"
    )
