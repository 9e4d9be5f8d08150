"""CA certificates: a root, and an issuing CA below it (R95 to R99).

Both say digitalSignature beside keyCertSign and cRLSign only where they need it: the issuing CA, which may then sign
OCSP answers itself if there is ever no delegate (R64); the root does not.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from services.pki.builder import begin_certificate, key_identifier
from services.pki.certificates import BACK_DATING, key_usage
from services.pki.issuers import Issuer, PrivateKey, signature_hash

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
) -> x509.Certificate:
    """Make an issuing CA below the root, which may issue no further CAs (pathLen 0).

    `crl_url` is where the root's CRL is to be had, `ca_issuers_url` the root's certificate, `ocsp_url` a responder for
    the root; all go in as they are. It is cut to the root's validity (R93). Raises ValueError when `root_key` is not
    the root's, or both have the same name.
    """
    parent = Issuer(root, root_key)
    subject = _as_name(name)
    if subject == parent.name:
        raise ValueError("the issuing CA needs another name than the root: it would look self-issued")
    last = min(now + validity, parent.not_after)
    builder = _ca_builder(parent.name, subject, key, max(now, parent.not_before + BACK_DATING), last, serial, 0)
    builder = builder.add_extension(key_identifier(key), critical=False)
    builder = builder.add_extension(parent.authority_key_identifier, critical=False)
    builder = builder.add_extension(key_usage(ca=True), critical=True)
    if access := _access(ocsp_url, ca_issuers_url):
        builder = builder.add_extension(x509.AuthorityInformationAccess(access), critical=False)
    if crl_url is not None:
        # One fullName, no reasons, no cRLIssuer (R98).
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(root_key, parent.hash_algorithm)  # type: ignore[arg-type]


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
