"""nginx returning a constant with the size and the headers of an OCSP answer: what a fast server in C does here."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import SUCCESSFUL, connect
from benchmarks.processes import BenchmarkError, ending, free_ports

INSTALL = "apt-get install nginx-light"
_START_WITHIN = 10.0
# nginx writes these itself.
_ITS_OWN = {b"date", b"content-length", b"content-type", b"connection", b"server"}
# One process, so that all of it can be pinned and watched, and no logs.
_CONFIG = b"""\
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
  server_tokens off;
  keepalive_requests 1000000000;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:%d reuseport backlog=1024;
    location / {
      default_type application/ocsp-response;
%s
      return 200 "%s";
    }
  }
}
"""


def nginx_command() -> str | None:
    """nginx, also where Debian puts it; None where it is missing."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def constant(folder: Path, response: bytes) -> Iterator[tuple[str, int]]:
    """Run nginx with a constant like `response` (head and body); its address and its process id."""
    command = nginx_command()
    if command is None:
        raise BenchmarkError(f"nginx is missing: {INSTALL}")
    folder.mkdir(exist_ok=True)
    port = free_ports(1)[0]
    head, _, body = response.partition(b"\r\n\r\n")
    (folder / "nginx.conf").write_bytes(_CONFIG % (port, _headers(head), stand_in(len(body))))
    with (
        subprocess.Popen(
            [command, "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
        ending(process),
    ):
        _wait_for(f"127.0.0.1:{port}", process)
        yield f"127.0.0.1:{port}", process.pid


def _headers(head: bytes) -> bytes:
    """The same header fields as in another head."""
    lines = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b": ")
        if name.lower() not in _ITS_OWN:
            lines.append(b"      add_header %s '%s';" % (name, value))
    return b"\n".join(lines)


def stand_in(size: int) -> bytes:
    """Octets of about this size (300 and more) that the load generator takes for an answer, and a configuration bears.

    NUL, quotes, backslash and dollar mean something there, so none of them may be in the length.
    """
    while {size - 4 >> 8, size - 4 & 255} & set(b"\0\"'\\$\r\n"):
        size += 1
    start = b"0\x82" + (size - 4).to_bytes(2, "big") + SUCCESSFUL
    return start + b"x" * (size - len(start))


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), connect(address):
            return
        time.sleep(0.01)
    raise BenchmarkError("nginx does not listen")
