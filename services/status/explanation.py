"""Why the status of a certificate is what it is, from the snapshot that the status was found in.

Guarantee: the status in an explanation is found by the very functions that answer look-ups; only what is told around it
(issuers that nearly fit, the record, its history) is looked up here. Reads only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from cryptography import x509

from gateway.ocsp.matching import KnownIssuer, near_misses
from services.db.certificates import get_certificate
from services.db.engine import Connection
from services.db.records import CertificateRecord, IssuerRecord, StatusChange, StatusRecord
from services.db.status import find_issuers_of_serial, latest_changes
from services.pki.paths import is_signed_by
from services.pki.reasons import Reason
from services.pki.unreadable import UNREADABLE
from services.status.issuer_index import HASH_ALGORITHMS, IssuerIndex
from services.status.lookup import ByCertID, ByCertificate, BySerial, Finding, Reference, find_all

MAX_CHANGES = 100


class Cause(StrEnum):
    """Why a status is what it is; the names are those of the contract's StatusCause."""

    NOT_REVOKED = "NOT_REVOKED"
    REVOKED = "REVOKED"
    ON_HOLD = "ON_HOLD"
    ISSUER_COMPROMISED = "ISSUER_COMPROMISED"
    SERIAL_NUMBER_NOT_ISSUED = "SERIAL_NUMBER_NOT_ISSUED"
    SERIAL_NUMBER_IMPOSSIBLE = "SERIAL_NUMBER_IMPOSSIBLE"
    ISSUER_NOT_KNOWN = "ISSUER_NOT_KNOWN"
    HASH_ALGORITHM_NOT_SUPPORTED = "HASH_ALGORITHM_NOT_SUPPORTED"
    CERTIFICATE_DIFFERS = "CERTIFICATE_DIFFERS"


class IssuerFit(StrEnum):
    """How an issuer fits what was asked; the names are those of the contract's IssuerFit."""

    MATCH = "MATCH"
    NAME_ONLY = "NAME_ONLY"
    KEY_ONLY = "KEY_ONLY"
    SWAPPED = "SWAPPED"
    KEY_WITH_ALGORITHM = "KEY_WITH_ALGORITHM"
    OTHER_HASH_ALGORITHM = "OTHER_HASH_ALGORITHM"
    SERIAL_NUMBER_ONLY = "SERIAL_NUMBER_ONLY"


