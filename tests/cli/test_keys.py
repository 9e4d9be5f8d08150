"""`goodstanding keys`, against running services."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from services.cli.failures import Failed
from services.cli.key_hashes import in_file, of_certificate
from services.pki.serials import format_serial, serial_from_int
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
    counts = {"blocked_count": 4, "already_blocked_count": 0}
    assert answer(invoke(*arguments, *data)) == {**counts, "issuers": [], "validate_only": False}
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
    assert invoke(*mistake, "--because", "a slip", *data).stderr == "1 key unblocked; 1 was not blocked\n"
    assert invoke("issue", csr, *data).returncode == 0


def test_the_key_of_an_issuer(running: Up) -> None:
    """It is said whose it is, and what to do: blocking it stops nothing."""
    data = ("--data", str(running.data))
    file = running.data / "ca/issuing.pem"
    block = ("keys", "block", "--cert", file, "--dry-run", *data)
    assert answer(invoke(*block, "--json"))["issuers"] == ["issuing"]
    told = invoke(*block).stderr
    serial = format_serial(serial_from_int(x509.load_pem_x509_certificate(file.read_bytes()).serial_number))
    assert "Issuer issuing has one of these keys" in told
    assert f"goodstanding revoke {serial} --reason keyCompromise" in told
    assert "goodstanding ca rollover issuing" in told


def test_the_profiles_of_the_service(running: Up) -> None:
    """They are those of its configuration, with the same settings."""
    data = ("--data", str(running.data))
    asked, read = (answer(invoke("profiles", "list", "--json", *more, *data)) for more in (("--running",), ()))
    for profile in asked["profiles"]:
        assert profile["validity"]["max_now"]
    assert asked == read
    assert (
        invoke("profiles", "show", "server", "--running", *data).stdout
        == invoke("profiles", "show", "server", *data).stdout
    )
    assert "TLS servers" in invoke("profiles", "list", "--running", *data).stdout
    assert invoke("profiles", "show", "nothing", "--running", *data).returncode == 1
    assert invoke("profiles", "list", "--running", "--config", str(running.data / "config.toml"), *data).returncode == 2


def test_mistakes(tmp_path: Path) -> None:
    """A wrong line is named; a wrong option is a matter of usage."""
    with pytest.raises(Failed, match="list, line 2"):
        in_file(b"ab" * 32 + b"\nxyz", "list")
    assert invoke("keys", "block", "--spki-sha256", "ab").returncode == 2
    assert invoke("keys", "block").returncode == 2
    (tmp_path / "empty").write_bytes(b"# nothing\n")
    assert "names no key" in invoke("keys", "block", tmp_path / "empty").stderr


PEM, PUBLIC, PKCS8, PLAIN = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo, PrivateFormat.PKCS8, NoEncryption()
FIRST, SECOND = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
HEX = b"ab" * 32 + b"\n"
OTHER = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A public key in PEM."""
    return key.public_key().public_bytes(PEM, PUBLIC)


def private(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    """A private key in PEM."""
    return key.private_bytes(PEM, PKCS8, BestAvailableEncryption(passphrase) if passphrase else PLAIN)


def spki_hash(key: ec.EllipticCurvePrivateKey) -> bytes:
    """What names a key."""
    return hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PUBLIC)).digest()


def test_everything_in_a_file_counts() -> None:
    """Lines of hex among blocks, and private keys beside others: each key once, in the order of the file."""
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    content = b"# found\n" + private(FIRST) + HEX + b"\n" + parameters + public(SECOND) + public(FIRST)
    assert in_file(content, "x") == [spki_hash(FIRST), bytes.fromhex("ab" * 32), spki_hash(SECOND)]


def test_keys_in_every_form(tmp_path: Path) -> None:
    """A certificate request, public and private keys, in PEM and DER; before PEM openssl may have put text."""
    csr = make_csr(tmp_path)
    der = x509.load_pem_x509_csr(csr.read_bytes()).public_bytes(Encoding.DER)
    assert of_certificate(der, "x") == of_certificate(b"Data:\n  ab\n" + csr.read_bytes(), "x") == [sha256_of(csr)]
    traditional = FIRST.private_bytes(PEM, PrivateFormat.TraditionalOpenSSL, PLAIN)
    in_der = FIRST.private_bytes(Encoding.DER, PKCS8, PLAIN)
    for content in (public(FIRST), private(FIRST), traditional, in_der):
        assert of_certificate(content, "x") == [spki_hash(FIRST)]


OF_NO_KEY = {
    "neither": (b"\xff", "neither PEM nor lines of hex"),
    "a block of another kind": (public(FIRST) + OTHER, "block 2, in line 5: X509 CRL"),
    "a block that cannot be read": (OTHER.replace(b"X509 CRL", b"PRIVATE KEY"), "block 1, in line 1: PRIVATE KEY"),
    "a block without its end": (public(FIRST) + OTHER[:30], "line 5: this block has no end"),
    "a short hash beside a block": (public(FIRST) + HEX[2:], "line 5: a key is given by"),
    "an encrypted key beside its public half": (public(FIRST) + private(FIRST, b"a"), "block 2 is encrypted.*-pubout"),
    "many": (OTHER * 7, "block 5, in line 13: X509 CRL; and 2 more"),
}


@pytest.mark.parametrize(("content", "told"), OF_NO_KEY.values(), ids=OF_NO_KEY)
def test_what_is_no_key(content: bytes, told: str) -> None:
    """It is named, and nothing of the file is used."""
    with pytest.raises(Failed, match=told):
        in_file(content, "file")


def test_what_is_no_certificate() -> None:
    """--cert takes keys alone: a list of hashes beside them would be forgotten, and a passphrase cannot be given."""
    locked = FIRST.private_bytes(Encoding.DER, PKCS8, BestAvailableEncryption(b"a"))
    for content, told in (
        (public(FIRST) + HEX, "line 5, is a hash"),
        (locked, "encrypted"),
        (b"\xff", "something else"),
    ):
        with pytest.raises(Failed, match=told):
            of_certificate(content, "file")
