"""What the command line takes and refuses, without any service: exit status 2 and a line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli.authorities import KeyPlace
from services.cli.failures import Failed
from services.cli.main import COMMANDS, cli
from services.cli.new_authorities import subject_of
from services.pki.keys import encrypt_key, generate_key

SUBCOMMANDS = [
    *((name,) for name in COMMANDS),
    ("db", "upgrade"),
    ("credential", "new"),
    ("credential", "renew"),
    ("credential", "list"),
    ("credential", "deny"),
    *(
        ("ca", name)
        for name in ("list", "create-root", "create-intermediate", "import", "renew", "rollover", "retire", "activate")
    ),
    ("ca", "crl"),
]


@pytest.mark.parametrize("path", SUBCOMMANDS, ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    """Every command explains itself."""
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: cli {' '.join(path)}")


@pytest.mark.parametrize("name", ["ca", "import", "credential", "keys", "profiles", "audit", "export", "db"])
def test_help_of_groups(name: str) -> None:
    """What each subcommand is for is said in a whole sentence."""
    listed = CliRunner().invoke(cli, [name, "--help"]).stdout.partition("Commands:")[2]
    assert "..." not in listed
    assert listed.count(".") >= 1


def test_subjects_that_cannot_be_read() -> None:
    """Whatever is wrong with a subject, the cure is told."""
    with pytest.raises(Failed, match=r"'CN=a,FOO=b' cannot be used: write it as .*RFC 4514"):
        subject_of("CN=a,FOO=b", "a")
    for subject in ("CN=", "CN=a,C=NLD"):
        with pytest.raises(Failed, match=f"'{subject}' cannot be used: C has two letters, and CN 1 to 64 bytes"):
            subject_of(subject, "a")


def test_a_key_whose_passphrase_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, the error names every place for the passphrase, the option among them."""
    monkeypatch.setattr("sys.stdin", None)
    file = tmp_path / "ext.key"
    file.write_bytes(encrypt_key(generate_key(), b"secret"))
    with pytest.raises(Failed, match=r"GOODSTANDING_PASSPHRASE_EXT.*--passphrase-file"):
        KeyPlace("ext", file, None).open()


MISTAKES = {
    "no such command": (["frobnicate"], "No such command"),
    "no such option": (["issuers", "--frobnicate"], "No such option"),
    "issue without a CSR": (["issue"], "Missing argument"),
    "issue of a missing file": (["issue", "nowhere.csr"], "does not exist"),
    "issue for zero days": (["issue", "FILE", "--days", "0"], "'--days'"),
    "a name without its kind": (["issue", "FILE", "--san", "test.example.com"], "DNS:test.example.com"),
    "a kind without its name": (["issue", "FILE", "--san", "DNS:"], "'DNS:' has no name behind its kind"),
    "a name of another kind": (["issue", "FILE", "--san", "X400:a"], "DNS:, IP:, email: or URI:"),
    "revoke nothing": (["revoke"], "serial number (hex) or --cert FILE"),
    "revoke two things": (["revoke", "0a", "--cert", "FILE"], "serial number (hex) or --cert FILE"),
    "revoke by two ways": (["revoke", "--key", "FILE", "--name", "a.example.com"], "--serials FILE"),
    "a key of one issuer": (["revoke", "--key", "FILE", "--issuer", "issuing"], "whoever issued them"),
    "revoke an empty number": (["revoke", "", "--issuer", "ext"], "A SERIAL is empty"),
    "revoke an empty number among others": (["revoke", "0a", ""], "A SERIAL is empty"),
    "status of an empty number": (["status", ""], "SERIAL is empty"),
    "explain an empty text": (["explain", ""], "What to explain is empty"),
    "a filter twice": (["revoke", "--name", "a.example.com", "--name", "b.example.com", "--yes"], "given 2 times"),
    "a listing by two states": (["list", "--state", "valid", "--state", "revoked"], "'--state': it is given 2 times"),
    "two certificates for one": (["status", "--cert", "FILE", "--cert", "FILE"], "'--cert': it is given 2 times"),
    "a request id that is none": (["revoke", "0a", "--request-id", ""], "'--request-id': it is empty"),
    "revoke unseen": (["revoke", "--profile", "server"], "--dry-run"),
    "the same key without a compromise": (["revoke", "0a", "--same-key"], "--reason keyCompromise"),
    "the same key of several": (
        ["revoke", "0a", "0b", "--same-key", "--reason", "keyCompromise"],
        "--same-key goes with one certificate",
    ),
    "a reason that is none": (["revoke", "0a", "--reason", "unused"], "'--reason'"),
    "a time that is none": (["revoke", "0a", "--invalidity-time", "yesterday"], "2026-02-03T04:05:06Z"),
    "status of nothing": (["status"], "serial number (hex) or --cert FILE"),
    "a state that is none": (["list", "--state", "good"], "'--state'"),
    "list nothing": (["list", "--limit", "0"], "'--limit'"),
    "an address without a port": (["issuers", "--ca-address", "localhost"], "127.0.0.1:50051"),
    "an address with a large port": (["up", "--http", "127.0.0.1:99999"], "HOST:PORT"),
    "IPv6 without brackets": (["up", "--http", "::1:2560"], "[::1]:50051"),
    "https as public URL": (["up", "--public-url", "https://ocsp.example.com"], "http://ocsp.example.com"),
    "a certificate without its key": (["issuers", "--cert-file", "FILE"], "belong together"),
    "serve something else": (["serve", "database"], "'ca', 'status', 'gateway'"),
    "serve without a configuration": (["serve", "ca", "--data", "nowhere"], "--config"),
    "a role that is none": (["credential", "new", "--name", "a", "--role", "king"], "'--role'"),
    "a name that is a path": (["credential", "new", "--name", "../a", "--role", "reader"], "'--name'"),
    "retired without a key": (["ca", "import", "--cert", "FILE", "--retired"], "--key"),
    "a kind of key that is none": (["ca", "create-root", "--name", "a", "--key-type", "dsa"], "'--key-type'"),
    "a CA for no days": (["ca", "renew", "a", "--days", "0"], "'--days'"),
    "the name of the root": (["credential", "new", "--name", "ca", "--role", "reader"], "'--name'"),
    "server names for a client": (
        ["credential", "new", "--name", "a", "--role", "reader", "--server-name", "b"],
        "--role server",
    ),
}


