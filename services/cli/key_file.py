"""Files that hold a public key in some form. A private key's public half is all that ever leaves this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.failures import Failed
from services.cli.options import first_certificate, is_pem, read

if TYPE_CHECKING:
    from goodstanding.ca.v1.ca_pb2 import PublicKeySelection


def read_key(file: Path) -> PublicKeySelection:
    """The key of a certificate, certificate request, public or private key, in PEM or DER (-: standard input).

    Raises Failed, naming the file, for anything else and for encrypted keys.
    """
    from services.pki.unreadable import UNREADABLE

    content = read(file)
    for reader in (_certificate, _request, _public, _private):
        try:
            return reader(content)
        except UNREADABLE:
            continue
    name = "standard input" if str(file) == "-" else file
    if b"ENCRYPTED" in content:
        raise Failed(f"{name} is encrypted; give its certificate or public key (openssl pkey -in FILE -pubout) instead")
    raise Failed(f"{name} holds no certificate, certificate request or key, neither in PEM nor in DER")


def _certificate(content: bytes) -> PublicKeySelection:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from goodstanding.ca.v1.ca_pb2 import PublicKeySelection

    first = first_certificate(content)
    load = x509.load_pem_x509_certificate if is_pem(first) else x509.load_der_x509_certificate
    return PublicKeySelection(certificate_der=load(first).public_bytes(Encoding.DER))


def _request(content: bytes) -> PublicKeySelection:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from goodstanding.ca.v1.ca_pb2 import PublicKeySelection

    load = x509.load_pem_x509_csr if is_pem(content) else x509.load_der_x509_csr
    return PublicKeySelection(csr_der=load(content).public_bytes(Encoding.DER))


def _public(content: bytes) -> PublicKeySelection:
    from cryptography.hazmat.primitives import serialization

    from goodstanding.ca.v1.ca_pb2 import PublicKeySelection

    load = serialization.load_pem_public_key if is_pem(content) else serialization.load_der_public_key
    return PublicKeySelection(public_key_der=_spki(load(content)))


def _private(content: bytes) -> PublicKeySelection:
    from cryptography.hazmat.primitives import serialization

    from goodstanding.ca.v1.ca_pb2 import PublicKeySelection

    load = serialization.load_pem_private_key if is_pem(content) else serialization.load_der_private_key
    return PublicKeySelection(public_key_der=_spki(load(content, None).public_key()))


def _spki(key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded
