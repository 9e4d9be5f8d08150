"""The network between the gateways and the status service: a TCP proxy that can delay, stall, cut and switch over.

Octets keep their order in each direction, as on any TCP connection: what is held back comes later, never twice.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_TICK = 0.005


class Line:
    """A proxy at `address` in a thread of its own. Set `delay` and `held` at any time."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.delay = 0.0
        """Seconds that each octet is on its way, in either direction."""
        self.held = False
        """Whether everything stops where it is."""
        self.is_cut = False
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")

    def start(self) -> None:
        """Begin to take connections."""
        self._thread.start()
        self._do(self._listen())

    def stop(self) -> None:
        """Close all connections, and end the thread."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break all connections, and refuse new ones until `mend`."""
        self.is_cut = True
        self._do(self._break())

    def mend(self) -> None:
        """Take connections again."""
        self.is_cut = False

    def switch(self, target: str) -> None:
        """Lead to another service: connections that are open break, as when a balancer fails over."""
        self.target = target
        self._do(self._break())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._break()

    async def _break(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with _closing(writer):
                if not self.is_cut:
                    await self._pass_on(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the connection is closed, and that is all that there is to say
        finally:
            self._connections.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.target.rsplit(":", 1)
        there, back = await asyncio.open_connection(host, int(port))
        with _closing(back):
            directions = [asyncio.create_task(self._carry(*way)) for way in ((reader, back), (there, writer))]
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.create_task(self._deliver(waiting, sink))
        try:
            while octets := await source.read(65536):
                waiting.put_nowait((self._loop.time(), octets))
            waiting.put_nowait((self._loop.time(), b""))
            await sending
        finally:
            sending.cancel()

    async def _deliver(self, waiting: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        while True:
            came_at, octets = await waiting.get()
            while self.held or self._loop.time() < came_at + self.delay:
                await asyncio.sleep(_TICK)
            if not octets:
                return
            sink.write(octets)
            await sink.drain()


@contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(RuntimeError):
            writer.transport.abort()
