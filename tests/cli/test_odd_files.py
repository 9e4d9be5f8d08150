"""Certificates with something odd in them, given to commands: an error in a line, and never a traceback."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.ca.test_odd_certificates import ODD
from tests.cli.test_commands import invoke
from tests.command import Up

# Of serial numbers that are not positive, the library says that it will refuse them some day.
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")

COMMANDS: dict[str, tuple[str, ...]] = {
    "revoke": ("revoke", "--cert", "$", "--dry-run"),
    "revoke several": ("revoke", "--cert", "$", "--cert", "$", "--dry-run"),
    "revoke by key": ("revoke", "--key", "$", "--reason", "keyCompromise", "--dry-run"),
    "status": ("status", "--cert", "$"),
    "get": ("get", "--cert", "$"),
    "explain": ("explain", "--cert", "$"),
    "audit show": ("audit", "show", "--cert", "$"),
    "keys block": ("keys", "block", "--cert", "$", "--dry-run"),
    "ca import": ("ca", "import", "--cert", "$", "--dry-run"),
    "ca import with it above": ("ca", "import", "--cert", "good.pem", "--chain", "$", "--dry-run"),
    "import from it": ("import", "certificates", ".", "--ca", "$", "--dry-run"),
    "import of it": ("import", "certificates", ".", "--ca", "good.pem", "--dry-run"),
}


@pytest.mark.parametrize("odd", ODD)
def test_no_file_is_a_traceback(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    """Every command that takes a certificate succeeds, or fails as it does for whoever has mistaken a file."""
    monkeypatch.chdir(tmp_path)
    Path("good.pem").write_text(ssl.DER_cert_to_PEM_cert(ODD["nothing odd"].der()))
    Path("odd.der").write_bytes(ODD[odd].der())
    Path("odd.pem").write_text(ssl.DER_cert_to_PEM_cert(ODD[odd].der()))
    for file in ("odd.der", "odd.pem"):
        for words in COMMANDS.values():
            done = invoke(*(file if word == "$" else word for word in words), "--data", running.data)
            assert done.returncode in (0, 1), (words, done.stderr)
