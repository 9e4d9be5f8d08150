"""`goodstanding profiles`: reads files, calls nobody."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from services.cli.main import cli
from services.config import ConfigError, load_settings
from services.pki.profiles import BUILTIN
from tests.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"
MINIMAL = '[database]\nurl = "sqlite:///goodstanding.db"\n[tls]\nroot = "tls/ca.pem"\n'
BAD = '[profiles.web.validity]\nmax = "x"\n[profiles.mail]\nroles = ["reader"]\n'


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(cli, ["profiles", *arguments])


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example of docs/profiles.md as a file of its own."""
    file = tmp_path / "profiles.toml"
    file.write_text("".join(block for block in blocks(PAGE.read_text("utf-8"), "toml") if "[profiles." in block))
    return file


def test_the_page_passes_the_check(example: Path) -> None:
    """What the page shows can be put into a file as it is."""
    result = run("check", str(example))
    assert result.exit_code == 0, result.output
    assert "no mistakes: server-short, client" in result.output


def test_mistakes_are_all_told(tmp_path: Path) -> None:
    """Each with file, table and key; the exit status says that there are some."""
    file = tmp_path / "p.toml"
    file.write_text(BAD)
    result = run("check", str(file))
    assert result.exit_code == 1
    assert (
        f'{file}: [profiles.web.validity] max: must be a number with a unit out of s, m, h, d, w: "90d"'
        in result.output
    )
    assert f"{file}: [profiles.mail] roles: 'reader' cannot be here: needs at least one out of admin" in result.output
    as_json = run("check", str(file), "--json")
    assert (as_json.exit_code, len(json.loads(as_json.stdout)["problems"])) == (1, 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[profile.zz]\n", "[profile] does not belong here", id="misspelt in a file of its own"),
        pytest.param("[web]\n[profiles.a]\n", "[web] does not belong here", id="a profile without its table"),
        pytest.param("[ca]\n[profile.zz]\n", "[profile]: is not a setting", id="misspelt in a configuration"),
        pytest.param('[ca]\nprofile_file = "p.toml"\n', "[ca] profile_file: is not a setting", id="misspelt setting"),
        pytest.param("[ca]\nprofiles_file = 3\n", "[ca] profiles_file: ", id="no path"),
        pytest.param('[gateway]\n[ca]\nprofiles_file = "no.toml"\n', "no.toml: no such file", id="no file"),
    ],
)
def test_what_the_ca_service_would_refuse(text: str, told: str, tmp_path: Path) -> None:
    """A table that nobody reads is a mistake, be the file a configuration or one with profiles alone."""
    file = tmp_path / "p.toml"
    file.write_text(text)
    result = run("check", str(file))
    assert (result.exit_code, told in result.output) == (1, True), result.output
    assert result.output.count("\n") == 1  # and no more: what else a configuration needs is another matter


def test_a_part_of_a_configuration(tmp_path: Path) -> None:
    """Settings of other kinds are not what is checked."""
    file = tmp_path / "p.toml"
    file.write_text('[ca]\npublic_url = "http://ocsp.example.com"\n[gateway]\n[profiles.web]\n')
    assert run("check", str(file)).exit_code == 0


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    """It is one line."""
    file = tmp_path / "p.toml"
    file.write_text("[profiles")
    result = run("check", str(file))
    assert (result.exit_code, "is not TOML" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b'[profiles.x]\n# caf\xe9\ndescription = ""\n', "line 2 is in another encoding", id="latin-1"),
        pytest.param(b"x = " + b"[" * 5000 + b"]" * 5000, "too many brackets", id="brackets"),
    ],
)
def test_content_that_no_reader_gets_through(content: bytes, told: str, tmp_path: Path) -> None:
    """It is one line, too."""
    file = tmp_path / "p.toml"
    file.write_bytes(content)
    result = run("check", str(file))
    assert (result.exit_code, told in result.output) == (1, True), result.output


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """Some editors begin a file with it, and nobody sees it."""
    file = tmp_path / "p.toml"
    file.write_text('[profiles.web]\ndescription = "Web"\n', "utf-8-sig")
    assert "web" in run("check", str(file)).output


def test_list_and_show(example: Path, tmp_path: Path) -> None:
    """Those of a configuration and the built-in ones; what is shown is TOML."""
    config = tmp_path / "config.toml"
    config.write_text(MINIMAL + f'[ca]\nprofiles_file = "{example.name}"\n[profiles.own]\n')
    names = [each["name"] for each in json.loads(run("list", "--config", str(config), "--json").stdout)["profiles"]]
    assert {"own", "web", "intermediate", "ocsp-responder"} <= set(names)
    assert "server" not in names
    assert "Public web servers" in run("list", "--data", str(tmp_path)).stdout
    shown = tomllib.loads(run("show", "machine", "--data", str(tmp_path)).stdout)
    assert shown["profiles"]["machine"]["names"]["ip"]["forbidden"] == ["10.66.0.0/16"]
    assert json.loads(run("show", "machine", "--data", str(tmp_path), "--json").stdout)["validity"]["cap"][0] == {
        "from": "2027-01-01",
        "max": "60d",
    }
    assert "[profiles.server-short.keys]" in run("show", "server-short", "--data", str(tmp_path)).stdout
    assert run("show", "webb", "--data", str(tmp_path)).exit_code == 1


