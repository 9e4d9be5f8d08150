"""Settings: whole and checked, or one error that lists everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.config import ConfigError, load_settings
from services.passphrases import PassphraseError, read_passphrase

MINIMAL = '[database]\nurl = "sqlite:///goodstanding.db"\n[tls]\nroot = "tls/ca.pem"\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A minimal configuration file, far from the current folder."""
    monkeypatch.chdir("/")
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL)
    return path


def test_a_minimal_file_gets_the_documented_defaults(file: Path) -> None:
    """Addresses and limits have defaults, and paths are relative to the file."""
    settings = load_settings(file)
    assert (settings.ca.listen, settings.status.listen) == ("127.0.0.1:50051", "127.0.0.1:50052")
    assert (settings.ca.max_live_delegates, settings.ca.reasons) == (3, "rfc5280")
    assert settings.tls.trust_domain == "goodstanding"
    assert settings.tls.root == file.parent / "tls/ca.pem"
    assert settings.database.url == f"sqlite:///{file.parent}/goodstanding.db"
    assert settings.base == file.parent


def test_lists_are_renewed_before_they_end(file: Path) -> None:
    """An interval as long as the validity would leave times without a list, and is refused (R109)."""
    file.write_text(MINIMAL + "[ca]\ncrl_validity_hours = 48\ncrl_interval_hours = 48\n")
    with pytest.raises(ConfigError, match="crl_interval_hours must be less"):
        load_settings(file)


@pytest.mark.parametrize("count", [-1, 17])
def test_signing_processes_are_bounded(file: Path, count: int) -> None:
    """One by default, none if that is wanted, and no hundreds by a slip."""
    assert load_settings(file).ca.signing_processes == 1
    file.write_text(MINIMAL + "[ca]\nsigning_processes = 0\n")
    assert load_settings(file).ca.signing_processes == 0
    file.write_text(MINIMAL + f"[ca]\nsigning_processes = {count}\n")
    with pytest.raises(ConfigError, match=r"\[ca\] signing_processes"):
        load_settings(file)


