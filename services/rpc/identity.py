"""Who calls: read from the verified client certificate of the connection, and from nothing else.

TLS has verified the chain and the dates at the handshake. What TLS does not look at is checked here for every call, so
that a connection does not outlive what its certificate allows:

1. there is a certificate;
2. it has not expired meanwhile;
3. it is for client authentication (EKU clientAuth) and no CA certificate;
4. it has exactly one name, a URI, that is an identity of our trust domain;
5. it is not on the deny list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.clock import rfc3339
from services.db.records import Actor
from services.errors import Unauthenticated
from services.pki.mtls import fingerprint, parse_identity

_NEW = "make a new one: goodstanding credential new"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of one RPC. `call_id` is made by the server for each call, and is in its logs."""

    identity: str
    name: str
    role: str
    fingerprint: str
    not_after: datetime
    peer: str
    call_id: str

    def actor(self, request_id: str = "") -> Actor:
        """The caller as records keep it. `request_id` is the one that came in the request."""
        return Actor(self.identity, self.name, self.role, self.fingerprint, self.peer, request_id)


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """The caller of the RPC that this code runs for. Raises LookupError outside an RPC."""
    return _caller.get()


def set_caller(caller: Caller) -> None:
    """Make `caller` the current one; for the interceptor, and for tests of use cases."""
    _caller.set(caller)


@dataclass(frozen=True, slots=True)
class _Credential:
    fingerprint: str
    not_before: datetime
    not_after: datetime
    for_clients: bool
    uri: str | None


class Authenticator:
    """Tells who calls, or raises Unauthenticated."""

    def __init__(self, *, trust_domain: str, is_denied: Callable[[str], bool], clock: Callable[[], datetime]) -> None:
        self._trust_domain = trust_domain
        self._is_denied = is_denied
        self._clock = clock

    def authenticate(self, auth_context: Mapping[str, Iterable[bytes]], peer: str, call_id: str) -> Caller:
        """Check the five things above, in that order.

        Raises Unauthenticated: CREDENTIAL_MISSING, CREDENTIAL_EXPIRED, CREDENTIAL_NOT_CLIENT_AUTH,
        CREDENTIAL_IDENTITY_INVALID or CREDENTIAL_DENIED.
        """
        certificates = list(auth_context.get("x509_pem_cert") or ())
        if len(certificates) != 1:  # 1
            raise Unauthenticated("CREDENTIAL_MISSING", "no client certificate; connect with one of this service's")
        credential = _read_credential(certificates[0])
        try:
            return self._checked(credential, list(auth_context.get("peer_uri") or ()), peer, call_id)
        except Unauthenticated as error:
            error.metadata["fingerprint"] = credential.fingerprint  # or the log could not say whose it is
            raise

    def _checked(self, credential: _Credential, peer_uris: list[bytes], peer: str, call_id: str) -> Caller:
        if not credential.not_before <= self._clock() <= credential.not_after:  # 2
            raise Unauthenticated(
                "CREDENTIAL_EXPIRED",
                f"the client certificate is valid until {rfc3339(credential.not_after)}; "
                "renew it: goodstanding credential renew",
            )
        if not credential.for_clients:  # 3
            raise Unauthenticated(
                "CREDENTIAL_NOT_CLIENT_AUTH", f"the certificate is not for clients (extended key usage); {_NEW}"
            )
        uri = _single_identity(credential, peer_uris)  # 4
        role, name = parse_identity(uri, self._trust_domain)
        if self._is_denied(credential.fingerprint):  # 5
            raise Unauthenticated("CREDENTIAL_DENIED", f"this client certificate was denied; {_NEW}")
        return Caller(uri, name, role, credential.fingerprint, credential.not_after, peer, call_id)


def _single_identity(credential: _Credential, peer_uris: list[bytes]) -> str:
    """The URI as TLS reports it. It has to be the only name, or one certificate could speak for two."""
    if credential.uri is None or peer_uris != [credential.uri.encode()]:
        raise Unauthenticated(
            "CREDENTIAL_IDENTITY_INVALID",
            f"the client certificate must have exactly one subject alternative name, a URI identity; {_NEW}",
        )
    return credential.uri


@lru_cache(maxsize=1024)
def _read_credential(pem: bytes) -> _Credential:
    """Parse once for each certificate, not for each call: a call on an open connection brings the same bytes."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return _Credential(
            fingerprint(certificate),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            _is_for_clients(certificate.extensions),
            _only_uri(certificate.extensions),
        )
    except ValueError as error:
        raise Unauthenticated("CREDENTIAL_MISSING", f"the client certificate cannot be read; {_NEW}") from error


def _is_for_clients(extensions: x509.Extensions) -> bool:
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages and not _is_authority(extensions)


def _is_authority(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _only_uri(extensions: x509.Extensions) -> str | None:
    try:
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return None
    if len(names) == 1 and isinstance(names[0], x509.UniformResourceIdentifier):
        return names[0].value
    return None
