"""Filling a fresh database: the root, the issuing CA below it, the root's CRL, and a status for both CA certificates.

All of it in one transaction, so that a start that is cut off leaves either nothing or a whole hierarchy.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services.ca.audit import REGISTER, issued
from services.db import audit, certificates, crls, issuers, position, status
from services.db.engine import Database
from services.db.records import (
    Actor,
    CrlRecord,
    IssuerState,
    NewCertificate,
    NewIssuer,
    NewIssuerCertificate,
)
from services.pki import der
from services.pki.serials import serial_from_int

CA_PROFILE = "ca"
"""The profile that CA certificates are listed under. No caller can ask for it."""

INIT_ACTOR = Actor(identity="", name="init", role="admin", fingerprint="", peer="local", request_id="")


def register_hierarchy(
    db: Database,
    root: x509.Certificate,
    issuing: x509.Certificate,
    *,
    key_ref: str,
    root_crl: bytes,
    now: datetime,
) -> None:
    """Record a root that stays offline ("root") and an issuing CA whose key is at `key_ref` ("issuing").

    Raises AlreadyExists (ISSUER_EXISTS) when either is there already; nothing is recorded then.
    """
    with db.write() as conn:
        first = position.advance(conn, 4)
        root_id = issuers.add_issuer(
            conn, _issuer(root, "root", IssuerState.OFFLINE, parent_id=None, key_ref=None, now=now), first
        )
        issuers.add_issuer(
            conn,
            _issuer(issuing, "issuing", IssuerState.ACTIVE, parent_id=root_id, key_ref=key_ref, now=now),
            first + 1,
        )
        rows = [ca_certificate_row(certificate, root_id, now, INIT_ACTOR) for certificate in (root, issuing)]
        ids = certificates.insert_certificates(conn, rows)
        status.insert_statuses(conn, rows, ids, first + 2)
        audit.append(conn, [issued(row, id_, "root", method=REGISTER) for row, id_ in zip(rows, ids, strict=True)])
        crls.add_crl(conn, crl_row(root_crl, root_id))


def _issuer(
    certificate: x509.Certificate,
    name: str,
    state: IssuerState,
    *,
    parent_id: int | None,
    key_ref: str | None,
    now: datetime,
) -> NewIssuer:
    return NewIssuer(
        name=name,
        state=state,
        subject_der=der.subject_der(certificate),
        public_key_der=der.public_key_der(certificate),
        certificates=(
            NewIssuerCertificate(
                certificate.public_bytes(Encoding.DER),
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
            ),
        ),
        parent_id=parent_id,
        key_ref=key_ref,
        created_at=now,
    )


def ca_certificate_row(certificate: x509.Certificate, issuer_id: int, now: datetime, actor: Actor) -> NewCertificate:
    """A CA certificate as a certificate of the issuer that signed it: it has a status like any other."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return NewCertificate(
        issuer_id=issuer_id,
        serial=serial_from_int(certificate.serial_number),
        der=certificate.public_bytes(Encoding.DER),
        subject=certificate.subject.rfc4514_string(),
        common_name=str(names[0].value) if names else None,
        subject_alternative_names=(),
        profile=CA_PROFILE,
        public_key_sha256=hashlib.sha256(der.public_key_der(certificate)).digest(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=now,
        actor=actor,
    )


def crl_row(crl_der: bytes, issuer_id: int) -> CrlRecord:
    """A signed list. Raises ValueError without a number or an end."""
    crl = x509.load_der_x509_crl(crl_der)
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        raise ValueError("a CRL without number (R108)") from None
    if crl.next_update_utc is None:
        raise ValueError("a CRL without nextUpdate (R106)")
    return CrlRecord(issuer_id, number, crl_der, crl.last_update_utc, crl.next_update_utc)
