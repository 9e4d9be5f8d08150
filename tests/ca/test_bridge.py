"""The bridge between event loop and threads: results, errors and cancellation find their way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from services.ca.bridge import Bridge
from services.errors import NotFound


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    """Two threads."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.asyncio
async def test_many_results_find_their_callers(workers: ThreadPoolExecutor) -> None:
    """Results that arrive together from another thread go to whom they belong."""
    bridge = Bridge(workers)
    futures: list[Future[int]] = [Future() for _ in range(200)]
    calls = [asyncio.create_task(bridge.run(lambda future=future: future)) for future in futures]  # type: ignore[misc]
    await asyncio.sleep(0.01)

    def resolve() -> None:
        for number, future in enumerate(futures):
            future.set_result(number)

    await asyncio.to_thread(resolve)
    assert await asyncio.gather(*calls) == list(range(200))


@pytest.mark.asyncio
async def test_errors_arrive(workers: ThreadPoolExecutor) -> None:
    """Whether raised at once or by the future."""
    bridge = Bridge(workers)

    def refuse() -> Future[int]:
        raise NotFound("PROFILE_UNKNOWN", "no")

    def panic() -> Future[int]:
        raise BaseException("as a library written in Rust does")

    with pytest.raises(RuntimeError):
        await asyncio.wait_for(bridge.run(panic), 5)
    failed: Future[int] = Future()
    failed.set_exception(NotFound("ISSUER_UNKNOWN", "no"))
    for begin, reason in [(refuse, "PROFILE_UNKNOWN"), (lambda: failed, "ISSUER_UNKNOWN")]:
        with pytest.raises(NotFound) as refused:
            await bridge.run(begin)
        assert refused.value.reason == reason


@pytest.mark.asyncio
async def test_giving_up_cancels_the_work(workers: ThreadPoolExecutor) -> None:
    """A caller whose deadline passes takes work with it that has not begun."""
    queued: Future[int] = Future()
    call = asyncio.create_task(Bridge(workers).run(lambda: queued))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert queued.cancelled()
