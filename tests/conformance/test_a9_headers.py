"""R73–R77, R79–R81: the headers that let caches keep an answer, and for how long."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

import pytest

from tests.conformance.certificates import Certificates
from tests.conformance.connection import Connection, chunked, get, post
from tests.conformance.estate import Estate
from tests.conformance.paths import spell
from tests.conformance.questions import Questions
from tests.conformance.wire import Reply, Responder, load_certificate
from tests.waiting import wait_until

IMF_FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3]\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} "
    r"[0-2]\d:[0-5]\d:[0-6]\d GMT"
)
CACHE_CONTROL = re.compile(r"max-age=(0|[1-9]\d*), public, no-transform, must-revalidate")
HEADERS = ["content-type", "content-length", "date", "last-modified", "expires", "etag", "cache-control"]
MAX_AGE = 300
"""Seconds: the default."""
BRIEF = 60
"""Seconds for which the answers of the gateway `brief` are valid, from a quarter of which on there is another."""

CACHEABLE = ("good", "revoked")
SENDERS = {
    "GET": lambda der: get(spell("/{ESC}", der), "Connection: close"),
    "GET with a query": lambda der: get(spell("/{b64}?query", der), "Connection: close"),
    "POST": lambda der: post(der, "Connection: close"),
    "chunked POST": lambda der: chunked(der, "Connection: close"),
}


def http_time(reply: Reply, name: str) -> datetime:
    """A time from a header, which must be an IMF-fixdate and that of a real day."""
    text = reply.header(name) or ""
    assert IMF_FIXDATE.fullmatch(text), f"{name}: {text}"
    moment = parsedate_to_datetime(text)
    assert format_datetime(moment.astimezone(UTC), usegmt=True) == text
    return moment


def max_age(reply: Reply) -> int:
    """The lifetime in seconds; Cache-Control must say what R73 wants, and nothing else."""
    found = CACHE_CONTROL.fullmatch(reply.header("cache-control") or "")
    assert found, reply.header("cache-control")
    return int(found[1])


def assert_cacheable(reply: Reply) -> None:
    """All that a cache needs, and in agreement with the answer (R73–R77)."""
    answer = reply.answer
    assert sorted(name for name, _ in reply.headers if name != "connection") == sorted(HEADERS)
    assert reply.header("content-length") == str(len(reply.body))
    assert http_time(reply, "last-modified") == answer.this_update == answer.produced_at
    assert http_time(reply, "expires") == answer.next_update
    assert reply.header("etag") == f'"{hashlib.sha256(reply.body).hexdigest()}"'
    served = http_time(reply, "date")
    assert abs(served - datetime.now(UTC)).total_seconds() < 10
    assert served.timestamp() + max_age(reply) < answer.next_update.timestamp()
    assert max_age(reply) <= MAX_AGE


@pytest.mark.rule("R73", "R74", "R75", "R76", "R77", "R79", "R81")
@pytest.mark.parametrize("kind", CACHEABLE)
@pytest.mark.parametrize("sender", SENDERS)
def test_a_cacheable_answer(responder: Responder, questions: Questions, kind: str, sender: str) -> None:
    """Content-Length, Last-Modified, ETag, Expires, Cache-Control and Date, and nothing else: no Vary, no cookie."""
    reply = responder.exchange(SENDERS[sender](questions.of(kind)))
    assert reply.answer.status == kind
    assert_cacheable(reply)
    assert max_age(reply) == MAX_AGE  # hours of its life are left


@pytest.mark.rule("R73", "R76", "R78")
@pytest.mark.parametrize("kind", CACHEABLE)
def test_the_dates_of_a_head_and_of_a_304(responder: Responder, questions: Questions, kind: str) -> None:
    """They are the same as those of the GET."""
    der = questions.of(kind)
    whole, head = responder.get(der), responder.get(der, method="HEAD")
    unmodified = responder.get(der, if_none_match=whole.header("etag") or "")
    assert unmodified.status == 304
    for reply in (head, unmodified):
        assert http_time(reply, "expires") == whole.answer.next_update
        assert http_time(reply, "date") <= datetime.now(UTC)
        assert max_age(reply) == MAX_AGE
        assert reply.header("etag") == whole.header("etag")


@pytest.mark.rule("R74")
@pytest.mark.parametrize("kind", ["good", "revoked", "unknown", "nonce"])
@pytest.mark.parametrize("sender", SENDERS)
def test_nothing_authoritative_says_no_cache(
    responder: Responder, questions: Questions, kind: str, sender: str
) -> None:
    """Neither no-cache nor no-store nor Pragma, whoever asks and how."""
    reply = responder.exchange(SENDERS[sender](questions.of(kind)))
    assert reply.ocsp_status == "successful"
    assert reply.header("pragma") is None
    directives = {part.strip() for part in (reply.header("cache-control") or "").split(",")}
    assert not directives & {"no-cache", "no-store", "private"}


@pytest.mark.rule("R73", "R75", "R76")
def test_right_after_issuing(estate: Estate, questions: Questions, responder: Responder) -> None:
    """The first answer about a certificate, signed for this very request, can be cached as any other."""
    der = questions.about(estate.issue("first-asked-by-get.example.com"))
    first, second = responder.get(der), responder.get(der)
    assert_cacheable(first)
    assert second.body == first.body


@pytest.mark.rule("R75", "R76")
def test_max_age_is_cut_and_a_new_answer_comes_in_time(estate: Estate, questions: Questions) -> None:
    """An answer of a minute: max-age is what is left when it is served, and there is another before it runs out."""
    gateway = estate.gateway("brief", validity=BRIEF, clock_skew=0, max_age=MAX_AGE)
    der = questions.of("good")
    served: list[Reply] = [gateway.get(der)]

    def another() -> bool:
        # Whatever the moment, the headers have to fit it.
        reply = gateway.get(der) if len(served) % 2 else gateway.post(der)
        assert_cacheable(reply)
        left = int(reply.answer.next_update.timestamp() - http_time(reply, "date").timestamp())
        assert max_age(reply) == left - 1 > 0
        served.append(reply)
        time.sleep(0.1)  # so as not to ask thousands of times
        return reply.body != served[0].body

    wait_until(another, within=BRIEF / 4 + 10)
    # The last of the old ones could still be kept when the new one came.
    assert http_time(served[-1], "date").timestamp() < http_time(served[-2], "date").timestamp() + max_age(served[-2])
    assert served[-1].answer.next_update > served[-2].answer.next_update


@pytest.mark.rule("R76")
def test_max_age_of_an_unmodified_brief_answer(estate: Estate, questions: Questions) -> None:
    """The 304 of an answer of a minute carries what is left of it, too."""
    gateway = estate.gateway("brief", validity=BRIEF, clock_skew=0, max_age=MAX_AGE)
    etags = ", ".join(gateway.get(questions.of("good")).header("etag") or "" for _ in range(2))
    reply = gateway.get(questions.of("good"), if_none_match=etags)
    if reply.status == 304:  # otherwise the next period began between the two
        left = (http_time(reply, "expires") - http_time(reply, "date")).total_seconds()
        assert max_age(reply) == min(MAX_AGE, left - 1)


@pytest.mark.rule("R76")
def test_a_preset_with_a_short_max_age(estate: Estate, questions: Questions) -> None:
    """Where caches may keep answers for ten seconds only, max-age says ten."""
    reply = estate.gateway("short", preset="short").get(questions.of("good"))
    assert_cacheable(reply)
    assert max_age(reply) == 10


@pytest.mark.rule("R77")
def test_the_etag_is_the_same_for_everybody(responder: Responder, questions: Questions) -> None:
    """One signed answer is shared: ten connections, however they spell and ask, see the same octets."""
    der, awkward = questions.of("good"), questions.awkward()
    replies = [responder.get(der) for _ in range(5)]
    replies += [responder.post(der), responder.get(awkward), responder.post(awkward)]
    with Connection(responder) as connection:
        connection.send(get(spell("/{b64}?query", der)) + chunked(der))
        replies += [connection.reply(), connection.reply()]
    assert len({reply.body for reply in replies}) == 1
    assert len({reply.header("etag") for reply in replies}) == 1


@pytest.mark.rule("R77")
def test_the_etag_is_the_same_at_gateways_with_the_same_rsa_key(
    estate: Estate, certificates: Certificates, responder: Responder
) -> None:
    """RSA signatures are not random, and the times depend on no process: two of them give the same octets."""
    other = estate.gateway("never-issued-revoked", never_issued="extended-revoked")
    subject = certificates.issue("two-gateways-rsa.example.com", "direct-rsa")

    def agree() -> bool:
        first, second = responder.get(subject.request()), other.get(subject.request())
        assert (first.header("etag") == second.header("etag")) == (first.body == second.body)
        return first.body == second.body

    wait_until(agree, within=10)  # the next period may begin between the two


@pytest.mark.rule("R77", "R78")
def test_no_gateway_takes_the_etag_of_another_for_its_own(
    estate: Estate, questions: Questions, responder: Responder
) -> None:
    """Where each has a key of its own, a cache that comes with the other's ETag gets the whole answer, not a 304."""
    other = estate.gateway("never-issued-revoked", never_issued="extended-revoked")
    der = questions.of("good")
    first = responder.get(der)
    second = other.get(der, if_none_match=first.header("etag") or "")
    assert second.status == 200
    assert second.header("etag") != first.header("etag")
    assert [reply.answer.status for reply in (first, second)] == ["good", "good"]


@pytest.mark.rule("R77", "R49")
def test_the_etag_changes_with_the_status(
    estate: Estate, questions: Questions, responder: Responder, tmp_path: Path
) -> None:
    """After a revocation the old ETag matches no more, so that no cache goes on with `good`."""
    certificate = estate.issue("etag-then-revoked.example.com")
    der = questions.about(certificate)
    before = responder.get(der)
    assert before.answer.status == "good"
    estate.revoke(certificate)
    wait_until(lambda: responder.post(der).answer.status == "revoked", within=10)
    after = responder.get(der, if_none_match=before.header("etag") or "")
    assert after.status == 200
    assert after.answer.status == "revoked"
    assert_cacheable(after)
    assert load_certificate(certificate).serial_number == after.answer.single["cert_id"]["serial_number"].native
