"""Keys: which trouble stops the start, and which leaves one issuer unable to sign."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from services.ca.authority import CertificateAuthority
from services.ca.issue import IssueCommand
from services.ca.issuers import IssuerDirectory
from services.ca.keystore import HeldKeys, KeyFiles, load_keys
from services.ca.settings import AuthoritySettings
from services.ca.writer import Writer
from services.clock import Clock
from services.db import issuers
from services.db.engine import Database
from services.db.records import Actor
from services.errors import FailedPrecondition, Unavailable
from services.passphrases import PassphraseError
from services.pki.keys import encrypt_key, generate_key
from tests.ca.world import Ca, Hierarchy, make_csr

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


def test_a_key_that_comes_later_is_opened(ca: Ca, tmp_path: Path, hierarchy: Hierarchy) -> None:
    """A missing key is looked for again, though not at every call; nothing has to be started again."""
    ticks = [0.0]
    _, issuing = ca.authority.issuers()
    keys = HeldKeys({}, KeyFiles(tmp_path, lambda _: PASSPHRASE), ticks=lambda: ticks[0])
    for moment, there in ((0.0, False), (0.5, True)):
        ticks[0] = moment
        if there:
            write_key(tmp_path, hierarchy)
        with pytest.raises(Unavailable) as refused:
            keys.signer(issuing)
        assert refused.value.reason == "KEY_UNAVAILABLE"
    ticks[0] = 1.5
    assert keys.signer(issuing).public_key() == hierarchy.issuing_key.public_key()


def test_errors_for_callers_far_away_are_discreet(ca: Ca, tmp_path: Path, hierarchy: Hierarchy) -> None:
    """They name the key by its reference, and neither a folder of this machine nor anything of the key."""
    write_key(tmp_path, hierarchy)
    _, issuing = ca.authority.issuers()

    def nothing(_name: str) -> bytes:
        raise PassphraseError(f"passphrase file {tmp_path}/secrets/x.passphrase: cannot be read")

    for later, reference, reason in (
        (nothing, "file:ca/issuing.key", "KEY_PASSPHRASE_MISSING"),
        (lambda _: b"wrong", "file:ca/issuing.key", "KEY_PASSPHRASE_WRONG"),
        (lambda _: PASSPHRASE, "file:ca/other.key", "KEY_MISSING"),
    ):
        keys = load_keys([], tmp_path, lambda _: PASSPHRASE, later=later)
        with pytest.raises(FailedPrecondition) as refused:
            keys.check(reference, "issuing", issuing.public_key_der)
        assert refused.value.reason == reason
        assert str(tmp_path) not in refused.value.message
        assert refused.value.__suppress_context__


def test_a_scheme_of_a_later_release_stops_the_start(ca: Ca, tmp_path: Path) -> None:
    """It does not run with an issuer less."""
    _, issuing = ca.authority.issuers()
    with pytest.raises(FailedPrecondition) as refused:
        load_keys([replace(issuing, key_ref="pkcs11:token=ca")], tmp_path, lambda _: PASSPHRASE)
    assert refused.value.reason == "KEY_REFERENCE_UNKNOWN"


class Module(ec.EllipticCurvePrivateKey):
    """A key as a hardware module would have it: it signs, and never shows itself."""

    def __init__(self, inside: ec.EllipticCurvePrivateKey) -> None:
        self._inside = inside
        self.signed = 0

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """Count, and have it signed."""
        self.signed += 1
        return self._inside.sign(data, signature_algorithm)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public key."""
        return self._inside.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        """Its curve."""
        return self._inside.curve

    @property
    def key_size(self) -> int:
        """Its size in bits."""
        return self._inside.key_size

    def exchange(self, *_: object) -> bytes:
        """Never."""
        raise NotImplementedError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """Never."""
        raise NotImplementedError

    def private_bytes(self, *_: object, **__: object) -> bytes:
        """Never."""
        raise NotImplementedError

    def __copy__(self) -> Module:
        return self

    def __deepcopy__(self, _memo: object) -> Module:
        return self


def test_there_is_room_for_keys_in_hardware(
    database: Database, writer: Writer, ca: Ca, hierarchy: Hierarchy, issuer: Actor
) -> None:
    """An object that does nothing but sign is enough (docs/decisions/key-stores.md)."""
    assert isinstance(hierarchy.issuing_key, ec.EllipticCurvePrivateKey)
    module = Module(hierarchy.issuing_key)
    settings = AuthoritySettings(public_url="http://x")
    authority = CertificateAuthority(database, writer, HeldKeys({"issuing": module}), settings, clock=ca.clock)
    issued = authority.issue(IssueCommand(csr_der=make_csr()), issuer).certificate
    leaf = x509.load_der_x509_certificate(issued.der or b"")
    leaf.verify_directly_issued_by(hierarchy.issuing)
    assert module.signed == 1


def test_a_key_that_cannot_be_read_stops_the_start(ca: Ca, tmp_path: Path) -> None:
    """A folder in its place, for one."""
    (tmp_path / "ca" / "issuing.key").mkdir(parents=True)
    with pytest.raises(FailedPrecondition) as refused:
        load_keys(ca.authority.issuers(), tmp_path, lambda _: PASSPHRASE)
    assert refused.value.reason == "KEY_UNREADABLE"
