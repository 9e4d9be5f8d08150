"""R62: answers about revoked certificates name the published list that has them, and only that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import ocsp as asn1

from gateway.answer import Answer
from gateway.crl_references import CrlReferences
from gateway.evidence import CertificateKey
from gateway.knowledge import StatusUnavailable
from gateway.policy import AnswerPolicy, NeverIssued
from gateway.status_source import RevocationList
from services.pki.certificates import Issuer
from services.pki.crls import CrlEntry, make_crl
from services.pki.hierarchy import make_root
from services.pki.keys import generate_key
from tests.gateway.core.world import NOW, World

pytestmark = pytest.mark.asyncio

LISTED, UNLISTED, GOOD, NEVER = 0x10, 0x11, 0x12, 0x13
URL = "http://ocsp.example.com/pki"
DAY = 86_400


class Shelf:
    """Gives the list that there is."""

    def __init__(self) -> None:
        key = generate_key("p256")
        begin = datetime.fromtimestamp(NOW, UTC) - timedelta(days=30)
        self._issuer = Issuer(make_root(name="Issuing", key=key, now=begin), key)
        self.list: RevocationList | None = None
        self.away = False

    def publish(self, number: int, *serials: int, begin: int = NOW - 600, end: int = NOW + DAY) -> None:
        """A newer list."""
        since = datetime.fromtimestamp(begin, UTC)
        entries = [CrlEntry(bytes([serial]), since, 1) for serial in serials]
        until = datetime.fromtimestamp(end, UTC)
        der = make_crl(self._issuer, entries, number=number, this_update=since, next_update=until)
        self.list = RevocationList(der, begin, end)

    async def crl(self, _issuer: str) -> RevocationList | None:
        """The newest list."""
        if self.away:
            raise StatusUnavailable("away")
        return self.list


class Referring(World):
    """A responder that names lists, with three certificates: two of them revoked."""

    def __init__(self, url: str | None = URL, never_issued: NeverIssued = NeverIssued.UNKNOWN) -> None:
        super().__init__(AnswerPolicy(never_issued=never_issued, crl_reference=lambda key: self.reference(key)))
        self.shelf = Shelf()
        self.references = CrlReferences(
            self.knowledge.issuers, self.shelf.crl, self.knowledge.cache, url, self.clocks.wall_time
        )
        for serial in (LISTED, UNLISTED, GOOD):
            self.service.issue(self.key(serial))
        for serial in (LISTED, UNLISTED):
            self.service.revoke(self.key(serial))
        self.watch()

    def reference(self, key: CertificateKey) -> bytes | None:
        return self.references.extension(key)

    async def ask(self, serial: int) -> Answer:
        return await self.responder.answer(self.request(serial))

    async def named(self, serial: int) -> dict[str, object] | None:
        """The list that the answer names."""
        self.proof()
        return reference((await self.ask(serial)).body)


def singles(body: bytes) -> Sequence[asn1.SingleResponse]:
    """The SingleResponses, decoded by an independent parser."""
    data = asn1.OCSPResponse.load(body, strict=True)["response_bytes"]["response"].parsed["tbs_response_data"]
    found: Sequence[asn1.SingleResponse] = data["responses"]
    return found


def reference(body: bytes) -> dict[str, object] | None:
    """The CrlID in the only SingleResponse."""
    (single,) = singles(body)
    for extension in single["single_extensions"] or ():
        if extension["extn_id"].dotted == "1.3.6.1.5.5.7.48.1.3":
            assert not extension["critical"].native
            return dict(asn1.CrlId.load(extension["extn_value"].contents, strict=True).native)
    return None


def crl_id(number: int, since: int = NOW - 600, url: str | None = f"{URL}/crl/issuing.crl") -> dict[str, object]:
    """A CrlID."""
    return {"crl_url": url, "crl_num": number, "crl_time": datetime.fromtimestamp(since, UTC)}


async def test_only_answers_about_what_is_listed_name_the_list() -> None:
    """Not those about what is not in it, what is good, or what was never issued."""
    world = Referring()
    world.shelf.publish(7, LISTED, GOOD, NEVER)
    await world.references.refresh()
    assert await world.named(LISTED) == crl_id(7)
    assert [await world.named(serial) for serial in (UNLISTED, GOOD, NEVER)] == [None] * 3


async def test_a_certificate_that_was_never_issued_has_no_reference() -> None:
    """R50: extended-revoked answers have none, whatever a list may say."""
    world = Referring(never_issued=NeverIssued.EXTENDED_REVOKED)
    world.shelf.publish(7, NEVER)
    await world.references.refresh()
    (single,) = singles((await world.ask(NEVER)).body)
    assert single["cert_status"].name == "revoked"
    assert not single["single_extensions"]


async def test_without_a_public_address_number_and_time_name_the_list() -> None:
    """CrlID has only optional fields."""
    world = Referring(url=None)
    world.shelf.publish(2**150, LISTED)
    await world.references.refresh()
    assert await world.named(LISTED) == crl_id(2**150, url=None)


async def test_ready_answers_follow_a_newer_list() -> None:
    """One that is ready names no list, then the first, then the second, and then none again."""
    world = Referring()
    assert await world.named(LISTED) is None
    steps: list[tuple[int, tuple[int, ...], dict[str, object] | None]] = [
        (7, (LISTED,), crl_id(7)),
        (8, (LISTED, UNLISTED), crl_id(8)),
        (9, (), None),
    ]
    for number, serials, expected in steps:
        world.shelf.publish(number, *serials)
        await world.references.refresh()
        assert await world.named(LISTED) == expected
        assert world.responder.at_once(world.request(LISTED))


async def test_a_refresh_that_brings_nothing_new_leaves_ready_answers_alone() -> None:
    """They stay ready, and so do those about what is good when a newer list comes."""
    world = Referring()
    world.shelf.publish(7, LISTED)
    await world.references.refresh()
    ready = {serial: await world.ask(serial) for serial in (LISTED, GOOD)}
    await world.references.refresh()
    assert world.responder.at_once(world.request(LISTED)) is ready[LISTED]
    world.shelf.publish(8, LISTED)
    await world.references.refresh()
    assert world.responder.at_once(world.request(LISTED)) is None
    assert world.responder.at_once(world.request(GOOD)) is ready[GOOD]


@pytest.mark.parametrize("refreshed", [False, True], ids=["before the next refresh", "after it"])
async def test_a_list_that_has_ended_is_not_named(refreshed: bool) -> None:
    """Nor by answers that were ready before it ended, once that was noticed."""
    world = Referring()
    world.shelf.publish(7, LISTED, end=NOW + 60)
    await world.references.refresh()
    answer = await world.ask(LISTED)
    assert reference(answer.body) == crl_id(7)
    world.clocks.wall += 60
    if refreshed:
        world.shelf.away = True
        await world.references.refresh()
        assert await world.named(LISTED) is None
    assert reference((await world.responder.answer(world.request(LISTED, nonce=b"n" * 16))).body) is None


async def test_a_list_that_has_not_begun_is_not_named() -> None:
    """Not before it has."""
    world = Referring()
    world.shelf.publish(7, LISTED, begin=NOW + 60)
    await world.references.refresh()
    assert await world.named(LISTED) is None
    world.clocks.wall += 60
    await world.references.refresh()
    assert await world.named(LISTED) == crl_id(7, NOW + 60)


async def test_while_lists_cannot_be_had_the_last_one_is_named() -> None:
    """No answer waits, or fails: what is held is used."""
    world = Referring()
    world.shelf.away = True
    await world.references.refresh()
    assert await world.named(LISTED) is None
    world.shelf.away = False
    world.shelf.publish(7, LISTED)
    await world.references.refresh()
    world.shelf.away = True
    await world.references.refresh()
    assert await world.named(LISTED) == crl_id(7)


async def test_an_issuer_without_a_list_and_a_list_that_cannot_be_read() -> None:
    """Neither is named, and neither does harm."""
    world = Referring()
    await world.references.refresh()
    assert await world.named(LISTED) is None
    world.shelf.list = RevocationList(b"no list", NOW - 600, NOW + DAY)
    await world.references.refresh()
    assert await world.named(LISTED) is None
    world.shelf.publish(7, LISTED)
    await world.references.refresh()
    assert await world.named(LISTED) == crl_id(7)
    world.shelf.list = None
    await world.references.refresh()
    assert await world.named(LISTED) is None
