"""Where signers come from: files, for the issuers that have some in the configuration, and enrolment for the others.

A gateway has one of this, however many processes answer: the CA service counts the certificates that it gives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

import structlog

from gateway.channel import ServiceChannel
from gateway.clock import wall_time
from gateway.config import ConfigError, GatewaySettings
from gateway.enrolment import Enrolment
from gateway.file_signers import FileSigners, paths_of
from gateway.issuers import Issuer
from gateway.policy import ResponderId
from gateway.signer_status import LookUp
from gateway.signers import Signers

_logger = structlog.get_logger(__name__)

_SIGNER_FILES_CHECK = 2.0


def least_validity(settings: GatewaySettings) -> Callable[[str], float]:
    """How many seconds answers about an issuer have to be valid at least: for `Signers`."""
    policies = settings.gateway.validity_policies()
    return lambda issuer: policies.of(issuer).minimum


class Signing:
    """Keeps signers for all issuers that answers can be expected for."""

    def __init__(self, settings: GatewaySettings, signers: Signers, ca: ServiceChannel, look_up: LookUp) -> None:
        """`look_up`: asks the status service. Raises ConfigError: files of signers cannot be used."""
        table = settings.gateway
        by_name = table.responder_id is ResponderId.NAME
        self.signers = signers
        self.files = FileSigners(signers, paths_of(settings), wall_time, by_name=by_name, look_up=look_up)
        self._news = asyncio.Event()
        self.enrolment = Enrolment(signers, ca, kinds=table.signer_keys, by_name=by_name)
        self._unheard_of = set(table.issuers)
        self._heard = False
        self._refused: list[str] = []

    def follow(self, issuers: Sequence[Issuer]) -> None:
        """Keep signers for these issuers, and for no others."""
        refused = self.files.follow(issuers)
        if not self._heard:  # a start, which is refused where a pair is: later, answers for the others go on
            self._refused = refused
            self._heard = bool(issuers)
        self._news.set()
        self.enrolment.follow([issuer for issuer in issuers if issuer.name not in self.files])
        if issuers:
            for name in sorted(self._unheard_of - {issuer.name for issuer in issuers}):
                _logger.warning("the configuration speaks of an issuer that there is not", issuer=name)
            self._unheard_of.clear()

    def answerable(self, issuers: Iterable[Issuer]) -> list[str]:
        """The issuers that answers can be expected for: a responder certificate can be had, or the files are there."""
        now = wall_time()
        return [
            issuer.name for issuer in issuers if now < issuer.not_after and (issuer.active or issuer.name in self.files)
        ]

    def ready_for(self, issuer: str) -> bool:
        """Whether answers can be signed, and all kinds of signers were asked for."""
        return self.signers.ready_for(issuer) and self.enrolment.settled(issuer)

    def problems(self, issuers: Iterable[str]) -> dict[str, list[str]]:
        """What is wrong with files, for the issuers where anything is."""
        return {name: found for name in issuers if (found := self.files.problems(name))}

    def endings(self, issuers: Iterable[str]) -> dict[str, list[str]]:
        """Which signers from files end soon, for the issuers where any does."""
        return {name: found for name in issuers if (found := self.files.endings(name))}

    async def run(self) -> None:
        """Follow the files of signers, and the status of their certificates, until cancelled.

        Raises ConfigError where, at the start, files are not those of signers for the issuers that there are.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SIGNER_FILES_CHECK):
                    await self._news.wait()
            self._news.clear()
            if self._refused:
                raise ConfigError("; ".join(self._refused))
            try:
                await self.files.refresh()
            except Exception:  # whatever it is: nobody else would follow the files
                _logger.exception("following the files of signers went wrong")

    async def close(self) -> None:
        """Stop renewing."""
        await self.enrolment.close()
