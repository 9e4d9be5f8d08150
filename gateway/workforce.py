"""The workers, as their parent sees them: started by exec, told what they need, asked, started again, stopped.

A worker that dies is replaced at once; one that keeps dying young waits longer every time. The listening socket is the
parent's, so that connections are taken all the while: by the other workers, or by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog

from gateway.handover import ENVIRONMENT, INSTALL, QUESTIONS, REMOVE, SETTINGS, Inheritance, Line, Message
from gateway.portable import PortableSigner
from gateway.servers import STOP_WITHIN

_logger = structlog.get_logger(__name__)

ANSWER_WITHIN = 1.0
"""Seconds that a page waits for the workers."""
_YOUNG = 2.0
_LONGEST_WAIT = 30.0
_KILL_AFTER = STOP_WITHIN + 2
_NOT_FOR_WORKERS = (signal.SIGINT, signal.SIGHUP)
_SUPERVISOR = "GOODSTANDING_SUPERVISOR"
"""Tells `goodstanding serve` whose child it is, so that it dies with it from its first moment."""
_PASSPHRASES = "GOODSTANDING_PASSPHRASE_"


class WorkerProcess:
    """One worker's process."""

    def __init__(self, number: int, listener: socket.socket) -> None:
        """Start it. Raises OSError."""
        ours, its = socket.socketpair()
        with its:
            try:
                self._process = _launch(Inheritance(number, listener, its))
            except OSError:
                ours.close()
                raise
        self._pair = ours
        self._line: Line | None = None
        self._questions: dict[str, asyncio.Future[Message | None]] = {}
        self.number = number
        self.pid = self._process.pid
        self.born = time.monotonic()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Its exit status, once it has ended."""
        self._follow()

    def _follow(self) -> None:
        """Notice its end, without a thread and without SIGCHLD, which belongs to the event loop."""
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self.pid)

        def has_ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self.ended.set_result(self._process.wait())

        loop.add_reader(descriptor, has_ended)

    async def attend(self, first: Callable[[Line], None]) -> int:
        """Say what is `first` to be said, hear its answers, and return its exit status once it has ended."""
        self._line = await Line.open(self._pair)
        first(self._line)
        async for message in self._line.messages():
            question = self._questions.pop(str(message.get("kind")), None)
            if question is not None and not question.done():
                question.set_result(message)
        self._line.close()
        for question in self._questions.values():
            if not question.done():
                question.set_result(None)
        return await asyncio.shield(self.ended)

    def say(self, kind: str, **content: Any) -> None:
        """Tell it something; nothing before it has been told what is first."""
        if self._line is not None:
            self._line.say(kind, **content)

    def ask(self, question: str, **content: Any) -> asyncio.Future[Message | None]:
        """Its answer, or None if it ends before. It is asked the same thing once at a time."""
        assert question.partition(":")[0] in QUESTIONS
        if question not in self._questions:
            self._questions[question] = asyncio.get_running_loop().create_future()
            if self._line is None or self.ended.done():
                self._questions[question].set_result(None)
                return self._questions.pop(question)
            self.say(question, **content)
        return self._questions[question]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


class Workforce:
    """So many workers, kept running. `greet` says to a new one what it has to know beside its settings."""

    def __init__(self, count: int, settings: Mapping[str, Any], greet: Callable[[Line], None]) -> None:
        """`settings`: the content of the first message."""
        self._count = count
        self._settings = settings
        self._greet = greet
        self._workers: dict[int, WorkerProcess] = {}
        self._stopping = False
        self.ended: Callable[[int], None] = lambda number: None  # noqa: ARG005  (somebody may want to know)
        self.restarts = 0

    @property
    def numbers(self) -> range:
        """The workers that there should be."""
        return range(1, self._count + 1)

    def __len__(self) -> int:
        return len(self._workers)

    async def run(self, listener: socket.socket) -> None:
        """Keep the workers running, all on that socket, until they are stopped."""
        async with asyncio.TaskGroup() as tasks:
            for number in self.numbers:
                tasks.create_task(self._keep(number, listener))

    async def _keep(self, number: int, listener: socket.socket) -> None:
        wait = 0.0
        while not self._stopping:
            born = time.monotonic()
            try:
                ending = await self._employ(number, listener)
            except OSError as error:
                ending = error.strerror or type(error).__name__
            if self._stopping:
                return
            now = 0.0 if time.monotonic() - born >= _YOUNG else wait
            wait = min(_LONGEST_WAIT, max(0.25, now * 2))
            _logger.warning("worker ended, starting another", worker=number, ending=ending, wait=now)
            self.restarts += 1
            await asyncio.sleep(now)

    async def _employ(self, number: int, listener: socket.socket) -> str:
        """Have a worker, and return how it ended. Raises OSError: none can be started."""
        worker = self._workers[number] = WorkerProcess(number, listener)
        try:
            return _how(await worker.attend(self._introduce))
        finally:
            if self._workers.get(number) is worker and worker.ended.done():
                del self._workers[number]
                self.ended(number)

    def _introduce(self, line: Line) -> None:
        line.say(SETTINGS, **self._settings)
        self._greet(line)

    def install(self, issuer: str, slot: int, signer: PortableSigner) -> None:
        """Have all of them sign with this one."""
        packed = signer.pack()
        for worker in self._workers.values():
            worker.say(INSTALL, issuer=issuer, slot=slot, signer=packed)

    def remove(self, issuer: str, slot: int | None) -> None:
        """Have none of them sign with the signer in a slot, or in any."""
        for worker in self._workers.values():
            worker.say(REMOVE, issuer=issuer, slot=slot)

    async def ask(self, question: str, *, within: float = ANSWER_WITHIN, **content: Any) -> dict[int, Message | None]:
        """What each of them answers; None for one that does not within so many seconds."""
        asked = {number: worker.ask(question, **content) for number, worker in self._workers.items()}
        if asked:
            await asyncio.wait(asked.values(), timeout=within)
        answers: dict[int, Message | None] = dict.fromkeys(self.numbers)
        return answers | {number: answer.result() for number, answer in asked.items() if answer.done()}

    async def stop(self) -> None:
        """Stop all of them: they answer what was asked, and are killed if that takes too long."""
        self._stopping = True
        workers = list(self._workers.values())
        for worker in workers:
            worker.send(signal.SIGTERM)
        if workers:
            _, late = await asyncio.wait([worker.ended for worker in workers], timeout=_KILL_AFTER)
            for worker in workers:
                if worker.ended in late:
                    _logger.warning("killing a worker that does not stop", worker=worker.number)
                    worker.send(signal.SIGKILL)
            await asyncio.wait([worker.ended for worker in workers])


def _launch(inheritance: Inheritance) -> subprocess.Popen[bytes]:
    """Run our own command once more, as a worker: it is shown under the same name, and nothing of ours is forked on."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_PASSPHRASES)}
    with _shielded():
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env={**kept, ENVIRONMENT: str(inheritance), _SUPERVISOR: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stderr=sys.stderr.fileno(),  # where descriptor 2 is a pipe of our own logs, this is what it was
            pass_fds=(inheritance.listener.fileno(), inheritance.pair.fileno()),
        )


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Start processes that Ctrl-C and the end of the terminal do not reach: the parent stops them in order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
