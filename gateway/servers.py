"""Sockets and HTTP servers, and their one way to stop: SIGTERM or SIGINT, then everything that was asked is answered.

Nothing here knows what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import Coroutine, Iterable, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from gateway.config import ConfigError, split_address

STOP_WITHIN = 5
"""Seconds in which what was asked is answered, once a server is to stop."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Open files beside client connections: gRPC, listeners, logs.
_OTHER_FILES = 128


class Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers: there may be two, and one place that handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def operators_server(app: ASGIApp) -> Server:
    """The server for the operator's address."""
    return Server(
        uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=STOP_WITHIN,
        )
    )


def stop_event(numbers: Iterable[signal.Signals] = STOP_SIGNALS) -> asyncio.Event:
    """An event that these signals set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    return stop


async def serve_beside(
    background: Coroutine[None, None, None],
    stop: asyncio.Event,
    servers: Sequence[tuple[Server, socket.socket]],
    *,
    after: Coroutine[None, None, None] | None = None,
) -> None:
    """Serve until `stop` is set, then finish what was asked, and end what goes on in the background.

    `after`: what to wait for before connections are taken.

    Raises what the background raises, should it end by itself; alone, where it is the only failure of a group.
    """
    beside = asyncio.create_task(background)
    beside.add_done_callback(lambda _: stop.set())
    if after is not None:
        await after
    spare_the_collector()
    serving = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
    await stop.wait()
    failed = beside.done()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    beside.cancel()
    results = await asyncio.gather(beside, return_exceptions=True)
    if failed and isinstance(results[0], Exception):
        raise _alone(results[0])


def _alone(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def spare_the_collector() -> None:
    """Have cyclic garbage looked for less often, and not among what stays for good.

    Nothing on the way of a request makes cycles; what is cached makes every look at all objects slow, and a pause is a
    late answer. Memory is bounded by other means.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def raise_file_limit(connections: int) -> None:
    """Allow as many open files as connections may need; the usual 1,024 would stop the listener long before."""
    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard >= 0 else wanted, hard))


def listen(address: str) -> socket.socket:
    """A socket that listens there. Raises ConfigError."""
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
