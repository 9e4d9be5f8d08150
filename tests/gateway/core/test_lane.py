"""The lane for costly work: its share of the loop's time, its order, its bound. The clock is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.lane import Lane, LaneFull


@dataclass
class Clock:
    """Seconds that pass only when somebody says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float, log: list[str] | None = None, name: str = "") -> Callable[[], str]:
        """A piece of work that takes so long."""

        def work() -> str:
            self.now += seconds
            if log is not None:
                log.append(name)
            return name

        return work


@pytest.mark.asyncio
async def test_what_is_run_comes_back() -> None:
    """Results and errors reach whoever waits for them."""
    lane = Lane(10)
    assert await lane.run(lambda: 7) == 7
    assert await lane.finish(lambda: "x") == "x"
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0)
    assert len(lane) == 0


@pytest.mark.asyncio
async def test_what_was_begun_is_finished_first() -> None:
    """In each queue it is first come, first served."""
    lane, clock, order = Lane(10), Clock(), list[str]()
    pieces = [lane.run(clock.spend(0, order, name)) for name in ("first", "second")]
    finishing = [lane.finish(clock.spend(0, order, name)) for name in ("begun", "begun later")]
    await asyncio.gather(*pieces, *finishing)
    assert order == ["begun", "begun later", "first", "second"]


@pytest.mark.asyncio
async def test_the_bound() -> None:
    """What is one too many is refused at once; what was begun never is."""
    lane = Lane(2)
    waiting = [asyncio.ensure_future(lane.run(lambda: None)) for _ in range(3)]
    finishing = [asyncio.ensure_future(lane.finish(lambda: None)) for _ in range(3)]
    results = await asyncio.gather(*waiting, *finishing, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), LaneFull, *[type(None)] * 3]
    assert await lane.run(lambda: 1) == 1


@pytest.mark.asyncio
async def test_who_went_away_costs_nothing() -> None:
    """Work is not done for a caller that was cancelled."""
    lane, clock, order = Lane(10), Clock(), list[str]()
    leaving = asyncio.ensure_future(lane.run(clock.spend(0, order, "left")))
    staying = asyncio.ensure_future(lane.run(clock.spend(0, order, "stayed")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "stayed"
    assert order == ["stayed"]


async def turns(lane: Lane, clock: Clock, others: float, pieces: int, cost: float) -> tuple[float, float]:
    """Run so many pieces while others take `others` seconds in each turn of the loop; what both took in all."""
    log: list[str] = []
    work = [asyncio.ensure_future(lane.run(clock.spend(cost, log))) for _ in range(pieces)]
    taken = 0.0
    while not all(each.done() for each in work):
        await asyncio.sleep(0)
        clock.now += others
        taken += others
    return len(log) * cost, taken


@pytest.mark.asyncio
@pytest.mark.parametrize("others", [0.0005, 0.002, 0.01], ids=["some", "much", "very much"])
async def test_among_others_it_takes_a_small_share(others: float) -> None:
    """However much is waiting; and it comes to an end all the same."""
    clock = Clock()
    lane = Lane(1000, clock)
    own, taken = await turns(lane, clock, others, 200, 0.0001)
    assert own == pytest.approx(0.02)
    assert own <= 0.08 * taken


@pytest.mark.asyncio
async def test_alone_it_takes_all_there_is() -> None:
    """Where nobody else has anything to do, it does not wait."""
    clock = Clock()
    lane = Lane(1000, clock)
    own, taken = await turns(lane, clock, 0.00001, 200, 0.0001)
    assert taken <= 0.15 * own


@pytest.mark.asyncio
async def test_nobody_waits_long_for_it() -> None:
    """After a pause it does not make up for what it did not take."""
    clock = Clock()
    lane = Lane(1000, clock)
    await lane.run(clock.spend(0.0001))
    clock.now += 3600
    begin, done = clock.now, 0
    work = [asyncio.ensure_future(lane.run(clock.spend(0.0001))) for _ in range(200)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = sum(each.done() for each in work) or round((clock.now - begin) / 0.0001)
    assert 1 <= done <= 11
    await asyncio.gather(*work)


@pytest.mark.asyncio
async def test_whoever_will_be_back_waits_for_a_short_turn() -> None:
    """A moment without others is used, but not so long that they notice; after a while without them turns are long."""
    clock, log = Clock(), list[str]()
    lane = Lane(1000, clock)
    work = [asyncio.ensure_future(lane.run(clock.spend(0.0001, log))) for _ in range(500)]
    await asyncio.sleep(0)
    clock.now += 0.001
    await asyncio.sleep(0)  # others were at work: no turn, or one on credit
    turns = []
    for _ in range(100):
        before = len(log)
        await asyncio.sleep(0)
        turns.append(len(log) - before)
    assert max(turns[:5]) <= 2
    assert max(turns) >= 9
    await asyncio.gather(*work)
