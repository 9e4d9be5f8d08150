"""The data folder: what is in it, and what `goodstanding up` says in it about itself while it runs.

Nothing here opens the database or loads a key, so that client commands stay quick.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.cli.failures import Failed
from services.cli.files import write_file

CA_ADDRESS = "127.0.0.1:50051"
STATUS_ADDRESS = "127.0.0.1:50052"
HTTP_ADDRESS = "127.0.0.1:2560"
OPS_ADDRESS = "127.0.0.1:2561"

# What initialising makes, and how the folder is called in which it does so.
LAYOUT = frozenset({"ca", "tls", "secrets", "goodstanding.db", "goodstanding.db-wal", "goodstanding.db-shm"})
UNFINISHED = ".initialising-"


@dataclass(frozen=True)
class Running:
    """The process that runs on a data folder, and where its services really are."""

    pid: int
    ca: str
    status: str
    http: str
    ops: str
    public_url: str


@dataclass(frozen=True)
class DataFolder:
    """A data folder and the names of the files in it."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration. Its presence is what makes a folder a data folder: it comes last."""
        return self.path / "config.toml"

    @property
    def database(self) -> Path:
        """The SQLite database, where the configuration names no other."""
        return self.path / "goodstanding.db"

    @property
    def tls(self) -> Path:
        """Certificates and keys of the gRPC services themselves."""
        return self.path / "tls"

    @property
    def authorities(self) -> Path:
        """Certificates and keys of the CA."""
        return self.path / "ca"

    @property
    def secrets(self) -> Path:
        """Passphrases."""
        return self.path / "secrets"

    @property
    def lock(self) -> Path:
        """Held by the `goodstanding up` that runs here."""
        return self.path / ".up.lock"

    @property
    def run_file(self) -> Path:
        """Where the running services are."""
        return self.path / "run.json"

    def initialised(self) -> bool:
        """Whether it is a data folder. An absent or empty folder is not one yet.

        Raises Failed for a folder with other content, which is left alone.
        """
        if self.config.exists():
            return True
        if self.path.exists() and not self.path.is_dir():
            raise Failed(f"{self.path} is not a folder: choose another with --data")
        if self.path.is_dir() and not all(map(self.leftover, self.path.iterdir())):
            raise Failed(
                f"{self.path} is not empty and holds no config.toml, so it is no goodstanding data folder: "
                "name another or an empty one with --data"
            )
        return False

    def leftover(self, entry: Path) -> bool:
        """Whether an entry is the file system's own, or of an initialisation that was cut short."""
        return entry.name == "lost+found" or (
            (entry.name in LAYOUT or entry.name.startswith(UNFINISHED)) and any(self.path.glob(f"{UNFINISHED}*"))
        )

    def require(self) -> None:
        """Raise Failed unless it is an initialised data folder."""
        if not self.initialised():
            raise Failed(
                f"{self.path} is not initialised: run `goodstanding init --data {self.path}`, or `goodstanding up`"
            )

    def running(self) -> Running | None:
        """What runs here, if anything does that we may know of."""
        try:
            running = Running(**json.loads(self.run_file.read_text("utf-8-sig")))
        except (OSError, ValueError, TypeError):
            return None
        try:
            os.kill(running.pid, 0)
        except PermissionError:
            return running  # another user's
        except (OSError, ValueError, TypeError, OverflowError):
            return None
        return running

    def say_running(self, running: Running) -> None:
        """Tell client commands where the services are."""
        write_file(self.run_file, json.dumps(asdict(running), indent=2).encode() + b"\n", private=True)

    def say_stopped(self) -> None:
        """Take that back."""
        self.run_file.unlink(missing_ok=True)

    def table(self, name: str) -> dict[str, Any]:
        """One table of the configuration, unchecked."""
        try:
            table = tomllib.loads(self.config.read_text("utf-8-sig")).get(name, {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Failed(f"{self.config} is not valid TOML: {error}") from error
        return table if isinstance(table, dict) else {}

    def address(self, service: str) -> str:
        """Where a client finds `ca` or `status`: where it runs, or else where the configuration says it listens."""
        running = self.running()
        if running is not None:
            return running.ca if service == "ca" else running.status
        default = CA_ADDRESS if service == "ca" else STATUS_ADDRESS
        return reachable(str(self.table(service).get("listen", default)))


def reachable(listen: str) -> str:
    """The address at which a local client reaches a listener."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "") else listen
