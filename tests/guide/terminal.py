"""A person at a terminal: a command runs on one of its own, and what it asks is answered as it asks."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# With a controlling terminal, as in a shell: openssl and getpass open /dev/tty.
_LOGIN = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"

Answers = Mapping[str, str]
"""What to type, by a regular expression that the question fits."""


class Unanswered(AssertionError):
    """A command asked something that nobody has an answer for, or did not end."""


class Terminal:
    """A command on a terminal of its own. All that it shows is read at once: a command never waits for that."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self._ours = ours
        self.process = process
        self.said = ""
        """All that the terminal has shown."""
        self._heard = 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def expect(self, pattern: str, within: float = 120) -> re.Match[str]:
        """Wait until the terminal shows this, behind what was expected before. Raises Unanswered."""
        begin = time.monotonic()
        while True:
            is_over = not self.reader.is_alive()
            if found := re.compile(pattern).search(self.said, self._heard):
                self._heard = found.end()
                return found
            if is_over or time.monotonic() - begin > within:
                raise Unanswered(f"{pattern!r} was not shown:\n{self.said}")
            time.sleep(0.005)

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._ours, line.encode() + b"\n")

    def end(self, within: float = 120) -> int:
        """Wait for the end, and return the exit status. Raises Unanswered."""
        return self.converse({}, within)

    def converse(self, answers: Answers, within: float = 120) -> int:
        """Answer each question as it comes, and return the exit status. Raises Unanswered."""
        begin, typed = time.monotonic(), list(answers.values())
        questions = "|".join(f"({question})" for question in answers)
        while self.reader.is_alive():
            if time.monotonic() - begin > within:
                raise Unanswered(f"it waits for something:\n{self.said}")
            while answers and (found := re.compile(questions).search(self.said, self._heard)):
                self._heard = found.end()
                self.type(typed[(found.lastindex or 1) - 1])
            time.sleep(0.002)
        return self.process.wait(10)

    def _read(self) -> None:
        while True:
            try:
                octets = os.read(self._ours, 65536)
            except OSError:  # on Linux, the end
                return
            if not octets:
                return
            self.said += octets.decode(errors="replace").replace("\r\n", "\n")


@contextmanager
def terminal(command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Terminal]:
    """Run a command on a terminal; whatever is left of it is killed at the end."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(ours, (50, 160))
    process = subprocess.Popen(
        [sys.executable, "-c", _LOGIN, *map(str, command)], stdin=its, stdout=its, stderr=its, cwd=cwd, env=env
    )
    os.close(its)
    shown = Terminal(ours, process)
    try:
        yield shown
    finally:
        process.kill()
        process.wait()
        shown.reader.join(10)
        os.close(ours)


def converse(command: Sequence[str | Path], answers: Answers, cwd: Path) -> str:
    """Run a command to its end, and return what the terminal showed. Raises Unanswered where it fails."""
    with terminal(command, cwd) as shown:
        if shown.converse(answers):
            raise Unanswered(f"{' '.join(map(str, command))} failed:\n{shown.said}")
        return shown.said
