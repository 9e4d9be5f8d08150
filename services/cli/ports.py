"""Addresses to listen on: free ones where the port is 0, and a clear word about those that somebody else holds."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.cli.failures import Failed

# Processes that were killed together with their supervisor may hold their ports for a moment longer.
PATIENCE = 1.0
LISTENING = "0A"
_LOWEST = 10_000
_ENOUGH = 1000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Nobody gets a port twice, and those who look at the same time begin far from each other: nothing keeps a port for
# them between here and where they listen.
_given = itertools.count()
_APART = 7919


def claim(addresses: Mapping[str, str]) -> dict[str, str]:
    """The addresses, by name of the option, with a port in the place of every 0; all of them are free at this moment.

    Raises Failed naming the address, who holds it, and the option that chooses another.
    """
    with contextlib.ExitStack() as held:  # all are held together, so that no port is picked or named twice
        claimed: dict[str, str] = {}
        for option, address in addresses.items():
            if address in claimed.values():
                raise Failed(f"{address} is named twice: choose another with --{option}")
            claimed[option] = _hold(held, option, address)
        return claimed


def _hold(held: contextlib.ExitStack, option: str, address: str) -> str:
    host, _, port = address.rpartition(":")
    until = time.monotonic() + PATIENCE
    while True:
        try:
            listener = held.enter_context(_bind(host.strip("[]"), int(port)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < until:
                time.sleep(0.1)
                continue
            raise Failed(_explain(option, address, error)) from error
        return f"{host}:{listener.getsockname()[1]}"


def _bind(host: str, port: int) -> socket.socket:
    if port:
        return _listen(host, port)
    for candidate in _lasting_ports():
        try:
            return _listen(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _listen(host, 0)


def _lasting_ports() -> Iterator[int]:
    """Some ports to try: the address is kept, so none that the kernel may give to a connection as its own end."""
    try:
        choice = int(_EPHEMERAL.read_text().split()[0]) - _LOWEST
    except (OSError, ValueError):
        return
    if choice >= _ENOUGH:
        yield from (_LOWEST + (os.getpid() * _APART + next(_given)) % choice for _ in range(_ENOUGH))


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # As servers do: a port that was just given up may be taken again. One that somebody listens on may not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def _explain(option: str, address: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = owner(int(address.rpartition(":")[2]))
        by = f" by {holder}" if holder else ""
        return f"{address} is in use{by}: stop what listens there, or choose another address with --{option}"
    return f"cannot listen on {address}: {error.strerror or error}; choose another address with --{option}"


def owner(port: int) -> str:
    """The process that listens on a port, as far as we may know it."""
    inodes = {f"socket:[{inode}]" for inode in _listeners(port)}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) in inodes:
                process = link.parent.parent
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _listeners(port: int) -> list[str]:
    found = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            rows = (line.split() for line in table.read_text().splitlines()[1:])
            found += [row[9] for row in rows if row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port]
    return found
