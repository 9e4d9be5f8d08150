"""`goodstanding up` and `serve` refused: what is wrong is one line that names the thing, and nothing is half done."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli.commands import up as up_command
from services.cli.failures import Failed, one_line
from services.cli.folder import DataFolder
from tests.command import FREE, goodstanding


def test_exposed_files(pristine: Path, tmp_path: Path) -> None:
    """Keys and passphrases that others can read are warned about, by `serve` as by `up`, with the cure."""
    data = tmp_path / "data"
    shutil.copytree(pristine, data)
    files = [data / name for name in ("ca/issuing.key", "tls/admin.key", "secrets/root.passphrase")]
    for file, mode in zip(files, (0o640, 0o604, 0o644), strict=True):
        file.chmod(mode)
    (data / "tls/ca-server.pem").unlink()  # so that neither starts
    for arguments in (("up", *FREE), ("serve", "ca")):
        done = goodstanding(*arguments, "--data", data)
        warnings = [line for line in done.stderr.splitlines() if "others than their owner can read" in line]
        assert len(warnings) == 1, done.stderr
        assert f"chmod 600 {shlex.join(map(str, files))}" in warnings[0]
    for file in files:
        file.chmod(0o600)
    assert "others than" not in goodstanding("serve", "ca", "--data", data).stderr


CURES = {
    "tls/ca-server.pem": "goodstanding credential new --name ca-server --role server --data {}",
    "tls/ca-server.key": "goodstanding credential renew ca-server --data {}",
    "secrets/issuing.passphrase": "GOODSTANDING_PASSPHRASE_ISSUING",
}


@pytest.mark.parametrize(
    ("command", "missing", "cure"),
    [
        *((("serve", "ca"), missing, cure) for missing, cure in CURES.items()),
        (("up", *FREE), "tls/ca-server.pem", CURES["tls/ca-server.pem"]),
        (("up", *FREE), "secrets/issuing.passphrase", CURES["secrets/issuing.passphrase"]),
    ],
    ids=[*(f"serve-{missing}" for missing in CURES), "up-tls/ca-server.pem", "up-secrets/issuing.passphrase"],
)
def test_missing_files(command: tuple[str, ...], missing: str, cure: str, pristine: Path, tmp_path: Path) -> None:
    """A missing file is one line with its name and the cure; a cure that is a command works."""
    data = tmp_path / "data"
    shutil.copytree(pristine, data)
    (data / missing).unlink()
    done = goodstanding(*command, "--data", data)
    assert done.returncode == 1
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert str(data / missing) in error
    assert cure.format(data) in error
    assert "never awaited" not in done.stderr
    if cure.startswith("goodstanding"):
        goodstanding(*shlex.split(cure.format(data))[1:], check=True)
        assert (data / missing).exists()


@pytest.mark.parametrize("key", ["ca/issuing.key", "tls/status-server.key"])
def test_failed_starts_leave_no_trace(key: str, pristine: Path, tmp_path: Path) -> None:
    """A start that fails makes no identity for the gateway: what does not start again and again adds nothing."""
    data = tmp_path / "data"
    shutil.copytree(pristine, data)
    (data / key).write_text("no key at all")

    def state() -> tuple[bytes, bytes, str]:
        listed = goodstanding("credential", "list", "--data", data, "--json", check=True).stdout
        return (data / "tls/gateway.pem").read_bytes(), (data / "tls/gateway.key").read_bytes(), listed

    before = state()
    assert goodstanding("up", "--data", data, *FREE).returncode == 1
    assert state() == before


# Each damages a data folder, and returns what the error has to name.
def _broken_toml(data: Path) -> str:
    (data / "config.toml").write_text("[ca\nlisten = 1")
    return "config.toml"


def _misspelt_setting(data: Path) -> str:
    text = (data / "config.toml").read_text()
    (data / "config.toml").write_text(text.replace("reasons =", "reason ="))
    return "reason"


def _misspelt_gateway_setting(data: Path) -> str:
    text = (data / "config.toml").read_text()
    (data / "config.toml").write_text(text.replace("ops =", "opps ="))
    return "opps"


def _too_few_delegates(data: Path) -> str:
    config = data / "config.toml"
    config.write_text(config.read_text().replace("[gateway]", '[gateway]\nsigner_keys = ["p-256", "rsa-2048"]'))
    return "max_live_delegates in [ca] is 3: set max_live_delegates = 6, or name fewer signer_keys"


def _garbage_key(data: Path) -> str:
    (data / "ca/issuing.key").write_text("no key at all")
    return "ca/issuing.key"


def _garbage_tls_key(data: Path) -> str:
    (data / "tls/ca.key").write_text("no key at all")
    return "tls/ca.key"


def _garbage_server_key(data: Path) -> str:
    (data / "tls/status-server.key").write_text("no key at all")
    return "tls/status-server.key"


def _another_key(data: Path) -> str:
    shutil.copy(data / "ca/root.key", data / "ca/issuing.key")
    shutil.copy(data / "secrets/root.passphrase", data / "secrets/issuing.passphrase")
    return "ca/issuing.key"


def _unreadable_key(data: Path) -> str:
    (data / "ca/issuing.key").unlink()
    (data / "ca/issuing.key").mkdir()
    return "ca/issuing.key"


def _wrong_passphrase(data: Path) -> str:
    (data / "secrets/issuing.passphrase").write_text("open sesame\n")
    return "passphrase"


def _wrong_tls_passphrase(data: Path) -> str:
    (data / "secrets/tls-ca.passphrase").write_text("open sesame\n")
    return "passphrase"


def _no_issuing_key(data: Path) -> str:
    (data / "ca/issuing.key").unlink()
    return "issuing.key is missing: bring"


def _no_passphrase(data: Path) -> str:
    (data / "secrets/issuing.passphrase").unlink()
    return "issuing"


def _database_of_the_future(data: Path) -> str:
    with sqlite3.connect(data / "goodstanding.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    return "newer"


def _database_of_the_past(data: Path) -> str:
    with sqlite3.connect(data / "goodstanding.db") as db:
        db.execute("DELETE FROM alembic_version")
    db.close()
    return "goodstanding db upgrade"


def _garbage_database(data: Path) -> str:
    (data / "goodstanding.db").write_text("no database at all" * 1000)
    return "goodstanding.db"


def _no_database(data: Path) -> str:
    (data / "goodstanding.db").unlink()
    return "goodstanding.db"


def _no_configuration(data: Path) -> str:
    (data / "config.toml").unlink()
    return "config.toml"


def _no_server_key(data: Path) -> str:
    (data / "tls/ca-server.key").unlink()
    return CURES["tls/ca-server.key"].format(data)


def _no_tls_root(data: Path) -> str:
    (data / "tls/ca.pem").unlink()
    return "tls/ca.pem"


BREAKAGES = [
    _broken_toml,
    _garbage_key,
    _garbage_server_key,
    _another_key,
    _unreadable_key,
    _wrong_passphrase,
    _no_passphrase,
    _database_of_the_past,
    _no_configuration,
]
"""What `up` tells, and what services that it has started do."""
TOLD_BY_CHECKS = [
    _no_server_key,
    _misspelt_setting,
    _misspelt_gateway_setting,
    _too_few_delegates,
    _garbage_tls_key,
    _wrong_tls_passphrase,
    _no_issuing_key,
    _database_of_the_future,
    _garbage_database,
    _no_database,
    _no_tls_root,
]
"""The same checks as for the first of those above, and for the last but one."""


@pytest.mark.parametrize("damage", BREAKAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_broken_folder(damage: Callable[[Path], str], pristine: Path, tmp_path: Path) -> None:
    """What is wrong with a data folder is one line that names the thing; nothing keeps running or is added."""
    data = tmp_path / "data"
    shutil.copytree(pristine, data)
    told = damage(data)
    before = {path.relative_to(data) for path in data.rglob("*")}
    done = goodstanding("up", "--data", data, *FREE)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    assert told in errors[0]
    added = {path.relative_to(data) for path in data.rglob("*")} - before
    assert {path.name for path in added} <= {".up.lock", "goodstanding.db-wal", "goodstanding.db-shm"}


@pytest.mark.parametrize("damage", TOLD_BY_CHECKS, ids=lambda damage: damage.__name__.strip("_"))
def test_checks_before_the_start(damage: Callable[[Path], str], pristine: Path, tmp_path: Path) -> None:
    """They name the thing in an error, before any service is told to go on."""
    data = tmp_path / "data"
    shutil.copytree(pristine, data)
    told = damage(data)
    with pytest.raises(Failed) as caught, one_line():
        up_command.prepare(DataFolder(data), dict.fromkeys(up_command.DEFAULTS, "127.0.0.1:0"), None)
    assert told in caught.value.message


@pytest.mark.parametrize("option", ["--ca", "--status", "--http", "--ops"])
def test_taken_port(option: str, tmp_path: Path) -> None:
    """A taken port is one line that names the address, who has it and the way out; the folder is not made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = [*FREE, option, address]  # the last one counts
        done = goodstanding("up", "--data", tmp_path / "data", *options)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{address} is in use by process {os.getpid()}" in done.stderr
    assert f"another address with {option}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_foreign_folder(tmp_path: Path) -> None:
    """A folder with other content is not touched."""
    (tmp_path / "thesis.tex").write_text("years of work")
    done = goodstanding("up", "--data", tmp_path, *FREE)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