def test_what_is_listed_is_what_is_issued_today(tmp_path: Path) -> None:
    """A cap by date counts for the longest validity and for the usual one, as with --running."""
    config = tmp_path / "config.toml"
    config.write_text(
        '[profiles.web.validity]\ndefault = "60d"\nmax = "397d"\ncap = [{from = 2020-01-01, max = "40d"}]\n'
    )
    (row,) = (line for line in run("list", "--data", str(tmp_path)).stdout.splitlines() if line.startswith("web "))
    assert row.split()[3:5] == ["40d", "40d"]
    listed = json.loads(run("list", "--data", str(tmp_path), "--json").stdout)["profiles"][-1]["validity"]
    shown = json.loads(run("show", "web", "--data", str(tmp_path), "--json").stdout)["validity"]
    assert listed == shown
    assert (shown["max"], shown["max_now"]) == ("397d", "40d")


def test_what_is_shown_and_cannot_be_configured(tmp_path: Path) -> None:
    """That of responders says so; what is shown of all others passes the check."""
    config = tmp_path / "config.toml"
    config.write_text("")
    for name in BUILTIN:
        file = tmp_path / f"{name}.toml"
        file.write_text(run("show", name, "--data", str(tmp_path)).stdout)
        assert (run("check", str(file)).exit_code == 0) is ("no configuration may hold" not in file.read_text()), name


@pytest.mark.parametrize("command", [["list"], ["show", "server"]], ids=["list", "show"])
def test_no_data_folder(command: list[str], tmp_path: Path) -> None:
    """Built-in profiles are not taken for those of an installation that is not there."""
    result = run(*command, "--data", str(tmp_path / "none"))
    assert (result.exit_code, "is not initialised" in result.output) == (1, True), result.output


def test_mistakes_come_one_on_a_line(tmp_path: Path) -> None:
    """Commands that read the configuration tell them as the check does, and those of the gateway as well."""
    config = tmp_path / "config.toml"
    config.write_text(BAD)
    told = run("list", "--data", str(tmp_path)).output
    first, *lines = told.splitlines()
    assert first == "Error: 2 mistakes"
    assert [line.partition(":")[0] for line in lines] == [str(config)] * 2, lines
    assert run("check", str(config)).output == told
    assert CliRunner().invoke(cli, ["up", "--data", str(tmp_path)]).output.splitlines()[3:] == lines
    config.write_text(MINIMAL + '[ca]\ncrl_shards = 0\n[gateway]\nworkers = 0\nnonce = "x"\n')
    result = CliRunner().invoke(cli, ["up", "--data", str(tmp_path)])
    settings = [line.removeprefix(f"{config}: ").partition(": ")[0] for line in result.output.splitlines()]
    assert settings == ["Error", "[ca] crl_shards", "gateway.nonce", "gateway.workers"], result.output
    config.write_text("[ca")
    assert CliRunner().invoke(cli, ["up", "--data", str(tmp_path)]).output.count("\n") == 1


def test_settings_tell_mistakes_of_every_kind_at_once(tmp_path: Path) -> None:
    """Those in the settings, in the profiles beside them, and in the file of further ones (and names in both)."""
    config, more = tmp_path / "config.toml", tmp_path / "more.toml"
    more.write_text('[profiles.web]\nlint = "x"\n[ca]\n')
    config.write_text(MINIMAL + '[ca]\nprofiles_file = "more.toml"\n' + BAD)
    with pytest.raises(ConfigError) as caught:
        load_settings(config)
    places = {line.partition("] ")[0] + "]" for line in str(caught.value).splitlines()}
    assert places == {
        f"{more}: [ca]",
        f"{more}: [profiles.web]",
        f"{config}: [profiles.mail]",
        f"{more}: [profiles.web]",
    }


def test_further_profiles_are_read_beside_other_mistakes(tmp_path: Path) -> None:
    """A setting that is wrong hides nothing of what `profiles_file` holds."""
    (tmp_path / "more.toml").write_text("[profile.web]\n")
    config = tmp_path / "config.toml"
    config.write_text(MINIMAL + '[ca]\nprofiles_file = "more.toml"\ncrl_shards = 0\n')
    with pytest.raises(ConfigError, match=r"(?s)crl_shards.*\[profile\] does not belong here"):
        load_settings(config)


def test_settings_hold_the_profiles(example: Path, tmp_path: Path) -> None:
    """Built-in ones, without what is switched off, and configured ones."""
    config = tmp_path / "config.toml"
    config.write_text(MINIMAL + f'[ca]\nprofiles_file = "{example.name}"\n')
    settings = load_settings(config)
    assert {"web", "client", "ocsp-responder"} <= set(settings.profiles)
    assert "server" not in settings.profiles
    config.write_text(MINIMAL + '[ca]\nprofiles_file = "missing.toml"\n')
    with pytest.raises(ConfigError, match=r"missing\.toml: no such file"):
        load_settings(config)
