"""The gateway's settings: where they come from, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, load, split_address
from gateway.policy import NeverIssued, NoncePolicy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with tables that are not the gateway's."""
    file = tmp_path / "config.toml"
    file.write_text('[database]\nurl = "x"\n[gateway]\nops = "127.0.0.1:1"\nnonce = "ignore"\n')
    return file


def test_the_environment_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting can come from the file or the environment; others keep their defaults."""
    monkeypatch.setenv("GOODSTANDING_GATEWAY__OPS", "[::1]:2")
    monkeypatch.setenv("GOODSTANDING_GATEWAY__NEVER_ISSUED", "extended-revoked")
    settings = load(file)
    assert settings.gateway.ops == "[::1]:2"
    assert settings.gateway.nonce is NoncePolicy.IGNORE
    assert settings.gateway.never_issued is NeverIssued.EXTENDED_REVOKED
    assert settings.gateway.http == "127.0.0.1:2560"
    assert settings.path(settings.gateway.key) == file.parent / "tls/gateway.key"


def test_all_mistakes_are_told_at_once_with_their_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by the file and setting, or by the environment variable, that holds it."""
    file.write_text('[gateway]\nops = "127"\nfoo = 1\n')
    monkeypatch.setenv("GOODSTANDING_GATEWAY__MAX_AGE", "-1")
    with pytest.raises(ConfigError) as refused:
        load(file)
    text = str(refused.value)
    assert f"{file}: gateway.ops: '127' is not HOST:PORT" in text
    assert f"{file}: gateway.foo: " in text
    assert "environment variable GOODSTANDING_GATEWAY__MAX_AGE: " in text


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("workers = 0", "workers: must be 1 or more; it is 0"),
        ("max_staleness = 61", "max_staleness: must be 60.0 or less; it is 61"),
        ('nonce = "x"', "nonce: must be 'echo', 'ignore' or 'require'; it is \"x\""),
        ('invalidity_date = "perhaps"', 'invalidity_date: must be true or false, without quotes; it is "perhaps"'),
        ("signer_keys = []", "signer_keys: must not be empty"),
        ("http = 3", "http: must be text, in quotes"),
        ("htpp = 3", "htpp: is not a setting; look for a spelling mistake"),
    ],
    ids=["least", "most", "choice", "switch", "empty", "text", "misspelt"],
)
def test_what_is_allowed_is_told(file: Path, setting: str, message: str) -> None:
    """In words that are not the library's."""
    file.write_text(f"[gateway]\n{setting}\n")
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert str(refused.value) == f"{file}: gateway.{message}"


@pytest.mark.parametrize("content", [None, "gateway = [", "\udcff"], ids=["absent", "not TOML", "not UTF-8"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    """The file is named."""
    file = tmp_path / "config.toml"
    if content is not None:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load(file)


@pytest.mark.parametrize("address", ["", "127.0.0.1", ":1", "::1:2560", "x:65536", "x:-1", "http://x:1"])
def test_what_is_no_address(address: str) -> None:
    """An IPv6 address needs its brackets."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(address)


def test_validity_for_each_issuer(tmp_path: Path) -> None:
    """What an issuer has of its own counts first, then its preset, then what is for all."""
    file = tmp_path / "config.toml"
    file.write_text(
        "[gateway]\nvalidity = 7200\nmax_age = 60\nclock_skew = 30\n"
        '[gateway.issuers.a]\npreset = "short"\n[gateway.issuers.b]\nvalidity = 3600\n'
        '[gateway.issuers.c]\npreset = "baseline"\nvalidity = 864000\nmax_age = 10\n'.replace("864000", "863999")
    )
    policies = load(file).gateway.validity_policies()
    found = {name: (policies.of(name).validity, policies.of(name).max_age) for name in ("a", "b", "c", "other")}
    assert found == {"a": (600, 10), "b": (3600, 60), "c": (863_999, 10), "other": (7200, 60)}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('preset = "baseline"\nvalidity = 3600', "less than 8 hours"),
        ("validity = 864000", "validity"),
        ("validity = 120", "clock_skew \\(60 s\\) is more than a quarter of validity \\(120 s\\)"),
        ('[gateway.issuers.a]\npreset = "baseline"\nvalidity = 60', "issuers.a: .*validity"),
        ('never_issued = "extended-revoked"\npreset = "baseline"', "never_issued.*baseline"),
        ('never_issued = "extended-revoked"\n[gateway.issuers.a]\npreset = "baseline"', "never_issued.*baseline"),
        ('signed_requests = "require"', "request_trust_anchors"),
        ('request_trust_anchors = "x.pem"', "signed_requests"),
        ('signer_keys = ["p-256", "p-256"]', "twice"),
        ("signer_keys = []", "signer_keys"),
        ('signer_keys = ["dsa"]', "signer_keys"),
    ],
    ids=lambda value: value.replace("\n", " ").replace("[", "(").replace("]", ")") if isinstance(value, str) else "",
)
def test_settings_that_contradict_each_other(tmp_path: Path, table: str, told: str) -> None:
    """The start is refused, and the settings are named."""
    file = tmp_path / "config.toml"
    file.write_text(f"[gateway]\n{table}\n")
    with pytest.raises(ConfigError, match=told):
        load(file)
