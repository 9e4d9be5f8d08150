"""The status process: from settings to a running service, and to a clean end.

Whatever is wrong with the database, the certificates or the address is raised before the first call is accepted.
Health says SERVING while the database can be read, and only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.clock import Clock, utc_now
from services.config import Settings
from services.db import schema
from services.db.engine import Database
from services.rpc.assembly import make_metrics, make_server, start_deny_list
from services.rpc.lifecycle import serve_until_signal
from services.rpc.server import RpcServer
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
        deny_list = start_deny_list(stack, db)
        changed = asyncio.Event()
        hub = PositionHub(
            db, interval=settings.status.poll_interval_ms / 1000, on_available=lambda _available: changed.set()
        )
        servicer = CertificateStatusServicer(StatusReader(db, clock), hub)
        stack.callback(servicer.close)
        add = partial(status_pb2_grpc.add_CertificateStatusServiceServicer_to_server, servicer)
        metrics = make_metrics(stack, settings.status.metrics_listen)
        server = make_server(settings, "status", SERVICE, add, deny_list=deny_list, metrics=metrics, clock=clock)
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
