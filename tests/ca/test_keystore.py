"""Keys: which trouble stops the start, and which leaves one issuer unable to sign."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.ca.issuers import IssuerDirectory
from services.ca.keystore import load_keys
from services.clock import Clock
from services.db import issuers
from services.errors import FailedPrecondition, Unavailable
from services.pki.keys import encrypt_key, generate_key
from tests.ca.world import Ca, Hierarchy

PASSPHRASE = b"correct horse"


def write_key(folder: Path, hierarchy: Hierarchy) -> Path:
    """The issuing key where the database says it is."""
    file = folder / "ca" / "issuing.key"
    file.parent.mkdir()
    file.write_bytes(encrypt_key(hierarchy.issuing_key, PASSPHRASE))
    return file


def test_keys_are_found_relative_to_the_configuration(ca: Ca, tmp_path: Path, hierarchy: Hierarchy) -> None:
    """The issuer's key signs; the root, whose key is not here, has none."""
    write_key(tmp_path, hierarchy)
    root, issuing = ca.authority.issuers()
    keys = load_keys([root, issuing], tmp_path, lambda name: {"issuing": PASSPHRASE}[name])
    assert keys.signer(issuing).public_key() == hierarchy.issuing_key.public_key()
    with pytest.raises(Unavailable) as refused:
        keys.signer(root)
    assert refused.value.reason == "KEY_UNAVAILABLE"


def test_a_missing_key_does_not_stop_the_start(ca: Ca, tmp_path: Path, clock: Clock) -> None:
    """Everything but that issuer goes on working."""
    keys = load_keys(ca.authority.issuers(), tmp_path, lambda _: PASSPHRASE)
    with pytest.raises(Unavailable) as refused:
        IssuerDirectory(ca.db, keys, "http://x").for_issuing("issuing", clock())
    assert refused.value.reason == "KEY_UNAVAILABLE"


@pytest.mark.parametrize(
    ("content", "passphrase", "reason"),
    [
        pytest.param(None, b"wrong", "KEY_PASSPHRASE_WRONG", id="wrong-passphrase"),
        pytest.param(b"garbage", PASSPHRASE, "KEY_MALFORMED", id="garbage"),
        pytest.param(encrypt_key(generate_key(), PASSPHRASE), PASSPHRASE, "KEY_MISMATCH", id="another-key"),
    ],
)
def test_a_key_that_is_wrong_stops_the_start(
    ca: Ca, tmp_path: Path, hierarchy: Hierarchy, content: bytes | None, passphrase: bytes, reason: str
) -> None:
    """The text names the file, and holds nothing of its content."""
    file = write_key(tmp_path, hierarchy)
    if content is not None:
        file.write_bytes(content)
    with ca.db.read() as conn:
        records = issuers.list_issuers(conn)
    with pytest.raises(FailedPrecondition) as refused:
        load_keys(records, tmp_path, lambda _: passphrase)
    assert refused.value.reason == reason
    assert str(file) in refused.value.message
    assert "garbage" not in refused.value.message


def test_a_key_that_cannot_be_read_stops_the_start(ca: Ca, tmp_path: Path) -> None:
    """A folder in its place, for one."""
    (tmp_path / "ca" / "issuing.key").mkdir(parents=True)
    with pytest.raises(FailedPrecondition) as refused:
        load_keys(ca.authority.issuers(), tmp_path, lambda _: PASSPHRASE)
    assert refused.value.reason == "KEY_UNREADABLE"
