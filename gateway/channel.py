"""mTLS channels to the services, remade when the credential's files change.

Files that are being written do no harm: a channel is only remade with a certificate and a key that belong together.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc import aio

# A service that comes back is used again within half a second; gRPC alone would wait up to two minutes.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
_GRACE = 30.0


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Where the client credential is (PEM, the key unencrypted), and the root that servers are checked against."""

    root: Path
    certificate: Path
    key: Path

    def version(self) -> tuple[int, ...]:
        """Changes whenever one of the files does."""
        return tuple(file.stat().st_mtime_ns for file in (self.root, self.certificate, self.key))

    def load(self) -> grpc.ChannelCredentials:
        """Credentials for gRPC.

        Raises OSError: a file cannot be read, or does not belong to the others.
        """
        root, certificate, key = (file.read_bytes() for file in (self.root, self.certificate, self.key))
        self._check(root, certificate, key)
        return grpc.ssl_channel_credentials(root, key, certificate)

    def _check(self, root: bytes, certificate: bytes, key: bytes) -> None:
        # gRPC itself would take anything, and then fail every call.
        try:
            x509.load_pem_x509_certificates(root)
            public_key = x509.load_pem_x509_certificate(certificate).public_key()
            fits = load_pem_private_key(key, None).public_key() == public_key
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            files = f"{self.root}, {self.certificate}, {self.key}"
            raise OSError(f"{files}: not all of them can be read as PEM: {error}") from error
        if not fits:
            raise OSError(f"{self.key} is not the key of {self.certificate}")


def is_ours() -> bool:
    """Whether a CancelledError is for the task that caught it.

    gRPC raises it too when a call ends because its channel was closed; whoever takes that for his own end is gone.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class ServiceChannel:
    """A channel to one service. Ask `current` for it each time; don't keep it."""

    def __init__(self, address: str, files: CredentialFiles) -> None:
        self._address = address
        self._files = files
        self._version = files.version()
        self._channel = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> aio.Channel:
        """The channel to use for the next call."""
        return self._channel

    def _open(self) -> aio.Channel:
        return aio.secure_channel(self._address, self._files.load(), options=_OPTIONS)

    def refresh(self) -> None:
        """Open another channel if the credential's files have changed; calls on the old one may end in peace.

        Raises OSError: the files cannot be used; the channel stays as it is.
        """
        version = self._files.version()
        if version != self._version:
            self.reopen()
            self._version = version

    def reopen(self) -> None:
        """Open another channel, such as when the old one is stuck.

        Raises OSError: the files cannot be used; the channel stays as it is.
        """
        old, self._channel = self._channel, self._open()
        closing = asyncio.get_running_loop().create_task(old.close(_GRACE))
        # The loop itself would forget it.
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()
