"""Processes of a run: goodstanding on free ports, and further gateways beside its own. All end with their context."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_START_WITHIN = 60.0
_STOP_WITHIN = 20.0
COMMAND = str(Path(sys.executable).with_name("goodstanding"))


class BenchmarkError(Exception):
    """The run cannot go on; the text says why."""


@dataclass(frozen=True)
class System:
    """A running goodstanding: where it is, and its processes by name (ca, status, gateway)."""

    data: Path
    ca: str
    status: str
    http: str
    pids: dict[str, int]

    @property
    def gateway(self) -> Gateway:
        """Its own gateway."""
        return Gateway(self.http, self.pids["gateway"])


@dataclass(frozen=True)
class Gateway:
    """A gateway: where it answers, and its process."""

    http: str
    pid: int


def free_addresses(*names: str) -> dict[str, str]:
    """An address on a free port of the loopback interface for each name."""
    return {name: f"127.0.0.1:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)}


@contextlib.contextmanager
def launched(folder: Path, addresses: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`goodstanding up` with its data in `folder`, at addresses for ca, status, http, ops; perhaps not ready yet."""
    command = [COMMAND, "up", "--data", str(folder)]
    for name, address in addresses.items():
        command += [f"--{name}", address]
    with (
        subprocess.Popen(
            command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
        ending(process),
    ):
        yield process


@contextlib.contextmanager
def goodstanding(folder: Path) -> Iterator[System]:
    """`goodstanding up` with its data in `folder`, on free ports of the loopback interface.

    Raises BenchmarkError with what it said when it does not get ready.
    """
    at = free_addresses("ca", "status", "http", "ops")
    with launched(folder, at) as process:
        _wait_until_ready(process)
        yield System(folder, at["ca"], at["status"], at["http"], services(process.pid))


@contextlib.contextmanager
def gateway(system: System, name: str, *arguments: str, **settings: object) -> Iterator[Gateway]:
    """One more gateway, with a credential and addresses of its own, and further settings of the table [gateway].

    Raises BenchmarkError with what it said when it does not get ready.
    """
    folder = system.data / "tls"
    if not (folder / f"{name}.pem").exists():
        make_credential(system, name)
    at = free_addresses("http", "ops")
    told = {"ca": system.ca, "status": system.status, **at, **settings}
    told |= {"certificate": str(folder / f"{name}.pem"), "key": str(folder / f"{name}.key")}
    variables = {f"GOODSTANDING_GATEWAY__{key.upper()}": _as_variable(value) for key, value in told.items()}
    command = [COMMAND, "serve", "gateway", *arguments, "--config", str(system.data / "config.toml")]
    said = system.data / f"{name}.log"
    with (
        said.open("w") as output,
        subprocess.Popen(
            command, env=clean_environment() | variables, stdout=output, stderr=subprocess.STDOUT, text=True
        ) as process,
        ending(process),
    ):
        _wait_for_ready(at["ops"], process, said)
        yield Gateway(at["http"], process.pid)


def _as_variable(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def make_credential(system: System, name: str) -> None:
    """A client credential with the role responder. Raises BenchmarkError."""
    command = [COMMAND, "credential", "new", "--name", name, "--role", "responder", "--data", str(system.data)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"no credential for {name}:\n{done.stderr[-2000:]}")


def serve_takes(option: str) -> bool:
    """Whether `goodstanding serve` knows an option."""
    return option in subprocess.run([COMMAND, "serve", "--help"], capture_output=True, text=True, check=True).stdout


def clean_environment() -> dict[str, str]:
    """The environment without settings of ours, which would win over what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GOODSTANDING_")}


def _wait_for_ready(ops: str, process: subprocess.Popen[str], said: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{ops}/readyz", timeout=2):
            return
        time.sleep(0.02)
    raise BenchmarkError(f"the gateway did not get ready:\n{said.read_text()[-2000:]}")


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=read_on, args=(process.stdout, lines), daemon=True).start()
    said, deadline = "", time.monotonic() + _START_WITHIN
    with contextlib.suppress(queue.Empty):
        while line := lines.get(timeout=max(0.1, deadline - time.monotonic())):
            if line.startswith("ready"):
                return
            said += line
    raise BenchmarkError(f"goodstanding up did not get ready:\n{said}")


def read_on(output: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Read to the very end: a full pipe would stop the services."""
    for line in output:
        lines.put(line)
    lines.put("")


@contextlib.contextmanager
def ending(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends a process with the context: by asking, then by force."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()


def services(supervisor: int) -> dict[str, int]:
    """The process ids of the services that a supervisor runs, by name. Raises BenchmarkError when one is missing."""
    found = {}
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if "serve" in words:
            found[words[words.index("serve") + 1]] = int(child)
    if missing := {"ca", "status", "gateway"} - found.keys():
        raise BenchmarkError(f"goodstanding up runs no {', '.join(sorted(missing))}")
    return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


def command_output(command: Sequence[str], within: float = 120.0) -> str:
    """What a command prints. Raises BenchmarkError with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within)
    if done.returncode:
        raise BenchmarkError(f"{command[0]} failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
