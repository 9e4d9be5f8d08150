"""Whatever comes in, a well-formed OCSPResponse or an HTTP 4xx comes out; and valid requests get what they asked for.

The inputs are the same in every run.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.estate import Estate
from tests.conformance.wire import Answer, Reply, Responder, cert_id, extension, load_certificate, nonce, request, tlv

MALFORMED, UNAUTHORIZED = bytes.fromhex("30030a0101"), bytes.fromhex("30030a0106")
HASHES = ("sha1", "sha256", "sha384", "sha512")
ISSUERS = ("issuing", "rsa", "solo", "direct", "direct-rsa", "root")

bounded = settings(max_examples=150, derandomize=True, deadline=None, database=None)

serials = st.integers(1, (1 << 159) - 1)
nonces = st.none() | st.binary(min_size=1, max_size=128)


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Some places, as parts of the whole, how many octets to take away there, and what to put in."""
    place = st.floats(0, 1, allow_nan=False)
    return draw(st.lists(st.tuples(place, st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4))


def edited(octets: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """The octets with the changes made, one after the other."""
    for place, removed, added in changes:
        at = int(place * len(octets))
        octets = octets[:at] + added + octets[at + removed :]
    return octets


@pytest.fixture(scope="module")
def seeds(estate: Estate, good: Path) -> list[bytes]:
    """Good requests of several kinds, to be spoilt."""
    issuer, serial = load_certificate(estate.ca("issuing")), load_certificate(good).serial_number
    asked = [cert_id(issuer, serial, hash_algorithm=name) for name in HASHES]
    name = tlv(0xA4, issuer.subject.dump())
    locator = extension("1.3.6.1.5.5.7.48.1.7", tlv(0x30, issuer.subject.dump()))
    return [
        request(asked[0]),
        request(asked[0], extensions=[nonce(bytes(range(32)))]),
        request(*asked, extensions=[nonce(b"n"), extension("1.3.6.1.4.1.55555.1", b"\x05\x00")]),
        request(asked[1], requestor_name=name, single_extensions=[locator]),
    ]


def check(reply: Reply) -> Answer | None:
    """Nothing else than an HTTP 4xx, an error that puts the blame on the request, or an answer in DER, returned."""
    if 400 <= reply.status < 500:
        return None
    assert reply.status == 200, reply
    assert reply.header("content-type") == "application/ocsp-response"
    if reply.body in {MALFORMED, UNAUTHORIZED}:
        return None
    answer = reply.answer
    assert answer.response.dump(force=True) == reply.body
    assert answer.singles
    return answer


@pytest.mark.rule("R17", "R22", "R25")
@bounded
@given(body=st.binary(max_size=400))
def test_any_octets(responder: Responder, body: bytes) -> None:
    """Random octets are malformed by POST, and not taken for a request by GET either."""
    for reply in (responder.post(body), responder.get(body)):
        assert check(reply) is None


@pytest.mark.rule("R17", "R22")
@bounded
@given(which=st.integers(0, 3), changes=edits())
def test_spoilt_requests(
    responder: Responder, seeds: list[bytes], good: Path, which: int, changes: list[tuple[float, int, bytes]]
) -> None:
    """A good request with a few octets changed: POST and GET agree on what it is worth."""
    body = edited(seeds[which], changes)
    answers = [check(responder.post(body)), check(responder.get(body))]
    assert (answers[0] is None) is (answers[1] is None)
    issued = load_certificate(good).serial_number
    for answer in filter(None, answers):
        # What still parses is about what it says, and only the one certificate was ever issued.
        for index, single in enumerate(answer.singles):
            assert single["cert_id"].dump() in body
            assert (answer.status_of(index) == "good") is (single["cert_id"]["serial_number"].native == issued)


@pytest.mark.rule("R3", "R4", "R7")
@bounded
@given(which=st.integers(0, 3), changes=edits(), escape=st.booleans())
def test_spoilt_paths(
    responder: Responder, seeds: list[bytes], which: int, changes: list[tuple[float, int, bytes]], escape: bool
) -> None:
    """A good GET with a few octets of its path changed, to characters that may be there and others."""
    path = edited(b64encode(seeds[which]), changes).decode("latin-1")
    shown = "".join(each if "!" <= each <= "~" else f"%{ord(each):02x}" for each in path)
    check(responder.send("GET", "/" + (quote(path, safe="", encoding="latin-1") if escape else shown)))


@pytest.mark.rule("R8", "R9")
@bounded
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=120))
def test_any_path(responder: Responder, path: str) -> None:
    """No path at all makes the gateway fail, or say anything about a certificate."""
    assert check(responder.send("GET", "/" + path)) is None


@st.composite
def questions(draw: st.DrawFn) -> list[tuple[str, int, str, bool]]:
    """Issuer, serial number, hash and whether its parameters are NULL, of a few certificates."""
    issuers = [draw(st.sampled_from(ISSUERS))] if draw(st.booleans()) else list(ISSUERS)
    one = st.tuples(st.sampled_from(issuers), serials, st.sampled_from(HASHES), st.booleans())
    return draw(st.lists(one, min_size=1, max_size=5))


@pytest.mark.rule("R20", "R21", "R26", "R29", "R33", "R44")
@bounded
@given(asked=questions(), value=nonces)
def test_valid_requests(
    estate: Estate, responder: Responder, asked: list[tuple[str, int, str, bool]], value: bytes | None
) -> None:
    """Every CertID comes back octet for octet, in order, with the nonce, and as unknown; mixed issuers unauthorized."""
    ids = [
        cert_id(load_certificate(estate.ca(issuer)), serial, hash_algorithm=name, null_parameters=null)
        for issuer, serial, name, null in asked
    ]
    body = request(*ids, extensions=[] if value is None else [nonce(value)])
    for reply in (responder.post(body), responder.get(body)):
        answer = check(reply)
        if len({issuer for issuer, *_ in asked}) > 1:
            assert reply.body == UNAUTHORIZED
            continue
        assert answer is not None
        assert [single["cert_id"].dump() for single in answer.singles] == ids
        assert {answer.status_of(index) for index in range(len(ids))} == {"unknown"}
        assert answer.nonce == (None if value is None else tlv(0x04, value))
