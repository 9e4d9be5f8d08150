"""`goodstanding up`: ca, status and gateway as children of one process that keeps them running and stops them cleanly.

Guarantees: "ready" is printed only once all of them serve. A child that dies is started again. Nothing outlives this
process: on SIGTERM and SIGINT the gateway stops first, then status, then ca, and a kill takes the children along.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from services.cli.children import Child
from services.cli.failures import Failed
from services.cli.folder import DataFolder, Running, reachable
from services.cli.probes import accepts, grpc_serves, http_ready

if TYPE_CHECKING:
    from services.cli.keeper import Keeper

GATEWAY = "gateway"
"""The service, and its credential."""


@contextmanager
def only_one(folder: DataFolder) -> Iterator[None]:
    """Hold the data folder for this process. Raises Failed where another one holds it. A kill lets go of it, too."""
    with folder.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = folder.running()
            process = f" (process {running.pid})" if running else ""
            raise Failed(
                f"another `goodstanding up` runs on {folder.path} already{process}: stop it first, or name another "
                "folder with --data"
            ) from None
        yield


@dataclass
class Supervisor:
    """The three children and their end."""

    folder: DataFolder
    prepare: Callable[[], tuple[Running, Keeper]]
    """Checks everything, in a thread, while the children get ready to be told. Raises Failed."""
    announce: Callable[[Running], None]
    workers: int | None = None
    """Of the gateway, if not as configured."""
    for_gateway: Mapping[str, str] = field(default_factory=dict)
    """What it alone is told through the environment beside that."""
    running: Running = field(init=False)
    keeper: Keeper = field(init=False)
    children: list[Child] = field(init=False)
    stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.ca = self._grpc_child("ca")
        self.status = self._grpc_child("status")
        self.gateway = Child(
            GATEWAY,
            self.folder.config,
            listens=lambda: accepts(self.running.ops),
            serves=lambda: http_ready(self.running.ops),
            prepare=lambda: self.keeper.fresh_gateway(),
        )
        self.children = [self.gateway, self.status, self.ca]

    def _grpc_child(self, name: Literal["ca", "status"]) -> Child:
        def address() -> str:
            return self.running.ca if name == "ca" else self.running.status

        return Child(
            name,
            self.folder.config,
            listens=lambda: accepts(address()),
            serves=lambda: grpc_serves(address(), self.folder, GATEWAY),
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises Refused or Failed when the start does not succeed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Only of SIGHUP is it a wish that it be ignored: nohup.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._asked_to_stop)
        try:
            await self._unless_stopped(self._come_up())
            if not self.stopping.is_set():
                await self._stay_up()
        finally:
            await self._stop()

    async def _come_up(self) -> None:
        # Most of a start is importing. The children do it while this process does its own, and looks around.
        for child in reversed(self.children):
            await child.hold()
        self.running, self.keeper = await asyncio.to_thread(self.prepare)
        for child in self.children:
            child.environment = overrides(self.running, self.workers)
        self.gateway.environment = {**self.gateway.environment, **self.for_gateway}
        await self.keeper.renew_due()
        await _both(self.ca.come_up(), self.status.come_up())
        # Only now: starts that fail, again and again, would add an identity and a denial each.
        await self.keeper.fresh_gateway()
        await _both(self.ca.serve(), self.status.serve())
        await self.gateway.come_up()
        await self.gateway.serve()

    async def _stay_up(self) -> None:
        self.folder.say_running(self.running)
        self.announce(self.running)
        await self._unless_stopped(self._keep_up())

    async def _keep_up(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keeper.renew_daily())
            for child in self.children:
                tasks.create_task(child.keep_up())

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        working, stopped = asyncio.create_task(work), asyncio.create_task(self.stopping.wait())
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not working.done():
            working.cancel()
        # What fails while everything is asked to stop (Ctrl-C reaches the children, too) fails because of that.
        expected = (asyncio.CancelledError, Exception) if self.stopping.is_set() else (asyncio.CancelledError,)
        with contextlib.suppress(*expected):
            await working

    async def _stop(self) -> None:
        self.stopping.set()
        self.folder.say_stopped()
        for child in self.children:
            await child.stop()

    def _asked_to_stop(self) -> None:
        if self.stopping.is_set():  # asked again: no more patience
            for child in self.children:
                child.kill()
        self.stopping.set()


async def _both(one: Coroutine[Any, Any, None], other: Coroutine[Any, Any, None]) -> None:
    """Do both. Raises what the first of them raises that fails."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one)
            tasks.create_task(other)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def overrides(running: Running, workers: int | None) -> Mapping[str, str]:
    """What the children are told through the environment, over what the configuration says."""
    return {
        **({} if workers is None else {"GOODSTANDING_GATEWAY__WORKERS": str(workers)}),
        "GOODSTANDING_CA__LISTEN": running.ca,
        "GOODSTANDING_CA__PUBLIC_URL": running.public_url,
        "GOODSTANDING_STATUS__LISTEN": running.status,
        "GOODSTANDING_GATEWAY__HTTP": running.http,
        "GOODSTANDING_GATEWAY__OPS": running.ops,
        "GOODSTANDING_GATEWAY__CA": reachable(running.ca),
        "GOODSTANDING_GATEWAY__STATUS": reachable(running.status),
        "GOODSTANDING_GATEWAY__PUBLIC_URL": running.public_url,
    }
