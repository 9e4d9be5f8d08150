"""`goodstanding keys`, against running services."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.cli.commands.keys import hashes_in
from services.cli.failures import Failed
from tests.command import Up, make_csr

from .test_commands import answer, invoke


def sha256_of(csr: Path) -> bytes:
    """The hash of a request's key."""
    key = x509.load_pem_x509_csr(csr.read_bytes()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def test_from_blocking_to_refusal(running: Up, tmp_path: Path) -> None:
    """Keys come in from a file, a request and a hash; they are listed, and none of them is certified."""
    csr = make_csr(tmp_path)
    data = ("--data", str(running.data))
    listed = tmp_path / "leaked.txt"
    listed.write_text(f"# found on the web\n{'ab' * 32}\n\n{':'.join(['CD'] * 32)} # and this\n")
    arguments = ("keys", "block", listed, "--cert", csr, "--spki-sha256", "ef" * 32, "--comment", "leaked", "--json")
    assert answer(invoke(*arguments, "--dry-run", *data))["blocked_count"] == 4
    assert answer(invoke(*arguments, *data)) == {"blocked_count": 4, "already_blocked_count": 0, "validate_only": False}
    assert answer(invoke(*arguments, *data))["already_blocked_count"] == 4
    shown = answer(invoke("keys", "blocked", "--spki-sha256", sha256_of(csr).hex(), "--json", *data))["keys"]
    assert [(key["source"], key["comment"]) for key in shown] == [("import", "leaked")]
    assert answer(invoke("keys", "blocked", "--limit", "2", "--json", *data))["more"] is True
    assert "ab" * 32 in invoke("keys", "blocked", *data).stdout
    refused = invoke("issue", csr, *data)
    assert refused.returncode == 1
    assert "[KEY_BLOCKED] (field csr_pem)" in refused.stderr
    mistake = ("keys", "unblock", "--cert", csr, "--spki-sha256", "01" * 32)
    assert invoke(*mistake, *data).returncode == 2, "without a reason"
    assert invoke(*mistake, "--because", "a slip", *data).stderr == "1 keys unblocked; 1 were not blocked\n"
    assert invoke("issue", csr, *data).returncode == 0


def test_the_profiles_of_the_service(running: Up) -> None:
    """They are those of its configuration, with the same settings."""
    data = ("--data", str(running.data))
    asked, read = (answer(invoke("profiles", "list", "--json", *more, *data)) for more in (("--running",), ()))
    for profile in asked["profiles"]:
        assert profile["validity"].pop("max_now")
    assert asked == read
    assert (
        invoke("profiles", "show", "server", "--running", *data).stdout
        == invoke("profiles", "show", "server", *data).stdout
    )
    assert "TLS servers" in invoke("profiles", "list", "--running", *data).stdout
    assert invoke("profiles", "show", "nothing", "--running", *data).returncode == 1
    assert invoke("profiles", "list", "--running", "--config", str(running.data / "config.toml"), *data).returncode == 2


def test_mistakes(tmp_path: Path) -> None:
    """A wrong line is named; a wrong option is a matter of usage; other files are refused."""
    with pytest.raises(Failed, match="list, line 2"):
        hashes_in(b"ab" * 32 + b"\nxyz", "list")
    for content in (b"\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(Failed):
            hashes_in(content, "file")
    assert invoke("keys", "block", "--spki-sha256", "ab").returncode == 2
    assert invoke("keys", "block").returncode == 2
    csr = make_csr(tmp_path)
    der = x509.load_pem_x509_csr(csr.read_bytes()).public_bytes(Encoding.DER)
    public = x509.load_der_x509_csr(der).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert hashes_in(der, "x", may_be_der=True) == hashes_in(public + csr.read_bytes(), "x")[:1] == [sha256_of(csr)]
