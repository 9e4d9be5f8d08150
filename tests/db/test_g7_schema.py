"""The schema comes from the migrations alone, equals the models, and is refused when it is not this version's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from services.clock import from_epoch
from services.db import blocked_keys, crls, issuers, position, schema
from services.db.engine import Database
from services.db.models import metadata
from services.db.records import FULL, CrlRecord
from services.errors import FailedPrecondition


def test_migrated_schema_equals_the_models(database: Database) -> None:
    """Nothing is in the models that a migration does not make, and the other way round.

    But for one index, which is over hashes on PostgreSQL; `test_issuers.py` shows what it does.
    """

    def included(_: object, name: str | None, *__: object) -> bool:
        return database.dialect != "postgresql" or name != "uq_issuers_subject_der_public_key_der"

    with database.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "include_object": included})
        assert compare_metadata(context, metadata) == []


def test_migrated_indexes_equal_the_models(database: Database) -> None:
    """Partial indexes have the same condition in both; compare_metadata does not look at it."""
    wanted = {
        index.name: str(index.dialect_options[database.dialect]["where"])
        for table in metadata.tables.values()
        for index in table.indexes
        if index.dialect_options[database.dialect]["where"] is not None
    }
    with database.read() as conn:
        found = {
            index["name"]: normalised(index["dialect_options"][f"{database.dialect}_where"])
            for table in metadata.tables
            for index in inspect(conn).get_indexes(table)
            if f"{database.dialect}_where" in index.get("dialect_options", {})
        }
    assert found == {name: normalised(where) for name, where in wanted.items()}


def normalised(condition: object) -> str:
    """A condition without the brackets and casts that PostgreSQL adds."""
    return re.sub(r"[()]|::\w+", "", str(condition))


def test_hot_tables_have_no_row_numbers(migrated_sqlite: Path) -> None:
    """Look-ups by serial number read one tree, as the models ask for."""
    models = create_engine("sqlite://")
    metadata.create_all(models)
    migrated = create_engine(f"sqlite:///{migrated_sqlite}")
    query = text("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%WITHOUT ROWID%' ORDER BY name")
    try:
        with models.connect() as wanted, migrated.connect() as found:
            names = found.execute(query).scalars().all()
            assert names == wanted.execute(query).scalars().all()
            assert "certificate_status" in names
    finally:
        models.dispose()
        migrated.dispose()


def test_known_revisions_are_the_migrations() -> None:
    """The list that services check without loading Alembic is the list of files."""
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(script.revision for script in scripts)[::-1] == schema.REVISIONS


def test_upgrade_creates_and_repeats(empty_database_url: str) -> None:
    """Upgrading twice is upgrading once; the history stays."""
    schema.upgrade(empty_database_url)
    db = Database.open(empty_database_url)
    with db.read() as conn:
        before = position.read_position(conn)
    assert before.revision == 0
    schema.upgrade(empty_database_url)
    schema.check_current(db)
    with db.read() as conn:
        assert position.read_position(conn) == before
    db.close()


def test_upgrade_from_the_first_schema_keeps_what_is_there(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issuers that were recorded before are neither revoked nor compromised after it, and their lists go on (R108)."""
    package = tmp_path / "services" / "db"
    shutil.copytree(
        schema.migrations_folder(), package / "_migrations", ignore=shutil.ignore_patterns("000[2-9]_*", "__pycache__")
    )
    with monkeypatch.context() as patch:
        patch.setattr(schema, "__file__", str(package / "schema.py"))
        schema.upgrade(empty_database_url)
    db = Database.open(empty_database_url)
    with pytest.raises(FailedPrecondition, match="goodstanding db upgrade"):
        schema.check_current(db)
    with db.write() as conn:
        conn.execute(text("INSERT INTO issuers VALUES (1, 'root', 'offline', 'subject', 'key', NULL, NULL, 1, 1)"))
        conn.execute(text("INSERT INTO issuer_certificates VALUES (1, 1, 0, 'certificate', 1, 2)"))
        lists = [{"number": 6, "der": b"sixth", "at": 1}, {"number": 7, "der": b"seventh", "at": 3}]
        conn.execute(text("INSERT INTO crls VALUES (1, :number, :der, :at, :at)"), lists)
    schema.upgrade(empty_database_url)
    schema.check_current(db)
    with db.read() as conn:
        (root,) = issuers.list_issuers(conn)
        newest = crls.latest_crl(conn, 1)
    assert (root.name, root.compromise, root.revoked) == ("root", None, False)
    assert newest == CrlRecord(1, 7, b"seventh", from_epoch(3), from_epoch(3))
    with db.write() as conn:
        assert crls.take_number(conn, 1, FULL) == 8
    db.close()


