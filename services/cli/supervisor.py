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
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from services.cli import credentials
from services.cli.children import Child
from services.cli.credentials import TlsAuthority
from services.cli.failures import Failed, one_line
from services.cli.folder import DataFolder, Running, reachable
from services.cli.output import note
from services.cli.probes import accepts, grpc_serves, http_ready
from services.cli.settings import open_database
from services.clock import Clock
from services.config import Settings
from services.db.engine import Database

DAY = 24 * 60 * 60.0
T = TypeVar("T")


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
class Keeper:
    """Looks after the credentials of the services."""

    folder: DataFolder
    settings: Settings
    authority: TlsAuthority
    clock: Clock

    async def fresh_gateway(self) -> None:
        """A new identity for a gateway that starts."""
        await asyncio.to_thread(self._with_database, credentials.fresh_gateway)

    async def renew_due(self) -> None:
        """New credentials where two thirds of the old ones' life are over."""
        for name in await asyncio.to_thread(self._with_database, credentials.renew_due):
            note(f"renewed the credential {name}")

    async def renew_daily(self) -> None:
        """Renew what is due, every day. Failing once is no reason to stop the services."""
        while True:
            await asyncio.sleep(DAY)
            try:
                with one_line():
                    await self.renew_due()
            except Failed as error:
                note(f"cannot renew the credentials, and will try again tomorrow: {error.message}")

    def _with_database(self, work: Callable[[DataFolder, TlsAuthority, Database, datetime], T]) -> T:
        with open_database(self.settings) as db:
            return work(self.folder, self.authority, db, self.clock())


@dataclass
class Supervisor:
    """The three children and their end."""

    folder: DataFolder
    running: Running
    keeper: Keeper
    announce: Callable[[], None]
    workers: int | None = None
    """Of the gateway, if not as configured."""
    for_gateway: Mapping[str, str] = field(default_factory=dict)
    """What it alone is told through the environment beside that."""
    children: list[Child] = field(init=False)
    stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.ca = self._grpc_child("ca", self.running.ca)
        self.status = self._grpc_child("status", self.running.status)
        self.gateway = self._child(
            credentials.GATEWAY,
            listens=partial(accepts, self.running.ops),
            serves=partial(http_ready, self.running.ops),
            prepare=self.keeper.fresh_gateway,
        )
        self.children = [self.gateway, self.status, self.ca]

    def _grpc_child(self, name: str, address: str) -> Child:
        serves = partial(grpc_serves, address, self.folder, credentials.GATEWAY)
        return self._child(name, listens=partial(accepts, address), serves=serves)

    def _child(self, name: str, **probes: Any) -> Child:
        environment = overrides(self.running, self.workers)
        if name == credentials.GATEWAY:
            environment = {**environment, **self.for_gateway}
        return Child(name, self.folder.config, environment, **probes)

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
        await self.keeper.renew_due()
        await _both(self.ca.come_up(), self.status.come_up())
        # Only now: starts that fail, again and again, would add an identity and a denial each.
        await self.keeper.fresh_gateway()
        await _both(self.ca.serve(), self.status.serve())
        await self.gateway.come_up()
        await self.gateway.serve()

    async def _stay_up(self) -> None:
        self.folder.say_running(self.running)
        self.announce()
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
