"""`cfssl ocspserve`, which signs nothing: it looks up answers that were signed before, here our own."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509

from benchmarks.load import ask, check, receive_all
from benchmarks.processes import BenchmarkError, ending, free_ports
from benchmarks.questions import plain

INSTALL = "apt-get install golang-cfssl"
_START_WITHIN = 30.0


def answers(address: str, issuer: x509.Certificate, serials: Sequence[int]) -> list[bytes]:
    """What a responder answers about each certificate, in DER."""
    messages = plain(issuer, serials, keep_alive=False)
    found = []
    for _ in serials:
        with ask(address, messages) as sock:
            found.append(receive_all(sock).partition(b"\r\n\r\n")[2])
    return found


@contextlib.contextmanager
def responder(folder: Path, source: str, issuer: x509.Certificate, serials: Sequence[int]) -> Iterator[tuple[str, int]]:
    """It with the answers of the responder at `source`; its address and its process id. One thread: one core."""
    command = shutil.which("cfssl")
    if command is None:
        raise BenchmarkError(f"cfssl is missing: {INSTALL}")
    folder.mkdir(exist_ok=True)
    lines = [base64.b64encode(answer).decode() for answer in answers(source, issuer, serials)]
    (folder / "answers").write_text("\n".join(lines))
    port = free_ports(1)[0]
    arguments = ["ocspserve", "-port", str(port), "-responses", str(folder / "answers"), "-loglevel", "4"]
    with (
        subprocess.Popen(
            [command, *arguments],
            env=os.environ | {"GOMAXPROCS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
        ending(process),
    ):
        address, deadline = f"127.0.0.1:{port}", time.monotonic() + _START_WITHIN
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                check(address, plain(issuer, serials[:1], keep_alive=False))
                break
            if time.monotonic() > deadline or process.poll() is not None:
                raise BenchmarkError("cfssl ocspserve does not listen")
            time.sleep(0.02)
        yield address, process.pid
