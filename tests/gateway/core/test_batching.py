"""Batches: concurrent look-ups share a call, identical ones are joined, and the queue is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.batching import Batcher, TooManyWaiting

pytestmark = pytest.mark.asyncio


class Squares:
    """Looks squares up; a call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()

    async def fetch(self, keys: Sequence[int]) -> list[int]:
        self.calls.append(list(keys))
        await self.gate.wait()
        if 13 in keys:
            raise ValueError("thirteen")
        return [key * key for key in keys]


async def test_concurrent_look_ups_share_calls_and_identical_ones_are_joined() -> None:
    """A hundred askers for ten keys make one call with ten keys."""
    squares = Squares()
    batcher = Batcher(squares.fetch)
    squares.gate.set()
    assert await asyncio.gather(*(batcher.look_up(n % 10) for n in range(100))) == [(n % 10) ** 2 for n in range(100)]
    assert squares.calls == [list(range(10))]


async def test_batches_and_calls_are_bounded() -> None:
    """No call gets more keys than a batch holds, and no more calls run than may; all get their values."""
    squares = Squares()
    batcher = Batcher(squares.fetch, max_batch=3, max_calls=2)
    askers = [asyncio.ensure_future(batcher.look_up(n)) for n in range(10)]
    await asyncio.sleep(0.01)
    assert squares.calls == [[0, 1, 2], [3, 4, 5]]
    squares.gate.set()
    assert await asyncio.gather(*askers) == [n * n for n in range(10)]
    assert max(map(len, squares.calls)) == 3


async def test_past_the_bound_the_answer_is_no_at_once() -> None:
    """A full queue refuses, and goes on serving those who wait."""
    squares = Squares()
    batcher = Batcher(squares.fetch, max_batch=1, max_calls=1, max_waiting=2)
    first = asyncio.ensure_future(batcher.look_up(1))
    await asyncio.sleep(0.01)
    waiting = [asyncio.ensure_future(batcher.look_up(n)) for n in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaiting):
        await batcher.look_up(4)
    squares.gate.set()
    assert [await first, *await asyncio.gather(*waiting)] == [1, 4, 9]


async def test_a_failure_reaches_exactly_those_in_the_batch() -> None:
    """One failing call does not harm the others, and the same key can be asked for again."""
    squares = Squares()
    squares.gate.set()
    batcher = Batcher(squares.fetch, max_batch=1)
    results = await asyncio.gather(batcher.look_up(13), batcher.look_up(2), return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1] == 4
    with pytest.raises(ValueError, match="thirteen"):
        await batcher.look_up(13)


async def test_an_asker_that_goes_away_leaves_the_value_to_the_others() -> None:
    """Cancelling one of two joined askers does not cancel the look-up."""
    squares = Squares()
    batcher = Batcher(squares.fetch)
    first, second = (asyncio.ensure_future(batcher.look_up(5)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    squares.gate.set()
    assert await second == 25


async def test_closing_lets_everyone_go() -> None:
    """Those whose call is under way, and those who wait for one: nobody is left waiting."""
    squares = Squares()
    batcher = Batcher(squares.fetch, max_batch=1, max_calls=1)
    askers = [asyncio.ensure_future(batcher.look_up(n)) for n in range(3)]
    await asyncio.sleep(0.01)
    await batcher.close()
    await asyncio.wait(askers, timeout=1)
    assert all(asker.cancelled() for asker in askers)
    assert squares.calls == [[0]]


async def test_a_wrong_number_of_values_is_an_error() -> None:
    """Whoever waits for a value that never comes would make all who ask later wait too."""

    async def fetch(keys: Sequence[int]) -> list[int]:
        return [1]

    batcher = Batcher(fetch)
    results = await asyncio.gather(batcher.look_up(1), batcher.look_up(2), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]
