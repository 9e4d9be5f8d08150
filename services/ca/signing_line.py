"""A signing process as the ca sees it: started by exec, spoken to over a socketpair, ended.

All of it but `wake` is for one thread: the kernel ends the process with the thread that started it.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from services.ca.signing_messages import LENGTH, LONGEST, Batch, Setup, frame

PROGRAM = (sys.executable, "-P", "-m", "services.ca.signing_process")
"""What is started; the descriptor of the socket and our process id are its arguments."""

_NOT_FOR_IT = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
_ENDS_WITHIN = 2.0
_READ_AT_ONCE = 1 << 18


class LineBroken(Exception):
    """The process has ended, or said what nobody understands."""


class Line:
    """A process and the way to it."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        ours, its = socket.socketpair()
        with its:
            try:
                self._process = _launch(its)
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        self._unsent = bytearray()
        self._unread = bytearray()
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._poll.register(ours, select.POLLIN)
        self.pid = self._process.pid
        self.born = time.monotonic()

    def wake(self) -> None:
        """End the waiting in `hear`. From any thread, but not after `close`."""
        os.eventfd_write(self._woken, 1)

    def say(self, message: Setup | Batch) -> None:
        """Send a message, or what can be sent of it now; `hear` sends the rest. Raises LineBroken."""
        self._unsent += frame(message)
        self._send()

    def hear(self, seconds: float) -> list[object]:
        """What has been said, once there is something, but after so many seconds at the latest, or when woken.

        Raises LineBroken.
        """
        self._poll.modify(self._socket, select.POLLIN | select.POLLOUT if self._unsent else select.POLLIN)
        for descriptor, events in self._poll.poll(max(0.0, 1e3 * seconds)):
            if descriptor == self._woken:
                os.eventfd_read(self._woken)
                continue
            if events & select.POLLOUT:
                self._send()
            if events & ~select.POLLOUT:
                self._receive()
        return list(self._messages())

    def close(self, *, kill: bool) -> str:
        """Hang up, wait for its end, and return how it ended. It is killed if asked for, or if it goes on."""
        os.close(self._woken)
        self._socket.close()
        try:
            if not kill:
                return _how(self._process.wait(_ENDS_WITHIN))
        except subprocess.TimeoutExpired:
            pass
        ended = self._process.poll()
        self._process.kill()
        status = self._process.wait()
        return _how(status if ended is None else ended)

    def _send(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError as error:
            raise LineBroken(error.strerror or "the line is broken") from None

    def _receive(self) -> None:
        try:
            content = self._socket.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError as error:
            raise LineBroken(error.strerror or "the line is broken") from None
        if not content:
            raise LineBroken("it has ended")
        self._unread += content

    def _messages(self) -> Iterator[object]:
        while len(self._unread) >= LENGTH:
            length = int.from_bytes(self._unread[:LENGTH])
            if length > LONGEST:
                raise LineBroken("it said what nobody understands")
            if len(self._unread) < LENGTH + length:
                return
            content = bytes(self._unread[LENGTH : LENGTH + length])
            del self._unread[: LENGTH + length]
            try:
                message = pickle.loads(content)  # noqa: S301 - the process holds the same keys as this one
            except Exception as error:  # noqa: BLE001 - whatever unpickling makes of it
                raise LineBroken(f"it said what nobody understands ({type(error).__name__})") from None
            yield message


def _launch(end: socket.socket) -> subprocess.Popen[bytes]:
    """In our process group, and with our environment: what opens keys may be in it. Of ours nothing is forked on."""
    # Who stops us may stop our whole group, or all of the unit: it has to outlive that, until we have hung up. What is
    # blocked here stays blocked there.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_IT)
    try:
        return subprocess.Popen(
            [*PROGRAM, str(end.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=_stderr(),
            pass_fds=(end.fileno(),),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stderr() -> int | None:
    """Where descriptor 2 is a pipe of our own logs, this is what it was."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
