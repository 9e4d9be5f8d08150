"""One child of `goodstanding up`: started, held until all is checked, watched, started again, stopped.

A child that dies is started again at once; one that keeps dying young waits longer every time, so that a lasting fault
does not burn the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.failures import Failed, one_line
from services.cli.output import note

START_LIMIT = 60.0
STOP_LIMIT = 10.0
PROBE_INTERVAL = 0.05
NEWS = 0.05
FOR_US = (signal.SIGINT, signal.SIGHUP)
YOUNG = 2.0
LONGEST_WAIT = 30.0
SUPERVISOR = "GOODSTANDING_SUPERVISOR"
HELD = "GOODSTANDING_HELD"
"""The file descriptor that a process which was started ahead of time reads the rest of its environment from."""
_OF_ONE_PROCESS = (SUPERVISOR, HELD, "GOODSTANDING_WORKER")
"""What one process is told about itself, and no other should hear: the last is what a gateway tells its workers."""
PASSPHRASE = "GOODSTANDING_PASSPHRASE_"  # noqa: S105  (what the names of such variables begin with)
DATABASE = "GOODSTANDING_DATABASE"
REFUSED = 1


class Refused(Exception):
    """A child said itself, on standard error, why it cannot start."""


@dataclass
class Backoff:
    """How long to wait before starting again: not at all after a life of some length, then 0.25 s, 0.5 s, ..."""

    wait: float = 0.0

    def after(self, lived: float) -> float:
        """Seconds to wait now, after a child that lived so many seconds."""
        now = 0.0 if lived >= YOUNG else self.wait
        self.wait = min(LONGEST_WAIT, max(0.25, now * 2))
        return now


@dataclass
class Child:
    """A service that runs as `goodstanding serve NAME --config FILE`."""

    name: str
    config: Path
    listens: Callable[[], Awaitable[bool]]
    """Whether it has found everything that it needs, and takes connections."""
    serves: Callable[[], Awaitable[bool]]
    prepare: Callable[[], Awaitable[None]] | None = None
    """Done before every start but the first."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it is told over its configuration."""
    process: Process | None = None
    born: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)
    gate: int | None = None

    async def hold(self) -> None:
        """Start the process for the first time, ahead of time: until `come_up` it does what needs no configuration."""
        reading, self.gate = os.pipe()
        try:
            await self._launch({HELD: str(reading)}, (reading,))
        finally:
            os.close(reading)

    async def come_up(self) -> None:
        """Let the process that is held go on, and wait until it listens. Raises as `wait_for` does."""
        assert self.process is not None
        assert self.gate is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `wait_for` tells how
            os.write(self.gate, json.dumps(dict(self.environment)).encode())
        self._let_go()
        await self.wait_for(self.listens, self.process)

    async def serve(self) -> None:
        """Wait until it serves. Raises as `wait_for` does."""
        assert self.process is not None
        await self.wait_for(self.serves, self.process)

    async def wait_for(self, condition: Callable[[], Awaitable[bool]], process: Process) -> None:
        """Wait until a condition holds while the process runs.

        Raises Refused when it ends with an error that it told, Failed when it ends otherwise or takes too long.
        """
        ended, serving = asyncio.create_task(process.wait()), asyncio.create_task(_until(condition))
        try:
            await asyncio.wait((ended, serving), timeout=START_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                return serving.result()
            if not ended.done():
                raise Failed(f"{self.name} does not serve after {START_LIMIT:.0f} seconds; see its messages above")
            if ended.result() == REFUSED:
                raise Refused(self.name)
            raise Failed(f"{self.name} ended ({how(ended.result())}) before it served; see its messages above")
        finally:
            for task in (ended, serving):
                task.cancel()

    async def keep_up(self) -> None:
        """Start it again whenever it ends. Runs until it is cancelled."""
        while True:
            if self.process is not None:
                ending = how(await self.process.wait())
                # SIGTERM to the whole process group ends it, too: then we are cancelled here, a moment later.
                await asyncio.sleep(NEWS)
                note(f"{self.name} ended ({ending}); starting it again")
            await asyncio.sleep(self.backoff.after(time.monotonic() - self.born))
            try:
                await self._start_again()
            except Failed as error:
                note(f"cannot start {self.name}: {error.message}")

    async def stop(self) -> None:
        """Ask it to end, and kill it if it takes too long."""
        self._let_go()
        if self.process is None or self.process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_LIMIT)
        except TimeoutError:
            note(f"{self.name} did not stop within {STOP_LIMIT:.0f} seconds: killing it")
            self.kill()
            await self.process.wait()

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def _let_go(self) -> None:
        if self.gate is not None:
            os.close(self.gate)
            self.gate = None

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def _start_again(self) -> None:
        self.process, self.born = None, time.monotonic()
        with one_line():
            if self.prepare is not None:
                await self.prepare()
            await self._launch(self.environment)

    async def _launch(self, told: Mapping[str, str], pass_fds: Sequence[int] = ()) -> None:
        environment = {**inherited(self.name, os.environ), **told, SUPERVISOR: str(os.getpid())}
        command = (*program(), "serve", self.name, "--config", str(self.config))
        # In our process group and session; `services.cli.commands.serve` ties its life to ours.
        with shielded():
            self.process = await asyncio.create_subprocess_exec(*command, env=environment, pass_fds=pass_fds)
        self.born = time.monotonic()


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Start processes that SIGINT and SIGHUP do not reach.

    Ctrl-C, or the end of the terminal, reaches the whole process group. We hear of it as well, and stop the children in
    order; they would end before we knew why. What is blocked here stays blocked in a process that is started meanwhile.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_US)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_US)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(PROBE_INTERVAL)


def inherited(service: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the secrets that are not for that service.

    Only ca opens the keys of issuers, and not those of the roots; the gateway, which strangers talk to, opens its own
    signers' and has no database. What we tell a child about itself is not for it to inherit from somebody else.
    """
    signers = f"{PASSPHRASE}GATEWAY_"
    withheld = {
        "ca": (f"{PASSPHRASE}ROOT", f"{PASSPHRASE}TLS_CA", signers),
        "status": (PASSPHRASE,),
    }.get(service, (PASSPHRASE, DATABASE))
    given = (signers,) if service == "gateway" else ()
    return {
        name: value
        for name, value in environ.items()
        if name.upper().startswith(given) or not (name.upper().startswith(withheld) or name in _OF_ONE_PROCESS)
    }


def program() -> tuple[str, ...]:
    """How to run the `goodstanding` command so that the process list shows it under that name."""
    script = Path(sys.executable).with_name("goodstanding")
    if script.exists():
        return (sys.executable, str(script))
    return (
        sys.executable,
        "-c",
        "import sys; del sys.argv[0]; from services.cli.main import main; main()",
        "goodstanding",
    )


def how(status: int) -> str:
    """How a process ended, for people."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
