"""`goodstanding init`: all of the data folder, or nothing; private files are private."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.cli import init
from services.cli.failures import Failed
from services.cli.folder import DataFolder
from services.cli.main import cli
from services.cli.plan import Plan
from services.cli.settings import load
from services.db.credentials import list_credentials
from services.db.engine import Database
from services.db.issuers import list_issuers
from services.errors import AlreadyExists, FailedPrecondition

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
PRIVATE = [
    "ca/root.key",
    "ca/issuing.key",
    "secrets/root.passphrase",
    "secrets/issuing.passphrase",
    "secrets/tls-ca.passphrase",
    "tls/ca.key",
    "tls/admin.key",
    "tls/ca-server.key",
    "tls/status-server.key",
    "tls/gateway.key",
    "config.toml",
    "goodstanding.db",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """A data folder, made under the most generous umask."""
    folder = DataFolder(tmp_path_factory.mktemp("init") / "data")
    before = os.umask(0)
    try:
        init.initialise(folder, Plan(server_names=("ca.internal", "192.0.2.7")), NOW)
    finally:
        os.umask(before)
    return folder


def test_private(folder: DataFolder) -> None:
    """Only the owner can enter the folder and read keys, passphrases, configuration and database."""
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert {name: oct(stat.S_IMODE((folder.path / name).stat().st_mode)) for name in PRIVATE} == dict.fromkeys(
        PRIVATE, "0o600"
    )


@pytest.mark.parametrize(("name", "passphrase"), [("ca/root", "root"), ("ca/issuing", "issuing"), ("tls/ca", "tls-ca")])
def test_encrypted_keys(name: str, passphrase: str, folder: DataFolder) -> None:
    """The keys of authorities are AES-256-encrypted PKCS #8 under a passphrase of their own."""
    pem = (folder.path / f"{name}.key").read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    secret = (folder.secrets / f"{passphrase}.passphrase").read_bytes().strip()
    certificate = x509.load_pem_x509_certificate((folder.path / f"{name}.pem").read_bytes())
    assert load_pem_private_key(pem, secret).public_key() == certificate.public_key()
    parsed = subprocess.run(
        ["openssl", "asn1parse", "-in", folder.path / f"{name}.key"], capture_output=True, text=True, check=True
    )
    assert "aes-256-cbc" in parsed.stdout


def test_chain(folder: DataFolder) -> None:
    """chain.pem is the issuing CA, then the root, and openssl accepts it; issuing.pem names the root's CRL."""
    issuing, root = x509.load_pem_x509_certificates((folder.authorities / "chain.pem").read_bytes())
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    points = issuing.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name is not None
    assert points[0].full_name[0].value.startswith("http://127.0.0.1:2560/")
    command = ["openssl", "verify", "-CAfile", "ca/root.pem", "-attime", str(int(NOW.timestamp())), "ca/issuing.pem"]
    subprocess.run(command, cwd=folder.path, check=True, capture_output=True)


