"""Door 1: plain OCSP GET and POST, answered below ASGI.

Guarantees, per connection, on top of the limits of `connection.py`:

- Responses leave in the order of their requests, whichever door they come through and however long one takes.
- An answer is asked whether it is still fresh in the very callback that writes it (G3); if not, tryLater goes out.
- What is not plain OCSP (HEAD, chunked or expected bodies, other methods, paths and spellings) reaches the ASGI
  application unharmed, and only once everything before it has been answered.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import unquote

import uvicorn
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from gateway.answer import Answer
from gateway.clock import Clock, wall_time
from gateway.connection import (
    BETWEEN,
    BODY,
    DRAINED,
    UPGRADE,
    WRITTEN,
    Conditions,
    Connection,
    CycleTransport,
    Exchange,
    Hall,
    NoFlow,
    Outgoing,
)
from gateway.headers import not_modified
from gateway.heads import Head
from gateway.limits import DoorCounters, Limits
from gateway.ocsp.response import OcspStatus
from gateway.paths import OcspPaths

OCSP_REQUEST: Final = b"application/ocsp-request"

_TELLING: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"content-type",
        b"expect",
        b"if-modified-since",
        b"if-none-match",
        b"transfer-encoding",
    }
)
_ABSOLUTE_FORM: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")

# Who answers a request.
_GET, _POST, _ASGI = range(3)


class Responder(Protocol):
    """What both doors call: the bytes of an OCSP request in, an answer out."""

    def at_once(self, request_der: bytes, /) -> Answer | None:
        """The answer, if it can be given without waiting for anything. Never raises."""

    async def answer(self, request_der: bytes, /) -> Answer:
        """The answer, looked up and signed where need be. Never raises: what fails is an OCSP error."""

    def submit(self, request_der: bytes, deliver: Callable[[Answer], None], /) -> bool:
        """As `answer`, without a task: have `deliver` given the answer, in a callback of its own.

        False if too much is waiting already.
        """


class Door(Hall):
    """What the connections of one server share."""

    def __init__(
        self, responder: Responder, paths: OcspPaths, limits: Limits, counters: DoorCounters, clock: Clock
    ) -> None:
        super().__init__(limits, counters, clock)
        self.responder = responder
        self.paths = paths
        self.pending = 0
        """Requests whose answer is being looked up or signed."""
        self.try_later = Answer.error(OcspStatus.TRY_LATER)
        self.malformed = Answer.error(OcspStatus.MALFORMED_REQUEST)


def ocsp_protocol(
    responder: Responder,
    limits: Limits | None = None,
    paths: OcspPaths | None = None,
    counters: DoorCounters | None = None,
    clock: Clock = wall_time,
) -> type[OcspProtocol]:
    """The protocol class for `uvicorn.Config(http=...)`: one server and one event loop each.

    `clock` is wall time, in seconds since 1970; it dates the headers.
    """
    door = Door(responder, paths or OcspPaths(), limits or Limits(), counters or DoorCounters(), clock)
    return type("OcspProtocol", (OcspProtocol,), {"door": door})


def server_config(app: Callable[..., Awaitable[None]], protocol: type[OcspProtocol], **settings: Any) -> uvicorn.Config:
    """Uvicorn's configuration for the public port; `settings` adds an address, or overrides.

    No WebSockets and no trust in proxies' headers. uvicorn's own limits stay off: over them it would send a 503.
    """
    fixed: dict[str, Any] = {
        "http": protocol,
        "ws": "none",
        "lifespan": "off",
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "access_log": False,
        "log_config": None,
        "limit_concurrency": None,
        "timeout_graceful_shutdown": 10,
    }
    return uvicorn.Config(app, **(fixed | settings))


class OcspProtocol(Connection):
    """One connection. Made by `ocsp_protocol`, which sets `door`."""

    door: ClassVar[Door]

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Of the request that is being received:
        self._kind = _ASGI
        self._keep_alive = True
        self._conditions: Conditions | None = None
        self._body = b""  # of a POST; the DER that a GET carries
        self._body_length = 0
        self._octets_begun = b""  # what is being parsed, while it may be the first whole request in there

    # Who answers

    def _recognise(self, data: bytes) -> bytes:
        """Answer requests whose heads were parsed before, one by one; return what is left for the parser."""
        door, at = self.door, 0
        while not (self._ended or self._exchanges or self.flow.write_paused):
            end, head = door.heads.find(data, at)
            behind = end + head.length if head is not None else 0
            if head is None or len(data) < behind:
                break
            self._keep_alive = head.keep_alive and not self._draining
            self._ended = not self._keep_alive
            self._conditions = head.conditions
            self._answer(head.der or data[end:behind])
            self._rearm()
            at = behind
            if at == len(data):
                return b""
            if len(self._corked) >= door.limits.max_pipelined:
                self.uncork()
        return data[at:] if at else data

    def _feed(self, data: bytes) -> None:
        self._octets_begun = data if self._part == BETWEEN and not self._draining else b""
        super()._feed(data)
        self._octets_begun = b""

    def on_headers_complete(self) -> None:
        """Decide who answers."""
        if self._ended:
            return
        if self.parser.should_upgrade():
            self._part = UPGRADE
            return
        found: dict[bytes, bytes] = {}
        for name, value in self.headers:
            if name in _TELLING:
                found[name] = found[name] + b", " + value if name in found else value
        refusal = self._excess(found.get(b"content-length", b"0"))
        if refusal is not None:
            self._refuse(refusal)
            return
        self._keep_alive = self.parser.should_keep_alive() and not self._draining
        if self._keep_alive and b"connection" in found:
            self._keep_alive = self.parser.get_http_version() != "1.0"
        self._part = BODY
        self._part_octets = self._body_length = 0
        if b"content-length" in found or b"transfer-encoding" in found:
            self.read_deadline = self.door.sweep.now + self.door.limits.body_timeout
        self._body = b""
        self._conditions = None
        self._kind = self._classify(found)
        if self._kind == _ASGI:
            self._pass_on(expect=found.get(b"expect", b"").lower() == b"100-continue")

    def _classify(self, found: dict[bytes, bytes]) -> int:
        """Whether this is plain OCSP; then the body, or what takes its place, is ours to collect."""
        method = self.parser.get_method()
        if b"expect" in found or b"transfer-encoding" in found:
            return _ASGI
        if method == b"POST":
            plain = found.get(b"content-type") == OCSP_REQUEST and b"content-length" in found
            return _POST if plain and self.door.paths.accepts_post(self.url) else _ASGI
        if method == b"GET" and b"content-length" not in found and b"?" not in self.url:
            der = self.door.paths.request_of(self.url)
            if der is not None:
                self._body = der
                if b"if-none-match" in found or b"if-modified-since" in found:
                    self._conditions = found.get(b"if-none-match"), found.get(b"if-modified-since")
                return _GET
        return _ASGI

    def on_body(self, body: bytes) -> None:
        """Collect a plain POST; hand anything else on, up to the first octet that is too many."""
        if self._ended:
            return
        if self._kind == _POST:
            self._body += body
            return
        cycle = self._upload.cycle if self._upload is not None else None
        if cycle is None or cycle.response_complete:
            return
        room = self.door.limits.max_body + 1 - self._body_length
        self._body_length += len(body)
        if room > 0:
            cycle.body += body[:room]
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Answer, in turn."""
        if self._ended or self._part == UPGRADE:
            return
        self._part = BETWEEN
        octets, self._octets_begun = self._octets_begun, b""
        if octets and self._kind != _ASGI:
            is_post = self._kind == _POST
            length, der = (len(self._body), b"") if is_post else (0, self._body)
            self.door.heads.learn(octets, Head(length, der, self._keep_alive, self._conditions))
        if self._draining:
            self._keep_alive = False
        if not self._keep_alive:
            self._ended = True
        if self._kind != _ASGI:
            self._answer(self._body)
        elif self._upload is not None:
            upload, self._upload = self._upload, None
            if upload.cycle is not None:
                upload.cycle.more_body = False
                upload.cycle.message_event.set()
        if not self._closing:
            self._rearm()

    # Answering

    def _answer(self, der: bytes) -> None:
        """Write the answer if it is ready and nothing is before it; else queue it, and go for it at once."""
        door = self.door
        door.counters.requests += 1
        answer = door.responder.at_once(der) if der else door.malformed
        if answer is None:
            exchange = Exchange(self._keep_alive, self._conditions)
            if door.pending < door.limits.max_pending and door.responder.submit(der, partial(self._ready, exchange)):
                door.pending += 1
                self._exchanges.append(exchange)
                return
            door.counters.overloaded += 1
            answer = door.try_later
        if not self._exchanges and not self.flow.write_paused:
            self._send((answer, self._keep_alive, self._conditions))
            return
        exchange = Exchange(self._keep_alive, self._conditions)
        exchange.answer = answer
        self._exchanges.append(exchange)

    def _ready(self, exchange: Exchange, answer: Answer) -> None:
        """The responder has an answer, for which the client may not wait any more."""
        self.door.pending -= 1
        exchange.answer = answer
        self._advance()

    def _advance(self) -> None:
        while self._exchanges and not self.flow.write_paused and not self._closing:
            exchange = self._exchanges[0]
            if exchange.cycle is not None:
                if not exchange.started:
                    self.uncork()  # the application writes by itself
                    if self.flow.write_paused or self._closing:
                        break
                    exchange.started = True
                    self._start_asgi_task(exchange.cycle, self.app)
                break
            if exchange.refusal is not None:
                self._send(self.door.wire.refusal(exchange.refusal, int(self.door.clock())))
                self.close()
            elif exchange.answer is not None:
                self._exchanges.popleft()
                self._send((exchange.answer, exchange.keep_alive, exchange.conditions))
            else:
                break
        self._proceed()

    def _octets(self, outgoing: Outgoing) -> bytes:
        """The response, if its answer is still fresh in this callback, which writes it (G3); otherwise tryLater."""
        door, (answer, keep_alive, conditions) = self.door, outgoing
        if not answer.fresh():
            door.counters.no_longer_fresh += 1
            answer = door.try_later
        now = int(door.clock())
        if conditions is not None and answer.cacheable and not_modified(answer.etag, answer.this_update, *conditions):
            door.counters.not_modified += 1
            return door.wire.not_modified(answer, now, close=not keep_alive)
        return door.wire.response(answer, now, close=not keep_alive)

    # The ASGI side

    def _pass_on(self, *, expect: bool) -> None:
        """Queue the request for the ASGI application."""
        self.door.counters.requests_passed_on += 1
        exchange = Exchange(self._keep_alive)
        exchange.cycle = RequestResponseCycle(
            scope=self._make_scope(),
            transport=CycleTransport(self),  # type: ignore[arg-type]
            flow=NoFlow(self.transport),
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=expect,
            keep_alive=self._keep_alive,
            on_response=self.on_response_complete,
        )
        self.headers = []
        self._upload = exchange
        self._exchanges.append(exchange)
        self._advance()

    def _make_scope(self) -> HTTPScope:
        raw_path, _, query = self._origin_form().partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": self.parser.get_http_version(),
            "server": get_local_addr(self.transport),
            "client": get_remote_addr(self.transport),
            "scheme": self.scheme or "http",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "extensions": {WRITTEN: {"tell": self.written}, DRAINED: {"wait": self.flow.drain}},
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "query_string": query,
        }

    def _origin_form(self) -> bytes:
        """The target as `/path?query`; proxies may send the whole URL (RFC 9112, section 3.2.2)."""
        absolute = None if self.url.startswith(b"/") else _ABSOLUTE_FORM.match(self.url)
        if absolute is None:
            return self.url
        rest = self.url[absolute.end() :]
        return rest if rest.startswith(b"/") else b"/" + rest

    def on_response_complete(self) -> None:
        """The ASGI application has written its response: the next in line."""
        self.server_state.total_requests += 1
        if self._closing:
            return
        self._exchanges.popleft()
        self._advance()
