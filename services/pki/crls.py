"""Certificate revocation lists: version 2, direct, full or of one shard (RFC 5280, section 5; R106 to R108, R112)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.pki.issuers import Issuer
from services.pki.reasons import NAMES, Reason
from services.pki.serials import serial_to_int

MAX_NUMBER = 2**159 - 1
"""RFC 5280, section 5.2.3: at most 20 octets."""

MAX_CARRIED_ON = 2**62 - 1
"""The highest number of another CA's lists that ours go on from: the database counts up to twice that."""


@dataclass(frozen=True, slots=True)
class CrlEntry:
    """One revoked certificate."""

    serial: bytes
    revoked_at: datetime
    reason: int = 0
    """Number of RFC 5280. 0 leaves the extension out (R110)."""
    invalidity_at: datetime | None = None


def make_crl(
    issuer: Issuer,
    entries: Iterable[CrlEntry] = (),
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
    distribution_point: str | None = None,
) -> bytes:
    """Sign a CRL and return its DER. Without entries, the list of revoked certificates is absent, not empty (R107).

    `number` must be higher than in all CRLs of this issuer before; the caller sees to that. `distribution_point` makes
    it a shard: the address that its certificates name, to the octet (R112). For long lists take `crl_signing`.
    Raises ValueError for a number out of range, times in the wrong order, and reason 8, which only delta CRLs know.
    """
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError("a CRL number has at most 20 octets")
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(this_update.replace(microsecond=0))
        .next_update(next_update.replace(microsecond=0))
        .add_extension(issuer.authority_key_identifier, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if distribution_point is not None:
        builder = builder.add_extension(_distribution_point(distribution_point), critical=True)
    for entry in entries:
        builder = builder.add_revoked_certificate(_revoked(entry))
    return builder.sign(issuer.private_key, issuer.hash_algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def _distribution_point(url: str) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url)],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _revoked(entry: CrlEntry) -> x509.RevokedCertificate:
    reason = Reason(entry.reason)
    if reason is Reason.REMOVE_FROM_CRL:
        raise ValueError("removeFromCRL is for delta CRLs")
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(serial_to_int(entry.serial))
        .revocation_date(entry.revoked_at.replace(microsecond=0))
    )
    if reason is not Reason.UNSPECIFIED:
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(NAMES[reason])), critical=False)
    if entry.invalidity_at is not None:
        builder = builder.add_extension(x509.InvalidityDate(entry.invalidity_at.replace(microsecond=0)), critical=False)
    return builder.build()