def test_server_names(folder: DataFolder) -> None:
    """Server certificates carry this machine's own names and those asked for, and serverAuth only."""
    certificate = x509.load_pem_x509_certificate((folder.tls / "ca-server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "ca.internal"}
    assert set(map(str, names.get_values_for_type(x509.IPAddress))) == {"127.0.0.1", "::1", "192.0.2.7"}


def test_database(folder: DataFolder) -> None:
    """The database knows the authorities and every credential that was made."""
    db = Database.open(f"sqlite:///{folder.database}")
    with db.read() as conn:
        assert [issuer.name for issuer in list_issuers(conn)] == ["root", "issuing"]
        made = {credential.name: credential.role for credential in list_credentials(conn)}
    db.close()
    gateway = next(name for name in made if name.startswith("gateway-"))
    assert made == {"admin": "admin", gateway: "responder", "ca-server": "server", "status-server": "server"}


def test_other_databases(empty_database_url: str, tmp_path: Path) -> None:
    """The database can be elsewhere, on PostgreSQL too (G7); one that has authorities already is refused."""
    init.initialise(DataFolder(tmp_path / "first"), Plan(database_url=empty_database_url), NOW)
    db = Database.open(empty_database_url)
    with db.read() as conn:
        assert [issuer.name for issuer in list_issuers(conn)] == ["root", "issuing"]
    db.close()
    assert load(tmp_path / "first/config.toml").services.database.url == empty_database_url
    with pytest.raises(AlreadyExists):
        init.initialise(DataFolder(tmp_path / "second"), Plan(database_url=empty_database_url), NOW)
    assert not (tmp_path / "second").exists()


def test_configuration(folder: DataFolder) -> None:
    """The configuration is TOML with the addresses of the plan, and says which setting does what."""
    text = folder.config.read_text()
    content = tomllib.loads(text)
    assert content["ca"]["public_url"] == content["gateway"]["public_url"] == "http://127.0.0.1:2560"
    assert content["database"]["url"] == "sqlite:///goodstanding.db"
    assert text.count("\n#") >= 10


def test_twice(folder: DataFolder) -> None:
    """A data folder is never made again over itself."""
    before = (folder.authorities / "root.pem").read_bytes()
    with pytest.raises(Failed, match="initialised already"):
        init.initialise(folder, Plan(), NOW)
    assert (folder.authorities / "root.pem").read_bytes() == before


def test_foreign_folder(tmp_path: Path) -> None:
    """A folder with other content is left alone."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Failed, match="not empty and holds no config"):
        init.initialise(DataFolder(tmp_path), Plan(), NOW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_planted_link(tmp_path: Path) -> None:
    """A link under the name of an initialisation that was cut short goes; what it points to stays."""
    kept, link = tmp_path / "elsewhere" / "kept", tmp_path / ".data.initialising-4194305"
    kept.parent.mkdir()
    kept.touch()
    link.symlink_to(kept.parent)
    init.initialise(DataFolder(tmp_path / "data"), Plan(), NOW)
    assert kept.exists()
    assert not link.is_symlink()


def test_empty_folder(tmp_path: Path) -> None:
    """An empty folder becomes a data folder."""
    folder = DataFolder(tmp_path / "data")
    folder.path.mkdir()
    init.initialise(folder, Plan(), NOW)
    assert folder.initialised()


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    """Whatever fails in the middle, neither the data folder nor anything beside it is there afterwards."""
    (tmp_path / "data").mkdir()
    with pytest.raises(FailedPrecondition):
        init.initialise(DataFolder(tmp_path / "data"), Plan(database_url="mysql://nowhere/x"), NOW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
    assert list((tmp_path / "data").iterdir()) == []


SLOW = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from services.cli import init
from services.cli.folder import DataFolder
from services.cli.plan import Plan

def wait(*_):
    print("filled", flush=True)
    time.sleep(60)

init.hand_over = wait
init.initialise(DataFolder(Path(sys.argv[1])), Plan(), datetime.now(UTC).replace(microsecond=0))
"""


def test_kill_leaves_nothing_half_done(tmp_path: Path) -> None:
    """A kill before the end leaves no data folder; the next initialisation works, and removes what was left."""
    data = tmp_path / "data"
    with subprocess.Popen([sys.executable, "-c", SLOW, data], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "filled\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not data.exists()
    assert len(list(tmp_path.iterdir())) == 1
    init.initialise(DataFolder(data), Plan(), NOW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_mount_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount point, which cannot be renamed over, is filled in place; what a kill left there is replaced."""
    monkeypatch.setattr(Path, "is_mount", lambda self: self == tmp_path)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".initialising-4194305").mkdir()  # more than the largest process id
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "root.pem").write_text("left over")
    folder = DataFolder(tmp_path)
    assert not folder.initialised()
    init.initialise(folder, Plan(), NOW)
    assert folder.initialised()
    assert (tmp_path / "ca" / "root.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert not list(tmp_path.glob(".initialising-*"))


@pytest.mark.parametrize(("data", "why"), [("/proc/data", ""), ("/proc/nowhere/data", "/proc/nowhere: ")])
def test_errors_name_the_folder(data: str, why: str) -> None:
    """An error names the folder that was asked for, not the one in which it is made."""
    result = CliRunner().invoke(cli, ["init", "--data", data])
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot make the data folder {data}: {why}No such file or directory\n"


def test_errors_of_the_database_name_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does an error of something in it."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["init", "--data", "data", "--database-url", "sqlite:///nowhere/x.db"])
    assert result.exit_code == 1
    assert "data/nowhere" in result.stderr
    assert "initialising" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two initialisations at once one wins whole, and the other says so."""
    folder = DataFolder(tmp_path / "data")
    fill = init.fill

    def fill_while_another_finishes(unfinished: DataFolder, plan: Plan, now: datetime) -> None:
        fill(unfinished, plan, now)
        folder.path.mkdir()
        folder.config.write_text("# the other one's")

    monkeypatch.setattr(init, "fill", fill_while_another_finishes)
    with pytest.raises(Failed, match="came into being meanwhile"):
        init.initialise(folder, Plan(), NOW)
    assert folder.config.read_text() == "# the other one's"
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
