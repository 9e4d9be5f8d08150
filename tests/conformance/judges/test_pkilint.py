"""pkilint is run on every answer that the tests hear (see conftest.py); here it is seen to run, and not to be blind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core, ocsp

from tests.conformance import lint
from tests.conformance.estate import Estate
from tests.conformance.wire import Answer, Responder, cert_id, load_certificate, nonce, request

ENROLLED = ("issuing", "rsa", "solo", "solo-rsa")


@pytest.mark.rule("R54", "R57", "R58", "R66")
@pytest.mark.parametrize("issuer", ENROLLED)
def test_an_answer_and_its_delegate_are_clean(estate: Estate, responder: Responder, issuer: str) -> None:
    """The answer satisfies RFC 6960, and the delegate that signed it RFC 5280 and the baseline requirements."""
    asked = cert_id(load_certificate(estate.ca(issuer)), 4711)
    answer = responder.post(request(asked)).answer
    assert lint.answer_findings(answer.der) == []
    (delegate,) = lint.certificates_in(answer.der)
    assert lint.is_our_delegate(delegate)
    assert lint.certificate_findings(delegate) == []


@pytest.mark.rule("R66")
def test_a_delegate_of_a_ca_with_a_full_name_is_clean_without_exception(estate: Estate, responder: Responder) -> None:
    """Where the CA has a country and an organisation, its delegates have them too, and nothing has to be accepted."""
    answer = responder.post(request(cert_id(load_certificate(estate.ca("rsa")), 4711))).answer
    (delegate,) = lint.certificates_in(answer.der)
    assert lint.is_our_delegate(delegate)
    assert lint.certificate_findings(delegate, accepted=()) == []


@pytest.mark.rule("R54", "R47", "R33", "R20")
def test_a_mixed_answer_is_clean(estate: Estate, responder: Responder, good: Path, revoked: Path) -> None:
    """Good, revoked and unknown in one answer, by every hash, with a nonce."""
    issuer = load_certificate(estate.ca("issuing"))
    serials = [load_certificate(good).serial_number, load_certificate(revoked).serial_number, 4711]
    asked = [
        cert_id(issuer, serial, hash_algorithm=name)
        for serial in serials
        for name in ("sha1", "sha256", "sha384", "sha512")
    ]
    answer = responder.post(request(*asked, extensions=[nonce(bytes(range(32)))])).answer
    assert len(answer.singles) == 12
    assert lint.answer_findings(answer.der) == []


def _reversed_times(data: Any) -> None:
    single = data["responses"][0]
    single["next_update"] = single["this_update"].native - timedelta(hours=1)


def _long_responder_hash(data: Any) -> None:
    data["responder_id"] = ocsp.ResponderId("by_key", core.OctetString(bytes(32)))


SPOILT: dict[str, tuple[Callable[[Any], None], str]] = {
    "nextUpdate before thisUpdate": (_reversed_times, "pkix.ocsp_negative_validity_period"),
    "responder by SHA-256": (_long_responder_hash, "pkix.ocsp_responderid_keyhash_is_not_sha1"),
}


@pytest.mark.parametrize(("spoil", "code"), SPOILT.values(), ids=SPOILT.keys())
def test_the_linter_sees(responder: Responder, estate: Estate, spoil: Callable[[Any], None], code: str) -> None:
    """What is wrong in an answer is found, with its severity, code and place; once."""
    asked = cert_id(load_certificate(estate.ca("issuing")), 4711)
    read = Answer(responder.post(request(asked)).body)
    spoil(read.data)
    spoilt: bytes = read.response.dump(force=True)
    linter = lint.Linter([spoilt, spoilt])
    (found,) = linter.findings()
    assert found.startswith(f"ERROR {code}")
    assert linter.findings() == []
