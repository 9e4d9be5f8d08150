"""The gateway's process: `goodstanding serve gateway` ends up here.

Who calls whom: the doors call the responder; the responder asks knowledge and signers; knowledge is filled by look-ups
and by the watch; the watch tells enrolment which issuers there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvicorn
from prometheus_client import REGISTRY
from starlette.types import ASGIApp

from gateway import metrics
from gateway.answers import AnswerCache
from gateway.channel import CredentialFiles, ServiceChannel
from gateway.clock import boot_time, wall_time
from gateway.config import ConfigError, GatewaySettings, load, split_address
from gateway.crl_references import CrlReferences
from gateway.documents import Documents
from gateway.enrolment import Enrolment
from gateway.file_signers import FileSigners, paths_of
from gateway.issuers import Issuer
from gateway.knowledge import Knowledge
from gateway.limits import DoorCounters, Limits
from gateway.ops import DoorCollector, make_ops_app
from gateway.paths import OcspPaths
from gateway.policy import AnswerPolicy, ResponderId
from gateway.protocol import ocsp_protocol, server_config
from gateway.request_signers import RequestVerifier
from gateway.responder import Responder
from gateway.signers import Signers
from gateway.status_source import StatusClient, StatusWatch
from gateway.web import make_app

_logger = structlog.get_logger(__name__)

_CREDENTIAL_CHECK = 10.0
_SIGNER_FILES_CHECK = 2.0
_STOP_WITHIN = 5
# Open files beside client connections: gRPC, listeners, logs.
_OTHER_FILES = 128


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers: there are two of them here, and one place that handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Gateway:
    """The parts of one gateway, put together."""

    def __init__(self, settings: GatewaySettings) -> None:
        table = settings.gateway
        files = CredentialFiles(settings.path(table.tls_ca), settings.path(table.certificate), settings.path(table.key))
        self.settings = table
        self.channels = [ServiceChannel(table.status, files), ServiceChannel(table.ca, files)]
        status, ca = self.channels
        self.client = StatusClient(status, boot_time, timeout=table.max_staleness)
        cache = AnswerCache(table.cache_entries, table.cache_mib * 1024 * 1024)
        self.knowledge = Knowledge(cache, self.client.look_up, boot_time, table.max_staleness)
        self.client.evidence = self.knowledge.evidence
        self.signers = Signers(wall_time)
        by_name = table.responder_id is ResponderId.NAME
        self.file_signers = FileSigners(self.signers, paths_of(settings), wall_time, by_name=by_name)
        self.enrolment = Enrolment(self.signers, ca, kinds=table.signer_keys, by_name=by_name)
        self._unheard_of = set(table.issuers)
        self.watch = StatusWatch(self.client, self.knowledge, boot_time, table.ping_interval, self._issuers_changed)
        self.documents = Documents(self.knowledge.issuers, self.client, wall_time)
        self.references = CrlReferences(self.knowledge.issuers, self.documents.crl, cache, table.public_url, wall_time)
        self.responder = Responder(
            self.knowledge,
            self.signers,
            table.validity_policies(),
            wall_time,
            policy=AnswerPolicy(
                table.nonce,
                table.never_issued,
                table.archive_cutoff,
                table.invalidity_date,
                self.references.extension if table.crl_reference else None,
            ),
            request_verifier=_request_verifier(settings),
            max_requests=table.max_requests,
            max_pending=table.max_pending,
        )
        evidence = self.knowledge.evidence
        metrics.export(
            lambda: len(cache), lambda: cache.size, lambda: evidence.applied, lambda: boot_time() - evidence.proof
        )

    def _issuers_changed(self) -> None:
        issuers = list(self.knowledge.issuers)
        self.file_signers.follow(issuers)
        self.enrolment.follow([issuer for issuer in issuers if issuer.name not in self.file_signers])
        if issuers:
            for name in sorted(self._unheard_of - {issuer.name for issuer in issuers}):
                _logger.warning("the configuration speaks of an issuer that there is not", issuer=name)
            self._unheard_of.clear()

    def _answerable(self) -> list[Issuer]:
        """The issuers that answers can be expected for: a responder certificate can be had, or the files are there."""
        now = wall_time()
        return [
            issuer
            for issuer in self.knowledge.issuers
            if now < issuer.not_after and (issuer.active or issuer.name in self.file_signers)
        ]

    def _ready_for(self, issuer: str) -> bool:
        return self.signers.ready_for(issuer) and self.enrolment.settled(issuer)

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether OCSP can be answered for every issuer that it can be expected for, and what is missing."""
        names = [issuer.name for issuer in self._answerable()]
        age = boot_time() - self.knowledge.evidence.proof
        checks: dict[str, object] = {
            "issuers": bool(names),
            "watch": age < self.settings.max_staleness,
            "signers": {name: self._ready_for(name) for name in names},
        }
        problems = {name: found for name in names if (found := self.file_signers.problems(name))}
        if problems:
            checks["problems"] = problems
        ready = bool(names) and age < self.settings.max_staleness and all(map(self._ready_for, names))
        return ready, checks

    async def run_background(self) -> None:
        """Follow the status service, the credential's files and those of signers, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.watch.run())
            tasks.create_task(self._follow_credential())
            if self.settings.crl_reference:
                tasks.create_task(self.references.keep())
            tasks.create_task(self._follow_signer_files())

    async def _follow_credential(self) -> None:
        while True:
            await asyncio.sleep(_CREDENTIAL_CHECK)
            for channel in self.channels:
                try:
                    channel.refresh()
                except OSError as error:
                    _logger.warning("credential unreadable", reason=str(error))

    async def _follow_signer_files(self) -> None:
        while True:
            await asyncio.sleep(_SIGNER_FILES_CHECK)
            try:
                await self.file_signers.refresh()
            except Exception:  # whatever it is: nobody else would follow the files
                _logger.exception("following the files of signers went wrong")

    async def close(self) -> None:
        """End calls and connections."""
        await self.enrolment.close()
        await self.knowledge.close()
        for channel in self.channels:
            await channel.close()


def _request_verifier(settings: GatewaySettings) -> RequestVerifier | None:
    """Who may ask, where requests have to be signed. Raises ConfigError."""
    anchors = settings.gateway.request_trust_anchors
    if anchors is None:
        return None
    try:
        return RequestVerifier.from_file(settings.path(anchors), wall_time)
    except ValueError as error:
        raise ConfigError(str(error)) from error


async def serve(config_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises ConfigError: the configuration cannot be used, or an address cannot be listened on.
    """
    # uvicorn tells of each start and stop, twice: there are two servers. We tell of it once.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = load(config_file)
    table = settings.gateway
    try:
        gateway = Gateway(settings)
    except OSError as error:
        raise ConfigError(
            f"cannot read the gateway's credential: {error}. `goodstanding credential new` makes one."
        ) from error
    _raise_file_limit(table.max_connections + _OTHER_FILES)
    limits = Limits(max_connections=table.max_connections, max_pending=table.max_pending)
    paths = OcspPaths([urlsplit(table.public_url or "").path])
    counters = DoorCounters()
    protocol = ocsp_protocol(gateway.responder, limits, paths, counters)
    app = make_app(gateway.responder, gateway.documents, paths=paths, limits=limits)
    public = _Server(server_config(app, protocol, timeout_graceful_shutdown=_STOP_WITHIN))
    operators = _Server(_operators_config(make_ops_app(gateway.readiness)))
    door = protocol.door
    REGISTRY.register(DoorCollector(counters, lambda: len(door.sweep), lambda: door.pending))
    with _listen(table.http) as public_socket, _listen(table.ops) as operators_socket:
        await _run(
            gateway,
            [(public, public_socket), (operators, operators_socket)],
        )


def _raise_file_limit(wanted: int) -> None:
    """Allow as many open files as connections may need; the usual 1,024 would stop the listener long before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard >= 0 else wanted, hard))


async def _run(gateway: Gateway, servers: list[tuple[_Server, socket.socket]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    background = asyncio.create_task(gateway.run_background())
    serving = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
    background.add_done_callback(lambda _: stop.set())
    _logger.info("serving", http=gateway.settings.http, ops=gateway.settings.ops)
    await stop.wait()
    failed = background.done()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    background.cancel()
    results = await asyncio.gather(background, return_exceptions=True)
    await gateway.close()
    if failed and isinstance(results[0], Exception):
        raise results[0]


def _operators_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=100,
        timeout_graceful_shutdown=_STOP_WITHIN,
    )


def _listen(address: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is spelled out, because asyncio turns Nagle's algorithm off only for sockets that say so.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {address}: {error.strerror}. Stop what uses it, or set another address."
        ) from error
    return listener
