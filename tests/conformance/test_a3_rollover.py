"""A3: a CA with a new key, and a key under a new name (R32), each with a delegate of its own (R65)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature

from tests.conformance.estate import Estate
from tests.conformance.subjects import Subject, echoed
from tests.conformance.verification import key_hash, responder_certificate, verify
from tests.conformance.wire import Responder, nonce, request

ISSUERS = ("issuing", "rolled", "renamed")
HASHES = ("sha1", "sha256", "sha384", "sha512")


@pytest.fixture(scope="module")
def subjects(estate: Estate, good: Path) -> dict[str, Subject]:
    """A good certificate of each."""
    files = {"issuing": good, **{name: estate.issue(f"a3-{name}.example.com", name) for name in ISSUERS[1:]}}
    return {name: Subject.of(estate, name, file) for name, file in files.items()}


@pytest.mark.rule("R32")
def test_the_issuers_are_what_the_rule_speaks_of(subjects: dict[str, Subject]) -> None:
    """One shares its name with `issuing`, the other its key; none shares both."""
    issuing, rolled, renamed = (subjects[name].ca for name in ISSUERS)
    assert rolled.subject.public_bytes() == issuing.subject.public_bytes() != renamed.subject.public_bytes()
    assert key_hash(renamed) == key_hash(issuing) != key_hash(rolled)


@pytest.mark.rule("R32", "R65")
@pytest.mark.parametrize("hash_algorithm", HASHES)
@pytest.mark.parametrize("name", ISSUERS)
def test_each_is_answered_by_a_delegate_of_its_own(
    responder: Responder, subjects: dict[str, Subject], name: str, hash_algorithm: str
) -> None:
    """Whose certificate the CA's key signed, in the CA's name; by POST, by GET and with a nonce."""
    subject = subjects[name]
    cert_id = subject.cert_id(hash_algorithm=hash_algorithm)
    with_nonce = request(cert_id, extensions=[nonce(b"n" * 32)])
    for reply in (responder.post(request(cert_id)), responder.get(request(cert_id)), responder.post(with_nonce)):
        answer = subject.verified(reply)
        assert (answer.status, echoed(answer)) == ("good", [cert_id])


@pytest.mark.rule("R32", "R65")
@pytest.mark.parametrize("name", ISSUERS)
def test_no_answer_is_authentic_for_another(responder: Responder, subjects: dict[str, Subject], name: str) -> None:
    """A client that knows only the other certificate does not believe the answer."""
    answer = responder.post(request(subjects[name].cert_id())).answer
    verify(answer, subjects[name].ca)
    for other in set(ISSUERS) - {name}:
        with pytest.raises((ValueError, InvalidSignature)):  # another name, another key
            verify(answer, subjects[other].ca)


@pytest.mark.rule("R32")
@pytest.mark.parametrize("name", ISSUERS)
def test_the_serial_number_of_a_namesake(responder: Responder, subjects: dict[str, Subject], name: str) -> None:
    """What one of them issued, the others did not."""
    subject = subjects[name]
    for other in set(ISSUERS) - {name}:
        answer = subject.verified(responder.post(request(subject.cert_id(subjects[other].serial))))
        assert answer.status == "unknown"


@pytest.mark.rule("R65")
def test_delegates_are_not_shared(responder: Responder, subjects: dict[str, Subject]) -> None:
    """Each issuer has its own responder key."""
    answers = {name: responder.post(request(subject.cert_id())).answer for name, subject in subjects.items()}
    keys = {key_hash(responder_certificate(answers[name], subjects[name].ca)) for name in ISSUERS}
    assert len(keys) == len(ISSUERS)


@pytest.mark.rule("R28", "R32")
def test_a_name_and_a_key_that_never_met(responder: Responder, subjects: dict[str, Subject]) -> None:
    """The new name with the new key is no issuer, though both are ours."""
    cert_id = subjects["rolled"].cert_id(name=subjects["renamed"].issuer)
    assert responder.post(request(cert_id)).ocsp_status == "unauthorized"


@pytest.mark.rule("R32")
def test_a_revocation_under_one_of_them(estate: Estate, responder: Responder, subjects: dict[str, Subject]) -> None:
    """It says nothing about the others."""
    file = estate.issue("a3-revoked.example.com", "rolled")
    estate.revoke(file)
    subject = Subject.of(estate, "rolled", file)
    assert subject.verified(responder.post(request(subject.cert_id()))).status == "revoked"
    for other in ("issuing", "renamed"):
        cert_id = subjects[other].cert_id(subject.serial)
        assert subjects[other].verified(responder.post(request(cert_id))).status == "unknown"
