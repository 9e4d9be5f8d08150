"""`goodstanding up` as a user starts it: a subprocess on free ports, with a data folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from services.cli.ports import claim
from tests import forked
from tests.command import Up
from tests.waiting import wait_until

BIN = Path(sys.executable).parent


def free_addresses(count: int) -> list[str]:
    """Loopback addresses that nobody listens on now."""
    return list(claim({str(number): "127.0.0.1:0" for number in range(count)}).values())


def environment(**more: str) -> dict[str, str]:
    """The environment of the tests, with the tools of the virtual environment in front, and nothing of ours set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GOODSTANDING_")}
    return {**kept, "PATH": f"{BIN}:{kept['PATH']}", **more}


class System:
    """All three services. `folder` is the working directory; the data folder is `folder/data`."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.ca, self.status, self.http, self.ops = free_addresses(4)
        self._env = environment(**env)
        self._up: Up | None = None

    @property
    def url(self) -> str:
        """The OCSP responder."""
        return f"http://{self.http}"

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._up is not None
        return self._up.process.pid

    def start(self) -> System:
        """Start, and wait for the line that says ready."""
        options = ("--ca", self.ca, "--status", self.status, "--http", self.http, "--ops", self.ops)
        self._up = Up(self.data, options, self.folder, self._env)
        try:
            self._up.wait_ready()
        except BaseException:
            self._up.kill()
            raise
        return self

    def stop(self) -> int:
        """Stop as an init system does, and return the exit status."""
        assert self._up is not None
        try:
            return self._up.stop()
        finally:
            self._up.kill()

    def run(
        self,
        *command: str,
        check: bool = True,
        input: str | None = None,  # noqa: A002
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the working directory, as a user of this system."""
        name, *arguments = command
        if name == "goodstanding" and forked.can_be_forked(arguments):
            done = forked.run(arguments, cwd=self.folder, env=self._env, input=input, timeout=timeout)
        else:
            done = self._start(command, input, timeout)
        if check and done.returncode:
            raise AssertionError(f"{command} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def _start(self, command: tuple[str, ...], given: str | None, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            input=given,
            timeout=timeout,
            check=False,
        )

    def issue(self, name: str) -> Path:
        """Make a key and a request with openssl, and have it signed. Returns the certificate's file."""
        files = {kind: self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem")}
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(files["key"]))
        self.run("openssl", "req", "-new", *key, "-subj", f"/CN={name}", "-out", str(files["csr"]))
        self.run("goodstanding", "issue", str(files["csr"]), "--out", str(files["pem"]))
        return files["pem"]

    def ask(self, *arguments: str, issuer: Path | None = None) -> str:
        """Ask the responder with `openssl ocsp`, and return what it prints. Fails if the answer does not verify."""
        authorities = (
            "-CAfile",
            str(self.data / "ca/chain.pem"),
            "-issuer",
            str(issuer or self.data / "ca/issuing.pem"),
        )
        done = self.run("openssl", "ocsp", *authorities, "-url", self.url, *arguments, check=False)
        return done.stdout + done.stderr

    def ask_until(self, word: str, *arguments: str) -> str:
        """Ask again and again until the answer holds the word, for ten seconds at the most."""
        said = [""]

        def ask() -> bool:
            said[0] = self.ask(*arguments)
            return word in said[0]

        wait_until(ask, within=10)
        return said[0]

    def processes_of(self, service: str) -> list[int]:
        """The process ids of one service, found by command line as an operator would."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, IndexError):
                    continue
                if b"serve" in words and service.encode() in words and parent == self.pid:
                    found.append(int(entry.name))
        assert found, f"no process of {service}"
        return found
