"""What a result depends on: the machine, its disk, and the versions of everything that was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from cryptography.hazmat.backends.openssl.backend import backend

from benchmarks.cores import cores
from benchmarks.nginx import nginx_command

PACKAGES = ("goodstanding", "cryptography", "grpcio", "protobuf", "SQLAlchemy", "uvicorn", "uvloop", "httptools")
_SYNCS = 50


def versions() -> dict[str, str]:
    """What was measured, and with what."""
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.strip()
    packages = {name: version(name) for name in PACKAGES}
    return {
        **packages,
        "python": platform.python_version(),
        "openssl (command)": openssl,
        "openssl (in cryptography)": backend.openssl_version_text(),
        "SQLite": sqlite3.sqlite_version,
        **({"nginx": text} if (text := nginx_version()) else {}),
    }


def nginx_version() -> str:
    """The version of nginx, or nothing where it is missing."""
    if (command := nginx_command()) is None:
        return ""
    said = subprocess.run([command, "-v"], capture_output=True, text=True, check=False).stderr
    return said.rpartition("/")[2].strip()


def machine(folder: Path) -> dict[str, str]:
    """The machine; `folder` is where the databases of the run are."""
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": f"{os.cpu_count()}, used: {', '.join(map(str, cores()))}",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "disk": f"{1e3 * sync_time(folder):.2f} ms for a write of 4 KiB and fsync",
    }


def cpu_model(cpuinfo: str) -> str:
    """The processor's name from the text of /proc/cpuinfo."""
    named = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def sync_time(folder: Path) -> float:
    """Seconds that a durable write takes here, in the median."""
    file, taken = folder / "sync", []
    with file.open("wb", buffering=0) as stream:
        for _ in range(_SYNCS):
            begun = time.perf_counter()
            stream.write(bytes(4096))
            os.fsync(stream.fileno())
            taken.append(time.perf_counter() - begun)
    file.unlink()
    return median(taken)
