"""R79–R82: which answers are shared, and that no client can make the gateway sign for it."""

from __future__ import annotations

import re
import urllib.request

import pytest

from tests.conformance.connection import Connection, chunked, get, post
from tests.conformance.estate import Estate
from tests.conformance.paths import spell
from tests.conformance.questions import PRIVATE_EXTENSION, Questions
from tests.conformance.wire import Responder, cert_id, extension, load_certificate, nonce, request

INSISTING = {
    "no-cache": ("Cache-Control: no-cache",),
    "no-store": ("Cache-Control: no-store, max-age=0",),
    "Pragma": ("Pragma: no-cache",),
    "all": ("Cache-Control: no-cache, no-store, max-age=0, must-revalidate", "Pragma: no-cache", "Expires: 0"),
    "other clients' headers": ("User-Agent: another", "Cookie: a=b", "Authorization: Basic Og==", "X-Nonce: 1"),
}


def ready_answers(estate: Estate) -> float:
    """How many answers the default gateway has given that were ready, and so not signed for the asker."""
    with urllib.request.urlopen(f"http://{estate.system.ops}/metrics", timeout=10) as page:
        text = page.read().decode()
    return float(re.findall(r'goodstanding_ocsp_answers_total\{source="hot"\} (\S+)', text)[0])


@pytest.mark.rule("R80")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_to_a_nonce_is_for_one_asker(responder: Responder, questions: Questions, method: str) -> None:
    """It has no cache headers, and is another each time; what is shared stays as it was."""
    plain = responder.get(questions.of("good"))
    bodies = []
    for _ in range(3):
        reply = (responder.get if method == "GET" else responder.post)(questions.of("nonce"))
        assert reply.answer.nonce is not None
        names = {name for name, _ in reply.headers}
        assert not names & {"cache-control", "etag", "expires", "last-modified", "age", "pragma"}
        bodies.append(reply.body)
    assert len(set(bodies)) == 3
    again = responder.get(questions.of("good"))
    assert again.answer.nonce is None
    assert again.body == plain.body


@pytest.mark.rule("R80")
def test_nonces_are_not_mixed_up(responder: Responder, questions: Questions) -> None:
    """Askers who ask at the same time each get their own nonce back."""
    values = [bytes([number]) * 16 for number in range(1, 31)]
    with Connection(responder) as connection:
        requests = [questions.about(questions.good_certificate, "sha1", nonce(value)) for value in values]
        connection.send(b"".join(map(post, requests)))
        assert [connection.reply().answer.nonce for _ in values] == [b"\x04\x10" + value for value in values]


@pytest.mark.rule("R80", "R26")
def test_the_cache_goes_by_cert_id(responder: Responder, questions: Questions) -> None:
    """One certificate by four hashes, with and without parameters: each asker's CertID comes back, also when ready."""
    issuer = load_certificate(questions.estate.ca("issuing"))
    serial = load_certificate(questions.good_certificate).serial_number
    spellings = [
        cert_id(issuer, serial, hash_algorithm=algorithm, null_parameters=null)
        for algorithm in ("sha1", "sha256", "sha384", "sha512")
        for null in (True, False)
    ]
    for _ in range(2):
        found = [responder.get(request(spelling)).answer.single["cert_id"].dump() for spelling in spellings]
        assert found == spellings
    assert len({responder.get(request(spelling)).header("etag") for spelling in spellings}) == len(spellings)


@pytest.mark.rule("R80")
def test_the_cache_does_not_go_by_url(estate: Estate, questions: Questions, responder: Responder) -> None:
    """Every spelling, path, query and method, and octets that make no difference, share one signed answer."""
    der = questions.about(estate.issue("shared-by-all-spellings.example.com"))
    whole = responder.get(der)
    before = ready_answers(estate)
    octets = [get(spell(template, der)) for template in ("/{b64}", "/{esc}", "//{SLASH}", "/ocsp/{BARE}")]
    octets += [get(spell("/{ESC}", der) + f"?{number}") for number in range(10)]
    octets += [post(der), post(der, target="/ocsp"), chunked(der)]
    with Connection(responder) as connection:
        for each in octets:
            connection.send(each)
            assert connection.reply().body == whole.body
    assert ready_answers(estate) - before == len(octets)


@pytest.mark.rule("R82")
@pytest.mark.parametrize("headers", INSISTING.values(), ids=INSISTING)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_client_cannot_force_a_signature(
    estate: Estate, questions: Questions, responder: Responder, headers: tuple[str, ...], method: str
) -> None:
    """Whatever it says of caches, it gets the answer that is ready."""
    der = questions.of("good")
    whole = responder.get(der)
    before = ready_answers(estate)
    with Connection(responder) as connection:
        for _ in range(5):
            if method == "POST":
                connection.send(post(der, *headers))
            else:
                connection.send(get(spell("/{ESC}", der), *headers, method=method))
            reply = connection.reply(head=method == "HEAD")
            assert reply.header("etag") == whole.header("etag")
            assert method == "HEAD" or reply.body == whole.body
    assert ready_answers(estate) - before == 5


@pytest.mark.rule("R82")
def test_octets_that_make_no_difference_force_no_signature(
    estate: Estate, questions: Questions, responder: Responder
) -> None:
    """Nor do requests that differ in what is not answered: extensions that nobody knows, a name of the asker."""
    whole = responder.get(questions.of("good"))
    for number in range(5):
        unknown = extension(PRIVATE_EXTENSION, bytes([number]))
        reply = responder.post(questions.about(questions.good_certificate, "sha1", unknown))
        assert reply.body == whole.body


@pytest.mark.rule("R81")
@pytest.mark.parametrize("kind", ["good", "revoked", "unknown", "nonce", "malformed", "unauthorized"])
def test_no_vary_and_no_cookie(responder: Responder, questions: Questions, kind: str) -> None:
    """Nothing depends on who asks, and nobody is to be recognised."""
    for header in ({}, {"cookie": "session=1", "origin": "https://example.com", "accept-language": "de"}):
        for reply in (responder.get(questions.of(kind), **header), responder.post(questions.of(kind), **header)):
            names = {name for name, _ in reply.headers}
            assert not names & {"vary", "set-cookie", "server", "via"}
