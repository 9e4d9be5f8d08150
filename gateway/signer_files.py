"""A signer's certificate and key in files: read, and checked as strictly as the strictest client would (R64–R66).

What is wrong is said with the name of the file and the cure; nothing of a key or a passphrase is ever in it. In two
steps, because the issuer is not known before the status service has told of it:

1. `load_pair`: readable, passphrase, kind of key, belonging together, dates, usages;
2. `signer_of`: a delegate that the issuer's very key signed, or the issuer's own certificate (direct signing).
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.delegation import check_issued_by, end_of, public_key_of
from gateway.issuers import Issuer
from gateway.ocsp.algorithms import UnsupportedKey, signature_algorithm
from gateway.ocsp.response import ResponseSigner
from gateway.passphrases import PassphraseError
from gateway.portable import PortableSigner

ExtensionType = TypeVar("ExtensionType", bound=x509.ExtensionType)

_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)


class UnusableSigner(Exception):
    """A certificate and key that cannot sign, or that clients would not believe."""


@dataclass(frozen=True, slots=True)
class SignerPaths:
    """Where a signer's files are."""

    name: str
    """What its passphrase is called."""
    certificate: Path
    key: Path
    passphrase_file: Path | None = None

    def is_encrypted(self) -> bool:
        """Whether it takes a passphrase to open the key; False, too, where the file cannot be read."""
        try:
            return _is_encrypted(self.key.read_bytes())
        except OSError:
            return False

    def version(self) -> tuple[object, ...]:
        """Changes whenever one of the files does."""
        return tuple(map(_version, (self.certificate, self.key, self.passphrase_file)))


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    paths: SignerPaths
    certificate: x509.Certificate
    key: PrivateKeyTypes


def load_pair(paths: SignerPaths, now: datetime, passphrase: Callable[[], bytes]) -> Pair:
    """Read and check what can be checked without the issuer; `passphrase` is asked if the key is encrypted.

    Raises UnusableSigner.
    """
    certificate = _certificate(paths)
    key = _key(paths, passphrase)
    try:
        signature_algorithm(key)
    except UnsupportedKey as error:
        raise UnusableSigner(f"{paths.key}: {error}") from None
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public_key_of(certificate):
        raise UnusableSigner(f"{paths.key} is not the key of {paths.certificate}: give the two that belong together")
    if certificate.not_valid_after_utc <= now:
        end = certificate.not_valid_after_utc.isoformat()
        raise UnusableSigner(
            f"{paths.certificate} has expired at {end}: have another one issued, or take this signer out of the "
            "configuration, so that the gateway has its own certified by the CA service"
        )
    if certificate.not_valid_before_utc > now:
        begin = certificate.not_valid_before_utc.isoformat()
        raise UnusableSigner(f"{paths.certificate} is not valid before {begin}: wait, or correct this machine's clock")
    _check_usages(paths, certificate)
    return Pair(paths, certificate, key)


def signer_of(pair: Pair, issuer: Issuer, *, by_name: bool = False) -> ResponseSigner:
    """The signer that a pair makes for an issuer; `by_name`: answers name the responder by its subject (R55).

    Raises UnusableSigner: clients would not believe it for this issuer.
    """
    certificate, file = pair.certificate, pair.paths.certificate
    is_issuers_key = public_key_of(certificate) == issuer.public_key_der
    direct = is_issuers_key and certificate.subject.public_bytes() == issuer.subject_der
    if not direct:
        if not _signs_ocsp(certificate):
            raise UnusableSigner(
                f"{file} is neither the certificate of {issuer.name} nor a responder certificate, for it lacks the "
                f"extended key usage OCSPSigning: have one with it issued by {issuer.name}"
            )
        if isinstance(certificate.signature_hash_algorithm, _WEAK_HASHES):
            raise UnusableSigner(f"{file} is signed with SHA-1 or MD5, which clients refuse: have another one issued")
        try:
            check_issued_by(certificate, issuer)
        except ValueError as error:
            raise UnusableSigner(
                f"{file} cannot speak for {issuer.name}: {error}; have one issued by {issuer.name} itself"
            ) from None
    return PortableSigner(pair.key, certificate, by_name=by_name, direct=direct, not_after=end_of(issuer))


