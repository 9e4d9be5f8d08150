"""`goodstanding credential`: works on the data folder alone, and records what it makes."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.cli import credentials
from services.cli.failures import Failed
from services.cli.folder import DataFolder
from services.cli.main import cli
from services.cli.settings import load, open_database
from services.clock import utc_now
from services.db.credentials import denied_fingerprints
from services.pki import mtls

Run = Callable[..., Result]


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    """A data folder of the test's own."""
    shutil.copytree(pristine, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def run(data: Path) -> Run:
    """Runs `goodstanding credential …` on it."""
    return lambda *arguments: CliRunner().invoke(cli, ["credential", *map(str, arguments), "--data", str(data)])


def made(result: Result) -> Any:
    """The JSON that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def certificate(file: Path) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(file.read_bytes())


def denied(data: Path) -> frozenset[str]:
    """What the services refuse."""
    with open_database(load(data / "config.toml").services) as db, db.read() as conn:
        return denied_fingerprints(conn)


def test_new(run: Run, data: Path) -> None:
    """A new credential is a certificate with a role, and a private key; it is recorded."""
    described = made(run("new", "--name", "alice", "--role", "revoker", "--days", "7", "--json"))
    file = data / "tls" / "alice.pem"
    assert described["identity"] == "spiffe://goodstanding/revoker/alice"
    assert described["fingerprint"] == mtls.fingerprint(certificate(file))
    key = file.with_suffix(".key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert load_pem_private_key(key.read_bytes(), None).public_key() == certificate(file).public_key()
    assert certificate(file).not_valid_after_utc - utc_now() < timedelta(days=7, minutes=1)
    names = {each["name"]: each for each in made(run("list", "--json"))["credentials"]}
    assert names["alice"]["state"] == "valid"


def test_new_elsewhere(run: Run, data: Path, tmp_path: Path) -> None:
    """A credential for another machine comes with the root that it checks servers against."""
    made(run("new", "--name", "gw", "--role", "responder", "--out", tmp_path / "out", "--json"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"gw.pem", "gw.key", "ca.pem"}
    assert (tmp_path / "out/ca.pem").read_bytes() == (data / "tls/ca.pem").read_bytes()


def test_new_server(run: Run, data: Path) -> None:
    """A server's credential answers to the names asked for; renewing it keeps them."""
    made(run("new", "--name", "ca-2", "--role", "server", "--server-name", "ca.internal", "--json"))
    first = certificate(data / "tls/ca-2.pem")
    made(run("renew", "ca-2", "--json"))
    second = certificate(data / "tls/ca-2.pem")
    names = [
        each.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        for each in (first, second)
    ]
    assert names[0] == names[1]
    assert "ca.internal" in names[0]
    assert first.public_key() != second.public_key()


def test_new_never_overwrites(run: Run, data: Path) -> None:
    """A name that is taken is refused: its files stay as they are."""
    before = (data / "tls/admin.pem").read_bytes()
    result = run("new", "--name", "admin", "--role", "admin")
    assert result.exit_code == 1
    assert "goodstanding credential renew admin" in result.stderr
    assert (data / "tls/admin.pem").read_bytes() == before


def test_new_takes_the_place_of_a_lone_key(run: Run, data: Path) -> None:
    """A key that lost its certificate does not keep its name."""
    (data / "tls/ca-server.pem").unlink()
    made(run("new", "--name", "ca-server", "--role", "server", "--json"))
    key = load_pem_private_key((data / "tls/ca-server.key").read_bytes(), None)
    assert key.public_key() == certificate(data / "tls/ca-server.pem").public_key()


def test_renewed_as_long(data: Path) -> None:
    """A credential that is renewed again and again is valid as long as the first one was."""
    authority = credentials.load_authority(DataFolder(data), "goodstanding")
    before = authority.client("alice", "reader", utc_now(), timedelta(days=7)).certificate
    after = before
    for _ in range(3):
        after = authority.renewed("alice", after, utc_now()).certificate
    lives = [each.not_valid_after_utc - each.not_valid_before_utc for each in (before, after)]
    assert lives[0] == lives[1]


def test_renew(run: Run, data: Path) -> None:
    """Renewing makes a new key for the same identity; the old credential stays valid until it is denied."""
    old = certificate(data / "tls/admin.pem")
    described = made(run("renew", "admin", "--json"))
    new = certificate(data / "tls/admin.pem")
    assert described["identity"] == "spiffe://goodstanding/admin/admin"
    assert old.public_key() != new.public_key()
    assert denied(data) == frozenset()


def test_renew_unknown(run: Run) -> None:
    """What is not there cannot be renewed."""
    result = run("renew", "nobody")
    assert result.exit_code == 1
    assert "goodstanding credential list" in result.stderr


def test_deny_by_name(run: Run, data: Path) -> None:
    """Denying a name denies every credential of that name, and says why."""
    old = certificate(data / "tls/admin.pem")
    made(run("renew", "admin", "--json"))
    described = made(run("deny", "admin", "--because", "laptop lost", "--json"))["credentials"]
    assert denied(data) == {mtls.fingerprint(old), mtls.fingerprint(certificate(data / "tls/admin.pem"))}
    assert {each["denied_because"] for each in described} == {"laptop lost"}
    assert {each["state"] for each in described} == {"denied"}


@pytest.mark.parametrize("spell", [str, str.upper, lambda text: text.upper()[:2] + ":" + text[2:]])
def test_deny_by_fingerprint(spell: Callable[[str], str], run: Run, data: Path) -> None:
    """Denying a fingerprint, as openssl or we spell it, denies that credential only."""
    fingerprint = mtls.fingerprint(certificate(data / "tls/ca-server.pem"))
    made(run("deny", spell(fingerprint), "--json"))
    assert denied(data) == {fingerprint}


def test_deny_unknown(run: Run) -> None:
    """Denying what was never made is an error: a misspelt name must not look denied."""
    result = run("deny", "nobody")
    assert result.exit_code == 1
    assert "no credential nobody" in result.stderr


def test_planted_links_are_not_followed(run: Run, tmp_path: Path) -> None:
    """Links that somebody left where the files go are replaced; what they point to is not touched."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    for name in ("ca.pem", "eve.pem", "eve.key"):
        (out / name).symlink_to(elsewhere / name)
    elsewhere.mkdir()
    made(run("new", "--name", "eve", "--role", "reader", "--out", str(out), "--json"))
    assert list(elsewhere.iterdir()) == []
    assert not any(path.is_symlink() for path in out.iterdir())


def test_deny_unrecorded(run: Run, data: Path) -> None:
    """A fingerprint that the database does not know (it was restored from a copy) can be denied, with a warning."""
    fingerprint = "ab" * 32
    result = run("deny", fingerprint, "--because", "stolen")
    assert result.exit_code == 0
    assert "no credential with this fingerprint is recorded here" in result.stderr
    assert denied(data) == {fingerprint}
    made(run("deny", fingerprint, "--json"))
    assert denied(data) == {fingerprint}


def test_list_for_people(run: Run) -> None:
    """The list is a table."""
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split()[:3] == ["NAME", "ROLE", "STATE"]
    assert "status-server" in result.stdout


def test_renewal_when_due(data: Path) -> None:
    """What `goodstanding up` looks after is renewed once two thirds of its life are over, and not before."""
    folder = DataFolder(data)
    settings = load(folder.config).services
    authority = credentials.load_authority(folder, settings.tls.trust_domain)
    began = certificate(data / "tls/admin.pem").not_valid_before_utc
    with open_database(settings) as db:
        assert credentials.renew_due(folder, authority, db, began + timedelta(days=59)) == []
        later = began + timedelta(days=61)
        renewed = credentials.renew_due(folder, authority, db, later)
        assert renewed == ["admin", "gateway", "ca-server", "status-server"]
        assert credentials.renew_due(folder, authority, db, later) == []


def test_fresh_gateway(data: Path) -> None:
    """A gateway that starts again has a new name, and the credential before is denied."""
    folder = DataFolder(data)
    settings = load(folder.config).services
    authority = credentials.load_authority(folder, settings.tls.trust_domain)
    before = mtls.fingerprint(certificate(data / "tls/gateway.pem"))
    with open_database(settings) as db:
        names = {credentials.fresh_gateway(folder, authority, db, utc_now()) for _ in range(3)}
    assert len(names) == 3
    assert before in denied(data)
    assert mtls.fingerprint(certificate(data / "tls/gateway.pem")) not in denied(data)


def test_no_passphrase_of_the_root(run: Run, data: Path) -> None:
    """Without its passphrase the root's key is of no use, and the error is one line with the ways out."""
    (data / "secrets/tls-ca.passphrase").unlink()
    result = run("renew", "admin")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "secrets/tls-ca.passphrase" in result.stderr
    assert "GOODSTANDING_PASSPHRASE_TLS_CA" in result.stderr


def test_root_moved_away(data: Path) -> None:
    """Without the root's key no credential is made, and the error names the file."""
    (data / "tls/ca.key").unlink()
    with pytest.raises(Failed, match=r"tls/ca\.key is missing"):
        credentials.load_authority(DataFolder(data), "goodstanding")
