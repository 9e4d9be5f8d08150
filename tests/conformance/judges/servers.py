"""Servers from outside, each a process of its own in a folder of its own, ended by its process id.

They run as whoever runs the tests, root or not, and write nowhere but in their folder.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.judges.tools import require
from tests.waiting import wait_until

_NGINX = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr info;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{servers}
}}
"""


@dataclass(frozen=True)
class Server:
    """One that runs."""

    log_file: Path

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text()


@contextmanager
def nginx(folder: Path, servers: str, address: str) -> Iterator[Server]:
    """Run nginx with these lines in the block `http`, until the end of the context."""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(servers=servers))
    with _running([require("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config)], folder, address) as server:
        yield server


@contextmanager
def varnish(folder: Path, vcl: str, address: str) -> Iterator[Server]:
    """Run varnish with this configuration, until the end of the context."""
    config = folder / "default.vcl"
    config.write_text(vcl)
    # No jail: it would change to users that other systems do not have. A small cache in memory, no command line.
    options = ["-F", "-j", "none", "-n", str(folder / "work"), "-f", str(config), "-a", address, "-T", "none"]
    with _running([require("varnishd"), *options, "-s", "malloc,16m"], folder, address) as server:
        yield server


@contextmanager
def _running(command: list[str], folder: Path, address: str) -> Iterator[Server]:
    server = Server(folder / "log")
    with server.log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def listens() -> bool:
        assert process.poll() is None, server.log
        host, port = address.rsplit(":", 1)
        with socket.socket() as sock:
            return sock.connect_ex((host, int(port))) == 0

    try:
        wait_until(listens, within=30)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
