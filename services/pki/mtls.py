"""Credentials for the gRPC services: a root of their own, and the certificates of servers and clients below it.

The root is never an issuer of the CA service, and no profile emits names in the trust domain, so that whoever may
issue certificates cannot make an identity. A client certificate holds one URI and no other name:
`spiffe://<trust domain>/<role>/<name>`. It cannot serve, and a server certificate cannot call.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.errors import InvalidArgument, Unauthenticated
from services.pki.builder import begin_certificate, key_identifier
from services.pki.certificates import BACK_DATING, key_usage
from services.pki.issuers import Issuer, PrivateKey, signature_hash
from services.pki.names import SubjectAlternativeNames, check_names

TRUST_DOMAIN = "goodstanding"
ROLES = ("admin", "issuer", "revoker", "reader", "responder", "importer")
CREDENTIAL_VALIDITY = timedelta(days=90)
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
_INVALID = "CREDENTIAL_IDENTITY_INVALID"


def identity_uri(role: str, name: str, trust_domain: str = TRUST_DOMAIN) -> str:
    """The URI of an identity.

    Raises InvalidArgument (CREDENTIAL_IDENTITY_INVALID, on `role`, `name` or `trust_domain`).
    """
    if role not in ROLES:
        raise InvalidArgument(_INVALID, f"not a role; one of {', '.join(ROLES)}", field="role")
    if not _NAME.fullmatch(name):
        text = "a name has 1 to 64 letters, digits, dots, hyphens and underscores, with a letter or digit at both ends"
        raise InvalidArgument(_INVALID, text, field="name")
    if not _TRUST_DOMAIN.fullmatch(trust_domain):
        text = "a trust domain has lower-case letters, digits, dots, hyphens and underscores"
        raise InvalidArgument(_INVALID, text, field="trust_domain")
    return f"spiffe://{trust_domain}/{role}/{name}"


def parse_identity(uri: str, trust_domain: str = TRUST_DOMAIN) -> tuple[str, str]:
    """Read (role, name) out of the URI of a verified client certificate, character by character as we write it.

    Raises Unauthenticated (CREDENTIAL_IDENTITY_INVALID).
    """
    role, _, name = uri.removeprefix(f"spiffe://{trust_domain}/").partition("/")
    if role in ROLES and _NAME.fullmatch(name) and uri == f"spiffe://{trust_domain}/{role}/{name}":
        return role, name
    raise Unauthenticated(_INVALID, "the client certificate does not name a role in this trust domain")


def make_tls_ca(
    *,
    key: PrivateKey,
    now: datetime,
    trust_domain: str = TRUST_DOMAIN,
    validity: timedelta = timedelta(days=3652),
    serial: bytes | None = None,
) -> x509.Certificate:
    """Make the root of the credentials. It issues no CAs (pathLen 0)."""
    name = _name(f"{trust_domain} services")
    identifier = key_identifier(key)
    builder = begin_certificate(name, name, key, now, now + validity, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(key_usage(digital_signature=False, ca=True), critical=True)
    builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier(identifier.digest, None, None), critical=False)
    return builder.sign(key, signature_hash(key))  # type: ignore[arg-type]


def make_server_credential(
    *,
    ca: x509.Certificate,
    ca_key: PrivateKey,
    key: PrivateKey,
    now: datetime,
    names: Sequence[str] = (),
    validity: timedelta = CREDENTIAL_VALIDITY,
    serial: bytes | None = None,
) -> x509.Certificate:
    """Make a server's certificate: localhost, 127.0.0.1, ::1, then `names` (DNS names and addresses); serverAuth only.

    Raises InvalidArgument (NAME_INVALID, ...) for names that are neither.
    """
    wanted = (*LOCAL_NAMES, *names)
    asked = SubjectAlternativeNames(
        dns=tuple(name for name in wanted if not _is_address(name)),
        ip=tuple(name for name in wanted if _is_address(name)),
    )
    sans = check_names(asked, allowed_kinds={"dns", "ip"}, trust_domain="", field="names", indexed=False)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    return _credential(Issuer(ca, ca_key), key, now, validity, serial, sans, purpose, "goodstanding server")


def make_client_credential(
    *,
    ca: x509.Certificate,
    ca_key: PrivateKey,
    key: PrivateKey,
    identity: str,
    now: datetime,
    validity: timedelta = CREDENTIAL_VALIDITY,
    serial: bytes | None = None,
) -> x509.Certificate:
    """Make a client's certificate: `identity` (of `identity_uri`) as its single name; clientAuth only."""
    sans = SubjectAlternativeNames(uri=(identity,))
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH
    common_name = identity.rpartition("/")[2][:64] or "client"
    return _credential(Issuer(ca, ca_key), key, now, validity, serial, sans, purpose, common_name)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER, in lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _credential(
    issuer: Issuer,
    key: PrivateKey,
    now: datetime,
    validity: timedelta,
    serial: bytes | None,
    sans: SubjectAlternativeNames,
    purpose: x509.ObjectIdentifier,
    common_name: str,
) -> x509.Certificate:
    start = max(now, issuer.not_before + BACK_DATING)
    # Both ends count (RFC 5280, section 4.1.2.5), so that a renewal is as long as what it renews.
    last = min(start - BACK_DATING + validity - timedelta(seconds=1), issuer.not_after)
    builder = begin_certificate(issuer.name, _name(common_name), key, start, last, serial)
    builder = builder.add_extension(issuer.authority_key_identifier, critical=False)
    builder = builder.add_extension(key_identifier(key), critical=False)
    builder = builder.add_extension(key_usage(), critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    builder = builder.add_extension(sans.to_extension(), critical=False)
    return builder.sign(issuer.private_key, issuer.hash_algorithm)  # type: ignore[arg-type]


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
