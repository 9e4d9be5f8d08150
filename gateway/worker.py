"""One of several processes that answer on the same socket. It is given its settings and its signers by the parent.

It follows the status service by itself, so that freshness (G3) is its own. It enrols nothing and reads no signer's
files. It ends when it is told to, or when its parent is gone.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import structlog
from prometheus_client import REGISTRY

from gateway import handover
from gateway.answering import Answering, make_cache
from gateway.clock import wall_time
from gateway.config import GatewaySettings, GatewayTable
from gateway.figures import figures
from gateway.following import Following, follow_credential
from gateway.handover import Inheritance, Line, Message
from gateway.issuers import Issuer
from gateway.metrics import SIGNER_EXPIRY_NAME
from gateway.portable import PortableSigner, speaks_for
from gateway.servers import raise_file_limit, serve_beside, stop_event
from gateway.signers import Signers
from gateway.signing import least_validity

_logger = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1
_WARM_UP = 2.0
_WARM_UP_CHECK = 0.01


class ReceivedSigners:
    """The signers that the parent has handed over. Each signs for the issuer that it speaks for, and for no other.

    Parent and worker hear of issuers on streams of their own: a signer may come before its issuer is known, and an
    issuer may be replaced under its name before the parent takes the old signer back.
    """

    def __init__(self, signers: Signers) -> None:
        self._signers = signers
        self._held: dict[str, dict[int, PortableSigner]] = {}
        self._issuers: dict[str, Issuer] = {}

    def take(self, issuer: str, slot: int, signer: PortableSigner) -> None:
        """Sign with this one, in place of the one before."""
        self._held.setdefault(issuer, {})[slot] = signer
        self._install(issuer, slot, signer)

    def drop(self, issuer: str, slot: int | None) -> None:
        """Sign no more with the signer in one slot, or in any."""
        slots = self._held.get(issuer, {})
        slots.pop(slot, None) if slot is not None else slots.clear()
        if not slots:
            self._held.pop(issuer, None)
        self._signers.remove(issuer, slot)

    def follow(self, issuers: Iterable[Issuer]) -> None:
        """These are the issuers now."""
        before, self._issuers = self._issuers, {issuer.name: issuer for issuer in issuers}
        for name, slots in self._held.items():
            if _identity(before.get(name)) != _identity(self._issuers.get(name)):
                self._signers.remove(name)
                for slot, signer in slots.items():
                    self._install(name, slot, signer)

    def ready(self) -> list[str]:
        """The issuers that answers can be signed for now."""
        return [name for name in self._held if self._signers.ready_for(name)]

    def complete(self) -> bool:
        """Whether there are signers, and an answer can be signed wherever there is one."""
        return bool(self._held) and len(self.ready()) == len(self._held)

    def _install(self, name: str, slot: int, signer: PortableSigner) -> None:
        issuer = self._issuers.get(name)
        if issuer is not None and speaks_for(signer, issuer):
            self._signers.install(name, signer, slot)


class Worker:
    """The parts of one worker."""

    def __init__(self, settings: GatewaySettings, line: Line) -> None:
        """Raises ConfigError: what the configuration names cannot be used."""
        workers = settings.gateway.workers
        signers = Signers(wall_time, least_validity(settings))
        self._line = line
        self._received = ReceivedSigners(signers)
        self._following = Following(settings, make_cache(settings, workers), self._issuers_changed)
        self._answering = Answering(settings, self._following, signers, workers)
        self._explaining: set[asyncio.Task[None]] = set()
        self.limits = self._answering.limits
        self.server = self._answering.server()

    def _issuers_changed(self) -> None:
        self._received.follow(self._following.issuers)

    async def warm_up(self, stop: asyncio.Event) -> None:
        """Wait until there is something to answer with, for a while: other workers can answer meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WARM_UP):
                while not (stop.is_set() or (self._following.is_current() and self._received.complete())):
                    await asyncio.sleep(_WARM_UP_CHECK)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the services and the parent, until cancelled; `stop` is set when the parent is gone."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._following.run())
            tasks.create_task(follow_credential([self._following.channel]))
            tasks.create_task(self._answering.run())
            tasks.create_task(self._obey(stop))

    async def _obey(self, stop: asyncio.Event) -> None:
        async for message in self._line.messages():
            try:
                self._hear(message)
            except Exception as error:  # noqa: BLE001  (the next may be better; of this one, with its key, nothing is told)
                _logger.error("a message of the parent could not be used", kind=type(error).__name__)
        stop.set()

    def _hear(self, message: Message) -> None:
        match message["kind"]:
            case handover.INSTALL:
                signer = PortableSigner.unpack(message["signer"])
                self._received.take(message["issuer"], message["slot"], signer)
            case handover.REMOVE:
                self._received.drop(message["issuer"], message["slot"])
            case handover.READINESS:
                self._line.say(
                    handover.READINESS,
                    pid=os.getpid(),
                    issuers=bool(self._following.issuers),
                    watch=self._following.is_current(),
                    signers=self._received.ready(),
                )
            case handover.METRICS:
                self._line.say(handover.METRICS, figures=figures(REGISTRY.collect(), without={SIGNER_EXPIRY_NAME}))
            case str(question) if question.startswith(handover.EXPLAIN):
                task = asyncio.create_task(self._explain(question, base64.b64decode(message["request"])))
                self._explaining.add(task)
                task.add_done_callback(self._explaining.discard)

    async def _explain(self, question: str, request_der: bytes) -> None:
        self._line.say(question, explanation=await self._answering.explainer.explain(request_der))

    async def close(self) -> None:
        """End calls and connections."""
        await self._following.close()
        self._line.close()


async def work(inheritance: Inheritance) -> None:
    """Answer until told to stop. Raises ConfigError: see `Worker`."""
    die_with_parent()
    structlog.contextvars.bind_contextvars(worker=inheritance.number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well, and it tells us
    stop = stop_event([signal.SIGTERM])
    line = await Line.open(inheritance.pair)
    first = await line.hear()
    if first is None or first["kind"] != handover.SETTINGS:
        return
    table = GatewayTable.model_validate(first["table"])
    worker = Worker(GatewaySettings.model_construct(gateway=table, base=Path(first["base"])), line)
    raise_file_limit(worker.limits.max_connections)
    try:
        await serve_beside(worker.run(stop), stop, [(worker.server, inheritance.listener)], after=worker.warm_up(stop))
    finally:
        await worker.close()


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux). The end of the line tells of it, too."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _identity(issuer: Issuer | None) -> object:
    """What a signer's being good for an issuer depends on."""
    return issuer and (issuer.subject_der, issuer.public_key_der, issuer.certificates_der)
