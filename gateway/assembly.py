"""A gateway in one process, put together.

Who calls whom: the doors call the responder; the responder asks knowledge and signers; knowledge is filled by look-ups
and by the watch; the watch tells enrolment which issuers there are.
"""

from __future__ import annotations

import asyncio

from gateway.answering import Answering, make_cache
from gateway.clock import wall_time
from gateway.config import GatewaySettings
from gateway.explanation import Json
from gateway.following import Following, follow_credential, open_channel
from gateway.signers import Signers
from gateway.signing import Signing, least_validity


class Gateway:
    """The parts of one gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises ConfigError: what the configuration names cannot be used."""
        self.following = Following(settings, make_cache(settings), self.issuers_changed)
        self.ca = open_channel(settings, settings.gateway.ca)
        self.signing = Signing(
            settings, Signers(wall_time, least_validity(settings)), self.ca, self.following.client.look_up
        )
        self.answering = Answering(settings, self.following, self.signing.signers)

    def issuers_changed(self) -> None:
        """The watch has told of issuers."""
        self.signing.follow(self.following.issuers)

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether OCSP can be answered for every issuer that it can be expected for, and what is missing."""
        names = self.signing.answerable(self.following.issuers)
        current = self.following.is_current()
        signers = {name: self.signing.ready_for(name) for name in names}
        checks: dict[str, object] = {"issuers": bool(names), "watch": current, "signers": signers}
        problems = self.signing.problems(names)
        if problems:
            checks["problems"] = problems
        if endings := self.signing.endings(names):
            checks["endings"] = endings
        return bool(names) and current and all(signers.values()), checks

    async def explain(self, request_der: bytes) -> list[Json]:
        """How a request is answered here, for operators."""
        return [await self.answering.explainer.explain(request_der)]

    async def run(self) -> None:
        """Follow the status service, the credential's files and those of signers, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.following.run())
            tasks.create_task(follow_credential([self.following.channel, self.ca]))
            tasks.create_task(self.answering.run())
            tasks.create_task(self.signing.run())

    async def close(self) -> None:
        """End calls and connections."""
        await self.signing.close()
        await self.following.close()
        await self.ca.close()
