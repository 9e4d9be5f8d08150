"""The real command, run as users run it: `goodstanding` in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import forked

PROGRAM = (sys.executable, "-m", "services.cli")
FREE = ("--ca", "127.0.0.1:0", "--status", "127.0.0.1:0", "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0")


def goodstanding(
    *arguments: str | Path, cwd: Path | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    words = list(map(str, arguments))
    if forked.can_be_forked(words):
        done = forked.run(words, cwd=cwd, timeout=90)
    else:
        command = [*PROGRAM, *words]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=90, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def make_csr(folder: Path) -> Path:
    """A certificate request from openssl, with a common name only."""
    command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", "test.key", "-subj", "/CN=test.example.com", "-out", "test.csr"]
    subprocess.run([*command, *files], cwd=folder, check=True, capture_output=True)
    return folder / "test.csr"


def command_line(pid: int) -> str:
    """What the process list shows of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


@dataclass
class Up:
    """A `goodstanding up` that runs, with the environment of the tests unless it is given one."""

    data: Path
    options: Sequence[str] = FREE
    cwd: Path | None = None
    """Where it runs; it has to find the data folder there by itself."""
    environment: Mapping[str, str] | None = None
    output: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.errors = self.data.parent / f"{self.data.name}.stderr"
        named = () if self.cwd else ("--data", str(self.data))
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*PROGRAM, "up", *named, *self.options],
                cwd=self.cwd,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                process_group=0,
            )

    def wait_ready(self) -> str:
        """Wait until it says ready, and return that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("ready"):
                return line
        raise AssertionError(f"not ready: {''.join(self.output)}{self.errors.read_text()}")

    def children(self) -> dict[str, int]:
        """Process ids of the services that run, by name."""
        pid = self.process.pid
        try:
            pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return {}
        lines = {int(child): command_line(int(child)) for child in pids}
        return {
            line.partition("goodstanding serve ")[2].split()[0]: child
            for child, line in lines.items()
            if "serve " in line
        }

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def kill(self) -> None:
        """End it and all in its process group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