def test_lists_of_weak_keys(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None by default; their places are relative to the file, from the environment too."""
    assert load_settings(file).ca.weak_key_lists == ()
    file.write_text(MINIMAL + '[ca]\nweak_key_lists = ["lists/a", "/b"]\n')
    assert load_settings(file).ca.weak_key_lists == (file.parent / "lists/a", Path("/b"))
    monkeypatch.setenv("GOODSTANDING_CA__WEAK_KEY_LISTS", '["c"]')
    assert load_settings(file).ca.weak_key_lists == (file.parent / "c",)


def test_a_whole_file(file: Path) -> None:
    """Every table is read; that of the gateway is the gateway's."""
    file.write_text(
        MINIMAL
        + 'trust_domain = "example"\n'
        + '[tls.ca]\ncertificate = "tls/c.pem"\nkey = "/k"\n'
        + '[ca]\nlisten = "[::1]:1"\npublic_url = "http://ocsp.example/"\npassphrase_file = "secrets/p"\n'
        + '[ca.passphrase_files]\nissuing = "secrets/i"\n'
        + '[status]\nmetrics_listen = "localhost:9"\n'
        + '[gateway]\nwhatever = "it says"\n'
    )
    settings = load_settings(file)
    assert settings.ca.public_url == "http://ocsp.example"
    assert settings.ca.passphrase_file == file.parent / "secrets/p"
    assert settings.ca.passphrase_files == {"issuing": file.parent / "secrets/i"}
    credential = settings.tls.credential("ca")
    assert (credential.certificate, credential.key) == (file.parent / "tls/c.pem", Path("/k"))
    with pytest.raises(ConfigError, match=r"\[tls.status\] certificate and key are missing"):
        settings.tls.credential("status")


def test_the_environment_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key is replaced, and the others of its table stay."""
    monkeypatch.setenv("GOODSTANDING_DATABASE__URL", "postgresql://u@h/d")
    monkeypatch.setenv("GOODSTANDING_TLS__CA__CERTIFICATE", "c.pem")
    monkeypatch.setenv("GOODSTANDING_TLS__CA__KEY", "k.pem")
    monkeypatch.setenv("GOODSTANDING_BASE", "/somewhere")
    settings = load_settings(file)
    assert settings.database.url == "postgresql://u@h/d"
    assert settings.tls.credential("ca").key == file.parent / "k.pem"
    assert settings.tls.root == file.parent / "tls/ca.pem"
    assert settings.base == file.parent


@pytest.mark.parametrize("name", ["", "a.", ".a", "-a", "A", "a/b", "a%2e", "é", "a" * 256])
def test_a_trust_domain_is_one_that_credentials_can_have(name: str, file: Path) -> None:
    """A name that no credential can have is refused: the ca service would protect it in one spelling at best."""
    file.write_text(MINIMAL + f'trust_domain = "{name}"\n')
    with pytest.raises(ConfigError, match=r"\[tls\] trust_domain: must consist of"):
        load_settings(file)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("crl_shards = 0", "crl_shards: must be a whole number from 1 to 4096; it is 0"),
        ('crl_shards = "x"', 'crl_shards: must be a whole number from 1 to 4096; it is "x"'),
        ('reasons = "all"', "reasons: must be 'rfc5280' or 'baseline'; it is \"all\""),
        ("profiles_file = 3", "profiles_file: must be a path, in quotes"),
        ("weak_key_lists = 3", "weak_key_lists: must be a list, in brackets"),
        ('passphrase_files = "hunter2"', "passphrase_files: must be a table"),
    ],
    ids=["range", "number", "choice", "path", "list", "table"],
)
def test_what_is_allowed_is_told(file: Path, setting: str, told: str) -> None:
    """In words, with the value where a number or a choice was wanted, and without it where it may be a password."""
    file.write_text(MINIMAL + f"[ca]\n{setting}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert str(caught.value) == f"{file}: [ca] {told}"


def test_all_errors_come_at_once_and_without_values(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line names file and key, or the variable; no text is repeated, because it may be a password."""
    file.write_text(
        '[database]\nurl = "mysql://u:hunter2@h/d"\n[ca]\nlisten = "x"\nlistne = "y"\npublic_url = "https://x"\n'
        "[status]\npoll_interval_ms = 1\n[statsu]\n[tls]\n"
    )
    monkeypatch.setenv("GOODSTANDING_CA__REASONS", "all")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    text = str(caught.value)
    places = {line.removeprefix(f"{file}: ").split(":")[0] for line in text.splitlines()}
    assert places == {
        "[database] url",
        "[ca] listen",
        "[ca] listne",
        "[ca] public_url",
        "[status] poll_interval_ms",
        "[statsu]",
        "[tls] root",
        "environment variable GOODSTANDING_CA__REASONS",
    }
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file; make one: goodstanding init"), (b"[ca", "is not TOML"), (b"\xff", "is not TOML")],
    ids=["missing", "not TOML", "not UTF-8"],
)
def test_unusable_files(content: bytes | None, message: str, file: Path) -> None:
    """What cannot be read at all is one line with the file's name."""
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_passphrases_come_from_the_first_place_that_has_one(tmp_path: Path) -> None:
    """Environment, systemd credential, file, prompt: in this order; the newline at the end does not count."""
    file = tmp_path / "file"
    file.write_bytes(b"from file\n")
    (tmp_path / "my-ca").write_bytes(b"from systemd\r\n")
    environ = {"GOODSTANDING_PASSPHRASE_MY_CA": "from environment", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_passphrase("my-ca", file=file, environ=environ) == b"from environment"
    del environ["GOODSTANDING_PASSPHRASE_MY_CA"]
    assert read_passphrase("my-ca", file=file, environ=environ) == b"from systemd"
    assert read_passphrase("other", file=file, environ=environ) == b"from file"
    assert read_passphrase("other", environ=environ, prompt=lambda question: "asked") == b"asked"


def test_missing_and_empty_passphrases_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file is not an empty passphrase, and the error says where was looked."""
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(PassphraseError, match="is empty"):
        read_passphrase("issuing", file=tmp_path / "empty", environ={})
    with pytest.raises(PassphraseError, match="missing: cannot be read: No such file"):
        read_passphrase("issuing", file=tmp_path / "missing", environ={})
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(PassphraseError, match="GOODSTANDING_PASSPHRASE_ISSUING"):
        read_passphrase("issuing", environ={})
