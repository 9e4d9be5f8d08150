"""One HTTP connection, with the limits that uvicorn does not have.

Guarantees: requests are taken in order and at most `max_pipelined` wait at a time; no client takes more memory or time
than `Limits` grants; whoever overdoes it is told so behind the responses that are still owed, then cut off; nobody is
sent a 5xx. Who answers a request, and what, is the business of `protocol.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, ClassVar, Final

import httptools
import structlog
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.answer import Answer
from gateway.clock import Clock
from gateway.headers import Wire
from gateway.heads import Heads
from gateway.limits import NEVER, DoorCounters, Limits, Sweep
from gateway.outbox import Outbox, Unread

_logger = structlog.get_logger(__name__)

# What is parsed at one go. It bounds what pipelining can ask for before the connection is found to be busy.
_SLICE: Final = 4096
# Raw octets of one body, as a multiple of the limit: chunks may be small, but framing without end is no body.
_FRAMING: Final = 8
# What is read and thrown away from a client that is being cut off, so that it gets to see why.
_MAX_DISCARDED: Final = 4 * 1024 * 1024

BAD_REQUEST: Final = b"400 Bad Request"
METHOD_NOT_ALLOWED: Final = b"405 Method Not Allowed"
REQUEST_TIMEOUT: Final = b"408 Request Timeout"
CONTENT_TOO_LARGE: Final = b"413 Content Too Large"
URI_TOO_LONG: Final = b"414 URI Too Long"
HEADERS_TOO_LARGE: Final = b"431 Request Header Fields Too Large"

WRITTEN: Final = "goodstanding.written"
"""The extension of ASGI by which an application tells of an OCSP answer that it has written."""
DRAINED: Final = "goodstanding.drained"
"""The one by which it waits until the kernel has taken what was written: for what is too long to be held for each."""

BETWEEN, HEAD, BODY, UPGRADE = range(4)
"""Which part of a request the next octet belongs to."""

Conditions = tuple[bytes | None, bytes | None]
"""If-None-Match and If-Modified-Since."""


class Hall:
    """What the connections of one server share."""

    def __init__(self, limits: Limits, counters: DoorCounters, clock: Clock) -> None:
        self.limits = limits
        self.counters = counters
        self.clock = clock
        self.sweep = Sweep(limits.sweep_interval)
        self.wire = Wire()
        self.heads = Heads()
        self.outbox = Outbox()
        self.unread = Unread()
        self.slice = min(_SLICE, limits.max_head)


Outgoing = tuple[Answer, bool, Conditions | None]
"""An answer that is written, if it is still fresh then; whether the connection stays open; what the client has."""


class Exchange:
    """A request that waits for its response, in the order of arrival. One of the last three becomes its outcome."""

    __slots__ = ("answer", "conditions", "cycle", "keep_alive", "refusal", "started")

    def __init__(self, keep_alive: bool, conditions: Conditions | None = None) -> None:
        self.keep_alive = keep_alive
        self.conditions = conditions
        self.started = False
        self.answer: Answer | None = None
        self.cycle: RequestResponseCycle | None = None
        self.refusal: bytes | None = None

    def disconnect(self) -> None:
        """Tell an ASGI application that its client is gone."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


class NoFlow(FlowControl):
    """Keeps ASGI cycles from waiting inside `send`: then freshness is tested in the callback that writes.

    Nothing is lost: a cycle starts only while writing is not paused, what it writes is short or waits by itself
    (`DRAINED`), and reading is the protocol's.
    """

    def pause_reading(self) -> None:
        """Leave it to the connection."""

    def resume_reading(self) -> None:
        """Leave it to the connection."""