def has_nocheck(certificate: x509.Certificate) -> bool:
    """Whether clients need not ask if the certificate is revoked (RFC 6960, section 4.2.2.2.1)."""
    return _extension(certificate, x509.OCSPNoCheck) is not None


def _version(file: Path | None) -> object:
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except PermissionError:
        raise UnusableSigner(
            f"{file} cannot be read: it, or a folder above it, does not let in the user of this process "
            f"({os.geteuid()}); give that user the right to read it"
        ) from None
    except OSError as error:
        raise UnusableSigner(f"{file} cannot be read: {error.strerror}") from None


def _require_private(file: Path, what: str) -> None:
    """Raises UnusableSigner: anybody on this machine can read it, and so sign, or could have."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # whoever reads it says why that cannot be done
    if mode & stat.S_IRWXO:
        raise UnusableSigner(
            f"{file} holds {what}, and others than its owner and group have access to it: "
            f"chmod o= {shlex.quote(str(file))}"
        )


def _is_encrypted(pem: bytes) -> bool:
    return any(mark in pem for mark in _ENCRYPTED)


def _certificate(paths: SignerPaths) -> x509.Certificate:
    file = paths.certificate
    pem = _read(file)
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
        # What is decoded only when it is asked for: all of it, now.
        _ = certificate.extensions, certificate.public_key(), certificate.subject.public_bytes()
        _ = certificate.signature_hash_algorithm
    except Exception as error:  # whatever the library makes of it
        raise UnusableSigner(f"{file} holds no certificate in PEM that can be read: BEGIN CERTIFICATE …") from error
    return certificate


def _key(paths: SignerPaths, passphrase: Callable[[], bytes]) -> PrivateKeyTypes:
    pem = _read(paths.key)
    if b"PRIVATE KEY-----" not in pem:
        raise UnusableSigner(f"{paths.key} holds no private key in PEM: BEGIN PRIVATE KEY …")
    encrypted = _is_encrypted(pem)
    if paths.passphrase_file is not None and not encrypted:
        raise UnusableSigner(
            f"{paths.key} is not encrypted, although there is a passphrase_file: openssl pkcs8 -topk8 -scrypt encrypts "
            "it, or take passphrase_file out"
        )
    if not encrypted:
        _require_private(paths.key, "a key that is not encrypted")
    elif paths.passphrase_file is not None:
        _require_private(paths.passphrase_file, "a passphrase")
    try:
        return load_pem_private_key(pem, passphrase() if encrypted else None)
    except PassphraseError as error:
        raise UnusableSigner(f"{paths.key}: {error}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is left out on purpose (from None): it may quote what it could not read.
        if encrypted:
            raise UnusableSigner(
                f"the passphrase does not open {paths.key}: is it the one that belongs to this file?"
            ) from None
        raise UnusableSigner(f"{paths.key} is damaged, or of an unknown kind: restore it from a backup") from None


def _check_usages(paths: SignerPaths, certificate: x509.Certificate) -> None:
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise UnusableSigner(
            f"{paths.certificate}: its key usage lacks digitalSignature, so that clients refuse what it signs (R64); "
            "have a responder certificate issued, or the CA's own again with digitalSignature"
        )
    constraints = _extension(certificate, x509.BasicConstraints)
    if not _signs_ocsp(certificate) and not (constraints is not None and constraints.ca):
        raise UnusableSigner(
            f"{paths.certificate} is neither a CA's certificate nor a responder certificate, for it lacks the extended "
            "key usage OCSPSigning: have one with it issued"
        )


def _signs_ocsp(certificate: x509.Certificate) -> bool:
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    return usages is not None and ExtendedKeyUsageOID.OCSP_SIGNING in usages


def _extension(certificate: x509.Certificate, kind: type[ExtensionType]) -> ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
