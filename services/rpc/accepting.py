"""A gRPC server that goes on accepting calls whatever their paths are.

grpcio 1.85's asyncio server decodes the path of every call for an unknown method in the loop that accepts calls. One
path that is no UTF-8 ends that loop, and with it the server: anybody with a certificate that TLS accepts could do that,
also one that is denied. Here calls for unknown methods never get there. They are refused one by one, under no name,
with everything around them that other calls have; methods of the contract go the usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from grpc._cython import cygrpc
from grpc.aio import _server

_logger = structlog.get_logger(__name__)

_UNKNOWN = ""
_INNER = ("_make_request_call_future", "_request_call", "_serving_task_crash_handler")
_OUTER = ("_handle_rpc", "_schedule_rpc_coro", "_MethodResolver")
IS_POSSIBLE = all(hasattr(cygrpc.AioServer, name) for name in _INNER) and all(hasattr(cygrpc, name) for name in _OUTER)
"""Whether grpcio is built as it was when this was written: what is used here is its own business."""


def make_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, Any]],
    concurrent_rpcs: int,
    on_end: Callable[[BaseException], None],
) -> grpc.aio.Server:
    """A server as `grpc.aio.server` makes it, inside the running event loop. Beyond `concurrent_rpcs`, calls get
    RESOURCE_EXHAUSTED at once.

    `on_end` is told, in the event loop, when it accepts no more calls though nobody stopped it.
    """
    if IS_POSSIBLE:
        server: Any = _Server(interceptors, options, concurrent_rpcs, on_end)
        return server  # type: ignore[no-any-return]
    _logger.warning(
        "a call with a path that is no text will end this server: grpcio is not known", grpcio=grpc.__version__
    )
    return grpc.aio.server(interceptors=interceptors, options=options, maximum_concurrent_rpcs=concurrent_rpcs)


class _Server(_server.Server):
    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, Any]],
        concurrent_rpcs: int,
        on_end: Callable[[BaseException], None],
    ) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(self._loop, None, (), interceptors, tuple(options), concurrent_rpcs)
        self._server.unknown = _Unknown(tuple(interceptors), concurrent_rpcs, self._loop)
        self._server.on_end = on_end


class _Core(cygrpc.AioServer):  # type: ignore[misc]
    unknown: _Unknown
    on_end: Callable[[BaseException], None]

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """The next call of a registered method; None stands for those of all others."""
        if method is not None:
            called: asyncio.Future[Any] = super()._make_request_call_future(method)
            return called
        return asyncio.ensure_future(self._refuse_unknown())

    async def _refuse_unknown(self) -> None:
        """Until the server stops: then what waits for the next call raises, as it does for all others."""
        while True:
            self.unknown.refuse(await self._request_call())

    def _serving_task_crash_handler(self, task: asyncio.Task[None]) -> None:
        super()._serving_task_crash_handler(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.on_end(error)


class _Unknown:
    """Calls for methods that there are not, while they are being refused."""

    def __init__(
        self, interceptors: tuple[grpc.aio.ServerInterceptor, ...], at_once: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._interceptors = interceptors
        self._at_once = at_once
        self._loop = loop
        self._resolver = cygrpc._MethodResolver([], {})
        self._tasks: set[asyncio.Task[None]] = set()

    def refuse(self, state: Any) -> None:
        """Refuse a call, which is grpcio's own object."""
        is_too_many = len(self._tasks) >= self._at_once
        call = cygrpc._handle_rpc(_UNKNOWN, self._resolver, self._interceptors, state, self._loop, is_too_many)
        task = self._loop.create_task(cygrpc._schedule_rpc_coro(call, state, self._loop, _UNKNOWN))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
