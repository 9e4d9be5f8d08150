"""The templates write what an encoder that knows the ASN.1 writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from asn1crypto import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ocsp.der import check_der, tlv
from gateway.ocsp.response import OcspStatus, ResponseSigner, Revoked, SingleResponse, error_response
from tests.gateway.ocsp.encoder import (
    ALGORITHMS,
    ARCHIVE_CUTOFF,
    EXTENDED_REVOKE,
    NONCE,
    Response,
    cert_id,
    expected_data,
    expected_response,
    signature_in,
    verify,
)


# R54, R63, R67
@pytest.mark.parametrize("nonce", [False, True], ids=["no nonce", "nonce"])
@pytest.mark.parametrize("status", ["good", "unknown", "revoked"])
@pytest.mark.parametrize("kind", ALGORITHMS)
def test_whole_responses_are_equal(
    signers: Mapping[str, ResponseSigner], authority: Any, kind: str, status: str, nonce: bool
) -> None:
    """For each key and status, asn1crypto writes the same octets for the same values, and the signature is good."""
    now, signer = authority.now, signers[kind]
    value: Any = Revoked(now - timedelta(hours=1), 1) if status == "revoked" else status
    single = SingleResponse(cert_id(7).dump(), value, now, now + timedelta(hours=12))
    body = signer.sign([single], now, NONCE if nonce else None)

    signature = signature_in(body)
    data = expected_data(signer.certificate, [single], now, nonce=NONCE[2:] if nonce else None, extended=False)
    assert body == expected_response(data, kind, signature, signer.certificate)
    check_der(body)
    check_der(Response.load(body)["bytes"]["response"].native)
    verify(signer.certificate.public_key(), signature, data.dump())


# R47, R58, R60, R61
@pytest.mark.parametrize("nonce", [False, True], ids=["no nonce", "nonce"])
@pytest.mark.parametrize("extended", [False, True], ids=["no extensions", "extensions"])
@pytest.mark.parametrize("reason", [None, 0, 1, 2, 3, 4, 5, 6, 9, 10])
def test_response_data_are_equal(
    signers: Mapping[str, ResponseSigner], authority: Any, reason: int | None, extended: bool, nonce: bool
) -> None:
    """Every reason, several SingleResponses and extensions at both places come out as asn1crypto writes them."""
    now = authority.now
    revoked = Revoked(now - timedelta(hours=1), reason)
    until = now + timedelta(hours=12)
    singles = [
        SingleResponse(cert_id(7).dump(), revoked, now, until, (ARCHIVE_CUTOFF,) if extended else ()),
        SingleResponse(cert_id(1 << 150, "sha256").dump(), "good", now - timedelta(hours=1), until),
        SingleResponse(cert_id(7).dump(), "unknown", now, until),
    ]
    data = signers["p256"].response_data(
        singles, now, NONCE if nonce else None, extensions=[EXTENDED_REVOKE] if extended else ()
    )
    certificate = signers["p256"].certificate
    assert (
        data == expected_data(certificate, singles, now, nonce=NONCE[2:] if nonce else None, extended=extended).dump()
    )


def test_many_answers_are_equal(signers: Mapping[str, ResponseSigner], authority: Any) -> None:
    """Lengths beyond 64 KiB are written as asn1crypto writes them."""
    now = authority.now
    singles = [SingleResponse(cert_id(n).dump(), "good", now, now + timedelta(hours=1)) for n in range(1, 700)]
    data = signers["p256"].response_data(singles, now)
    assert len(data) > 1 << 16
    assert data == expected_data(signers["p256"].certificate, singles, now, nonce=None, extended=False).dump()


HASHES = ("sha1", "sha256", "sha384", "sha512")
REASONS = (None, 0, 1, 2, 3, 4, 5, 6, 9, 10)
statuses = st.sampled_from(["good", "unknown", *REASONS])


def durations(days: int) -> st.SearchStrategy[timedelta]:
    """Whole seconds, at most so many days."""
    return st.integers(0, days * 86_400).map(lambda seconds: timedelta(seconds=seconds))


@st.composite
def any_single(draw: st.DrawFn, now: datetime) -> SingleResponse:
    """Any SingleResponse that may be in an answer of this moment."""
    status: Any = draw(statuses)
    if status not in ("good", "unknown"):
        status = Revoked(now - draw(durations(40_000)), status)
    asked = cert_id(draw(st.integers(1, (1 << 160) - 1)), draw(st.sampled_from(HASHES))).dump()
    until = now + draw(durations(2))
    return SingleResponse(
        asked, status, now - draw(durations(40_000)), until, draw(st.sampled_from([(), (ARCHIVE_CUTOFF,)]))
    )


# R47, R54, R55, R58, R63, R67
@pytest.mark.parametrize("kind", ALGORITHMS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), by_name=st.booleans(), direct=st.booleans(), extended=st.booleans())
def test_any_response_is_equal(
    signers: Mapping[str, ResponseSigner],
    keys: Mapping[str, Any],
    authority: Any,
    kind: str,
    data: st.DataObject,
    by_name: bool,
    direct: bool,
    extended: bool,
) -> None:
    """For each key: any statuses, times, hashes, nonce and extensions, named either way, enclosed or not."""
    responder = signers[kind].certificate
    now = authority.now.replace(microsecond=0)
    singles = data.draw(st.lists(any_single(now), min_size=1, max_size=4))
    nonce = data.draw(st.none() | st.binary(min_size=1, max_size=128))
    body = ResponseSigner(keys[kind], responder, by_name=by_name, direct=direct).sign(
        singles,
        now,
        None if nonce is None else tlv(0x04, nonce),
        extensions=[EXTENDED_REVOKE] if extended else (),
    )
    expected = expected_data(responder, singles, now, nonce=nonce, extended=extended, by_name=by_name)
    signature = signature_in(body)
    assert body == expected_response(expected, kind, signature, None if direct else responder)
    check_der(body)
    verify(responder.public_key(), signature, expected.dump())


# R53
@pytest.mark.parametrize("status", [status for status in OcspStatus if status is not OcspStatus.SUCCESSFUL])
def test_errors_are_equal(status: OcspStatus) -> None:
    """Every error is what asn1crypto writes for its number."""
    named = ocsp.OCSPResponseStatus(int(status))
    assert error_response(status) == ocsp.OCSPResponse({"response_status": named}).dump()
