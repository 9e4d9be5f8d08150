"""One interceptor around every RPC: identity, role, limits in time, errors, log line and metrics.

For each call, in this order:

1. who calls (`identity`), from the connection's verified certificate; nobody: UNAUTHENTICATED;
2. whether the method exists, and the role may call it (`authorization`);
3. whether the caller has room for one more call in its share of the server;
4. the handler, no longer than the limit: unary calls have a cap, and streams end when their caller's certificate
   expires or comes onto the deny list, or the server stops;
5. what it raised, as a status (`errors`); text that is not meant for callers stays here, in the log; what was refused
   is told to the audit log (`refusals`);
6. a log line and the metrics.

Not an octet of a request is awaited or parsed before steps 1 to 3: a call that sends none would otherwise take up room
for as long as it likes, whoever makes it. So every handler is registered as one that takes a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from services.errors import (
    DomainError,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from services.rpc.authorization import authorize
from services.rpc.deny_list import DenyList
from services.rpc.errors import internal_status, make_status, to_status
from services.rpc.identity import Authenticator, Caller, set_caller
from services.rpc.metrics import RpcMetrics
from services.rpc.refusals import Refusal, refusal_of, set_teller

_logger = structlog.get_logger(__name__)

if TYPE_CHECKING:  # generic in the stubs alone
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


class _TooSlowError(Exception):
    pass


class _NoSuchMethodError(Exception):
    pass


class Guard(grpc.aio.ServerInterceptor):
    """The interceptor. Make it inside the running event loop that serves."""

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        unary_seconds: float,
        rpcs_per_identity: int,
        clock: Callable[[], float] = time.time,
        deny_list: DenyList | None = None,
        metrics: RpcMetrics | None = None,
        on_refusal: Callable[[Refusal], None] | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._on_refusal = on_refusal
        self._unary_seconds = unary_seconds
        self._rpcs_per_identity = rpcs_per_identity
        self._clock = clock
        self._metrics = metrics
        self._guarded: dict[str, Handler] = {}
        self._streams: dict[str, set[asyncio.Timeout]] = {}
        self._in_progress: Counter[str] = Counter()
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        if deny_list is not None:
            deny_list.subscribe(self._denied)

    def end_streams(self, seconds: float) -> None:
        """Cut every stream after so many seconds: the server stops, and they would not end by themselves."""
        self._stopping = True
        for limits in self._streams.values():
            for limit in limits:
                limit.reschedule(self._loop.time() + seconds)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler with everything above around it; for an unknown method, one that refuses."""
        method = handler_call_details.method
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return self._unknown_method()
            guarded = self._guarded[method] = self._guard(method, handler)
        return guarded

    def _guard(self, method: str, handler: Handler) -> Handler:
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def request_of(requests: Any, context: Context) -> Any:
            return requests if handler.request_streaming else await self._only_request(context)

        async def unary(requests: Any, context: Context) -> Any:
            async def run() -> Any:  # within the limit of the whole call
                return await inner(requests if handler.request_streaming else await _read_one(context), context)

            # A stream of requests with one answer to all of them lasts as long as it takes.
            return await self._serve(method, context, run, streaming=handler.request_streaming)

        async def stream(requests: Any, context: Context) -> None:
            async def run() -> None:
                await _send_all(inner(await request_of(requests, context), context), context)

            await self._serve(method, context, run, streaming=True)

        make: Any = grpc.stream_unary_rpc_method_handler
        outer: Any = unary
        if handler.response_streaming:
            make, outer = grpc.stream_stream_rpc_method_handler, stream
        guarded: Handler = make(outer, handler.request_deserializer, handler.response_serializer)
        return guarded

    def _unknown_method(self) -> Handler:
        async def refuse(_requests: Any, context: Context) -> None:
            # One label for all of them: a caller must not be able to make time series at will.
            await self._serve("unknown", context, _no_such_method, streaming=True)

        handler: Handler = grpc.stream_stream_rpc_method_handler(refuse)
        return handler

    async def _only_request(self, context: Context) -> Any:
        """The request of a stream of answers, which itself may last. Raises InvalidArgument (MESSAGE_MISSING)."""
        try:
            async with asyncio.timeout(self._unary_seconds):
                return await _read_one(context)
        except TimeoutError:
            raise _TooSlowError from None

    async def _serve(self, method: str, context: Context, run: Callable[[], Awaitable[Any]], *, streaming: bool) -> Any:
        call = _Call(method, context, secrets.token_hex(8))
        try:
            caller = self._admit(call)
            self._count(caller)
            try:
                result = await self._bounded(call, caller, run, streaming=streaming)
            finally:
                self._discount(caller)
            call.code = _number(context.code())
            return result
        except grpc.aio.AbortError:  # a handler that ended the call by itself
            call.code = _number(context.code())
            raise
        except asyncio.CancelledError:  # the caller went away, or the server stops
            call.code = grpc.StatusCode.CANCELLED.value[0]
            raise
        except Exception as error:  # the one place where every other failure becomes a status
            if self._stopping and isinstance(error, grpc.aio.BaseError):  # gRPC has given up the call
                call.code = grpc.StatusCode.CANCELLED.value[0]
                raise
            status = _status_of(error, call)
            self._tell(error, call)
            call.code = status.code
        finally:
            self._report(call)
        return await context.abort_with_status(rpc_status.to_status(status))

    def _admit(self, call: _Call) -> Caller:
        caller = self._authenticator.authenticate(call.context.auth_context(), call.context.peer(), call.call_id)
        call.caller = caller  # known from here on, whatever comes next: the log says who was refused
        if call.method != "unknown":
            authorize(call.method, caller.role)
        set_caller(caller)
        set_teller(lambda error, method: self._tell(error, call, method))
        return caller

    async def _bounded(self, call: _Call, caller: Caller, run: Callable[[], Awaitable[Any]], *, streaming: bool) -> Any:
        seconds = caller.not_after.timestamp() + 1 - self._clock() if streaming else self._unary_seconds
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                with self._cuttable(caller, limit) if streaming else contextlib.nullcontext():
                    return await run()
        except TimeoutError:
            if not limit.expired():
                raise
            if streaming and self._stopping:
                raise Unavailable("SHUTTING_DOWN", "the service is being stopped; try again in a moment") from None
            # Says why a stream was cut: raises unless it was for the time alone.
            self._authenticator.authenticate(call.context.auth_context(), call.context.peer(), call.call_id)
            raise _TooSlowError from None

    def _count(self, caller: Caller) -> None:
        """One of the calls that an identity may have in progress. Raises ResourceExhausted (TOO_MANY_CALLS)."""
        if self._in_progress[caller.identity] >= self._rpcs_per_identity:
            raise ResourceExhausted(
                "TOO_MANY_CALLS", f"{caller.identity} has {self._rpcs_per_identity} calls in progress; end some of them"
            )
        self._in_progress[caller.identity] += 1

    def _discount(self, caller: Caller) -> None:
        self._in_progress[caller.identity] -= 1
        if not self._in_progress[caller.identity]:
            del self._in_progress[caller.identity]

    @contextlib.contextmanager
    def _cuttable(self, caller: Caller, limit: asyncio.Timeout) -> Any:
        running = self._streams.setdefault(caller.fingerprint, set())
        running.add(limit)
        try:
            yield
        finally:
            running.discard(limit)
            if not running:
                self._streams.pop(caller.fingerprint, None)

    def _denied(self, denied: frozenset[str]) -> None:
        """Called from the deny list's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: so are the streams
            self._loop.call_soon_threadsafe(self._cut, denied)

    def _cut(self, denied: frozenset[str]) -> None:
        for fingerprint in denied & self._streams.keys():
            for limit in self._streams[fingerprint]:
                limit.reschedule(self._loop.time())

    def _tell(self, error: Exception, call: _Call, method: str = "") -> None:
        if self._on_refusal is None or not isinstance(error, DomainError):
            return
        try:
            refusal = refusal_of(error, method or call.method, call.caller, call.context.peer())
            if refusal is not None:
                self._on_refusal(refusal)
        except Exception:  # the caller's answer does not depend on it
            _logger.exception("a refusal could not be told", **call.described())

    def _report(self, call: _Call) -> None:
        seconds = time.monotonic() - call.started
        code = _CODE_NAMES.get(call.code, "UNKNOWN")
        if self._metrics is not None:
            self._metrics.observe(call.method, code, seconds)
        if call.code:
            _logger.info("call failed", code=code, ms=round(seconds * 1000, 1), **call.described())


class _Call:
    __slots__ = ("call_id", "caller", "code", "context", "method", "started")

    def __init__(self, method: str, context: Context, call_id: str) -> None:
        self.method = method
        self.context = context
        self.call_id = call_id
        self.caller: Caller | None = None
        self.code = 0
        self.started = time.monotonic()

    def described(self) -> dict[str, str]:
        known = {"method": self.method, "call_id": self.call_id, "peer": self.context.peer()}
        if self.caller is not None:
            known |= {"identity": self.caller.identity, "fingerprint": self.caller.fingerprint}
        return known


def _number(code: Any) -> int:
    """A status code as gRPC hands it out: a number, a grpc.StatusCode, or nothing where it was not set."""
    return code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)


_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def _status_of(error: Exception, call: _Call) -> status_pb2.Status:
    """What the caller is told, and a log line for what an operator wants to know."""
    if isinstance(error, Unauthenticated | PermissionDenied):
        known = {**error.metadata, **call.described(), "reason": error.reason, "text": error.message}
        _logger.warning("call refused", **known)
    if isinstance(error, DomainError):
        return to_status(error)
    if isinstance(error, _TooSlowError):
        return make_status(
            grpc.StatusCode.DEADLINE_EXCEEDED, "TOO_SLOW", "the call took longer than the service allows; try again"
        )
    if isinstance(error, DecodeError):
        return to_status(InvalidArgument("MESSAGE_MALFORMED", "the request is not a message of the method's type"))
    # Generated base classes say it in this way of a method that a servicer does not have (grpc.health.v1's List).
    left_out = isinstance(error, NotImplementedError) and _number(call.context.code()) == _UNIMPLEMENTED
    if left_out or isinstance(error, _NoSuchMethodError):
        return make_status(
            grpc.StatusCode.UNIMPLEMENTED,
            "METHOD_UNKNOWN",
            "this service has no such method; perhaps the other service, at another address, was meant",
        )
    _logger.error("call failed unexpectedly", exc_info=error, **call.described())
    return internal_status(call.call_id)


async def _read_one(context: Context) -> Any:
    """The request of a call that has a single one. Raises InvalidArgument (MESSAGE_MISSING)."""
    request = await context.read()
    if request is grpc.aio.EOF:
        raise InvalidArgument("MESSAGE_MISSING", "the call came without its request")
    return request


async def _no_such_method() -> None:
    raise _NoSuchMethodError


async def _send_all(responses: Any, context: Context) -> None:
    """Run a streaming handler: an asynchronous generator, or a coroutine that writes by itself."""
    if not hasattr(responses, "__aiter__"):
        await responses
        return
    async with contextlib.aclosing(responses):
        async for response in responses:
            await context.write(response)
