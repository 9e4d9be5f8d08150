"""What other tools say about this machine: `openssl speed` about signatures, wrk about the load generator."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cores import first_core, running_on
from benchmarks.load import CONNECTIONS, Load
from benchmarks.processes import BenchmarkError, command_output

WRK_INSTALL = "apt-get install wrk"


def signatures(algorithm: str, seconds: float) -> float:
    """Signatures per second that `openssl speed` makes on the first core; the algorithm as it calls it."""
    command = ["openssl", "speed", "-mr", "-seconds", str(max(1, round(seconds))), algorithm]
    with running_on(first_core()):
        return signatures_in(command_output(command))


def signatures_in(output: str) -> float:
    """From the machine-readable output of `openssl speed`, where +F2 tells of RSA and +F4 of ECDSA: sign/s, verify/s.

    Raises BenchmarkError.
    """
    found = re.search(r"^\+F[24]:\d+:\d+:([0-9.]+):", output, re.MULTILINE)
    if found is None:
        raise BenchmarkError(f"openssl speed says nothing about signatures:\n{output[-500:]}")
    return float(found[1])


def have_wrk() -> bool:
    """Whether wrk is there."""
    return shutil.which("wrk") is not None


def write_list(folder: Path, paths: Sequence[str], more: str = "") -> Path:
    """A script that has wrk ask for these paths, one after the other, round and round; with `more` (Lua) behind it.

    Requests are made beforehand.
    """
    (folder / "paths.txt").write_text("\n".join(paths) + "\n")
    script = folder / "list.lua"
    script.write_text(_LIST % (folder / "paths.txt") + more)
    return script


_LIST = """\
local requests, at = {}, 0
function init(args)
  for path in io.lines("%s") do requests[#requests + 1] = wrk.format("GET", path) end
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
"""


def wrk(address: str, script: Path, seconds: float) -> Load:
    """What wrk gets from a server. Raises BenchmarkError."""
    whole = max(1, round(seconds))
    return Load(round(rate_in(wrk_output(address, script, seconds)) * whole), whole)


def wrk_output(address: str, script: Path, seconds: float) -> str:
    """What wrk prints that asks with one thread, on this process's core, for so many seconds, rounded to whole ones."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    return command_output([*command, f"http://{address}"])


def rate_in(output: str) -> float:
    """From what wrk prints. Raises BenchmarkError when there were errors, or no answers."""
    found = re.search(r"^Requests/sec:\s+([0-9.]+)$", output, re.MULTILINE)
    if found is None or "Non-2xx" in output or "Socket errors" in output:
        raise BenchmarkError(f"wrk did not get what it asked for:\n{output}")
    return float(found[1])
