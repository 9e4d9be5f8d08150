"""The gateway's process: `goodstanding serve gateway` ends up here, as the one process, the parent, or a worker."""

from __future__ import annotations

import logging
from pathlib import Path

import structlog

from gateway.assembly import Gateway
from gateway.config import GatewaySettings, load
from gateway.handover import Inheritance
from gateway.ops import make_ops_app
from gateway.parent import serve_with_workers
from gateway.servers import listen, operators_server, raise_file_limit, serve_beside, stop_event
from gateway.worker import work

_logger = structlog.get_logger(__name__)


async def serve(config_file: Path | None, *, workers: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `workers` wins over the configuration.

    Raises ConfigError: the configuration cannot be used, or an address cannot be listened on.
    """
    # uvicorn tells of each start and stop, of each server. We tell of it once.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    inheritance = Inheritance.take()
    if inheritance is not None:
        await work(inheritance)
        return
    settings = load(config_file)
    if workers is not None:
        table = settings.gateway.model_copy(update={"workers": workers})
        settings = settings.model_copy(update={"gateway": table})
    if settings.gateway.workers > 1:
        await serve_with_workers(settings)
    else:
        await _serve_alone(settings)


async def _serve_alone(settings: GatewaySettings) -> None:
    """Everything in this process."""
    table = settings.gateway
    gateway = Gateway(settings)
    raise_file_limit(table.max_connections)
    public, operators = (
        gateway.answering.server(),
        operators_server(make_ops_app(gateway.readiness, explain=gateway.explain)),
    )
    with listen(table.http) as public_socket, listen(table.ops) as operators_socket:
        stop = stop_event()
        _logger.info("serving", http=table.http, ops=table.ops)
        try:
            await serve_beside(gateway.run(), stop, [(public, public_socket), (operators, operators_socket)])
        finally:
            await gateway.close()
