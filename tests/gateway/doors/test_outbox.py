"""Answers of one turn of the event loop leave together, each connection for itself."""

from __future__ import annotations

import asyncio

import pytest

from gateway.outbox import Outbox


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
