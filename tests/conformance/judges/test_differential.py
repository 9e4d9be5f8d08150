"""The gateway, `openssl ocsp -index` and certomancer say the same, given the same keys and the same statuses.

A few hundred requests: every reason, good and never issued, four hashes, one certificate or several, with nonce and
without. The order of requests is mixed, and the same in every run.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pytest
from asn1crypto import ocsp

from tests.conformance.estate import Estate
from tests.conformance.judges.nursery import Leaf, nursery
from tests.conformance.judges.references import OPENSSL_REASONS, REASONS, REFERENCES, Reference
from tests.conformance.wire import Answer, cert_id, load_certificate, nonce, request

ISSUERS = ("issuing", "direct", "direct-rsa")
HASHES = ("sha1", "sha256", "sha384", "sha512")
SEVERAL = 40
"""Requests about several certificates, for each issuer, beside one for each certificate and hash."""

NEVER_ISSUED = 0x4711


@dataclass(frozen=True)
class Question:
    """A request, and what is asked about in it."""

    der: bytes
    leaves: tuple[Leaf | None, ...]
    """None: never issued."""
    hashes: tuple[str, ...]

    @property
    def certomancer_error(self) -> str | None:
        """How certomancer fails at it: it knows no hashes but SHA-1 and SHA-256, and no status `unknown`."""
        for leaf, name in zip(self.leaves, self.hashes, strict=True):
            if name not in {"sha1", "sha256"}:
                return "internal_error"
            if leaf is None:
                return "unauthorized"
        return None


@dataclass(frozen=True)
class World:
    """The certificates of each issuer, what is asked about them, what the gateway said, and the other responders."""

    questions: Mapping[str, Sequence[Question]]
    answers: Mapping[str, Sequence[bytes]]
    references: Mapping[tuple[str, str], Reference]


@pytest.fixture(scope="module")
def world(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Everything is issued and revoked first, and the gateway asked; then the others get their copies."""
    folder = tmp_path_factory.mktemp("differential")
    leaves: dict[str, list[Leaf]] = {}
    with nursery(estate, folder) as grown:
        for issuer in ISSUERS:
            leaves[issuer] = [grown.issue(f"differ-{issuer}-good-{n}", issuer) for n in range(2)]
            leaves[issuer] += [grown.issue(f"differ-{issuer}-{each}", issuer, each) for each in REASONS]
    questions = {issuer: _questions(estate, issuer, leaves[issuer]) for issuer in ISSUERS}
    answers = {issuer: [estate.responder.post(each.der).body for each in questions[issuer]] for issuer in ISSUERS}
    references: dict[tuple[str, str], Reference] = {
        (name, issuer): kind(estate, issuer, leaves[issuer], folder)
        for name, kind in REFERENCES.items()
        for issuer in ISSUERS
    }
    return World(questions, answers, references)


def _questions(estate: Estate, issuer: str, leaves: Sequence[Leaf]) -> list[Question]:
    """Each certificate by each hash, then several at once."""
    mixed = random.Random(f"requests about {issuer}")
    authority = load_certificate(estate.ca(issuer))
    subjects: list[Leaf | None] = [*leaves, None]

    def question(chosen: Sequence[tuple[Leaf | None, str]]) -> Question:
        asked = [
            cert_id(
                authority,
                leaf.serial if leaf else NEVER_ISSUED,
                hash_algorithm=name,
                null_parameters=mixed.random() < 0.5,
            )
            for leaf, name in chosen
        ]
        size = mixed.choice((None, 1, 8, 16, 32, 128))
        extensions = [] if size is None else [nonce(mixed.randbytes(size))]
        leaves, hashes = zip(*chosen, strict=True)
        return Question(request(*asked, extensions=extensions), leaves, hashes)

    found = [question([(leaf, name)]) for leaf in subjects for name in HASHES]
    for number in range(SEVERAL):
        # Every other one can be put to certomancer, too.
        pool, names = (subjects, HASHES) if number % 2 else (leaves, HASHES[:2])
        found.append(question([(mixed.choice(pool), mixed.choice(names)) for _ in range(mixed.randint(2, 6))]))
    mixed.shuffle(found)
    return found


Single = tuple[bytes, str, datetime | None, str | None]


