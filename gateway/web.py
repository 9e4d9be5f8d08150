"""Door 2: every other spelling of OCSP over HTTP, and the documents that certificates point to.

Guarantees: the same request gets the same octets as through door 1 (`protocol.py`), because both ask the same responder
and take their headers from `headers.py`; an OCSP path never answers 5xx; nothing is redirected, decoded twice or merged
on the way to the request (R5, R8); a body is never held beyond its limit (R11).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import structlog
from cryptography import x509
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.answer import Answer
from gateway.clock import Clock, wall_time
from gateway.connection import DRAINED, WRITTEN
from gateway.headers import (
    Headers,
    cache_control,
    headers_of,
    headers_of_not_modified,
    http_date,
    not_modified,
)
from gateway.limits import Limits
from gateway.ocsp.response import OcspStatus
from gateway.paths import OcspPaths
from gateway.protocol import OCSP_REQUEST, Responder
from gateway.spool import Octets, Spool

_logger = structlog.get_logger(__name__)

_ACCEPT_POST: Final = OCSP_REQUEST.decode("ascii")
_ALLOW: Final = "GET, HEAD, POST"
_DOCUMENT_MAX_AGE: Final = 3600
# As long as OCSP answers by default: there is a new list within seconds of a revocation.
_CRL_MAX_AGE: Final = 300
_MAX_SHARD: Final = 2**31 - 1
_CLOSE: Final = {"cache-control": "no-store", "connection": "close"}
_PLAIN: Final = {"cache-control": "no-store"}


class _ShardConvertor(Convertor[int]):
    """The number of a shard in a path. One with more digits than any is of no document: Python itself refuses some."""

    regex = "[0-9]{1,10}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("shard", _ShardConvertor())


class Crl(Protocol):
    """A CRL, its SHA-256, and its times in seconds since 1970."""

    @property
    def der(self) -> Octets:
        """The CertificateList."""

    @property
    def sha256(self) -> bytes:
        """Tells one list from another."""

    @property
    def this_update(self) -> float:
        """When it was made."""

    @property
    def next_update(self) -> float:
        """When there will be another."""


class Documents(Protocol):
    """The certificates and CRLs that the gateway serves, by issuer name. What is not there is None."""

    def ca_certificate(self, name: str, /) -> bytes | None:
        """The issuer's own certificate (DER), for caIssuers (R97)."""

    async def crl(self, name: str, shard: int = 0, /) -> Crl | None:
        """The issuer's current CRL; of one of its shards, unless that is 0. What it raises becomes a 503."""


def make_app(
    responder: Responder,
    documents: Documents,
    *,
    paths: OcspPaths | None = None,
    limits: Limits | None = None,
    clock: Clock = wall_time,
) -> Starlette:
    """The application behind `protocol.py`; `paths` and `limits` must be the ones given to it."""
    paths = paths or OcspPaths()
    ocsp = OcspEndpoint(responder, paths, limits or Limits(), clock)
    shelf = _Shelf(documents, clock)
    routes = [
        route
        for prefix in ("", *paths.prefixes)
        for route in (
            Route(prefix + "/ca/{name}.cer", shelf.ca_certificate, methods=["GET"]),
            Route(prefix + "/crl/{name}.crl", shelf.crl, methods=["GET"]),
            Route(prefix + "/crl/{name}/{shard:shard}.crl", shelf.crl, methods=["GET"]),
        )
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(_Dated, clock=clock)],
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False
    # Not a route: those match decoded paths, and a base64 path must be read as it came.
    app.router.default = ocsp
    return app


def _refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001  (Starlette passes it)
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail + "\n", error.status_code, {**_PLAIN, **(error.headers or {})})


class _Dated:
    """Gives a Date to the responses that were made without one (RFC 9110, section 6.6.1)."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start" and all(name != b"date" for name, _ in message["headers"]):
                message["headers"] = [*message["headers"], (b"date", http_date(int(self._clock())))]
            await send(message)

        await self._app(scope, receive, dated)


class OcspEndpoint:
    """OCSP over any HTTP request that the first door left."""

    def __init__(self, responder: Responder, paths: OcspPaths, limits: Limits, clock: Clock) -> None:
        self._responder = responder
        self._paths = paths
        self._limits = limits
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request (ASGI)."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        try:
            await (await self._respond(request))(scope, receive, send)
        except ClientDisconnect:
            _logger.debug("a client left before it had sent its request")

    async def _respond(self, request: Request) -> ASGIApp:
        path: bytes = request.scope["raw_path"]
        if request.method in {"GET", "HEAD"}:
            der = self._paths.request_of(path)
            if der is None:
                return _text("not found", 404)
            conditions = _header(request, "if-none-match"), _header(request, "if-modified-since")
            return _Written(await self._answer(der), self._clock, conditions)
        if request.method != "POST":
            return _text("method not allowed", 405, {"allow": _ALLOW})
        if not self._paths.accepts_post(path):
            return _text("not found", 404)
        if _media_type(request) != OCSP_REQUEST:
            return _text("the body must be " + _ACCEPT_POST, 415, {"accept-post": _ACCEPT_POST})
        body = await self._body(request)
        if body is None:
            return _text("content too large", 413, _CLOSE)
        return _Written(await self._answer(body), self._clock)

    async def _body(self, request: Request) -> bytes | None:
        """The whole body; None as soon as it is too long."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limits.max_body:
                return None
        return bytes(body)

    async def _answer(self, der: bytes) -> Answer:
        if not der:
            return Answer.error(OcspStatus.MALFORMED_REQUEST)
        try:
            return self._responder.at_once(der) or await self._responder.answer(der)
        except Exception:
            _logger.exception("the responder raised, which it promises not to")
            return Answer.error(OcspStatus.INTERNAL_ERROR)


