"""R2–R10: every spelling of an OCSP GET carries the same request, wherever OCSP is served."""

from __future__ import annotations

from base64 import b64encode
from itertools import pairwise
from urllib.parse import urlsplit

import pytest

from tests.conformance.connection import Connection, get
from tests.conformance.estate import Estate
from tests.conformance.paths import CASES, PathCase, spell
from tests.conformance.questions import NEVER_ISSUED, Questions
from tests.conformance.wire import Reply, Responder, cert_id, load_certificate, request

PUBLIC_URL = "http://localhost/pki/ocsp"
PREFIXES = {"root": "", "ocsp": "/ocsp", "public URL": "/pki/ocsp"}
MATRIX = [pytest.param(case, id=case.id, marks=pytest.mark.rule(*case.rules)) for case in CASES]


@pytest.fixture(scope="module")
def mounted(estate: Estate) -> Responder:
    """A gateway whose public URL has a path."""
    return estate.gateway("mounted", public_url=PUBLIC_URL)


@pytest.fixture(scope="module")
def awkward_request(questions: Questions) -> bytes:
    """About a good certificate; its base64 holds `//` and `++` and ends in `==`."""
    return questions.awkward()


@pytest.fixture(scope="module")
def expected(mounted: Responder, awkward_request: bytes) -> bytes:
    """The answer to the awkward request, asked by POST."""
    answer = mounted.post(awkward_request).answer
    assert answer.status == "good"
    return answer.der


@pytest.mark.parametrize("case", MATRIX)
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_spelling(mounted: Responder, awkward_request: bytes, expected: bytes, prefix: str, case: PathCase) -> None:
    """The path is read as the matrix says: the same octets as for a POST, malformedRequest, or 404."""
    reply = mounted.send("GET", case.target(awkward_request, prefix))
    if case.expect == "none":
        assert reply.status == 404
    elif case.expect == "malformed":
        assert reply.ocsp_status == "malformed_request"
    else:
        assert reply.ocsp_status == "successful"
        assert reply.body == expected


@pytest.mark.rule("R3", "R15", "R79")
@pytest.mark.parametrize("case", [case for case in CASES if case.expect == "request"], ids=lambda case: case.id)
def test_spelling_of_a_head(mounted: Responder, awkward_request: bytes, expected: bytes, case: PathCase) -> None:
    """A HEAD reads paths as a GET does."""
    reply = mounted.send("HEAD", case.target(awkward_request, "/pki/ocsp"))
    assert (reply.status, reply.body) == (200, b"")
    assert reply.header("content-length") == str(len(expected))


@pytest.mark.rule("R4", "R5")
@pytest.mark.parametrize("template", ["/{b64}", "//{b64}", "/{ESC}", "/{esc}", "/{SLASH}"])
def test_slashes_from_a_serial_number(questions: Questions, responder: Responder, template: str) -> None:
    """A serial number that makes `//` and `++` of a SHA-1 CertID is read exactly, raw and escaped."""
    serials = [int.from_bytes(b"\x01" * length + b"\xfb\xef\xbe\xff\xff\xff" * 2) for length in (1, 2, 3)]
    asked = [(serial, questions.about_serial(serial)) for serial in serials]
    serial, der = next(pair for pair in asked if {"//", "++"} <= _pairs(b64encode(pair[1]).decode()))
    answer = responder.send("GET", spell(template, der)).answer
    assert answer.status == "unknown"
    assert answer.single["cert_id"]["serial_number"].native == serial


def _pairs(text: str) -> set[str]:
    return {first + second for first, second in pairwise(text)}


@pytest.mark.rule("R8")
@pytest.mark.parametrize("path", ["/", "//", "/ocsp", "/ocsp/", "/ocsp//", "/pki/ocsp", "/pki/ocsp/"])
def test_post_with_and_without_a_slash(mounted: Responder, awkward_request: bytes, expected: bytes, path: str) -> None:
    """A POST works at every prefix, with and without a slash, and is not redirected."""
    reply = mounted.post(awkward_request, path)
    assert (reply.status, reply.header("location")) == (200, None)
    assert reply.body == expected


@pytest.mark.rule("R8", "R9")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/ocsp", "/ocsp/", "/pki/ocsp", "/pki/ocsp/"])
def test_a_get_that_asks_nothing(mounted: Responder, path: str, method: str) -> None:
    """It is malformedRequest, with HTTP 200: no redirect, and nothing of 500."""
    reply = mounted.send(method, path)
    assert (reply.status, reply.header("location"), reply.header("content-length")) == (200, None, "5")
    assert reply.body == (b"\x30\x03\x0a\x01\x01" if method == "GET" else b"")


