"""The status process: from settings to a running service, and to a clean end.

Whatever is wrong with the database, the certificates or the address is raised before the first call is accepted.
Health says SERVING while the database can be read, and only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import grpc
from prometheus_client import CollectorRegistry

from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.clock import Clock, utc_now
from services.config import Settings, StatusSettings
from services.db import credentials, schema
from services.db.engine import Database
from services.rpc.deny_list import DenyList
from services.rpc.identity import Authenticator
from services.rpc.lifecycle import serve_until_signal
from services.rpc.metrics import RpcMetrics, serve_metrics
from services.rpc.server import RpcServer, TlsFiles, build_server
from services.status.hub import PositionHub
from services.status.lookup import StatusReader
from services.status.servicer import CertificateStatusServicer

SERVICE = status_pb2.DESCRIPTOR.services_by_name["CertificateStatusService"].full_name


async def serve(
    settings: Settings, *, ready: Callable[[RpcServer], None] | None = None, clock: Clock = utc_now
) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called with the server once it accepts calls.

    Raises ConfigError for settings that cannot be used, and DomainError for a database that cannot.
    """
    async with AsyncExitStack() as stack:
        db = Database.open(settings.database.url, read_only=True)
        stack.callback(db.close)
        schema.check_current(db)
        deny_list = DenyList(partial(_denied, db))
        deny_list.start()
        stack.callback(deny_list.stop)
        changed = asyncio.Event()
        hub = PositionHub(
            db, interval=settings.status.poll_interval_ms / 1000, on_available=lambda _available: changed.set()
        )
        servicer = CertificateStatusServicer(StatusReader(db, clock), hub)
        stack.callback(servicer.close)
        server = _build_server(settings, servicer, deny_list, _metrics(stack, settings.status), clock)
        hub.start()
        stack.push_async_callback(hub.stop)
        health = asyncio.create_task(_keep_health(hub, changed, server))
        stack.callback(health.cancel)
        await serve_until_signal(server, ready=partial(ready, server) if ready else None)


async def _keep_health(hub: PositionHub, changed: asyncio.Event, server: RpcServer) -> None:
    """Tell the health service whenever the database goes away or comes back."""
    while True:
        await changed.wait()
        changed.clear()
        for name in ("", SERVICE):
            await server.set_serving(name, hub.is_available)


def _denied(db: Database) -> frozenset[str]:
    with db.read() as conn:
        return credentials.denied_fingerprints(conn)


def _metrics(stack: AsyncExitStack, settings: StatusSettings) -> RpcMetrics:
    registry = CollectorRegistry()
    if settings.metrics_listen:
        stack.callback(serve_metrics(settings.metrics_listen, registry))
    return RpcMetrics(registry)


def _build_server(
    settings: Settings,
    servicer: CertificateStatusServicer,
    deny_list: DenyList,
    metrics: RpcMetrics,
    clock: Clock,
) -> RpcServer:
    files = settings.tls.credential("status")

    def add(server: grpc.aio.Server) -> None:
        status_pb2_grpc.add_CertificateStatusServiceServicer_to_server(servicer, server)

    return build_server(
        listen=settings.status.listen,
        tls=TlsFiles(settings.tls.root, files.certificate, files.key),
        services={SERVICE: add},
        authenticator=Authenticator(trust_domain=settings.tls.trust_domain, is_denied=deny_list.is_denied, clock=clock),
        deny_list=deny_list,
        metrics=metrics,
    )
