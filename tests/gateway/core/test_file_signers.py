"""Signers from files are followed: what checks out takes over, what does not leaves the old one signing (R64, R68)."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from gateway import passphrases
from gateway.config import ConfigError, load
from gateway.file_signers import FileSigners, paths_of
from gateway.issuers import Issuer
from gateway.ocsp.response import ResponseSigner
from gateway.signers import Signers
from tests.gateway.core.files import BEGIN, DAY, PASSPHRASE, Authority, Files, key_usage
from tests.gateway.core.world import NOW, issuer_of


class World:
    """An issuer with one signer from files."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority()
        self.files = Files(folder)
        self.now = float(NOW)
        self.signers = Signers(lambda: self.now)
        self.write()

    def write(self, **options: object) -> None:
        """Another key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.files.write(self.ca.certify(key, **options), key)  # type: ignore[arg-type]

    def begin(self, *issuers: Issuer) -> FileSigners:
        """Read the files, and hear of the issuers."""
        files = FileSigners(self.signers, {"issuing": [self.files.paths]}, lambda: self.now)
        files.follow(issuers or [self.issuer()])
        return files

    def issuer(self, *, active: bool = True) -> Issuer:
        """The issuer, as the status service describes it."""
        return issuer_of("issuing", self.ca.certificate, active=active)

    def current(self) -> ResponseSigner | None:
        """Who signs."""
        return self.signers.current("issuing")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Good files are written, and not yet read."""
    return World(tmp_path)


def test_nothing_signs_before_its_issuer_is_known(world: World) -> None:
    """R65: whether clients would believe it depends on the issuer."""
    files = world.begin(issuer_of("other", Authority("other").certificate))
    assert world.current() is None
    assert "issuing" in files
    assert "other" not in files
    files.follow([world.issuer()])
    assert world.current() is not None
    files.follow([])
    assert world.current() is None


def test_an_issuer_that_is_offline(world: World) -> None:
    """A root that issues nothing here has answers, too."""
    world.begin(world.issuer(active=False))
    assert world.signers.ready_for("issuing")


def test_the_same_issuer_again_keeps_the_signer(world: World) -> None:
    """Answers that are ready stay good when the status service tells of an issuer once more."""
    files = world.begin()
    first = world.current()
    files.follow([world.issuer()])
    assert world.current() is first


def test_a_name_that_means_another_key(world: World) -> None:
    """R65: what was good for the first is refused for the second, and told."""
    files = world.begin()
    world.ca = Authority()
    with capture_logs() as logs:
        files.follow([world.issuer()])
    assert world.current() is None
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert files.problems("issuing") == [logs[0]["reason"]]


def test_another_certificate_of_the_issuer_moves_the_end(world: World) -> None:
    """A signer ends with the issuer, whose end moves when it is certified again."""
    world.write(end=BEGIN + 9 * DAY)
    world.ca.certificate = world.ca.certify_itself(end=BEGIN + DAY)
    files = world.begin()
    assert (signer := world.current()) is not None
    assert signer.not_after == BEGIN + DAY
    world.ca.certificate = world.ca.certify_itself(end=BEGIN + 5 * DAY)
    files.follow([world.issuer()])
    assert (signer := world.current()) is not None
    assert signer.not_after == BEGIN + 5 * DAY


@pytest.mark.asyncio
async def test_files_that_change(world: World) -> None:
    """Another pair takes over; the same one again changes nothing."""
    files = world.begin()
    first = world.current()
    await files.refresh()
    assert world.current() is first
    os.utime(world.files.paths.key, (NOW, NOW))
    await files.refresh()
    assert world.current() is first
    world.write()
    await files.refresh()
    assert world.current() is not first
    assert files.problems("issuing") == []


def _half_written(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    world.files.put(world.files.paths.certificate, world.ca.certify(key).public_bytes(Encoding.PEM))


def _gone(world: World) -> None:
    world.files.paths.key.unlink()


def _of_another(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    world.files.write(Authority("other").certify(key), key)


@pytest.mark.parametrize("change", [_half_written, _gone, _of_another], ids=["half written", "gone", "of another CA"])
@pytest.mark.asyncio
async def test_a_change_for_the_worse(world: World, change: Callable[[World], None]) -> None:
    """R68: the old signer goes on; it is told once, and what comes good is taken."""
    files = world.begin()
    first = world.current()
    change(world)
    with capture_logs() as logs:
        await files.refresh()
        await files.refresh()
    assert world.current() is first
    assert [(entry["log_level"], entry["issuer"]) for entry in logs] == [("warning", "issuing")]
    assert "the old signer goes on" in logs[0]["event"]
    assert files.problems("issuing") == [logs[0]["reason"]]
    world.write()
    await files.refresh()
    assert world.current() is not first
    assert files.problems("issuing") == []


@pytest.mark.asyncio
async def test_a_certificate_that_expires(world: World) -> None:
    """R68: it is told once when nobody signs any more, and others are taken up."""
    files = world.begin()
    world.now += 2 * DAY.total_seconds()
    with capture_logs() as logs:
        await files.refresh()
        await files.refresh()
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("warning", "signer files refused")]
    assert "has expired" in files.problems("issuing")[0]
    assert not world.signers.ready_for("issuing")
    world.write(end=BEGIN + 9 * DAY)
    await files.refresh()
    assert world.signers.ready_for("issuing")


@pytest.mark.asyncio
async def test_a_certificate_that_is_not_valid_yet_takes_over_when_it_is(world: World) -> None:
    """Nobody has to touch the files again for that."""
    files = world.begin()
    first = world.current()
    world.write(begin=BEGIN + DAY / 24)
    await files.refresh()
    assert world.current() is first
    world.now += 3600
    await files.refresh()
    assert world.current() is not first


@pytest.mark.asyncio
async def test_a_pair_refused_by_the_issuer_can_be_put_right(world: World) -> None:
    """What was wrong at the start is put right by other files, without another start."""
    _of_another(world)
    files = world.begin()
    assert world.current() is None
    await files.refresh()
    assert len(files.problems("issuing")) == 1
    world.write()
    await files.refresh()
    assert world.current() is not None


def test_a_delegate_without_nocheck_is_told(world: World) -> None:
    """Clients will want to know whether it is revoked, and the operator should have known."""
    world.write(nocheck=False)
    with capture_logs() as logs:
        world.begin()
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]
    assert "nocheck" in logs[0]["event"]


