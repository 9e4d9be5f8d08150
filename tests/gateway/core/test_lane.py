"""The lane for costly work: its share of the loop's time, its order, its bound. The clock is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.lane import Lane


@dataclass
class Clock:
    """Seconds that pass only when somebody says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float, log: list[str] | None = None, name: str = "") -> Callable[[], None]:
        """A piece of work that takes so long."""

        def work() -> None:
            self.now += seconds
            if log is not None:
                log.append(name)

        return work


async def until_empty(lane: Lane) -> None:
    """Let the loop turn until nothing waits any more."""
    while len(lane):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_what_was_begun_is_finished_first() -> None:
    """In each queue it is first come, first served."""
    lane, clock, order = Lane(10), Clock(), list[str]()
    for name in ("first", "second"):
        assert lane.run(clock.spend(0, order, name))
    for name in ("begun", "begun later"):
        lane.finish(clock.spend(0, order, name))
    await until_empty(lane)
    assert order == ["begun", "begun later", "first", "second"]


@pytest.mark.asyncio
async def test_the_bound() -> None:
    """What is one too many is refused at once; what was begun never is."""
    lane, clock, order = Lane(2), Clock(), list[str]()
    assert [lane.run(clock.spend(0, order, "run")) for _ in range(3)] == [True, True, False]
    for _ in range(3):
        lane.finish(clock.spend(0, order, "finish"))
    await until_empty(lane)
    assert order == ["finish"] * 3 + ["run"] * 2
    assert lane.run(clock.spend(0, order, "later"))
    await until_empty(lane)


@pytest.mark.asyncio
async def test_a_piece_that_fails() -> None:
    """It takes nobody else with it."""
    lane, clock, order = Lane(10), Clock(), list[str]()
    assert lane.run(lambda: order.append(str(1 // 0)))
    assert lane.run(clock.spend(0, order, "next"))
    await until_empty(lane)
    assert order == ["next"]


async def turns(lane: Lane, clock: Clock, others: float, pieces: int, cost: float) -> tuple[float, float]:
    """Run so many pieces while others take `others` seconds in each turn of the loop; what both took in all."""
    log: list[str] = []
    for _ in range(pieces):
        assert lane.run(clock.spend(cost, log))
    taken = 0.0
    while len(log) < pieces:
        await asyncio.sleep(0)
        clock.now += others
        taken += others
    return len(log) * cost, taken


@pytest.mark.asyncio
@pytest.mark.parametrize("others", [0.00006, 0.0005, 0.002, 0.01], ids=["a few answers", "some", "much", "very much"])
async def test_among_others_it_takes_a_small_share(others: float) -> None:
    """However much is waiting; and it comes to an end all the same."""
    clock = Clock()
    lane = Lane(1000, clock)
    await turns(lane, clock, 0.000002, 10, 0.0001)  # it knows what an empty turn takes
    own, taken = await turns(lane, clock, others, 200, 0.0001)
    assert own == pytest.approx(0.02)
    assert own <= 0.08 * taken


@pytest.mark.asyncio
@pytest.mark.parametrize("empty", [0.000002, 0.00005], ids=["a quick machine", "a slow machine"])
async def test_alone_it_takes_all_there_is(empty: float) -> None:
    """Where nobody else has anything to do, it does not wait, whatever an empty turn of the loop takes."""
    clock = Clock()
    lane = Lane(1000, clock)
    await turns(lane, clock, empty, 200, 0.0001)
    own, taken = await turns(lane, clock, empty, 200, 0.0001)
    assert taken <= 0.15 * own


@pytest.mark.asyncio
async def test_nobody_waits_long_for_it() -> None:
    """After a pause it does not make up for what it did not take."""
    clock, log = Clock(), list[str]()
    lane = Lane(1000, clock)
    lane.run(clock.spend(0.0001))
    await until_empty(lane)
    clock.now += 3600
    for _ in range(200):
        lane.run(clock.spend(0.0001, log))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 1 <= len(log) <= 11
    await until_empty(lane)


@pytest.mark.asyncio
async def test_whoever_will_be_back_waits_for_a_short_turn() -> None:
    """A moment without others is used, but not so long that they notice; after a while without them turns are long."""
    clock, log = Clock(), list[str]()
    lane = Lane(1000, clock)
    for _ in range(500):
        lane.run(clock.spend(0.0001, log))
    await asyncio.sleep(0)
    clock.now += 0.001
    await asyncio.sleep(0)  # others were at work: no turn, or one on credit
    taken = []
    for _ in range(120):
        before = len(log)
        await asyncio.sleep(0)
        taken.append(len(log) - before)
    assert max(taken[:5]) <= 1
    assert max(taken) >= 9
    await until_empty(lane)


class Panic(BaseException):
    """What a library written in Rust raises when it panics: not an Exception."""


@pytest.mark.asyncio
async def test_a_piece_that_panics() -> None:
    """Whatever gets through to the event loop is told there, and the lane serves on."""
    lane, clock, order, told = Lane(10), Clock(), list[str](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def panic() -> None:
        raise Panic

    assert lane.run(panic)
    assert lane.run(clock.spend(0, order, "next"))
    await until_empty(lane)
    assert order == ["next"]
    assert lane.run(clock.spend(0, order, "later"))
    await until_empty(lane)
    assert order == ["next", "later"]
    assert [type(each) for each in told] == [Panic]
