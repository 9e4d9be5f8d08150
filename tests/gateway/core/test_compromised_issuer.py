"""The watch tells of an issuer, and every certificate of that issuer has to be asked about again (G2, G3, R51)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from gateway.answer import Answer
from tests.gateway.core.world import World, issuer_of

pytestmark = pytest.mark.asyncio

NONCE = b"0123456789abcdef"


@pytest.fixture
def watched() -> World:
    """A watch that is up to date, and two good certificates."""
    world = World()
    world.watch()
    for serial in (0x10, 0x11):
        world.service.issue(world.key(serial))
    world.proof()
    return world


def compromise(world: World) -> int:
    """The status service says revoked of all of them from now on; the watch has not told yet."""
    for key in list(world.service.statuses):
        world.service.revoke(key)
    return world.service.revision


def tell_of_the_issuer(world: World, revision: int) -> None:
    """One message, about the issuer alone."""
    world.knowledge.changes([], [replace(issuer_of("issuing", world.ca), revision=revision)], revision)


def status(answer: Answer) -> ocsp.OCSPCertStatus:
    """What the answer says."""
    return ocsp.load_der_ocsp_response(answer.body).certificate_status


async def test_cached_good_goes_with_its_issuer(watched: World) -> None:
    """Ready answers, held statuses and answers under way: none of them says good from that message on."""
    requests = [watched.request(serial) for serial in (0x10, 0x11)]
    given = [await watched.responder.answer(request) for request in requests]
    assert [status(answer) for answer in given] == [ocsp.OCSPCertStatus.GOOD] * 2
    tell_of_the_issuer(watched, compromise(watched))
    watched.proof()
    assert [answer.fresh() for answer in given] == [False, False]
    assert [watched.responder.at_once(request) for request in requests] == [None, None]
    for request in (*requests, watched.request(0x10, nonce=NONCE)):
        answer = await watched.responder.answer(request)
        assert (status(answer), answer.fresh()) == (ocsp.OCSPCertStatus.REVOKED, True)
        response = ocsp.load_der_ocsp_response(answer.body)
        assert response.revocation_reason is x509.ReasonFlags.key_compromise


async def test_a_look_up_in_flight_is_overtaken_by_its_issuer(watched: World) -> None:
    """It was read as good, the message about the issuer comes first: it is asked again."""
    watched.service.before_reply.append(lambda: tell_of_the_issuer(watched, compromise(watched)))
    answer = await watched.responder.answer(watched.request(0x10))
    assert status(answer) is ocsp.OCSPCertStatus.REVOKED
    assert len(watched.service.calls) == 2


async def test_what_was_looked_up_after_the_compromise_is_dropped_once_more(watched: World) -> None:
    """The message about the issuer may come late; dropping costs a look-up and nothing else."""
    revision = compromise(watched)
    first = await watched.responder.answer(watched.request(0x10))
    assert status(first) is ocsp.OCSPCertStatus.REVOKED
    tell_of_the_issuer(watched, revision)
    again = await watched.responder.answer(watched.request(0x10))
    assert again.body == first.body


async def test_other_issuers_do_not_matter(watched: World) -> None:
    """What is known of theirs stays."""
    request = watched.request(0x10)
    given = await watched.responder.answer(request)
    other = replace(issuer_of("other", watched.ca), subject_der=b"0\x00", revision=99)
    watched.knowledge.changes([], [other], 99)
    assert watched.responder.at_once(request) is given


async def test_all_who_share_a_look_up_hear_of_it(watched: World) -> None:
    """Many who ask while the issuer changes all hear revoked."""
    watched.service.before_reply.append(lambda: tell_of_the_issuer(watched, compromise(watched)))
    answers = await asyncio.gather(*(watched.responder.answer(watched.request(0x10)) for _ in range(10)))
    assert {status(answer) for answer in answers} == {ocsp.OCSPCertStatus.REVOKED}
