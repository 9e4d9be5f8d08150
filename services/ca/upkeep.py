"""What the service does on the side: telling health about issuers and the database, forgetting old request ids, and
telling the head of the audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor

import structlog

from services.ca.issuers import IssuerDirectory
from services.ca.retries import prune
from services.clock import Clock
from services.db.chain import Head
from services.db.engine import Database
from services.db.records import IssuerState
from services.errors import DomainError

_logger = structlog.get_logger(__name__)

HEALTH_SECONDS = 5.0
PRUNE_SECONDS = 3600.0
HEAD_SECONDS = 3600.0

SetServing = Callable[[str, bool], Awaitable[None]]


class HealthReport:
    """Tells health how things are. `services` are the names that stand for the server as a whole.

    Each active issuer is "issuer/NAME": NOT_SERVING while its key is missing or its certificate has expired or is
    revoked. `look` tells of other things, by names of their own. A database that cannot be read takes everything out of
    service.
    """

    def __init__(
        self,
        directory: IssuerDirectory,
        clock: Clock,
        readers: Executor,
        set_serving: SetServing,
        services: Iterable[str] = ("",),
        look: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._readers = readers
        self._set_serving = set_serving
        self._services = tuple(services)
        self._look_further = look
        self._told: dict[str, bool] = {}

    async def update(self) -> None:
        """Look once, and tell what has changed."""
        found = await asyncio.get_running_loop().run_in_executor(self._readers, self._look)
        # An issuer that is active no longer is told of as not serving.
        for name, serving in (dict.fromkeys(self._told, False) | found).items():
            if self._told.get(name) != serving:
                await self._set_serving(name, serving)
                self._told[name] = serving

    async def keep(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            try:
                await self.update()
            except Exception:
                _logger.exception("health could not be told")

    def _look(self) -> dict[str, bool]:
        try:
            active = [record.name for record in self._directory.all() if record.state is IssuerState.ACTIVE]
            others = self._look_further()
        except DomainError as error:
            _logger.warning("the database cannot be read", reason=error.reason)
            return {}
        issuers = {f"issuer/{name}": self._can_sign(name) for name in active}
        return dict.fromkeys(self._services, True) | issuers | dict(others)

    def _can_sign(self, name: str) -> bool:
        try:
            self._directory.for_issuing(name, self._clock())
        except DomainError as error:
            if self._told.get(f"issuer/{name}", True):
                _logger.error("issuer cannot sign", issuer=name, reason=error.reason)
            return False
        return True


async def keep_pruning(db: Database, clock: Clock, readers: Executor) -> None:
    """Forget old request ids now and every hour, until cancelled."""
    while True:
        try:
            forgotten = await asyncio.get_running_loop().run_in_executor(readers, prune, db, clock)
            _logger.info("old request ids forgotten", count=forgotten)
        except Exception:
            _logger.exception("old request ids could not be forgotten")
        await asyncio.sleep(PRUNE_SECONDS)


async def keep_telling_head(read: Callable[[], Head], readers: Executor) -> None:
    """Log the audit log's head now and every hour, until cancelled: where logs go elsewhere, it is an anchor there."""
    while True:
        try:
            head = await asyncio.get_running_loop().run_in_executor(readers, read)
            _logger.info("audit head", head=str(head))
        except Exception:
            _logger.exception("the audit log's head could not be read")
        await asyncio.sleep(HEAD_SECONDS)
