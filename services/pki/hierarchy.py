"""CA certificates: a root, and an issuing CA below it (R95 to R99).

Both say digitalSignature beside keyCertSign and cRLSign only where they need it: the issuing CA, which may then sign
OCSP answers itself if there is ever no delegate (R64); the root does not.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID

from services.pki.builder import begin_certificate, key_identifier
from services.pki.certificates import BACK_DATING, key_usage
from services.pki.der import issuer_der
from services.pki.issuers import Issuer, PrivateKey, signature_hash
from services.pki.serials import new_serial, serial_to_int

ROOT_VALIDITY = timedelta(days=7305)
ISSUING_VALIDITY = timedelta(days=3652)


def ca_name(common_name: str, *, organization: str | None = None, country: str | None = None) -> x509.Name:
    """The subject of a CA: country, organisation, common name, in this order and one in each RDN (R105).

    Raises ValueError for an empty common name or one beyond 64 bytes, and a country that isn't two letters.
    """
    parts = (
        (NameOID.COUNTRY_NAME, country),
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value is not None])


def make_root(
    *,
    name: x509.Name | str,
    key: PrivateKey,
    now: datetime,
    validity: timedelta = ROOT_VALIDITY,
    serial: bytes | None = None,
) -> x509.Certificate:
    """Make a self-signed root. A `name` in text is its common name; without `serial`, a new one is drawn."""
    subject = _as_name(name)
    identifier = key_identifier(key)
    builder = _ca_builder(subject, subject, key, now, now + validity, serial, path_length=None)
    builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier(identifier.digest, None, None), critical=False)
    builder = builder.add_extension(key_usage(digital_signature=False, ca=True), critical=True)
    return builder.sign(key, signature_hash(key))  # type: ignore[arg-type]


def make_issuing(
    *,
    root: x509.Certificate,
    root_key: PrivateKey,
    name: x509.Name | str,
    key: PrivateKey,
    now: datetime,
    crl_url: str | None = None,
    ca_issuers_url: str | None = None,
    ocsp_url: str | None = None,
    validity: timedelta = ISSUING_VALIDITY,
    serial: bytes | None = None,
    path_length: int | None = 0,
    like: x509.Certificate | None = None,
) -> x509.Certificate:
    """Make a CA below another, called the root here; unless `path_length` says so it may issue no further CAs.

    `like` is a CA certificate that the new one takes the place of: what limits that one (`limits_to_keep`) limits the
    new one, too.

    `crl_url` is where the root's CRL is to be had, `ca_issuers_url` the root's certificate, `ocsp_url` a responder for
    the root; all go in as they are. It is cut to the root's validity (R93). Raises ValueError when `root_key` is not
    the root's, when both have the same name, and when the root's path length leaves no room for it.
    """
    parent = Issuer(root, root_key)
    subject = _as_name(name)
    require_room(root, subject, path_length)
    last = min(now + validity, parent.not_after)
    first = max(now, parent.not_before + BACK_DATING)
    builder = _ca_builder(parent.name, subject, key, first, last, serial, path_length)
    builder = builder.add_extension(key_identifier(key), critical=False)
    builder = builder.add_extension(parent.authority_key_identifier, critical=False)
    builder = builder.add_extension(key_usage(ca=True), critical=True)
    if access := _access(ocsp_url, ca_issuers_url):
        builder = builder.add_extension(x509.AuthorityInformationAccess(access), critical=False)
    if crl_url is not None:
        # One fullName, no reasons, no cRLIssuer (R98).
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    for extension in limits_to_keep(like) if like is not None else ():
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(root_key, parent.hash_algorithm)  # type: ignore[arg-type]


def renew(
    certificate: x509.Certificate,
    parent: Issuer,
    *,
    now: datetime,
    validity: timedelta | None = None,
    serial: bytes | None = None,
) -> x509.Certificate:
    """Make another certificate for a CA's key: the same in everything but serial number, validity and parent's key id.

    `parent` signs it; for a root, that is the CA itself. It is as long valid as the one before unless `validity` says
    otherwise, and cut to the parent's (R93). Raises ValueError when the parent has another name than the one before.
    """
    if parent.subject_der != issuer_der(certificate):
        raise ValueError("another CA than the one above it so far cannot renew a CA certificate")
    first, last = renewed_period(certificate, parent.certificate, now, validity)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(parent.name)
        .subject_name(certificate.subject)
        .public_key(certificate.public_key())
        .serial_number(serial_to_int(serial or new_serial()))
        .not_valid_before(first)
        .not_valid_after(last)
    )
    for extension in certificate.extensions:
        fresh = isinstance(extension.value, x509.AuthorityKeyIdentifier)
        builder = builder.add_extension(
            parent.authority_key_identifier if fresh else extension.value, critical=extension.critical
        )
    return builder.sign(parent.private_key, parent.hash_algorithm)  # type: ignore[arg-type]


def renewed_period(
    certificate: x509.Certificate, parent: x509.Certificate, now: datetime, validity: timedelta | None
) -> tuple[datetime, datetime]:
    """The first and the last second of what `renew` makes (UTC)."""
    length = validity or certificate.not_valid_after_utc - certificate.not_valid_before_utc
    first = max(now - BACK_DATING, parent.not_valid_before_utc).replace(microsecond=0)
    last = (first + length).replace(microsecond=0)
    own_root = certificate.subject == certificate.issuer
    return first, last if own_root else min(last, parent.not_valid_after_utc)


def limits_to_keep(certificate: x509.Certificate) -> list[x509.Extension[x509.ExtensionType]]:
    """What a CA certificate says that any CA has not: name constraints, purposes, policies, TLS features, and the like.

    Whoever takes a CA's place must not be allowed more than that one was.
    """
    return [extension for extension in certificate.extensions if extension.oid not in _OF_EVERY_CA]


def path_length_of(certificate: x509.Certificate) -> int | None:
    """How many CAs may stand below that one; None: no limit."""
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length


def require_room(root: x509.Certificate, subject: x509.Name, path_length: int | None) -> None:
    """Raise ValueError where no CA of that subject and path length can stand below another."""
    if subject == root.subject:
        raise ValueError("the issuing CA needs another name than the root: it would look self-issued")
    above = path_length_of(root)
    if path_length is None and above is None:
        return
    if path_length is None or path_length < 0 or (above is not None and path_length >= above):
        length = "unlimited" if path_length is None else path_length
        raise ValueError(f"the path length {length} is not below that of the CA above, which is {above}")


# What `make_issuing` sets, and logs' timestamps, which are about one certificate alone.
_OF_EVERY_CA = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.FRESHEST_CRL,
        ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS,
        ExtensionOID.PRECERT_POISON,
    }
)


def _as_name(name: x509.Name | str) -> x509.Name:
    return ca_name(name) if isinstance(name, str) else name


def _ca_builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: PrivateKey,
    now: datetime,
    last: datetime,
    serial: bytes | None,
    path_length: int | None,
) -> x509.CertificateBuilder:
    builder = begin_certificate(issuer, subject, key, now, last, serial)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)


def _access(ocsp_url: str | None, ca_issuers_url: str | None) -> list[x509.AccessDescription]:
    entries = (
        (AuthorityInformationAccessOID.OCSP, ocsp_url),
        (AuthorityInformationAccessOID.CA_ISSUERS, ca_issuers_url),
    )
    return [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in entries if url]
