"""The credentials of the services while `goodstanding up` runs: made, renewed, and the gateway's anew at each start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.cli import credentials
from services.cli.credentials import TlsAuthority
from services.cli.failures import Failed, one_line
from services.cli.folder import DataFolder
from services.cli.output import note
from services.cli.settings import open_database
from services.clock import Clock
from services.config import Settings
from services.db.engine import Database

DAY = 24 * 60 * 60.0
T = TypeVar("T")


@dataclass
class Keeper:
    """Looks after the credentials of the services."""

    folder: DataFolder
    settings: Settings
    authority: TlsAuthority
    clock: Clock

    async def fresh_gateway(self) -> None:
        """A new identity for a gateway that starts."""
        await asyncio.to_thread(self._with_database, credentials.fresh_gateway)

    async def renew_due(self) -> None:
        """New credentials where two thirds of the old ones' life are over."""
        for name in await asyncio.to_thread(self._with_database, credentials.renew_due):
            note(f"renewed the credential {name}")

    async def renew_daily(self) -> None:
        """Renew what is due, every day. Failing once is no reason to stop the services."""
        while True:
            await asyncio.sleep(DAY)
            try:
                with one_line():
                    await self.renew_due()
            except Failed as error:
                note(f"cannot renew the credentials, and will try again tomorrow: {error.message}")

    def _with_database(self, work: Callable[[DataFolder, TlsAuthority, Database, datetime], T]) -> T:
        with open_database(self.settings) as db:
            return work(self.folder, self.authority, db, self.clock())
