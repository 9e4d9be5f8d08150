"""Answers of one turn of the event loop leave together, each connection for itself."""

from __future__ import annotations

import asyncio

import pytest

from gateway.answer import Answer
from gateway.outbox import Outbox, Unread


class Connection:
    """Notes its turn; may fail at it."""

    def __init__(self, name: str, order: list[str], *, fails: bool = False) -> None:
        self._name = name
        self._order = order
        self._fails = fails

    def uncork(self) -> None:
        if self._fails:
            raise RuntimeError("a bug")
        self._order.append(self._name)


@pytest.mark.asyncio
async def test_all_are_written_in_the_next_callback() -> None:
    """Nothing is written in the callback that puts it in, and everything in the one after."""
    outbox, order, loop = Outbox(), list[str](), asyncio.get_running_loop()
    for name in ("first", "second"):
        outbox.add(Connection(name, order), loop)
    assert order == []
    await asyncio.sleep(0)
    assert order == ["first", "second"]
    outbox.add(Connection("third", order), loop)
    await asyncio.sleep(0)
    assert order == ["first", "second", "third"]


@pytest.mark.asyncio
async def test_one_that_fails_harms_nobody() -> None:
    """The others are written all the same."""
    outbox, order, loop = Outbox(), list[str](), asyncio.get_running_loop()
    outbox.add(Connection("broken", order, fails=True), loop)
    outbox.add(Connection("whole", order), loop)
    await asyncio.sleep(0)
    assert order == ["whole"]


class Stalled:
    """A connection whose client does not read."""

    def __init__(self) -> None:
        self.is_cut_off = False

    def cut_off(self) -> None:
        self.is_cut_off = True


@pytest.mark.asyncio
async def test_what_is_not_read() -> None:
    """It is cut off once any of its answers is not fresh any more; those who have read on are left alone."""
    unread, loop, evidence = Unread(), asyncio.get_running_loop(), {"is there": True}
    fading, lasting = Answer(b"good", fresh=lambda: evidence["is there"]), Answer(b"good")
    one, another, quick = Stalled(), Stalled(), Stalled()
    unread.add(one, [lasting], loop)
    unread.add(one, [fading], loop)
    unread.add(another, [lasting], loop)
    unread.add(quick, [fading], loop)
    await asyncio.sleep(0.05)
    assert not one.is_cut_off
    unread.discard(quick)
    evidence["is there"] = False
    async with asyncio.timeout(10):
        while not one.is_cut_off:
            await asyncio.sleep(0.01)
    assert (another.is_cut_off, quick.is_cut_off) == (False, False)
    unread.discard(another)


@pytest.mark.asyncio
async def test_a_crowd_that_does_not_read() -> None:
    """Looking after them is bounded: those who are too many are cut off at once."""
    unread, loop = Unread(), asyncio.get_running_loop()
    crowd = [Stalled() for _ in range(100)]
    for each in crowd:
        unread.add(each, [Answer(b"good")], loop)
    assert 0 < sum(each.is_cut_off for each in crowd) < 100
    for each in crowd:
        unread.discard(each)
