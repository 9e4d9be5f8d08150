"""From start to a clean end: SIGTERM and SIGINT stop a server within five seconds."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import structlog

from services.rpc.server import RpcServer

_logger = structlog.get_logger(__name__)


class EndedError(RuntimeError):
    """A server came to its end without having been asked to."""


async def serve_until_signal(server: RpcServer, *, ready: Callable[[], None] | None = None, grace: float = 5.0) -> None:
    """Start `server`, call `ready`, and return after SIGTERM or SIGINT when everything has stopped.

    Health says NOT_SERVING at once, calls in progress get `grace` seconds. A second signal ends the wait for them.
    Cleaning up what the handlers used (database, deny list, writer) is the caller's, after this returns.
    Raises EndedError, for the process to be started again: the server itself accepts no more calls.
    """
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in signals:
        loop.add_signal_handler(number, asked.put_nowait, number)
    try:
        await server.start()
        _logger.info("serving", port=server.port)
        if ready is not None:
            ready()
        received = await _first_signal(server, asked)
        _logger.info("stopping", signal=received.name, grace_seconds=grace)
        await _stop(server, grace, asked)
        _logger.info("stopped")
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _first_signal(server: RpcServer, asked: asyncio.Queue[signal.Signals]) -> signal.Signals:
    received = asyncio.ensure_future(asked.get())
    await asyncio.wait((received, server.ended), return_when=asyncio.FIRST_COMPLETED)
    if received.done():
        return received.result()
    received.cancel()
    raise EndedError("no more calls are accepted") from server.ended.result()


async def _stop(server: RpcServer, grace: float, asked: asyncio.Queue[signal.Signals]) -> None:
    stopping = asyncio.ensure_future(server.stop(grace))
    again = asyncio.ensure_future(asked.get())
    await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await server.stop(0)
    again.cancel()
    await stopping