def _text(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status, {**_PLAIN, **(headers or {})})


def _header(request: Request, name: str) -> bytes | None:
    """All values of a header as one, as they came; None if it was not sent."""
    values = [value for key, value in request.headers.raw if key == name.encode("ascii")]
    return b", ".join(values) if values else None


def _media_type(request: Request) -> bytes:
    return (_header(request, "content-type") or b"").partition(b";")[0].strip().lower()


class _Written:
    """An OCSP answer as an ASGI response. Everything about time is decided when it is written, without a pause."""

    def __init__(
        self, answer: Answer, clock: Clock, conditions: tuple[bytes | None, bytes | None] = (None, None)
    ) -> None:
        self._answer = answer
        self._clock = clock
        self._conditions = conditions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        # Neither `send` suspends (protocol.py), so the test and the write are one callback (G3).
        answer = self._answer if self._answer.fresh() else Answer.error(OcspStatus.TRY_LATER)
        now = int(self._clock())
        if answer.cacheable and not_modified(answer.etag, answer.this_update, *self._conditions):
            await _send(send, 304, headers_of_not_modified(answer, now), b"")
        else:
            await _send(send, 200, headers_of(answer, now), answer.body)
        if told := scope.get("extensions", {}).get(WRITTEN):
            told["tell"](answer)


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Shelf:
    """The documents over HTTP, with validators and lifetimes."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def ca_certificate(self, request: Request) -> Response:
        """One DER certificate (RFC 5280, section 4.2.2.1)."""
        der = self._documents.ca_certificate(request.path_params["name"])
        if der is None:
            raise HTTPException(404)
        not_before, not_after = _validity(der)
        etag = _etag(der)
        return _document(
            request, der, "application/pkix-cert", etag, self._times(not_before, not_after, _DOCUMENT_MAX_AGE)
        )

    async def crl(self, request: Request) -> Response:
        """One DER CRL (RFC 5280, section 4.2.1.13)."""
        shard = request.path_params.get("shard", 0)
        if not 0 <= shard <= _MAX_SHARD:
            raise HTTPException(404)
        try:
            crl = await self._documents.crl(request.path_params["name"], shard)
        except Exception as error:
            # Told where it is fetched, and seldom: not for each of those who ask.
            _logger.debug("the CRL cannot be had", error=str(error))
            raise HTTPException(503, headers={"retry-after": "5"}) from error
        if crl is None:
            raise HTTPException(404)
        etag = b'"%s"' % crl.sha256.hex().encode("ascii")
        times = self._times(int(crl.this_update), int(crl.next_update), _CRL_MAX_AGE)
        return _document(request, crl.der, "application/pkix-crl", etag, times)

    def _times(self, since: int, until: int, max_age: int) -> _Times:
        return _Times(int(self._clock()), since, until, max_age)


class _Times(NamedTuple):
    """When a document is served, from when it is, until when it holds, and how long caches may have it; in seconds."""

    now: int
    since: int
    until: int
    max_age: int

    def headers(self) -> Headers:
        return [
            (b"date", http_date(self.now)),
            (b"last-modified", http_date(self.since)),
            (b"expires", http_date(min(self.until, self.now + self.max_age))),
            cache_control(self.max_age, self.until, self.now),
        ]


def _document(request: Request, octets: Octets, media_type: str, etag: bytes, times: _Times) -> Response:
    conditions = _header(request, "if-none-match"), _header(request, "if-modified-since")
    response: Response
    if not_modified(etag, times.since, *conditions):
        response = Response(None, 304)
    elif isinstance(octets, bytes):
        response = Response(octets, media_type=media_type)
    else:
        length = {"content-length": str(len(octets))}
        # For HEAD nothing is read that nobody would get.
        response = (
            Response(None, headers=length, media_type=media_type)
            if request.method == "HEAD"
            else StreamingResponse(_in_pieces(octets, request.scope), headers=length, media_type=media_type)
        )
    response.raw_headers += [*times.headers(), (b"etag", etag)]
    return response


async def _in_pieces(spool: Spool, scope: Scope) -> AsyncIterator[bytes]:
    """All octets at the pace of the reader: a piece is held for each, and not the whole."""
    drained = scope.get("extensions", {}).get(DRAINED)
    async for piece in spool.pieces():
        yield piece
        if drained:
            await drained["wait"]()


@lru_cache(maxsize=64)
def _etag(der: bytes) -> bytes:
    return b'"%s"' % hashlib.sha256(der).hexdigest().encode("ascii")


@lru_cache(maxsize=64)
def _validity(der: bytes) -> tuple[int, int]:
    certificate = x509.load_der_x509_certificate(der)
    return int(certificate.not_valid_before_utc.timestamp()), int(certificate.not_valid_after_utc.timestamp())
