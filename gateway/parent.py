"""A gateway with several workers, as its parent: it listens, has signers made, and looks after the workers.

It answers nobody but operators. Signers are enrolled and read from files here, once for all workers; they travel to
each over a socketpair, and what comes later as it happens.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Callable, Iterable
from itertools import count

import structlog
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.answering import request_verifier
from gateway.answers import AnswerCache
from gateway.clock import wall_time
from gateway.config import GatewaySettings
from gateway.explanation import Json
from gateway.figures import Ledger, LedgerCollector, figures
from gateway.following import Following, follow_credential, open_channel
from gateway.handover import EXPLAIN, INSTALL, METRICS, READINESS, Line, Message
from gateway.metrics import SIGNER_EXPIRY
from gateway.ocsp.response import ResponseSigner
from gateway.ops import make_ops_app
from gateway.portable import PortableSigner
from gateway.servers import listen, operators_server, serve_beside, stop_event
from gateway.signers import Signers
from gateway.signing import Signing, least_validity
from gateway.workforce import Workforce

_logger = structlog.get_logger(__name__)

_PING_INTERVAL = 1.0
"""Only issuers are followed here; no answer depends on these proofs."""
_OURS = "goodstanding_"
_EXPLAIN_WITHIN = 5.0
"""Seconds that an explanation may take: an answer may wait for several look-ups."""


class SharedSigners(Signers):
    """Signers that others are told of."""

    def __init__(
        self,
        wall_clock: Callable[[], float],
        least: Callable[[str], float],
        installed: Callable[[str, int, PortableSigner], None],
        removed: Callable[[str, int | None], None],
    ) -> None:
        super().__init__(wall_clock, least)
        self._installed = installed
        self._removed = removed

    def install(self, issuer: str, signer: ResponseSigner, slot: int = 0) -> None:
        """Sign with this one from now on, everywhere."""
        super().install(issuer, signer, slot)
        self._installed(issuer, slot, _portable(signer))

    def remove(self, issuer: str, slot: int | None = None) -> None:
        """Sign no more with it, anywhere."""
        super().remove(issuer, slot)
        self._removed(issuer, slot)

    def tell(self, line: Line) -> None:
        """Tell a new worker of all that there are."""
        for issuer, slots in self._slots.items():
            for slot, signer in slots.items():
                line.say(INSTALL, issuer=issuer, slot=slot, signer=_portable(signer).pack())


class Parent:
    """The parts of a gateway that there are once."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises ConfigError: what the configuration names cannot be used."""
        table = settings.gateway
        request_verifier(settings)  # said here once, rather than by every worker again and again
        # Workers that start later must answer as the others do, whatever the file says then.
        self.workforce = Workforce(
            table.workers,
            {"table": table.model_dump(mode="json"), "base": str(settings.base)},
            lambda line: self._signers.tell(line),
        )
        self._signers = SharedSigners(
            wall_time, least_validity(settings), self.workforce.install, self.workforce.remove
        )
        self._following = Following(settings, AnswerCache(1, 1), self._issuers_changed, ping_interval=_PING_INTERVAL)
        self._ca = open_channel(settings, table.ca)
        self._signing = Signing(settings, self._signers, self._ca, self._following.client.look_up)
        self._ledger = Ledger()
        self._silences = 0
        self._explanations = count()
        self._reports: dict[int, Message | None] = {}
        self.workforce.ended = lambda number: self._ledger.gone(str(number))
        registry = CollectorRegistry()
        registry.register(LedgerCollector(self._ledger, self._own))
        self.operators = operators_server(
            make_ops_app(
                self.readiness,
                registry,
                refresh_readiness=self._ask_for_readiness,
                refresh_metrics=self._ask_for_metrics,
                explain=self._explain,
            )
        )

    def _issuers_changed(self) -> None:
        self._signing.follow(self._following.issuers)

    async def _ask_for_readiness(self) -> None:
        self._reports = await self.workforce.ask(READINESS)

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether all workers can answer for every issuer that answers can be expected for, and what is missing."""
        names = self._signing.answerable(self._following.issuers)
        signers = {name: self._signing.ready_for(name) for name in names}
        workers = {str(number): _state(self._reports.get(number), names) for number in self.workforce.numbers}
        checks: dict[str, object] = {
            "issuers": bool(names),
            "watch": all(worker.get("watch") for worker in workers.values()),
            "signers": signers,
            "workers": workers,
        }
        problems = self._signing.problems(names)
        if problems:
            checks["problems"] = problems
        if endings := self._signing.endings(names):
            checks["endings"] = endings
        ready = all(worker["ready"] for worker in workers.values())
        return bool(names) and all(signers.values()) and ready, checks

    async def _ask_for_metrics(self) -> None:
        for number, answer in (await self.workforce.ask(METRICS)).items():
            if answer is None:
                self._silences += 1
                self._ledger.silent(str(number))
            else:
                self._ledger.enter(str(number), answer["figures"])
        # What the library tells of any process. What we count ourselves, only workers do.
        ours = (family for family in REGISTRY.collect() if not family.name.startswith(_OURS))
        self._ledger.enter("parent", figures(ours))

    async def _explain(self, request_der: bytes) -> list[Json]:
        """How each worker answers a request: each has a cache of its own."""
        question = f"{EXPLAIN}:{next(self._explanations)}"
        asked = base64.b64encode(request_der).decode("ascii")
        answers = await self.workforce.ask(question, within=_EXPLAIN_WITHIN, request=asked)
        return [{"worker": number, **answer["explanation"]} for number, answer in answers.items() if answer is not None]

    def _own(self) -> Iterable[Metric]:
        yield from SIGNER_EXPIRY.collect()
        yield GaugeMetricFamily("goodstanding_workers", "Workers that run.", value=len(self.workforce))
        yield CounterMetricFamily(
            "goodstanding_worker_restarts", "Workers that ended by themselves.", value=self.workforce.restarts
        )
        yield CounterMetricFamily(
            "goodstanding_worker_silences", "Times that a worker did not tell its metrics.", value=self._silences
        )

    async def run(self, listener: socket.socket) -> None:
        """Keep signers, and workers on that socket, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.workforce.run(listener))
            tasks.create_task(self._following.run())
            tasks.create_task(follow_credential([self._following.channel, self._ca]))
            tasks.create_task(self._signing.run())

    async def close(self) -> None:
        """End calls and connections."""
        await self._signing.close()
        await self._following.close()
        await self._ca.close()


async def serve_with_workers(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError."""
    table = settings.gateway
    parent = Parent(settings)  # somebody may have to type a passphrase: clients are not left waiting for that
    with listen(table.http) as listener, listen(table.ops) as operators:
        stop = stop_event()
        _logger.info("serving", http=table.http, ops=table.ops, workers=table.workers)

        async def dismiss() -> None:
            await stop.wait()
            listener.close()  # who comes now is refused, rather than left waiting
            await parent.workforce.stop()

        dismissal = asyncio.create_task(dismiss())
        try:
            await serve_beside(parent.run(listener), stop, [(parent.operators, operators)])
        finally:
            await dismissal
            await parent.close()


def _state(report: Message | None, names: Iterable[str]) -> dict[str, object]:
    """A worker's readiness, for a reader."""
    if report is None:
        return {"ready": False, "answers": False}
    signers = {name: name in report["signers"] for name in names}
    ready = report["issuers"] and report["watch"] and all(signers.values())
    state = {"ready": bool(ready), "answers": True, "watch": report["watch"], "signers": signers}
    return {"pid": report["pid"], **state}


def _portable(signer: ResponseSigner) -> PortableSigner:
    assert isinstance(signer, PortableSigner), "what enrolment and files bring can be handed on"
    return signer
