"""Credential files that change: a channel is only remade with what fits together, and old ones are closed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.channel import CredentialFiles, ServiceChannel
from tests.gateway.core.world import authority

pytestmark = pytest.mark.asyncio


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


async def test_files_that_are_being_written_do_no_harm(files: CredentialFiles) -> None:
    """Half a file, or the certificate of one key with another: the channel stays, until all is in its place."""
    channel = ServiceChannel("127.0.0.1:1", files)
    first = channel.current
    certificate, key = pem(*authority("renewed"))
    for half in (certificate[:200], b"", certificate):
        files.certificate.write_bytes(half)
        os.utime(files.certificate, ns=(1, len(half)))
        with pytest.raises(OSError, match=r"PEM|key of"):
            channel.refresh()
        assert channel.current is first
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