def singles(answer: Answer) -> list[Single]:
    """What an answer says of each CertID: its bytes, the status, since when, and why.

    The others write the reason unspecified(0), which RFC 5280 would have left out: it counts as absent.
    """
    found: list[Single] = []
    for index, single in enumerate(answer.singles):
        status, since, reason = answer.status_of(index), None, None
        if status == "revoked":
            info = single["cert_status"].chosen
            since, reason = info["revocation_time"].native, info["revocation_reason"].native
        found.append((single["cert_id"].dump(), status, since, None if reason == "unspecified" else reason))
    return found


def assert_times_in_order(answer: Answer) -> None:
    """Revocation, thisUpdate, producedAt, nextUpdate."""
    for single, (_, _, since, _) in zip(answer.singles, singles(answer), strict=True):
        this_update, next_update = single["this_update"].native, single["next_update"].native
        assert this_update <= answer.produced_at <= next_update
        assert since is None or since <= this_update


def for_openssl(gateway: Single, leaf: Leaf | None) -> Single:
    """What openssl would say: its index knows no privilegeWithdrawn and no aACompromise, and got no reason instead."""
    if leaf is None or leaf.revocation is None or leaf.revocation.reason in OPENSSL_REASONS:
        return gateway
    return (*gateway[:3], None)


@pytest.mark.rule("R20", "R26", "R29", "R33", "R43", "R44", "R47", "R55", "R56", "R59", "R63")
@pytest.mark.parametrize("issuer", ISSUERS)
def test_openssl_says_the_same(world: World, issuer: str) -> None:
    """Status, CertID, reason, time of revocation and nonce are the same, and the times in order, for every request."""
    reference = world.references["openssl", issuer]
    for question, body in zip(world.questions[issuer], world.answers[issuer], strict=True):
        ours, theirs = Answer(body), Answer(reference.answer(question.der))
        expected = [for_openssl(single, leaf) for single, leaf in zip(singles(ours), question.leaves, strict=True)]
        assert singles(theirs) == expected, question.der.hex()
        assert_alike(ours, theirs, same_key=issuer != "issuing")


@pytest.mark.rule("R20", "R26", "R29", "R33", "R43", "R47", "R55", "R56", "R59", "R63")
@pytest.mark.parametrize("issuer", ISSUERS)
def test_certomancer_says_the_same(world: World, issuer: str) -> None:
    """The same for certomancer, in every request that it has an answer to; otherwise it has the error that we know."""
    reference = world.references["certomancer", issuer]
    compared = 0
    for question, body in zip(world.questions[issuer], world.answers[issuer], strict=True):
        if error := question.certomancer_error:
            assert ocsp.OCSPResponse.load(reference.answer(question.der))["response_status"].native == error
            continue
        ours, theirs = Answer(body), Answer(reference.answer(question.der))
        assert singles(theirs) == singles(ours), question.der.hex()
        assert_alike(ours, theirs, same_key=issuer != "issuing")
        compared += 1
    assert compared >= len(REASONS) * 2 + SEVERAL // 2


def assert_alike(ours: Answer, theirs: Answer, *, same_key: bool) -> None:
    """Nonce, order of times and, where the same key signed, responder and algorithm."""
    assert ours.nonce == theirs.nonce
    assert_times_in_order(ours)
    assert_times_in_order(theirs)
    if same_key:
        assert ours.data["responder_id"].dump() == theirs.data["responder_id"].dump()
        assert ours.basic["signature_algorithm"].dump() == theirs.basic["signature_algorithm"].dump()


@pytest.mark.rule("R43", "R47")
@pytest.mark.parametrize("issuer", ISSUERS)
def test_the_answers_are_what_the_ca_recorded(world: World, issuer: str) -> None:
    """Agreement is no accident: each status is that of the certificate, as the CA returned it when it was revoked."""
    for question, body in zip(world.questions[issuer], world.answers[issuer], strict=True):
        for single, leaf in zip(singles(Answer(body)), question.leaves, strict=True):
            expected: tuple[str, datetime | None, str | None] = ("unknown" if leaf is None else "good", None, None)
            if leaf is not None and leaf.revocation is not None:
                reason = leaf.revocation.reason
                expected = ("revoked", leaf.revocation.time, REASONS[reason] if reason else None)
            assert single[1:] == expected


def test_there_are_a_few_hundred_requests(world: World) -> None:
    """Of every status, hash and kind."""
    questions = [question for issuer in ISSUERS for question in world.questions[issuer]]
    assert len(questions) >= 250
    assert sum(question.certomancer_error is None for question in questions) >= 100
