"""What a process knows of the services: its channels to them, look-ups, and the watch that keeps knowledge true.

Every process of a gateway that answers follows the status service by itself, so that the bound on freshness (G3) needs
no word from another process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from gateway.answers import AnswerCache
from gateway.channel import CredentialFiles, ServiceChannel
from gateway.clock import boot_time
from gateway.config import ConfigError, GatewaySettings
from gateway.issuers import Issuer
from gateway.knowledge import Knowledge
from gateway.status_source import StatusClient, StatusWatch

_logger = structlog.get_logger(__name__)

_MARGIN = 0.01
"""Seconds before the bound at which `good` ends: time for a pile of answers to get from the test to the kernel."""

_CREDENTIAL_CHECK = 10.0


def open_channel(settings: GatewaySettings, address: str) -> ServiceChannel:
    """A channel to a service, with the gateway's credential. Raises ConfigError."""
    table = settings.gateway
    files = CredentialFiles(settings.path(table.tls_ca), settings.path(table.certificate), settings.path(table.key))
    try:
        return ServiceChannel(address, files)
    except OSError as error:
        raise ConfigError(
            f"cannot read the gateway's credential: {error}. `goodstanding credential new` makes one."
        ) from error


class Following:
    """Follows the status service."""

    def __init__(
        self,
        settings: GatewaySettings,
        cache: AnswerCache,
        issuers_changed: Callable[[], None],
        *,
        ping_interval: float | None = None,
    ) -> None:
        """`ping_interval`: seconds between two proofs, if not as configured.

        Raises ConfigError: the gateway's credential cannot be used.
        """
        table = settings.gateway
        self.cache = cache
        self.channel = open_channel(settings, table.status)
        self.client = StatusClient(self.channel, boot_time, timeout=table.max_staleness)
        self.knowledge = Knowledge(cache, self.client.look_up, boot_time, table.max_staleness - _MARGIN)
        self.client.evidence = self.knowledge.evidence
        interval = table.ping_interval if ping_interval is None else ping_interval
        self._watch = StatusWatch(self.client, self.knowledge, boot_time, interval, issuers_changed)
        self._max_staleness = table.max_staleness

    @property
    def issuers(self) -> list[Issuer]:
        """All issuers that there are."""
        return list(self.knowledge.issuers)

    def is_current(self) -> bool:
        """Whether the watch vouches for what is held."""
        return boot_time() - self.knowledge.evidence.proof < self._max_staleness

    async def run(self) -> None:
        """Follow, until cancelled."""
        await self._watch.run()

    async def close(self) -> None:
        """End calls and the connection."""
        await self.knowledge.close()
        await self.channel.close()


async def follow_credential(channels: Iterable[ServiceChannel]) -> None:
    """Take over the gateway's credential whenever its files change, until cancelled."""
    while True:
        await asyncio.sleep(_CREDENTIAL_CHECK)
        for channel in channels:
            try:
                channel.refresh()
            except OSError as error:
                _logger.warning("credential unreadable", reason=str(error))
