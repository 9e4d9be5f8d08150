"""The headers of answers, by both doors (R14, R71, R73-R81)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from gateway.answer import Answer
from gateway.headers import Wire, headers_of, not_modified
from gateway.ocsp.response import OcspStatus
from tests.gateway.doors.harness import NOW, Gateway, Response, cacheable, ocsp_request, post

DER = ocsp_request(1)
PATH = "/" + base64.b64encode(DER).decode()
ETAG = '"' + hashlib.sha256(b"body").hexdigest() + '"'
ANSWERS = {
    "cacheable": cacheable(b"body"),
    "nonce": Answer(b"body with nonce"),
    "unknown": Answer(b"unknown", next_update=int(NOW) + 3600),
    "error": Answer.error(OcspStatus.TRY_LATER),
}
# A query makes a GET no longer plain; an Expect that nobody knows does it for a POST.
DOORS = {"protocol": ("", ()), "Starlette": ("?door=2", ("Expect: nothing",))}


@pytest.fixture(params=DOORS, autouse=True)
def _door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def get(gateway: Gateway, _door: str) -> Iterator[Getter]:
    """Ask for one answer through one door."""
    gateway.time = NOW
    yield Getter(gateway, _door)
    gateway.time = NOW


class Getter:
    def __init__(self, gateway: Gateway, door: str) -> None:
        self.gateway = gateway
        self.query, self.post_headers = DOORS[door]

    def __call__(self, answer: Answer, *headers: str, method: str = "GET") -> Response:
        self.gateway.responder.ready[DER] = answer
        with self.gateway.client() as client:
            if method == "POST":
                client.send(post(DER, *self.post_headers, *headers))
            else:
                head = (f"{method} {PATH}{self.query} HTTP/1.1", *headers, "", "")
                client.send("\r\n".join(head).encode())
            return client.response(bodiless=method == "HEAD")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_cacheable_answer(get: Getter, method: str) -> None:
    """Everything that R73 asks for, in one response."""
    answer = get(ANSWERS["cacheable"], method=method)
    assert answer.headers == {
        "content-type": "application/ocsp-response",
        "content-length": "4",
        "date": "Fri, 15 Jan 2027 08:00:00 GMT",
        "last-modified": "Fri, 15 Jan 2027 07:00:00 GMT",
        "expires": "Fri, 15 Jan 2027 19:00:00 GMT",
        "etag": ETAG,
        "cache-control": "max-age=300, public, no-transform, must-revalidate",
    }


@pytest.mark.parametrize(
    ("kind", "cache_control"),
    [("nonce", None), ("unknown", "max-age=0, must-revalidate"), ("error", "no-store")],
)
def test_what_is_not_shared(get: Getter, kind: str, cache_control: str | None) -> None:
    """No validators; an error says no-store (R71), an authoritative answer never does (R74, R80)."""
    answer = get(ANSWERS[kind])
    assert answer.headers.get("cache-control") == cache_control
    assert not answer.headers.keys() & {"etag", "expires", "last-modified", "pragma", "vary", "set-cookie"}  # R81


@pytest.mark.parametrize("kind", ANSWERS)
def test_head_is_get_without_body(get: Getter, kind: str) -> None:
    """R79, R15."""
    assert get(ANSWERS[kind], method="HEAD").headers == get(ANSWERS[kind]).headers


@pytest.mark.parametrize(
    ("left", "max_age"), [(301, 300), (300, 299), (10, 9), (1, 0), (0, 0), (-100, 0)], ids=lambda value: f"{value} s"
)
def test_max_age_stays_below_what_is_left(get: Getter, left: int, max_age: int) -> None:
    """Date + max-age < nextUpdate at serving time, and never negative (R76)."""
    get.gateway.time = ANSWERS["cacheable"].next_update - left + 0.5
    answer = get(ANSWERS["cacheable"])
    assert answer.headers["cache-control"].startswith(f"max-age={max_age},")
    date = parsedate_to_datetime(answer.headers["date"])
    assert date.timestamp() == ANSWERS["cacheable"].next_update - left


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([f"If-None-Match: {ETAG}"], 304),
        ([f"If-None-Match: W/{ETAG}"], 304),
        (["If-None-Match: *"], 304),
        ([f'If-None-Match: "other", {ETAG}'], 304),
        (['If-None-Match: "other"', f"If-None-Match: {ETAG}"], 304),
        (['If-None-Match: "other"'], 200),
        ([f"If-None-Match: {ETAG[:-1]}"], 200),
        (["If-None-Match:"], 200),
        (["If-Modified-Since: Fri, 15 Jan 2027 07:00:00 GMT"], 304),
        (["If-Modified-Since: Fri, 15 Jan 2027 06:59:59 GMT"], 200),
        (["If-Modified-Since: yesterday"], 200),
        (["If-Modified-Since: Fri, 99 Jan 99999 99:99:99 GMT"], 200),
        (["If-Modified-Since: \xff"], 200),
        (['If-None-Match: "other"', "If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT"], 200),
        ([f"If-None-Match: {ETAG}", "If-Modified-Since: Fri, 15 Jan 2010 08:00:00 GMT"], 304),
        (["If-Match: nothing", "Range: bytes=0-0", "Cache-Control: no-cache", "Pragma: no-cache"], 200),
    ],
    ids=lambda value: "; ".join(value).replace(ETAG, "TAG") if isinstance(value, list) else None,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditional_requests(get: Getter, headers: list[str], status: int, method: str) -> None:
    """If-None-Match decides, then If-Modified-Since; a 304 has no body and what a cache needs (R78)."""
    get.gateway.responder.ready[DER] = ANSWERS["cacheable"]
    with get.gateway.client() as client:
        head = (f"{method} {PATH}{get.query} HTTP/1.1", *headers, "Connection: close", "", "")
        client.send("\r\n".join(head).encode("latin-1"))
        answer = client.response(bodiless=method == "HEAD")
        assert client.rest() == b""
    assert answer.status == status
    if status == 304:
        assert answer.headers.keys() == {"date", "expires", "etag", "cache-control", "connection"}
        assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize("kind", ["nonce", "unknown", "error"])
def test_only_cacheable_answers_can_be_unmodified(get: Getter, kind: str) -> None:
    """`If-None-Match: *` does not make a 304 of an error or of an answer for one asker."""
    assert get(ANSWERS[kind], "If-None-Match: *").status == 200


def test_post_is_never_unmodified(get: Getter) -> None:
    """304 is for GET and HEAD (R79)."""
    assert get(ANSWERS["cacheable"], f"If-None-Match: {ETAG}", method="POST").status == 200


@pytest.mark.parametrize(
    "accept", ["text/html, image/gif, image/jpeg, *; q=.2", "image/png", "", "application/json;q=0"]
)
def test_no_negotiation(get: Getter, accept: str) -> None:
    """Any Accept is fine, and nothing is compressed (R13, R14)."""
    answer = get(ANSWERS["cacheable"], f"Accept: {accept}", "Accept-Encoding: gzip, br", "Accept-Charset: utf-8")
    assert (answer.status, answer.body) == (200, b"body")
    assert not answer.headers.keys() & {"content-encoding", "vary"}


def test_the_wire_keeps_one_second_only() -> None:
    """Ready octets are rebuilt when the second changes, and their number is bounded."""
    wire = Wire()
    first = wire.response(ANSWERS["cacheable"], 1)
    assert wire.response(ANSWERS["cacheable"], 1) is first
    assert wire.response(ANSWERS["cacheable"], 2) != first
    for number in range(6000):
        wire.response(cacheable(b"%d" % number), 2)
    assert len(wire._ready) <= 4096


def test_not_modified_ignores_what_is_no_list() -> None:
    """A star among tags is no star."""
    assert not not_modified(b'"a"', 0, b'*, "b"', None)
    assert headers_of(ANSWERS["error"], 0)[-1] == (b"cache-control", b"no-store")