def test_all_mistakes_are_told_before_anything_is_served(world: World, tmp_path: Path) -> None:
    """Each with its issuer and its place; the settings are relative to the configuration file."""
    world.write(usage=key_usage(digital_signature=False))
    config = tmp_path / "config.toml"
    config.write_text(
        """
        [gateway.issuers.nothing]
        preset = "short"
        [[gateway.issuers.issuing.signers]]
        certificate = "responder.pem"
        key = "responder.key"
        [[gateway.issuers.issuing.signers]]
        certificate = "responder.pem"
        key = "no.key"
        passphrase_file = "secret"
        """
    )
    paths = paths_of(load(config))
    assert [each.name for each in paths["issuing"]] == ["gateway-issuing", "gateway-issuing-2"]
    assert paths["issuing"][1].passphrase_file == tmp_path / "secret"
    with pytest.raises(ConfigError) as refused:
        FileSigners(world.signers, paths, lambda: world.now)
    first, second = str(refused.value).split("; gateway.")
    assert first.startswith("gateway.issuers.issuing.signers, number 1: ")
    assert "lacks digitalSignature" in first
    assert second.startswith("issuers.issuing.signers, number 2: ")
    assert "no.key cannot be read" in second


@pytest.mark.parametrize("source", ["environment", "systemd", "file"])
def test_passphrases(world: World, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment, a systemd credential, or the file, in this order; the newline at the end is not part of it."""
    world.files = Files(tmp_path, passphrase_file=True)
    key = ec.generate_private_key(ec.SECP256R1())
    world.files.write(world.ca.certify(key), key, encrypted=True)
    assert world.files.paths.passphrase_file is not None
    text = (PASSPHRASE + b"\n").decode()
    if source != "file":
        world.files.paths.passphrase_file.write_bytes(b"another")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "gateway-issuing").write_text("another" if source == "environment" else text)
    if source == "environment":
        monkeypatch.setenv("GOODSTANDING_PASSPHRASE_GATEWAY_ISSUING", text)
    with capture_logs() as logs:
        world.begin()
    assert world.signers.ready_for("issuing")
    assert "horse" not in str(logs)


@pytest.mark.parametrize("content", [b"", b"\n", None], ids=["empty", "newline", "absent"])
def test_passphrases_that_are_none(world: World, tmp_path: Path, content: bytes | None) -> None:
    """The first place that exists counts, even if there is nothing in it."""
    world.files = Files(tmp_path, passphrase_file=True)
    key = ec.generate_private_key(ec.SECP256R1())
    world.files.write(world.ca.certify(key), key, encrypted=True)
    assert world.files.paths.passphrase_file is not None
    world.files.paths.passphrase_file.unlink()
    if content is not None:
        world.files.put(world.files.paths.passphrase_file, content)
    with pytest.raises(ConfigError, match="is empty" if content is not None else "cannot be read: No such file"):
        world.begin()


@pytest.mark.asyncio
async def test_a_passphrase_that_was_typed_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sits before the terminal is asked once; the same passphrase opens the files that come later."""
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return PASSPHRASE.decode()

    monkeypatch.setattr("gateway.file_signers.terminal", lambda: ask)
    for _ in range(2):
        key = ec.generate_private_key(ec.SECP256R1())
        world.files.write(world.ca.certify(key), key, encrypted=True)
        if not asked:
            files = world.begin()
    await files.refresh()
    assert asked == [f"Passphrase of {world.files.paths.key} (gateway-issuing): "]
    assert (signer := world.current()) is not None
    assert signer.certificate.public_key() == key.public_key()


def test_nobody_is_asked_without_a_terminal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that waited for an answer would never start; the refusal names all the places."""
    key = ec.generate_private_key(ec.SECP256R1())
    world.files.write(world.ca.certify(key), key, encrypted=True)
    controller, terminal = pty.openpty()
    with os.fdopen(controller), os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert passphrases.terminal() is not None
        monkeypatch.setattr("sys.stdin", None)
        assert passphrases.terminal() is None
        with pytest.raises(ConfigError, match="passphrase_file, GOODSTANDING_PASSPHRASE_GATEWAY_ISSUING, or a systemd"):
            world.begin()


def test_direct_signing_is_told(world: World) -> None:
    """What signs, and until when, is in the log."""
    world.files.write(world.ca.certificate, world.ca.key)
    with capture_logs() as logs:
        world.begin()
    assert logs[0]["direct"] is True


def test_one_passphrase_for_two_keys(tmp_path: Path) -> None:
    """Names that would mean two passphrases at once are refused; a file each makes them plain."""
    config = tmp_path / "config.toml"
    pair = 'certificate = "c.pem"\nkey = "k.pem"\n'
    config.write_text("".join(f"[[gateway.issuers.{name}.signers]]\n{pair}" for name in ("a", "a", "a-2")))
    with pytest.raises(ConfigError, match="gateway-a-2; give each of them a passphrase_file"):
        paths_of(load(config))
    config.write_text(config.read_text() + 'passphrase_file = "p"\n')
    assert [each.name for each in paths_of(load(config))["a"]] == ["gateway-a", "gateway-a-2"]
