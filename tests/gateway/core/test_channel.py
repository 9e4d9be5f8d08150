"""Credential files that change: a channel is only remade with what fits together, and old ones are closed."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.channel import CredentialFiles, ServiceChannel
from tests.gateway.core.world import authority

pytestmark = pytest.mark.asyncio

_EC_KEY = bytes.fromhex("06072a8648ce3d0201")


def pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """Both as PEM."""
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), key_pem


@pytest.fixture
def files(tmp_path: Path) -> CredentialFiles:
    """A root, and a credential."""
    found = CredentialFiles(tmp_path / "ca.pem", tmp_path / "gateway.pem", tmp_path / "gateway.key")
    certificate, key = pem(*authority("gateway"))
    found.root.write_bytes(certificate)
    found.certificate.write_bytes(certificate)
    found.key.write_bytes(key)
    return found


def _odd(certificate: bytes) -> list[bytes]:
    """The same as of a version that there is not, and of a kind of key that nobody knows."""
    der = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    changes = (bytes.fromhex("a003020102"), bytes.fromhex("a003020107")), (_EC_KEY, _EC_KEY[:-1] + b"\x63")
    odd = [der.replace(before, after) for before, after in changes]
    return [ssl.DER_cert_to_PEM_cert(each).encode() for each in odd]


async def test_files_that_are_being_written_do_no_harm(files: CredentialFiles) -> None:
    """Half a file, or the certificate of one key with another: the channel stays, until all is in its place."""
    channel = ServiceChannel("127.0.0.1:1", files)
    first = channel.current
    certificate, key = pem(*authority("renewed"))
    halves = [certificate[:200], b"", certificate]
    for number, half in enumerate([*halves, *_odd(certificate)]):
        files.certificate.write_bytes(half)
        os.utime(files.certificate, ns=(1, number))
        with pytest.raises(OSError, match=r"as PEM|key of"):
            channel.refresh()
        assert channel.current is first
    files.certificate.write_bytes(certificate)
    files.key.write_bytes(key)
    channel.refresh()
    assert channel.current is not first
    await channel.close()


async def test_an_old_channel_is_closed_in_the_background(
    files: CredentialFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls on it may end first; somebody has to remember the task until then."""
    monkeypatch.setattr("gateway.channel._GRACE", 0.0)
    channel = ServiceChannel("127.0.0.1:1", files)
    channel.reopen()
    assert len(channel._closing) == 1
    await asyncio.gather(*channel._closing)
    await asyncio.sleep(0)
    assert not channel._closing
    await channel.close()
