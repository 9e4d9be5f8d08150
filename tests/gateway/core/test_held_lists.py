"""Revocation lists that the gateway holds for a moment."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway.documents import Documents
from gateway.issuers import IssuerIndex
from gateway.knowledge import StatusUnavailable
from gateway.status_source import RevocationList, StatusClient
from tests.gateway.core.world import NOW, Clocks, authority, issuer_of

pytestmark = pytest.mark.asyncio


class Source:
    """Gives the list that there is, and counts."""

    def __init__(self) -> None:
        self.list = RevocationList(b"first", NOW - 600, NOW + 600)
        self.away = False
        self.asked = 0

    async def crl(self, _issuer: str, _shard: int = 0, _known: RevocationList | None = None) -> RevocationList:
        """The newest list."""
        self.asked += 1
        if self.away:
            raise StatusUnavailable("away")
        return self.list


@pytest.fixture
def shelf() -> tuple[Documents, Source, Clocks]:
    """Documents of one issuer."""
    source, clocks = Source(), Clocks()
    issuers = IssuerIndex([issuer_of("issuing", authority("issuing")[0])])
    return Documents(issuers, cast("StatusClient", source), clocks.wall_time), source, clocks


@pytest.mark.parametrize("seconds", [pytest.param(6, id="later"), pytest.param(-86_400, id="clock set back")])
async def test_a_list_is_held_for_a_moment_only(shelf: tuple[Documents, Source, Clocks], seconds: float) -> None:
    """Whatever the clock does: a newer list is given out."""
    documents, source, clocks = shelf
    assert await documents.crl("issuing") == source.list
    source.list = RevocationList(b"second", NOW, NOW + 1200)
    assert (await documents.crl("issuing") or source.list).der == b"first"
    clocks.wall += seconds
    assert await documents.crl("issuing") == source.list
    assert source.asked == 2


async def test_while_the_service_is_away_a_current_list_is_given(shelf: tuple[Documents, Source, Clocks]) -> None:
    """And one that has ended is not."""
    documents, source, clocks = shelf
    await documents.crl("issuing")
    source.away = True
    clocks.wall += 599
    assert await documents.crl("issuing") == source.list
    clocks.wall += 2
    with pytest.raises(StatusUnavailable):
        await documents.crl("issuing")


async def test_many_who_ask_make_one_call(shelf: tuple[Documents, Source, Clocks]) -> None:
    """Whether the service answers or is away; and a second after a failure it is asked again."""
    documents, source, clocks = shelf
    source.away = True
    answers = await asyncio.gather(*(documents.crl("issuing") for _ in range(50)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StatusUnavailable}
    assert source.asked == 1
    source.away = False
    clocks.wall += 1
    lists = await asyncio.gather(*(documents.crl("issuing") for _ in range(50)))
    assert lists == [source.list] * 50
    assert source.asked == 2


async def test_of_a_flood_little_is_held(
    shelf: tuple[Documents, Source, Clocks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory for lists is bounded, and so is what is remembered of lists that are not there."""
    documents, source, _ = shelf
    source.list = RevocationList(bytes(30 * 1024 * 1024), NOW - 600, NOW + 600)
    for shard in range(5):
        await documents.crl("issuing", shard)
    assert source.asked == 5
    for shard in (4, 3):
        assert await documents.crl("issuing", shard) == source.list
    assert source.asked == 5
    await documents.crl("issuing", 0)
    assert source.asked == 6

    async def none(*_: object) -> None:
        source.asked += 1

    monkeypatch.setattr(source, "crl", none)
    for shard in range(10, 2000):
        assert await documents.crl("issuing", shard) is None
    assert len(documents._absent) <= 1024
    asked = source.asked
    assert await documents.crl("issuing", 1999) is None
    assert source.asked == asked
