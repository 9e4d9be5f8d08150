"""The addresses that go into certificates, and that the gateway serves. Certificates keep theirs for life."""

from __future__ import annotations

from services.pki.certificates import AuthorityUrls


def ocsp_url(public_url: str) -> str:
    """Where OCSP requests go."""
    return public_url.rstrip("/")


def ca_certificate_url(public_url: str, issuer: str) -> str:
    """Where the certificate of an issuer is (caIssuers, R97)."""
    return f"{public_url.rstrip('/')}/ca/{issuer}.cer"


def crl_url(public_url: str, issuer: str) -> str:
    """Where the certificate revocation list of an issuer is (R98)."""
    return f"{public_url.rstrip('/')}/crl/{issuer}.crl"


def crl_shard_prefix(public_url: str, issuer: str) -> str:
    """What the addresses of all shards of an issuer's revocation list begin with (R112)."""
    return f"{public_url.rstrip('/')}/crl/{issuer}/"


def authority_urls(public_url: str, issuer: str) -> AuthorityUrls:
    """Both addresses of a certificate that this issuer signs."""
    return AuthorityUrls(ocsp=ocsp_url(public_url), ca_issuers=ca_certificate_url(public_url, issuer))
