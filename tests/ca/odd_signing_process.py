"""A signing process that says what it was told to say, whatever it is asked. It imports nothing of ours.

Usage: odd_signing_process.py READY ANSWER DESCRIPTOR PARENT: files with what it says at first, and when it is asked.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path


def hear(line: socket.socket) -> bytes:
    """One message."""
    length = int.from_bytes(line.recv(4, socket.MSG_WAITALL), "big")
    return line.recv(length, socket.MSG_WAITALL) if length else b""


def main(ready: str, answer: str, descriptor: str) -> None:
    """Be asked once. Without an answer it says nothing for good; with an empty one it ends."""
    line = socket.socket(fileno=int(descriptor))
    hear(line)
    if not Path(ready).exists():
        return
    line.sendall(Path(ready).read_bytes())
    if hear(line) and Path(answer).exists():
        line.sendall(content := Path(answer).read_bytes())
        if not content:
            return
    while hear(line):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:4])