@pytest.mark.parametrize(("arguments", "told"), MISTAKES.values(), ids=MISTAKES)
def test_wrong_usage(arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage exits with status 2, and the text on standard error names the cure."""
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_bytes(b"")
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.stderr.split())
    assert result.stdout == ""


EMPTY = {
    "revoke": (["revoke", "--profile", "server", "--issuer", "ext", "--yes"], ["--name", "--issued-by"]),
    "revoke all of an issuer": (["revoke", "--issuer", "ext", "--yes"], ["--name", "--issued-by", "--profile"]),
    "revoke all of a name": (["revoke", "--name", "a", "--yes"], ["--issuer", "--issued-from", "--state"]),
    "list": (["list"], ["--issuer", "--profile", "--name", "--serial-prefix", "--public-key", "--by", "--issued-by"]),
    "count": (["count"], ["--issuer"]),
    "audit list": (["audit", "list"], ["--identity", "--method", "--result"]),
    "audit show": (["audit", "show", "0a"], ["--issuer"]),
    "keys blocked": (["keys", "blocked"], ["--spki-sha256"]),
    "status": (["status", "0a"], ["--issuer"]),
    "get": (["get", "0a"], ["--issuer"]),
    "explain": (["explain", "0a"], ["--issuer"]),
    "issue": (["issue", "FILE"], ["--issuer", "--profile", "--request-id"]),
    "export openssl": (["export", "openssl", "folder"], ["--issuer"]),
}


@pytest.mark.parametrize(
    ("arguments", "option"),
    [pytest.param(words, option, id=f"{name} {option}") for name, (words, each) in EMPTY.items() for option in each],
)
@pytest.mark.parametrize("value", ["", " "], ids=["empty", "blank"])
def test_filters_without_a_value(
    arguments: list[str], option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is not set never widens what is meant: the option is named, and nothing is asked of a service."""
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_bytes(b"")
    result = CliRunner().invoke(cli, [*arguments, option, value])
    assert result.exit_code == 2, result.output
    assert f"Invalid value for '{option}" in result.stderr or f"Invalid value for '--by' / '{option}'" in result.stderr
    assert result.stdout == ""


def test_reasons() -> None:
    """The reasons are shown as RFC 5280 spells them, in the help and where another is given."""
    runner = CliRunner()
    assert "|keyCompromise|" in runner.invoke(cli, ["revoke", "--help"]).stdout.replace("\n", "").replace(" ", "")
    assert "keyCompromise, cACompromise" in " ".join(
        runner.invoke(cli, ["revoke", "--reason", "x", "0a"]).stderr.split()
    )


CLIENTS = {
    "issue": ["issue", "FILE"],
    "revoke": ["revoke", "0a"],
    "status": ["status", "0a"],
    "get": ["get", "0a"],
    "list": ["list"],
    "issuers": ["issuers"],
    "credential list": ["credential", "list"],
    "db upgrade": ["db", "upgrade"],
}


@pytest.mark.parametrize("arguments", CLIENTS.values(), ids=CLIENTS)
def test_no_data_folder(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a data folder a command fails with status 1 and says what to name, after the subcommand too."""
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_bytes(b"")
    result = CliRunner().invoke(cli, [*arguments, "--data", "nowhere"])
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert "nowhere" in result.stderr
    assert "--data" in result.stderr


@pytest.mark.parametrize("command", ["help", *CLIENTS][:7])
def test_clients_start_quickly(command: str) -> None:
    """Client commands import neither SQLAlchemy nor pydantic, which cost more than the call; help no gRPC either."""
    modules = ["services.cli.main"] if command == "help" else [COMMANDS[command][0]]
    unwanted = {"sqlalchemy", "alembic", "pydantic", "rich"} | (
        {"grpc", "cryptography"} if command == "help" else set()
    )
    code = f"import sys, {', '.join(modules)}; print(*sorted({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_gateway_without_the_database() -> None:
    """What `serve gateway` imports has neither SQLAlchemy nor the CA in it: a gateway cannot reach what it lacks."""
    code = (
        "import sys; from pathlib import Path; from services.cli.commands import serve; "
        "serve._gateway(Path('config.toml')); "
        "print(*sorted(name for name in sys.modules if name.split('.')[0] == 'sqlalchemy' "
        "or name.startswith(('services.ca', 'services.db', 'services.pki'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
