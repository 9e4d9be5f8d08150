"""`goodstanding` commands that need not import everything anew, which is nine tenths of what a short one takes.

A process that has imported what commands import waits, with one thread and no connection. Each command is a fork of it:
a process with its own folder, environment, input, output and exit status, which runs `main` and ends as any other does.
What is started as users start it is not: `up` and the services, pages that are run as printed, tests of what commands
import.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

_STARTED_ALONE = ("up", "serve")
_LARGEST = 128 * 1024
"""Octets of a command with its environment."""
_STREAMS = 3
_BESIDE_COMMANDS = (
    "alembic.command",
    "psycopg",
    "rich.console",
    "rich.progress",
    "rich.table",
    "services.cli.importing.carrying_out",
    "services.cli.importing.certificate_folder",
    "services.cli.importing.openssl_folder",
    "services.cli.init",
    "services.cli.settings",
    "services.db.schema",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
)
"""What some commands import once they run."""


def can_be_forked(arguments: Sequence[str]) -> bool:
    """Whether it is a command that ends by itself, rather than one that starts services."""
    return not set(arguments[:3]) & set(_STARTED_ALONE)


def run(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,  # noqa: A002
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` does. Raises subprocess.TimeoutExpired, once it is killed."""
    with contextlib.ExitStack() as stack:
        streams: list[IO[bytes]] = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(_STREAMS)]
        streams[0].write((input or "").encode())
        streams[0].seek(0)
        command = {"arguments": list(arguments), "cwd": str(cwd or Path.cwd()), "env": dict(env or os.environ)}
        status = _nursery().run(command, streams, timeout)
        for stream in streams[1:]:
            stream.seek(0)
        output, errors = (stream.read().decode() for stream in streams[1:])
    return subprocess.CompletedProcess(["goodstanding", *arguments], status, output, errors)


class _Nursery:
    """The process that waits, as those see it who want commands. It ends when this end of the socket is closed."""

    def __init__(self) -> None:
        self._ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked"],
                cwd=Path(__file__).parents[1],
                stdin=its.fileno(),
                process_group=0,
            )
        atexit.register(self.close)

    def run(self, command: Mapping[str, Any], streams: Sequence[IO[bytes]], timeout: float) -> int:
        """The exit status; below zero the signal that ended it."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with its:
                descriptors = [its.fileno(), *(stream.fileno() for stream in streams)]
                socket.send_fds(self._ours, [json.dumps(command).encode()], descriptors)
            ours.settimeout(timeout)
            pid = int(ours.recv(64))
            try:
                return int(ours.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command["arguments"], timeout) from None

    def close(self) -> None:
        """Have it end."""
        self._ours.close()
        self._process.wait(10)


@cache
def _nursery() -> _Nursery:
    """One for each process that runs tests, from the first command on."""
    return _Nursery()


def _import_all() -> None:
    """Import what commands may need. Nothing of it starts a thread, or remembers the environment."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # as `main` has it
    from services.cli.main import COMMANDS

    for module in (*(module for module, _ in COMMANDS.values()), *_BESIDE_COMMANDS):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def _wait(control: socket.socket) -> None:
    """Fork for every command that is asked for. Returns in each fork, which then is that command."""
    running: dict[int, socket.socket] = {}
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([control.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _tell_ends(running)
        if control.fileno() not in ready:
            continue
        message, descriptors, *_ = socket.recv_fds(control, _LARGEST, _STREAMS + 1)
        if not message:
            sys.exit(0)
        teller = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for held in (control, teller, *running.values()):
                held.close()
            os.close(ended)
            os.close(wake)
            _become(json.loads(message), descriptors[1:])
            return
        running[pid] = teller
        teller.send(str(pid).encode())
        for descriptor in descriptors[1:]:
            os.close(descriptor)


def _tell_ends(running: dict[int, socket.socket]) -> None:
    for pid in list(running):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with running.pop(pid) as teller, contextlib.suppress(OSError):  # nobody may wait for it any more
                teller.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(command: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Be what was asked for. Nothing was read from the standard streams, or written to them, before."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    time.tzset()
    sys.argv[1:] = command["arguments"]


if __name__ == "__main__":
    from services.cli.main import main

    _control = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    _import_all()
    _wait(_control)
    main()
