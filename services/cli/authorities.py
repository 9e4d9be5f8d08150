"""The authorities of a data folder as the commands on the CA's host work with them.

Certificates and states come from the ca service; keys are files, opened here with their passphrases and never sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.ca.hierarchy import check_name
from services.cli import output
from services.cli.client import connect
from services.cli.failures import Failed
from services.cli.files import sync_folder, write_file
from services.cli.folder import DataFolder
from services.cli.options import Connection
from services.cli.settings import readable
from services.config import Settings, load_settings, passphrase_file
from services.passphrases import PassphraseError, read_passphrase
from services.pki import der, keys
from services.pki.issuers import Issuer, PrivateKey
from services.pki.profiles import OCSP_RESPONDER
from services.rpc.client import metadata_of

_CURVES = {"secp256r1": "p-256", "secp384r1": "p-384", "secp521r1": "p-521"}


@dataclass(frozen=True)
class KeyPlace:
    """Where a key is, and its passphrase."""

    name: str
    file: Path
    passphrase: Path | None

    def open(self) -> PrivateKey:
        """Read the key; asks for the passphrase on a terminal if nothing tells it. Raises Failed."""
        try:
            content = self.file.read_bytes()
            encrypted = b"ENCRYPTED" in content
            given = read_passphrase(self.name, file=self.passphrase) if encrypted else None
            return keys.load_key(content, given)
        except (keys.KeyUnusable, PassphraseError) as error:
            text = f"cannot open {self.file}: {getattr(error, 'message', error)}"
            if isinstance(error, PassphraseError) and self.passphrase is None:
                text += "; or name its file with --passphrase-file"
            raise Failed(text) from None


class Office:
    """A data folder with its ca service. Each call connects anew: between two of them a person may be asked."""

    def __init__(self, connection: Connection) -> None:
        """Raises Failed: no data folder, or a configuration that cannot be used."""
        self.connection = connection
        self.folder = DataFolder(connection.data)
        self.folder.require()
        with readable():
            self.settings: Settings = load_settings(self.folder.config)

    @property
    def public_url(self) -> str:
        """Where clients find the gateway: as the services that run have been told, or else as configured."""
        running = self.folder.running()
        return (running.public_url if running else self.settings.ca.public_url).rstrip("/")

    @cached_property
    def issuers(self) -> dict[str, types_pb2.Issuer]:
        """The issuers by name, as they are when this is first asked for."""
        return self.fetch()

    def fetch(self) -> dict[str, types_pb2.Issuer]:
        """The issuers by name, as they are now."""
        with connect(self.connection, "ca") as ca:
            stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
            response = ca.call(stub.ListIssuers, ca_pb2.ListIssuersRequest())
        return {issuer.name: issuer for issuer in response.issuers}

    def issuer(self, name: str) -> types_pb2.Issuer:
        """The issuer of that name. Raises Failed."""
        if name not in self.issuers:
            raise Failed(f"there is no issuer {name}: see `goodstanding ca list`")
        return self.issuers[name]

    def above(self, issuer: types_pb2.Issuer) -> types_pb2.Issuer:
        """The issuer above one; itself for a root."""
        if not issuer.chain_der:
            return issuer
        return next(other for other in self.issuers.values() if issuer.chain_der[0] in other.certificates_der)

    def known(self, certificate: x509.Certificate) -> types_pb2.Issuer | None:
        """The issuer that a CA certificate is for, if it is known."""
        wanted = der.subject_der(certificate), der.public_key_der(certificate)
        found = (each for each in self.issuers.values() if (each.subject_der, each.public_key_der) == wanted)
        return next(found, None)

    def place(self, name: str, key: Path | None, passphrase: Path | None, option: str) -> KeyPlace:
        """Where the key of an authority is: as given with `option`, or where `init` puts it.

        Raises Failed where it is not.
        """
        file = key or self.folder.authorities / f"{name}.key"
        if not file.is_file():
            cure = f"bring it there for the time being, or name its file with {option}"
            raise Failed(f"the key of {name} is not at {file}: {cure}")
        return KeyPlace(name, file, passphrase or passphrase_file(self.settings, name))

    def require_free(self, name: str) -> None:
        """Raise Failed where a name is no name for an issuer, or an issuer or files of that name are there already."""
        check_name(name)
        if name in self.issuers:
            raise Failed(f"there is an issuer {name} already: choose another name")
        for file in self.files(name):
            if file.exists():
                raise Failed(f"{file} is there already: choose another name, or `goodstanding ca import` what is there")

    def files(self, name: str) -> tuple[Path, ...]:
        """What the making of an authority writes."""
        at = self.folder.authorities
        return (
            at / f"{name}.key",
            self.folder.secrets / f"{name}.passphrase",
            at / f"{name}.pem",
            at / f"{name}-chain.pem",
        )

    def save_key(self, name: str, key: PrivateKey) -> None:
        """Write a key, encrypted under a new random passphrase, and the passphrase."""
        key_file, passphrase, *_ = self.files(name)
        secret = secrets.token_urlsafe(32).encode()
        write_file(passphrase, secret + b"\n", private=True)
        write_file(key_file, keys.encrypt_key(key, secret), private=True)
        sync_folder(key_file.parent)
        sync_folder(passphrase.parent)

    def save_certificate(self, name: str, chain: Sequence[x509.Certificate]) -> None:
        """Write a CA certificate, and one file with those above it."""
        *_, certificate, together = self.files(name)
        pem = [each.public_bytes(Encoding.PEM) for each in chain]
        write_file(certificate, pem[0], private=False)
        write_file(together, b"".join(pem), private=False)
        sync_folder(certificate.parent)

    def valid(self, name: str) -> int:
        """How many certificates of an issuer are valid, those of its responders left out. Raises Failed."""
        with connect(self.connection, "ca") as ca:
            stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
            counts = ca.call(stub.CountCertificates, ca_pb2.CountCertificatesRequest(issuer=name)).counts
        return sum(each.valid for each in counts if each.profile != OCSP_RESPONDER)

    def is_revoked(self, issuer: types_pb2.Issuer) -> bool:
        """Whether the certificate of an issuer that its chain goes through is revoked or on hold. Raises Failed."""
        request = ca_pb2.GetCertificateRequest()
        request.issuer_and_serial_number.issuer = self.above(issuer).name
        request.issuer_and_serial_number.serial_number = f"{certificates(issuer)[0].serial_number:x}"
        with connect(self.connection, "ca") as ca:
            stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
            return ca.call(stub.GetCertificate, request).certificate.HasField("revocation")

    def is_blocked(self, public_key_der: bytes) -> bool:
        """Whether a key is one that is never certified again. Raises Failed."""
        request = ca_pb2.ListBlockedPublicKeysRequest(public_key_sha256=sha256(public_key_der).digest())
        with connect(self.connection, "ca") as ca:
            stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
            return bool(ca.call(stub.ListBlockedPublicKeys, request).keys)

    def record(self, request: ca_pb2.ImportIssuerRequest) -> ca_pb2.ImportIssuerResponse:
        """Have the ca service record an issuer. Raises Failed."""
        with connect(self.connection, "ca") as ca:
            stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
            return ca.call(stub.ImportIssuer, request, retry="`goodstanding ca list` tells whether it was recorded")

    def update(self, name: str, state: types_pb2.IssuerState.ValueType) -> types_pb2.Issuer:
        """Have the ca service retire an issuer or make it active. Raises Failed."""
        with connect(self.connection, "ca") as ca:
            stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
            return ca.call(stub.UpdateIssuer, ca_pb2.UpdateIssuerRequest(name=name, state=state)).issuer

    def record_crl(self, name: str, der: bytes) -> None:
        """Have the ca service record a revocation list. Raises Failed."""
        request = ca_pb2.ImportCertificateRevocationListRequest(issuer=name, crl_der=der)
        with connect(self.connection, "ca") as ca:
            ca.call(ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel).ImportCertificateRevocationList, request)

    def record_numbered_crl(self, name: str, sign: Callable[[int], bytes], number: int) -> int:
        """The same for a list with that number; where it was used before the issuer came in, with the next free one.

        Returns the number that it was. Raises Failed.
        """
        try:
            self.record_crl(name, sign(number))
        except Failed as error:
            used = int(metadata_of(error.__cause__).get("last_number", "0"))
            if used < number:
                raise
            number = used + 1
            self.record_crl(name, sign(number))
        return number

    def latest_crl(self, name: str) -> x509.CertificateRevocationList | None:
        """The list that is served now. Raises Failed."""
        request = status_pb2.GetCertificateRevocationListRequest(issuer=name)
        with connect(self.connection, "status") as status:
            stub = status_pb2_grpc.CertificateStatusServiceStub(status.channel)
            try:
                found = status.call(stub.GetCertificateRevocationList, request)
            except Failed as error:
                cause = error.__cause__
                if isinstance(cause, grpc.Call) and cause.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                raise
        return x509.load_der_x509_crl(found.crl_der)

    def revoked(self, name: str) -> list[types_pb2.Certificate]:
        """All certificates of an issuer that are revoked or on hold. Raises Failed."""
        found: list[types_pb2.Certificate] = []
        token = ""
        while True:
            request = ca_pb2.ListCertificatesRequest(
                page_size=1000, page_token=token, issuer=name, state=types_pb2.CERTIFICATE_STATE_REVOKED
            )
            with connect(self.connection, "ca") as ca:
                page = ca.call(ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel).ListCertificates, request)
            found += page.certificates
            token = page.next_page_token
            if not token:
                return found


def certificates(issuer: types_pb2.Issuer) -> list[x509.Certificate]:
    """The CA certificates of an issuer, the preferred one first."""
    return [x509.load_der_x509_certificate(der) for der in issuer.certificates_der]


def chain_of(issuer: types_pb2.Issuer) -> list[x509.Certificate]:
    """The preferred CA certificate of an issuer with those above it."""
    return [certificates(issuer)[0], *(x509.load_der_x509_certificate(der) for der in issuer.chain_der)]


def with_key(issuer: types_pb2.Issuer, place: KeyPlace) -> Issuer:
    """An issuer ready to sign. Raises Failed."""
    try:
        return Issuer(certificates(issuer)[0], place.open())
    except ValueError as error:
        raise Failed(f"{place.file} cannot sign for {issuer.name}: {error}") from error


def key_type_of(key: PublicKeyTypes) -> str:
    """A kind of key as users spell it."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, key.curve.name)
    name = type(key).__name__.removesuffix("PublicKey")
    return f"ml-dsa-{name[-2:]}" if name.startswith("MLDSA") else name.lower()


def state_of(issuer: types_pb2.Issuer) -> str:
    """Whether it issues."""
    return output.ISSUER_STATE_NAMES.get(issuer.state, str(issuer.state))
