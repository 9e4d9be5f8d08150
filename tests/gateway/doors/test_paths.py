"""R3-R10: every spelling of an OCSP GET carries the same request, through both doors."""

from __future__ import annotations

import base64
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from gateway.paths import MALFORMED, OcspPaths, decode
from tests.conformance.paths import CASES, PathCase, awkward, spell
from tests.gateway.doors.harness import Gateway, cacheable, ocsp_request

MALFORMED_REQUEST = bytes.fromhex("30030a0101")
REQUEST = awkward(lambda octets: ocsp_request(int.from_bytes(b"\x01" + octets)))


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
@pytest.mark.parametrize("prefix", ["", "/ocsp", "/pki"], ids=["root", "ocsp", "public URL"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_spelling(gateway: Gateway, case: PathCase, prefix: str, method: str) -> None:
    """The path is read as the table says, by GET and by HEAD, and nothing is redirected."""
    answer = cacheable(b"the answer to an awkward request")
    gateway.responder.ready[REQUEST] = answer
    with gateway.client() as client:
        client.send(f"{method} {case.target(REQUEST, prefix)} HTTP/1.1\r\nHost: ocsp.test\r\n\r\n".encode("latin-1"))
        response = client.response(bodiless=method == "HEAD")
    expected = {"request": answer.body, "malformed": MALFORMED_REQUEST, "none": None}[case.expect]
    if expected is None:
        assert response.status == 404
        return
    assert response.status == 200
    assert response.headers["content-type"] == "application/ocsp-response"  # R14
    assert response.headers["content-length"] == str(len(expected))
    assert response.body == (expected if method == "GET" else b"")


@pytest.mark.parametrize("path", ["/ocsp", "/pki"])
def test_a_prefix_without_anything_behind_it(gateway: Gateway, path: str) -> None:
    """A GET of the prefix itself asks nothing: an OCSP error, unredirected (R8, R9)."""
    with gateway.client() as client:
        assert client.get(path).body == MALFORMED_REQUEST


@pytest.mark.parametrize("path", ["/", "/ocsp", "/ocsp/", "//", "/pki", "/pki/"])
def test_post_with_and_without_path_and_slash(gateway: Gateway, path: str) -> None:
    """A POST works at each prefix with and without a slash, unredirected (R8)."""
    answer = gateway.responder.ready[b"0\x00"] = cacheable(b"posted")
    with gateway.client() as client:
        client.send(
            f"POST {path} HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nContent-Length: 2\r\n\r\n".encode()
            + b"0\x00"
        )
        assert client.response().body == answer.body


@pytest.mark.parametrize(
    "algorithm",
    [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()],
    ids=lambda algorithm: algorithm.name,
)
def test_long_gets(gateway: Gateway, algorithm: hashes.HashAlgorithm) -> None:
    """GETs above 255 octets are read too: CertIDs with SHA-512 need them (R10)."""
    der = ocsp_request(1 << 150, algorithm)
    answer = gateway.responder.ready[der] = cacheable(algorithm.name.encode())
    with gateway.client() as client:
        assert client.get(spell("/{ESC}", der)).body == answer.body


@given(st.binary(min_size=1, max_size=200))
def test_every_request_survives_every_spelling(der: bytes) -> None:
    """What is encoded comes back, unless base64 itself begins with a slash, as no DER SEQUENCE does."""
    der = b"0" + der
    for template in ("/{b64}", "/{ESC}", "/{esc}", "/{SLASH}", "/{PLUS}", "/{BARE}"):
        assert OcspPaths().request_of(spell(template, der).encode()) == der


@given(st.binary(max_size=100))
def test_decode_never_raises(text: bytes) -> None:
    """Whatever a path holds, decoding gives octets or says malformed."""
    assert isinstance(decode(text), bytes)


def test_memo_is_bounded() -> None:
    """Cycling through paths does not grow the memo beyond its size."""
    paths = OcspPaths()
    for number in range(10_000):
        path = b"/" + base64.b64encode(b"0" + number.to_bytes(4))
        assert paths.request_of(path) == b"0" + number.to_bytes(4)
    assert len(paths._memo) <= 8192


@pytest.mark.parametrize(
    ("prefixes", "path", "carries"),
    [
        ((), "/pki/MAA=", None),
        (("/pki",), "/pki/MAA=", b"0\x00"),
        (("/pki/",), "/pki/MAA=", b"0\x00"),
        (("a/b",), "/a/b/MAA=", b"0\x00"),
        (("/M",), "/MAA=", b"0\x00"),
        (("/",), "/MAA=", b"0\x00"),
    ],
    ids=["not configured", "configured", "with slash", "two segments", "prefix of the base64", "root"],
)
def test_prefixes(prefixes: tuple[str, ...], path: str, carries: bytes | None) -> None:
    """A prefix is taken off where a segment ends, and only there."""
    found = OcspPaths(prefixes).request_of(path.encode())
    assert found == carries if carries else found in (None, MALFORMED) or found != b"0\x00"


def test_spellings_are_the_same_text() -> None:
    """The variants of the data file decode to one base64 text, so that they differ in spelling only."""
    b64 = base64.b64encode(REQUEST).decode()
    assert {
        unquote(spell(t, REQUEST)) for t in ("{ESC}", "{esc}", "{MIXED}", "{ALL}", "{HALF}", "{SLASH}", "{b64}")
    } == {b64}
