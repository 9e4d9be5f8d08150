"""The TLS files of a server, read again when they change.

Every handshake looks whether a file changed; files that cannot be used (half written, key of another certificate) are
logged once, and the ones in use stay in use until the next handshake finds better ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.config import ConfigError

_logger = structlog.get_logger(__name__)
_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a server: root of the client certificates, own certificate and key (PEM)."""

    root: Path
    certificate: Path
    key: Path


class CertificateReader:
    """Makes server credentials that follow the files. Raises ConfigError when the files cannot be used at first."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = self._current_stamp()
        self._complained: _Stamp | None = None
        self._initial = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Server credentials that require a client certificate of the root."""
        return grpc.dynamic_ssl_server_credentials(
            self._initial,
            self._fetch,  # type: ignore[arg-type]  # the stub does not know that None means no change
            require_client_authentication=True,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC, on a thread of its own, before each handshake. It must not raise."""
        stamp: _Stamp | None = None
        try:
            stamp = self._current_stamp()
            if stamp == self._stamp:
                return None
            configuration = self._read()
        except Exception as error:  # noqa: BLE001 - raising here would refuse every client
            self._complain(stamp, error)
            return None
        self._stamp = stamp
        _logger.info("tls files changed and were read again", certificate=str(self._files.certificate))
        return configuration

    def _complain(self, stamp: _Stamp | None, error: Exception) -> None:
        if stamp is None or stamp != self._complained:
            _logger.error("tls files changed and cannot be used; the old ones stay in use", error=str(error))
        self._complained = stamp

    def _current_stamp(self) -> _Stamp:
        return tuple(_stamp_of(path) for path in (self._files.root, self._files.certificate, self._files.key))

    def _read(self) -> grpc.ServerCertificateConfiguration:
        root, certificate, key = (
            _content(path) for path in (self._files.root, self._files.certificate, self._files.key)
        )
        _check_certificates(root, self._files.root)
        leaf = _check_certificates(certificate, self._files.certificate)
        _check_key(key, leaf, self._files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root)


def _stamp_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _check_certificates(content: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except ValueError:
        raise ConfigError(f"{path}: is not a certificate in PEM; make one: goodstanding credential new") from None


def _check_key(content: bytes, leaf: x509.Certificate, files: TlsFiles) -> None:
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        raise ConfigError(f"{files.key}: is not an unencrypted private key in PEM") from None
    if key.public_key() != leaf.public_key():
        raise ConfigError(f"{files.key}: is not the key of the certificate {files.certificate}")
