"""A certificate authority that signs in another process whenever it can: even a lone caller is a crowd here."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.ca.issue import IssueCommand, IssueResult
from services.ca.settings import AuthoritySettings
from services.ca.signing_hand import Limits
from services.ca.signing_messages import Setup
from services.ca.signing_pool import SigningPool
from services.config import CaSettings
from services.pki.keys import encrypt_key
from services.pki.profiles import BUILTIN
from tests.ca.world import Ca, make_actor, make_csr
from tests.waiting import wait_until

CSR = make_csr()
AT_ONCE = Limits(crowd=0, start_after=1, start_seconds=0.0, answer_within=20.0)
SETTINGS = AuthoritySettings(public_url="http://ocsp.example.com")


@dataclass
class Crowd:
    """A CA and its signing processes."""

    ca: Ca
    pool: SigningPool

    def start(self) -> None:
        """Have a process started, and wait until it can be asked."""
        start(self.pool)

    def begin(self, count: int, prefix: str = "", **changes: Any) -> list[Future[IssueResult]]:
        """Ask for so many at once, each with a request id of its own if there is a prefix."""
        command = replace(IssueCommand(csr_der=CSR), **changes)
        actors = [make_actor("issuer", request_id=f"{prefix}-{number}" if prefix else "") for number in range(count)]
        return [self.ca.authority.begin_issue(command, actor) for actor in actors]

    def signal(self, number: signal.Signals) -> int:
        """Send the process a signal; its id."""
        (pid,) = signing_pids()
        os.kill(pid, number)
        return pid


def start(pool: SigningPool) -> None:
    """Have a process started, and wait until it can be asked."""

    def is_running() -> bool:
        pool._is_crowded()
        return pool.running == 1

    wait_until(is_running, within=60)


def serials(futures: Sequence[Future[IssueResult]]) -> list[bytes]:
    """What they came to."""
    return [future.result(30).certificate.serial for future in futures]


def signing_pids(parent: int | None = None) -> list[int]:
    """The signing processes of a process, by their command line."""
    found = []
    for file in Path(f"/proc/{parent or os.getpid()}/task").glob("*/children"):
        found += [int(pid) for pid in file.read_text().split() if _is_signing(int(pid))]
    return found


def _is_signing(pid: int) -> bool:
    try:
        return b"signing_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def make_setup(ca: Ca, url: str, folder: Path, settings: AuthoritySettings = SETTINGS) -> Setup:
    """Write the key and its passphrase, and say where they are."""
    (folder / "ca").mkdir(exist_ok=True)
    (folder / "ca/issuing.key").write_bytes(encrypt_key(ca.hierarchy.issuing_key, b"secret"))
    (folder / "passphrase").write_bytes(b"secret\n")
    return setup_of(url, folder, settings)


def setup_of(url: str, folder: Path, settings: AuthoritySettings) -> Setup:
    """With the key and its passphrase in a folder."""
    return Setup(url, folder, CaSettings(passphrase_file=folder / "passphrase"), settings, dict(BUILTIN))


def make_crowd(ca: Ca, setup: Setup, limits: Limits = AT_ONCE) -> Crowd:
    """The same CA, with signing processes. Close the pool."""
    ca.issue(make_actor("issuer"))  # the key has to be used once, to know that it is quick
    pool = SigningPool(setup, ca.writer, ca.authority.directory, ca.clock, 1, limits)
    ca.authority.sign_with(pool)
    return Crowd(ca, pool)
