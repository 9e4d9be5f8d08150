"""R78, R79: conditional requests, in the order of RFC 9110, section 13.2.2."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.conformance.connection import Connection, get, post
from tests.conformance.paths import spell
from tests.conformance.questions import Questions
from tests.conformance.wire import Reply, Responder

OTHER = '"0123"'
OF_A_304 = ["cache-control", "date", "etag", "expires"]

# {ETAG} is the tag of the answer, {THEN} its Last-Modified, {BEFORE} and {AFTER} a second earlier and later.
CONDITIONS: dict[str, tuple[tuple[str, ...], int]] = {
    "the tag": (("If-None-Match: {ETAG}",), 304),
    "the tag, weak": (("If-None-Match: W/{ETAG}",), 304),
    "anything": (("If-None-Match: *",), 304),
    "last of a list": ((f"If-None-Match: {OTHER}, {{ETAG}}",), 304),
    "first of a list": ((f"If-None-Match: {{ETAG}},{OTHER}",), 304),
    "in a list of weak ones": ((f"If-None-Match: W/{OTHER} , W/{{ETAG}}",), 304),
    "in a list with holes": ((f"If-None-Match: ,{OTHER}, ,{{ETAG}},",), 304),
    "in a second line": ((f"If-None-Match: {OTHER}", "If-None-Match: {ETAG}"), 304),
    "the header in another case": (("IF-NONE-MATCH: {ETAG}",), 304),
    "another tag": ((f"If-None-Match: {OTHER}",), 200),
    "other tags": ((f'If-None-Match: {OTHER}, W/"x", ""',), 200),
    "without quotes": (("If-None-Match: {BARE}",), 200),
    "the beginning of the tag": (('If-None-Match: "{BEGINNING}"',), 200),
    "nothing": (("If-None-Match:",), 200),
    "since then": (("If-Modified-Since: {THEN}",), 304),
    "since after": (("If-Modified-Since: {AFTER}",), 304),
    "since before": (("If-Modified-Since: {BEFORE}",), 200),
    "since no date": (("If-Modified-Since: yesterday",), 200),
    "since no possible date": (("If-Modified-Since: Fri, 99 Jan 99999 99:99:99 GMT",), 200),
    "since octets that are no text": (("If-Modified-Since: \xff",), 200),
    "tag before date: both match": (("If-None-Match: {ETAG}", "If-Modified-Since: {THEN}"), 304),
    "tag before date: only the tag matches": (("If-None-Match: {ETAG}", "If-Modified-Since: {BEFORE}"), 304),
    "tag before date: only the date matches": ((f"If-None-Match: {OTHER}", "If-Modified-Since: {AFTER}"), 200),
    "tag before date, which comes first": (("If-Modified-Since: {AFTER}", f"If-None-Match: {OTHER}"), 200),
    "conditions that are not for us": (("If-Match: *", "If-Range: {ETAG}", "Range: bytes=0-1"), 200),
}


def fill(header: str, whole: Reply) -> str:
    """Put the validators of an answer into a header."""
    etag = whole.header("etag") or ""
    then = whole.answer.this_update.astimezone(UTC)
    return (
        header.replace("{ETAG}", etag)
        .replace("{BARE}", etag.strip('"'))
        .replace("{BEGINNING}", etag.strip('"')[:-1])
        .replace("{THEN}", format_datetime(then, usegmt=True))
        .replace("{BEFORE}", format_datetime(then - timedelta(seconds=1), usegmt=True))
        .replace("{AFTER}", format_datetime(then + timedelta(seconds=1), usegmt=True))
    )


@pytest.mark.rule("R78")
@pytest.mark.parametrize(("headers", "status"), CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("query", ["", "?query"], ids=["plain", "query"])
def test_condition(
    responder: Responder, questions: Questions, headers: tuple[str, ...], status: int, method: str, query: str
) -> None:
    """A match is 304 with what a cache needs and without a body; anything else is the whole answer."""
    der = questions.of("good")
    whole = responder.get(der)
    filled = [fill(header, whole) for header in headers]
    with Connection(responder) as connection:
        connection.send(get(spell("/{ESC}", der) + query, *filled, "Connection: close", method=method))
        reply = connection.reply(head=method == "HEAD")
        assert connection.rest() == b""
    assert reply.status == status
    assert reply.header("etag") == whole.header("etag")
    if status == 304:
        assert sorted(name for name, _ in reply.headers if name != "connection") == OF_A_304
        assert reply.header("expires") == whole.header("expires")
    elif method == "GET":
        assert reply.body == whole.body


@pytest.mark.rule("R78")
def test_unmodified_on_a_connection_that_lives_on(responder: Responder, questions: Questions) -> None:
    """A 304 ends where its head ends: the next response follows at once."""
    der = questions.of("good")
    etag = responder.get(der).header("etag")
    target = spell("/{b64}", der)
    with Connection(responder) as connection:
        connection.send((get(target, f"If-None-Match: {etag}") + get(target)) * 3)
        for _ in range(3):
            assert connection.reply().status == 304
            assert connection.reply().answer.status == "good"


@pytest.mark.rule("R78", "R79")
@pytest.mark.parametrize("condition", ["If-None-Match: {ETAG}", "If-None-Match: *", "If-Modified-Since: {AFTER}"])
def test_a_post_is_never_unmodified(responder: Responder, questions: Questions, condition: str) -> None:
    """304 is for GET and HEAD; and the gateway does not say 412 either."""
    der = questions.of("good")
    whole = responder.get(der)
    with Connection(responder) as connection:
        connection.send(post(der, fill(condition, whole)) + post(der, fill(condition, whole), target="/?query"))
        for _ in range(2):
            assert connection.reply().body == whole.body


@pytest.mark.rule("R78", "R80")
@pytest.mark.parametrize("kind", ["unknown", "nonce"])
@pytest.mark.parametrize("condition", ["If-None-Match: *", "If-Modified-Since: {LATER}"], ids=["any tag", "date"])
def test_what_has_no_validators_is_never_unmodified(
    responder: Responder, questions: Questions, kind: str, condition: str
) -> None:
    """`unknown`, and what answers a nonce, is sent whole, whatever the client claims to have."""
    later = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    with Connection(responder) as connection:
        connection.send(get(spell("/{ESC}", questions.of(kind)), condition.replace("{LATER}", later)))
        assert connection.reply().ocsp_status == "successful"


@pytest.mark.rule("R78")
def test_the_tag_of_another_answer(responder: Responder, questions: Questions) -> None:
    """The tag of one answer is no match for another, nor for the same certificate by another hash."""
    etag = responder.get(questions.of("good")).header("etag") or ""
    for der in (questions.of("revoked"), questions.about(questions.good_certificate, "sha256")):
        assert responder.get(der, if_none_match=etag).status == 200