class Candidate(NamedTuple):
    """An issuer, how it fits, and under which hash function (empty: no hashes were compared)."""

    issuer: str
    fit: IssuerFit
    hash_algorithm: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One certificate, explained."""

    reference: Reference
    finding: Finding
    """As a look-up of the reference finds it."""
    cause: Cause
    by_serial: Finding | None
    """As OCSP clients are told, where that is something else."""
    issuer: IssuerRecord | None
    candidates: tuple[Candidate, ...]
    certificate: CertificateRecord | None
    changes: tuple[tuple[int, StatusChange], ...]
    """With their revisions, oldest first."""


def explain(conn: Connection, index: IssuerIndex, reference: Reference) -> list[Explanation]:
    """Explain one reference: for a serial number without an issuer, once for each issuer that has it."""
    return [_explain(conn, index, each) for each in _with_issuers(conn, index, reference)]


def _with_issuers(conn: Connection, index: IssuerIndex, reference: Reference) -> list[Reference]:
    if not isinstance(reference, BySerial) or reference.issuer is not None:
        return [reference]
    found = find_issuers_of_serial(conn, reference.serial)
    return [reference._replace(issuer=index.by_id[id_].name) for id_ in found if id_ in index.by_id] or [reference]


def _explain(conn: Connection, index: IssuerIndex, reference: Reference) -> Explanation:
    (finding,) = find_all(conn, index, [reference])
    issuer, by_serial = index.by_name.get(finding.issuer), None
    if issuer is None and isinstance(reference, ByCertificate):
        issuer = _signer(index, reference)
        if issuer is not None:
            (by_serial,) = find_all(conn, index, [BySerial(issuer.name, reference.serial, "")])
    certificate = get_certificate(conn, issuer.id, reference.serial) if issuer else None
    changes = latest_changes(conn, issuer.id, reference.serial, MAX_CHANGES) if issuer else []
    return Explanation(
        reference,
        finding,
        _cause(reference, finding.record, issuer, certificate),
        by_serial,
        issuer,
        tuple(_candidates(conn, index, reference, issuer)),
        certificate,
        tuple(changes),
    )


def _signer(index: IssuerIndex, reference: ByCertificate) -> IssuerRecord | None:
    """The issuer whose name and signature a certificate bears, recorded or not."""
    certificate = x509.load_der_x509_certificate(reference.der)
    for issuer in index.by_id.values():
        if is_signed_by(certificate, x509.load_der_x509_certificate(issuer.certificates_der[0])):
            return issuer
    return None


def _cause(
    reference: Reference,
    record: StatusRecord | None,
    issuer: IssuerRecord | None,
    certificate: CertificateRecord | None,
) -> Cause:
    if record is not None:
        own = certificate.revocation if certificate else None
        if record.revocation is None:
            return Cause.NOT_REVOKED
        if issuer is not None and issuer.compromise is not None and record.revocation != own:
            return Cause.ISSUER_COMPROMISED
        return Cause.ON_HOLD if record.revocation.reason == Reason.CERTIFICATE_HOLD else Cause.REVOKED
    if isinstance(reference, ByCertID) and reference.hash_algorithm not in HASH_ALGORITHMS:
        return Cause.HASH_ALGORITHM_NOT_SUPPORTED
    if issuer is None and not (isinstance(reference, BySerial) and reference.issuer is None):
        return Cause.ISSUER_NOT_KNOWN
    if not reference.serial:
        return Cause.SERIAL_NUMBER_IMPOSSIBLE
    if isinstance(reference, ByCertificate) and certificate is not None:
        return Cause.CERTIFICATE_DIFFERS
    return Cause.SERIAL_NUMBER_NOT_ISSUED


def _candidates(
    conn: Connection, index: IssuerIndex, reference: Reference, issuer: IssuerRecord | None
) -> Iterator[Candidate]:
    named = set()
    if issuer is not None:
        named.add(issuer.name)
        yield Candidate(
            issuer.name, IssuerFit.MATCH, reference.hash_algorithm if isinstance(reference, ByCertID) else ""
        )
    elif isinstance(reference, ByCertID):
        for candidate in _near(index, reference):
            named.add(candidate.issuer)
            yield candidate
    elif isinstance(reference, ByCertificate):
        name = _issuer_name(reference.der)
        for each in index.by_id.values():
            if each.subject_der == name:
                named.add(each.name)
                yield Candidate(each.name, IssuerFit.NAME_ONLY)
    for id_ in find_issuers_of_serial(conn, reference.serial) if reference.serial else ():
        if id_ in index.by_id and index.by_id[id_].name not in named:
            yield Candidate(index.by_id[id_].name, IssuerFit.SERIAL_NUMBER_ONLY)


def _issuer_name(certificate_der: bytes) -> bytes | None:
    """The DER of the issuer's name in a certificate; None where it is no name."""
    try:
        return x509.load_der_x509_certificate(certificate_der).issuer.public_bytes()
    except UNREADABLE:
        return None


def _near(index: IssuerIndex, reference: ByCertID) -> Iterator[Candidate]:
    known = [KnownIssuer(each.name, each.subject_der, each.public_key_der) for each in index.by_id.values()]
    hashes = (reference.hash_algorithm or None, reference.issuer_name_hash, reference.issuer_key_hash)
    for miss in near_misses(*hashes, known):
        yield Candidate(miss.issuer, IssuerFit[miss.fit.name], miss.hash_algorithm)
