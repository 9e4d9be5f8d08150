"""What answers: responder, both doors, documents. A gateway has one of this for each process that answers."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

from prometheus_client import REGISTRY

from gateway import metrics
from gateway.answers import AnswerCache
from gateway.clock import boot_time, wall_time
from gateway.config import ConfigError, GatewaySettings
from gateway.crl_references import CrlReferences
from gateway.documents import Documents
from gateway.explanation import Explainer
from gateway.following import Following
from gateway.limits import DoorCounters, Limits
from gateway.observation import EvidenceAges, EvidenceCollector
from gateway.ops import DoorCollector
from gateway.paths import OcspPaths
from gateway.policy import AnswerPolicy
from gateway.protocol import ocsp_protocol, server_config
from gateway.request_signers import RequestVerifier
from gateway.responder import Responder
from gateway.servers import STOP_WITHIN, Server
from gateway.signers import Signers
from gateway.web import make_app


def share(total: int, workers: int) -> int:
    """What one of several workers may take of something that is limited for the whole gateway."""
    return max(1, total // workers)


def make_cache(settings: GatewaySettings, workers: int = 1) -> AnswerCache:
    """The cache of one of so many processes that answer; together they hold what is configured."""
    table = settings.gateway
    return AnswerCache(share(table.cache_entries, workers), share(table.cache_mib * 1024 * 1024, workers))


def request_verifier(settings: GatewaySettings) -> RequestVerifier | None:
    """Who may ask, where requests have to be signed. Raises ConfigError."""
    anchors = settings.gateway.request_trust_anchors
    if anchors is None:
        return None
    try:
        return RequestVerifier.from_file(settings.path(anchors), wall_time)
    except ValueError as error:
        raise ConfigError(str(error)) from error


class Answering:
    """Answers from what `following` knows, signed by `signers`; one of so many workers."""

    def __init__(self, settings: GatewaySettings, following: Following, signers: Signers, workers: int = 1) -> None:
        """Raises ConfigError: the certificates of those who may ask cannot be read."""
        table = settings.gateway
        knowledge = following.knowledge
        self._table = table
        self.limits = Limits(
            max_connections=share(table.max_connections, workers), max_pending=share(table.max_pending, workers)
        )
        self.documents = Documents(knowledge.issuers, following.client, wall_time)
        self.references = CrlReferences(
            knowledge.issuers, self.documents.crl, following.cache, table.public_url, wall_time
        )
        policy = AnswerPolicy(
            table.nonce,
            table.never_issued,
            table.archive_cutoff,
            table.invalidity_date,
            self.references.extension if table.crl_reference else None,
        )
        verifier, validity = request_verifier(settings), table.validity_policies()
        self.responder = Responder(
            knowledge,
            signers,
            validity,
            wall_time,
            policy=policy,
            request_verifier=verifier,
            max_requests=table.max_requests,
            max_pending=self.limits.max_pending,
            # On a single core, handing over costs more than it brings.
            signing_threads=cores if (cores := len(os.sched_getaffinity(0)) // workers) > 1 else 0,
        )
        self.explainer = Explainer(
            self.responder, knowledge, policy, validity, boot_time, wall_time, signed_requests=verifier is not None
        )
        self._ages = EvidenceAges(knowledge, boot_time)
        cache, evidence = following.cache, knowledge.evidence
        metrics.export(
            lambda: len(cache), lambda: cache.size, lambda: evidence.applied, lambda: boot_time() - evidence.proof
        )

    def server(self) -> Server:
        """The server for the public address, with both doors. To be called once in a process, for the metrics' sake."""
        paths = OcspPaths([urlsplit(self._table.public_url or "").path])
        counters = DoorCounters()
        protocol = ocsp_protocol(self.responder, self.limits, paths, counters)
        app = make_app(self.responder, self.documents, paths=paths, limits=self.limits)
        door = protocol.door
        REGISTRY.register(EvidenceCollector(self._ages))
        REGISTRY.register(DoorCollector(counters, lambda: len(door.sweep), lambda: door.pending))
        return Server(server_config(app, protocol, timeout_graceful_shutdown=STOP_WITHIN))

    async def run(self) -> None:
        """Watch over freshness, and keep what answers refer to, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ages.run())
                if self._table.crl_reference:
                    tasks.create_task(self.references.keep())
        finally:
            self.responder.close()
