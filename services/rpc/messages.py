"""Records as protobuf messages. What comes in is read by `services.rpc.requests`."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from ssl import DER_cert_to_PEM_cert

from google.protobuf.timestamp_pb2 import Timestamp

from goodstanding.ca.v1 import ca_pb2
from goodstanding.status.v1 import status_pb2
from goodstanding.types.v1 import types_pb2
from services.clock import to_epoch
from services.db.records import (
    Actor,
    BlockedKey,
    CertificateRecord,
    IssuerRecord,
    IssuerState,
    RevocationRecord,
    StatusRecord,
)

_ISSUER_STATES = {
    IssuerState.ACTIVE: types_pb2.ISSUER_STATE_ACTIVE,
    IssuerState.OFFLINE: types_pb2.ISSUER_STATE_OFFLINE,
    IssuerState.RETIRED: types_pb2.ISSUER_STATE_RETIRED,
}


def timestamp(moment: datetime) -> Timestamp:
    """A Timestamp of an aware time."""
    return Timestamp(seconds=to_epoch(moment))


def actor_message(actor: Actor) -> types_pb2.Actor:
    """Who did something."""
    return types_pb2.Actor(
        identity=actor.identity,
        role=actor.role,
        credential_fingerprint=actor.fingerprint,
        peer=actor.peer,
        request_id=actor.request_id,
    )


def revocation_message(record: RevocationRecord) -> types_pb2.Revocation:
    """A revocation. The reason's numbers are RFC 5280's in both."""
    return types_pb2.Revocation(
        revocation_time=timestamp(record.revoked_at),
        reason=types_pb2.RevocationReason.ValueType(record.reason),
        invalidity_time=_optional(record.invalidity_at),
        hold_instruction=record.hold_instruction or "",
    )


def blocked_key_message(record: BlockedKey) -> ca_pb2.BlockedPublicKey:
    """A public key that is never certified again."""
    by_revocation = record.source == "revocation"
    return ca_pb2.BlockedPublicKey(
        public_key_sha256=record.public_key_sha256,
        source=ca_pb2.BLOCKED_KEY_SOURCE_REVOCATION if by_revocation else ca_pb2.BLOCKED_KEY_SOURCE_IMPORT,
        comment=record.comment,
        block_time=timestamp(record.blocked_at),
        blocked_by=record.actor.identity,
    )


def issuer_message(record: IssuerRecord) -> types_pb2.Issuer:
    """An issuer, without the whereabouts of its key."""
    return types_pb2.Issuer(
        name=record.name,
        state=_ISSUER_STATES[record.state],
        subject_der=record.subject_der,
        public_key_der=record.public_key_der,
        certificates_der=record.certificates_der,
        chain_der=record.chain_der,
        revision=record.revision,
        compromise=revocation_message(record.compromise.revocation) if record.compromise else None,
    )


def certificate_message(record: CertificateRecord, now: datetime, *, with_der: bool = True) -> types_pb2.Certificate:
    """A certificate with its state at `now`. Listings leave the DER out."""
    return types_pb2.Certificate(
        issuer=record.issuer_name,
        serial_number=record.serial.hex(),
        certificate_der=(record.der or b"") if with_der else b"",
        subject=record.subject,
        subject_alternative_names=record.subject_alternative_names,
        profile=record.profile,
        not_before_time=timestamp(record.not_before),
        not_after_time=timestamp(record.not_after),
        issue_time=timestamp(record.issued_at),
        state=_state(record, now),
        revocation=revocation_message(record.revocation) if record.revocation else None,
        issued_by=actor_message(record.actor),
        revision=record.revision,
    )


def status_message(record: StatusRecord, issuer: str) -> status_pb2.StatusRecord:
    """GOOD or REVOKED. Expiry plays no part: OCSP answers for expired certificates too."""
    revoked = record.revocation is not None
    return status_pb2.StatusRecord(
        status=types_pb2.CERTIFICATE_STATUS_REVOKED if revoked else types_pb2.CERTIFICATE_STATUS_GOOD,
        issuer=issuer,
        serial_number=record.serial.hex(),
        not_after_time=timestamp(record.not_after),
        revocation=revocation_message(record.revocation) if record.revocation else None,
        revision=record.revision,
        change_time=timestamp(record.changed_at),
    )


def unknown_status_message(issuer: str = "", serial_number: str = "") -> status_pb2.StatusRecord:
    """UNKNOWN. `issuer` stays empty where the issuer is not known here."""
    return status_pb2.StatusRecord(
        status=types_pb2.CERTIFICATE_STATUS_UNKNOWN, issuer=issuer, serial_number=serial_number
    )


def pem(der: bytes) -> str:
    """A certificate in PEM (RFC 7468)."""
    return DER_cert_to_PEM_cert(der)


@lru_cache(maxsize=64)
def pem_chain(ders: tuple[bytes, ...]) -> str:
    """Certificates in PEM, one after the other. Every certificate of an issuer comes with the same."""
    return "".join(pem(der) for der in ders)


def _state(record: CertificateRecord, now: datetime) -> types_pb2.CertificateState.ValueType:
    if record.revocation is not None:
        return types_pb2.CERTIFICATE_STATE_REVOKED
    # notAfter is the last second of the validity (RFC 5280, section 4.1.2.5).
    return types_pb2.CERTIFICATE_STATE_EXPIRED if now > record.not_after else types_pb2.CERTIFICATE_STATE_VALID


def _optional(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)