def test_upgrade_blocks_the_keys_of_earlier_compromises(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of certificates that were revoked for a compromise are blocked from then on (R103)."""
    package = tmp_path / "services" / "db"
    ignored = shutil.ignore_patterns("000[3-9]_*", "__pycache__")
    shutil.copytree(schema.migrations_folder(), package / "_migrations", ignore=ignored)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "__file__", str(package / "schema.py"))
        schema.upgrade(empty_database_url)
    db = Database.open(empty_database_url)
    insert = (
        "INSERT INTO certificates (id, issuer_id, serial, subject, subject_alternative_names, profile,"
        " public_key_sha256, not_before, not_after, issued_at, actor_identity, actor_name, actor_role,"
        " actor_fingerprint, peer, request_id) VALUES (:id, 1, :serial, '', '[]', 'server', :key, 1, 9, 1,"
        " '', '', '', '', '', '')"
    )
    status = "INSERT INTO certificate_status VALUES (1, :serial, :id, 1, 9, :revoked, :reason, NULL, 5, 1)"
    # Two certificates of one key, one of another, one that is superseded, and one that is good.
    rows = [(b"a", 7, 1), (b"a", 8, 1), (b"b", 7, 2), (b"c", 7, 4), (b"d", None, None)]
    with db.write() as conn:
        conn.execute(text("INSERT INTO issuers VALUES (1, 'i', 'active', 'subject', 'key', NULL, NULL, 1, 1, NULL)"))
        for number, (key, revoked, reason) in enumerate(rows, 1):
            values = {"id": number, "serial": bytes([number]), "key": key * 32}
            conn.execute(text(insert), values)
            conn.execute(text(status), {"id": number, "serial": bytes([number]), "revoked": revoked, "reason": reason})
    schema.upgrade(empty_database_url)
    with db.read() as conn:
        found = blocked_keys.list_blocked(conn, limit=9)
    assert [(key.public_key_sha256, key.source) for key in found] == [
        (b"a" * 32, "revocation"),
        (b"b" * 32, "revocation"),
    ]
    db.close()


def test_upgrades_race(empty_database_url: str) -> None:
    """Two upgrades at the same time wait for each other, and both succeed."""
    with ThreadPoolExecutor() as executor:
        for future in [executor.submit(schema.upgrade, empty_database_url) for _ in range(2)]:
            future.result()


def test_database_without_schema_needs_upgrade(empty_database_url: str, tmp_path: Path) -> None:
    """An empty database is refused with the command that cures it."""
    (tmp_path / "goodstanding.db").touch()
    db = Database.open(empty_database_url)
    with pytest.raises(FailedPrecondition, match="goodstanding db upgrade") as caught:
        schema.check_current(db)
    assert caught.value.reason == "DATABASE_NEEDS_UPGRADE"
    db.close()


def test_database_from_the_future_is_refused(database_url: str, database: Database) -> None:
    """A schema that this version does not know is neither used nor upgraded."""
    with database.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FailedPrecondition, match="newer goodstanding") as at_start:
        schema.check_current(database)
    with pytest.raises(FailedPrecondition, match="newer goodstanding") as at_upgrade:
        schema.upgrade(database_url)
    assert at_start.value.reason == at_upgrade.value.reason == "DATABASE_FROM_FUTURE"


def test_upgrade_without_folder_names_it(tmp_path: Path) -> None:
    """A missing folder is named, and not created."""
    with pytest.raises(FailedPrecondition, match=str(tmp_path / "missing")) as caught:
        schema.upgrade(f"sqlite:///{tmp_path}/missing/goodstanding.db")
    assert caught.value.reason == "DATABASE_FOLDER_MISSING"
    assert list(tmp_path.iterdir()) == []


def test_file_is_private(migrated_sqlite: Path) -> None:
    """Only the owner reads the database, whatever the umask."""
    assert migrated_sqlite.stat().st_mode & 0o777 == 0o600


def test_services_start_without_alembic_and_unused_drivers() -> None:
    """What only upgrades or the other database need is not imported at the start."""
    program = (
        "import sys; from services.db import certificates, engine, schema, status;"
        "assert not {'alembic', 'mako', 'psycopg'} & set(sys.modules)"
    )
    root = Path(schema.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(root)})


def test_installed_migrations_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel brings the migrations inside the package; a checkout has them at the top."""
    checkout = schema.migrations_folder()
    assert (checkout / "env.py").is_file()
    package = tmp_path / "services" / "db"
    shutil.copytree(checkout, package / "_migrations")
    monkeypatch.setattr(schema, "__file__", str(package / "schema.py"))
    assert schema.migrations_folder() == package / "_migrations"
    schema.upgrade(f"sqlite:///{tmp_path}/goodstanding.db")
