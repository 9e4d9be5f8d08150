"""Turns: so many at a time of one caller and of all, and nobody is left out."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

from services.ca.turns import Turns


def test_so_many_at_a_time() -> None:
    """However many want it, no more than are allowed have it; all have it in the end, whoever gives up meanwhile."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: Counter[str] = Counter()

    async def want(turns: Turns, who: str) -> None:
        async with turns.turn(who):
            now.update((who, "all"))
            most[who], most["all"] = max(most[who], now[who]), max(most["all"], now["all"])
            await asyncio.sleep(0)
            now.subtract((who, "all"))
            done[who] += 1

    async def storm(turns: Turns) -> None:
        tasks = [asyncio.ensure_future(want(turns, who)) for _ in range(30) for who in ("one", "other")]
        await asyncio.sleep(0)
        for each in tasks[10:20]:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run() -> None:
        turns = Turns(of_one=2, of_all=3)
        await storm(turns)
        await asyncio.sleep(0)  # the loop forgets the tasks
        gc.collect()
        assert not turns._own, "nothing is remembered of callers who want nothing"

    asyncio.run(run())
    assert most == {"one": 2, "other": 2, "all": 3}
    assert done == {"one": 25, "other": 25}


def test_who_waits_holds_nobody_up() -> None:
    """One who has all of his turns leaves the others theirs."""

    async def run() -> None:
        turns = Turns(of_one=1, of_all=2)
        async with turns.turn("one"):
            waiting = asyncio.ensure_future(want(turns))
            async with asyncio.timeout(5), turns.turn("other"):
                assert not waiting.done()
            waiting.cancel()

    async def want(turns: Turns) -> None:
        async with turns.turn("one"):
            raise AssertionError("out of turn")

    asyncio.run(run())