@pytest.mark.rule("R8")
def test_a_prefix_ends_at_a_slash(mounted: Responder, awkward_request: bytes) -> None:
    """What only begins like a prefix is no prefix: the rest of the word would be lost."""
    for prefix in ("/pki/ocs", "/pki/ocspx", "/pki", "/ocspx"):
        reply = mounted.send("GET", f"{prefix}/{b64encode(awkward_request).decode()}")
        assert reply.status == 404 or reply.ocsp_status == "malformed_request"


@pytest.mark.rule("R8", "R9")
@pytest.mark.parametrize("path", ["/nowhere", "/MAA=", "/pki", "/healthz", "/favicon.ico"])
def test_post_elsewhere(mounted: Responder, awkward_request: bytes, path: str) -> None:
    """A POST to what is no prefix is 404, and not taken for a GET."""
    assert mounted.post(awkward_request, path).status == 404


@pytest.mark.rule("R2", "R10", "R26")
@pytest.mark.parametrize("hash_algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_get_of_every_hash_algorithm(questions: Questions, responder: Responder, hash_algorithm: str) -> None:
    """GETs whose URL is longer than the 255 octets that clients keep to are read too: SHA-512 makes them so."""
    der = questions.about(questions.good_certificate, hash_algorithm)
    assert hash_algorithm != "sha512" or len(spell(f"http://{responder.address}/{{ESC}}", der)) > 255
    answer = responder.get(der).answer
    assert answer.status == "good"
    assert answer.single["cert_id"]["hash_algorithm"]["algorithm"].native == hash_algorithm


@pytest.mark.rule("R10", "R20")
@pytest.mark.parametrize("template", ["/{b64}", "/{ESC}", "/ocsp///{SLASH}"])
def test_a_very_long_get(questions: Questions, responder: Responder, template: str) -> None:
    """Sixty CertIDs, some six thousand characters of base64, are one GET."""
    issuer = load_certificate(questions.estate.ca("issuing"))
    der = request(*[cert_id(issuer, NEVER_ISSUED)] * 60)
    target = spell(template, der)
    assert len(target) > 5500
    assert len(responder.send("GET", target).answer.singles) == 60


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("target", "statuses"),
    [
        ("/" + "A" * 8_000, (200,)),
        ("/" + "%2F" * 2_700, (200,)),
        ("/" + "/" * 8_000, (200,)),
        ("/" + "A" * 8_200, (414,)),
        ("/" + "A" * 60_000, (414, 431)),
        ("/?" + "q" * 9_000, (414,)),
    ],
    ids=["8000 characters", "8000 of escapes", "8000 slashes", "too long", "far too long", "a long query"],
)
def test_the_longest_paths(responder: Responder, target: str, statuses: tuple[int, ...]) -> None:
    """Up to 8 KiB a path is read, whatever it holds; above it is a 4xx, and the connection ends."""
    with Connection(responder) as connection:
        connection.send(get(target))
        reply = connection.reply()
        assert reply.status in statuses
        if reply.status == 200:
            assert reply.ocsp_status == "malformed_request"
        else:
            assert reply.header("connection") == "close"
            assert connection.rest() == b""


@pytest.mark.rule("R9")
@pytest.mark.parametrize("target", ["/a b", "/\xff", "/\x00", "nonsense", "?", "#"], ids=repr)
def test_what_is_no_request_target(responder: Responder, target: str) -> None:
    """HTTP that cannot be read is 400, or at the most an OCSP error."""
    with Connection(responder) as connection:
        connection.send(get(target, "Connection: close"))
        reply = connection.reply()
        assert reply.status in (400, 404) or reply.ocsp_status == "malformed_request"


@pytest.mark.rule("R2", "R8", "R16")
def test_the_url_in_certificates(questions: Questions) -> None:
    """The OCSP URL of an issued certificate is plain http, and answers by GET and POST when taken literally."""
    [url] = load_certificate(questions.good_certificate).ocsp_urls
    parts = urlsplit(url)
    assert parts.scheme == "http"
    asked = Responder(parts.netloc, parts.path or "/")
    replies: list[Reply] = [asked.get(questions.of("good")), asked.post(questions.of("good"))]
    assert [reply.answer.status for reply in replies] == ["good", "good"]
