"""What both services do on the way from settings to a server. What is started here ends with the stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Literal

import grpc
from prometheus_client import CollectorRegistry

from services.clock import Clock
from services.config import Settings
from services.db import credentials
from services.db.engine import Database
from services.rpc.deny_list import DenyList
from services.rpc.identity import Authenticator
from services.rpc.metrics import RpcMetrics, serve_metrics
from services.rpc.refusals import Refusal
from services.rpc.server import RpcServer, TlsFiles, build_server


def start_deny_list(stack: AsyncExitStack, db: Database) -> DenyList:
    """The deny list in the database, followed. Raises Unavailable: nobody is let in on a list that was not read."""

    def load() -> frozenset[str]:
        with db.read_each() as conn:
            return credentials.denied_fingerprints(conn)

    deny_list = DenyList(load)
    deny_list.start()
    stack.callback(deny_list.stop)
    return deny_list


def make_metrics(stack: AsyncExitStack, listen: str | None) -> RpcMetrics:
    """The metrics of a service, served over HTTP if there is an address for it. Raises ConfigError."""
    registry = CollectorRegistry()
    if listen:
        stack.callback(serve_metrics(listen, registry))
    return RpcMetrics(registry)


def make_server(
    settings: Settings,
    section: Literal["ca", "status"],
    service: str,
    add: Callable[[grpc.aio.Server], None],
    *,
    deny_list: DenyList,
    metrics: RpcMetrics,
    clock: Clock,
    on_refusal: Callable[[Refusal], None] | None = None,
    also: Mapping[str, Callable[[grpc.aio.Server], None]] | None = None,
) -> RpcServer:
    """A server for one service: `service` is its full name, and `add` adds its servicer. Raises ConfigError.

    `also`: other services beside it, in the same form.
    """
    files = settings.tls.credential(section)
    return build_server(
        listen=settings.ca.listen if section == "ca" else settings.status.listen,
        tls=TlsFiles(settings.tls.root, files.certificate, files.key),
        services={service: add, **(also or {})},
        authenticator=Authenticator(trust_domain=settings.tls.trust_domain, is_denied=deny_list.is_denied, clock=clock),
        deny_list=deny_list,
        metrics=metrics,
        on_refusal=on_refusal,
    )