class CycleTransport:
    """The connection as an ASGI cycle sees it: closing is the protocol's, which knows what is still to be read."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, connection: Connection) -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self.close = connection.close


class Connection(HttpToolsProtocol):
    """Reading, ordering and closing."""

    door: ClassVar[Hall]

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.read_deadline = self.write_deadline = NEVER
        self._exchanges: deque[Exchange] = deque()
        self._upload: Exchange | None = None  # the last one, while its body is received for ASGI
        self._held = b""  # received, not yet parsed
        self._parsing = False
        self._discarded = 0
        self._corked: list[Outgoing | bytes] = []  # what is written at the end of this turn of the event loop
        self._ended = False  # no further request is taken
        self._closing = False  # nothing more is written
        self._draining = False  # the server stops
        self._part = BETWEEN
        self._part_octets = 0  # of the current part, in earlier reads

    # To be said by the subclass

    def _advance(self) -> None:
        """Write every response whose turn it is and that is ready; then `_proceed`."""
        raise NotImplementedError

    def _octets(self, outgoing: Outgoing) -> bytes:
        """What is written of an answer in this callback."""
        raise NotImplementedError

    def _recognise(self, data: bytes) -> bytes:
        """Answer the requests at the beginning of `data` whose heads are known; return the rest."""
        raise NotImplementedError

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it at once where there are too many."""
        # Without uvicorn's own, which asks the kernel seven times for addresses that only the ASGI application wants.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "http"
        # What is written goes to the kernel at once, or writing is paused: an answer whose freshness was tested must
        # not wait here until a client reads on (G3).
        transport.set_write_buffer_limits(0)
        door = self.door
        door.counters.connections += 1
        door.sweep.add(self, self.loop)
        if len(door.sweep) > door.limits.max_connections:
            door.counters.connections_refused += 1
            self.close()
        else:
            self.read_deadline = door.sweep.now + door.limits.head_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything. Look-ups under way run out on their own: others may be waiting for the same ones."""
        self._ended = self._closing = True
        self._held = b""
        self._corked = []
        self.door.sweep.discard(self)
        self.door.unread.discard(self)
        for exchange in self._exchanges:
            exchange.disconnect()
        self._exchanges.clear()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client will send no more; it may still be waiting for what it asked for (R12)."""
        self.uncork()
        if self._closing or not self._exchanges or self._upload is not None:
            return None
        self._part = BETWEEN
        self._finish()
        return True

    def shutdown(self) -> None:
        """Close once what has been asked for is answered."""
        self._draining = True
        if self._exchanges:
            self._finish()
        elif self._part == BETWEEN:
            self.close()

    def _finish(self) -> None:
        """Close behind the last exchange."""
        self._ended = self._upload is None
        last = self._exchanges[-1]
        last.keep_alive = False
        if last.cycle is not None:
            last.cycle.keep_alive = False

    def close(self) -> None:
        """Close once everything that was written has left.

        While the client is still sending, only our direction is closed first and the rest is thrown away: a close with
        unread data resets the connection, and the client would never see why it was refused.
        """
        if self._closing:
            return
        self.uncork()
        if self._closing:  # that was the last response
            return
        self._closing = self._ended = True
        self._held = b""
        self.read_deadline = NEVER
        self.write_deadline = self.door.sweep.now + self.door.limits.close_timeout
        if self._part != BETWEEN and self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    def expire(self) -> None:
        """A deadline has passed: the client was too slow to send, to read, or to ask again."""
        if self.write_deadline < self.door.sweep.now:
            if not self._closing:
                self.door.counters.stalled_writes += 1
            self.transport.abort()
        elif self._part == BETWEEN:
            self.close()
        else:
            self._refuse(REQUEST_TIMEOUT)

    def _refuse(self, status: bytes) -> None:
        """Take no more requests; say why behind the responses that are owed, then close."""
        self._ended = True
        self._held = b""
        self.read_deadline = NEVER
        if self._part == BETWEEN:
            self._part = HEAD  # whatever it was, it is not over
        self.door.counters.refused_requests += 1
        upload, self._upload = self._upload, None
        if upload is not None and upload in self._exchanges:
            if upload.cycle is not None and upload.cycle.response_started:
                self.close()
                return
            upload.disconnect()
            self._exchanges.remove(upload)
        refusal = Exchange(keep_alive=False)
        refusal.refusal = status
        self._exchanges.append(refusal)
        self._advance()

    # Reading

    def data_received(self, data: bytes) -> None:
        """Parse, answer what can be answered, and stop reading while too much is owed."""
        if self._part == BETWEEN and not (self._exchanges or self._held or self._ended or self.flow.write_paused):
            data = self._recognise(data)
            if not data:
                return
        if self._held:
            self._held += data
        elif not self._ended:
            self._take(data)
        else:
            self._discarded += len(data)
            if self._discarded > _MAX_DISCARDED:
                self.transport.abort()

    def _take(self, data: bytes) -> None:
        size = self.door.slice
        position = 0
        if len(data) <= size:
            self._feed(data)
            position = size
        else:
            while position < len(data) and not self._ended and not self._is_busy():
                self._feed(data[position : position + size])
                self.uncork()
                position += size
        if self._is_busy() and not self._ended:
            self._held += data[position:]  # behind what `_ignore_upgrade` may have held
            self.read_deadline = NEVER
            self.flow.pause_reading()

    def _is_busy(self) -> bool:
        # A body that is being received must get through, or its own exchange would block it.
        return self.flow.write_paused or len(self._exchanges) >= self.door.limits.max_pipelined + (self._part == BODY)

    def _feed(self, data: bytes) -> None:
        self._parsing = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            # The parser swallows what its callbacks raise; that is a bug here, not the client's doing.
            _logger.error("connection dropped", exc_info=error.__context__ or error)
            self._ended = True
            self.transport.abort()
        except httptools.HttpParserError:
            if not self._ended:
                self._refuse(BAD_REQUEST)
        else:
            if self._part != BETWEEN and not self._ended:
                self._count(len(data))
        finally:
            self._parsing = False

    def _count(self, size: int) -> None:
        """Refuse a head or a body that goes on for too long, even one that the parser has not shown us yet."""
        self._part_octets += size
        limits = self.door.limits
        if self._part == HEAD:
            if self._part_octets > limits.max_head + self.door.slice:
                self._refuse(HEADERS_TOO_LARGE)
        elif self._part_octets > _FRAMING * limits.max_body + self.door.slice:
            self._refuse(CONTENT_TOO_LARGE)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse the request once more without its Upgrade (RFC 9110, section 7.8, lets us), body and all.

        The parser takes everything behind such a head for another protocol. Java's HTTP client offers h2c this way.
        """
        if self._ended:
            return
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(METHOD_NOT_ALLOWED)
            return
        lines = [method, b" ", self.url, b" HTTP/", self.parser.get_http_version().encode("ascii"), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                lines += (name, b": ", value, b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._take(b"".join((*lines, b"\r\n", rest)))

    def _proceed(self) -> None:
        """After a response: take up what was held back and read again, or arm the time between two requests."""
        if self._ended or self._parsing:
            return  # the parser cannot be entered twice; whoever feeds it goes on by itself
        if not self.flow.read_paused:
            if self._part == BETWEEN:
                self._rearm()
        elif not self._is_busy():
            held, self._held = self._held, b""
            self._rearm()
            self._take(held)
            if not self._ended and not self._is_busy():
                self.flow.resume_reading()

    def _rearm(self) -> None:
        """Give the client its time for the part of a request that comes next."""
        limits = self.door.limits
        if self._part == HEAD:
            self.read_deadline = self.door.sweep.now + limits.head_timeout
        elif self._part == BODY:
            self.read_deadline = self.door.sweep.now + limits.body_timeout
        elif self._exchanges:
            self.read_deadline = NEVER
        else:
            self.read_deadline = self.door.sweep.now + limits.idle_timeout

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._ended:
            return
        self.url = b""
        self.headers = []
        self._part = HEAD
        self._part_octets = 0
        self.read_deadline = self.door.sweep.now + self.door.limits.head_timeout

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header. A trailer ends up in a list that nobody reads."""
        self.headers.append((name.lower(), value))

    def _excess(self, content_length: bytes) -> bytes | None:
        """The refusal that a head above the limits deserves."""
        limits = self.door.limits
        if len(self.url) > limits.max_target:
            return URI_TOO_LONG
        # A head that came in one slice is small enough.
        if len(self.headers) > limits.max_headers or (self._part_octets and self._head_length() > limits.max_head):
            return HEADERS_TOO_LARGE
        # The parser let only digits pass.
        return CONTENT_TOO_LARGE if int(content_length) > limits.max_body else None

    def _head_length(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    # Writing

    def _send(self, what: Outgoing | bytes) -> None:
        """Have it written at the end of this turn of the event loop, behind what is corked already."""
        if not self._corked:
            self.door.outbox.add(self, self.loop)
        self._corked.append(what)

    def uncork(self) -> None:
        """Write what is corked, in one go, and close behind the last response."""
        corked = self._corked
        if not corked or self.transport.is_closing():
            return
        self._corked = []
        last = corked[-1]
        if len(corked) == 1:
            self.transport.write(self._octets(last) if isinstance(last, tuple) else last)
        else:
            octets = (self._octets(what) if isinstance(what, tuple) else what for what in corked)
            self.transport.write(b"".join(octets))
        if self.flow.write_paused:
            self._keep_fresh(corked)
        if isinstance(last, tuple) and not last[1]:
            self.close()

    def written(self, answer: Answer) -> None:
        """The ASGI application has written an answer, in this very callback."""
        if self.flow.write_paused:
            self._keep_fresh([(answer, True, None)])

    def _keep_fresh(self, written: list[Outgoing | bytes]) -> None:
        """What the client does not read waits here: not for longer than there is evidence for it (G3)."""
        # Those, too, that are not fresh any more: nobody knows whether they were a moment ago, when they were written.
        if answers := [what[0] for what in written if isinstance(what, tuple)]:
            self.door.unread.add(self, answers, self.loop)

    def cut_off(self) -> None:
        """Send nothing more, not even what was written."""
        self.door.counters.stalled_writes += 1
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client is not reading: write no more, and not forever."""
        super().pause_writing()
        self.write_deadline = min(self.write_deadline, self.door.sweep.now + self.door.limits.write_timeout)

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        self.door.unread.discard(self)
        if not self._closing:
            self.write_deadline = NEVER
            self._advance()
