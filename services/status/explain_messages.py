"""The messages of ExplainCertificateStatus as plain values, and plain values as its messages.

The one place of the services that reads OCSP requests, with the parser that the gateway reads them with: what is
explained is what would be answered (docs/decisions/explaining.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.ocsp.locating import what_is_wrong
from gateway.ocsp.request import CertID, MalformedRequest, parse_request
from goodstanding.status.v1 import status_pb2
from services.db.records import ChangeAction, Position, StatusChange
from services.errors import InvalidArgument
from services.pki.serials import format_serial
from services.rpc.messages import (
    actor_message,
    certificate_message,
    issuer_message,
    revocation_message,
    timestamp,
)
from services.status.explanation import Candidate, Explanation
from services.status.explanation_words import advice, summary
from services.status.lookup import ByCertID, Reference
from services.status.messages import MAX_BATCH, finding_message, read_reference

_ACTIONS = {
    ChangeAction.REVOKE: status_pb2.STATUS_CHANGE_ACTION_REVOKE,
    ChangeAction.HOLD: status_pb2.STATUS_CHANGE_ACTION_HOLD,
    ChangeAction.RELEASE: status_pb2.STATUS_CHANGE_ACTION_RELEASE,
}


def read_subject(request: status_pb2.ExplainCertificateStatusRequest) -> list[Reference]:
    """What is to be explained.

    Raises InvalidArgument TARGET_MISSING, OCSP_REQUEST_MALFORMED, and as `read_reference`.
    """
    kind = request.WhichOneof("subject")
    if kind == "certificate":
        return [read_reference(request.certificate, "certificate")]
    if kind is None:
        raise InvalidArgument("TARGET_MISSING", "say what is to be explained", field="subject")
    try:
        asked = parse_request(request.request_der, max_requests=MAX_BATCH)
    except MalformedRequest as error:
        raise InvalidArgument(
            "OCSP_REQUEST_MALFORMED",
            f"the OCSP request cannot be read, and would be answered malformedRequest: "
            f"{what_is_wrong(request.request_der, error)}",
            field="request_der",
        ) from error
    return [_by_cert_id(cert_id) for cert_id in asked.cert_ids]


def _by_cert_id(cert_id: CertID) -> ByCertID:
    hashes = (cert_id.issuer_name_hash, cert_id.issuer_key_hash)
    return ByCertID(cert_id.hash_algorithm or "", *hashes, cert_id.serial or b"")


def explain_response(
    found: Sequence[Explanation], position: Position, as_of: datetime
) -> status_pb2.ExplainCertificateStatusResponse:
    """The answer to ExplainCertificateStatus."""
    return status_pb2.ExplainCertificateStatusResponse(
        explanations=[_explanation(each, as_of) for each in found],
        history=position.history,
        revision=position.revision,
        as_of_time=timestamp(as_of),
    )


def _explanation(value: Explanation, as_of: datetime) -> status_pb2.CertificateExplanation:
    return status_pb2.CertificateExplanation(
        record=finding_message(value.finding),
        cause=status_pb2.StatusCause.ValueType(status_pb2.StatusCause.Value(f"STATUS_CAUSE_{value.cause}")),
        record_by_serial_number=finding_message(value.by_serial) if value.by_serial else None,
        cert_id=_cert_id(value.reference),
        issuer=issuer_message(value.issuer) if value.issuer else None,
        candidates=[_candidate(each) for each in value.candidates],
        certificate=certificate_message(value.certificate, as_of) if value.certificate else None,
        changes=[_change(revision, change) for revision, change in value.changes],
        summary=summary(value),
        advice=advice(value),
    )


def _cert_id(reference: Reference) -> status_pb2.CertID | None:
    if not isinstance(reference, ByCertID):
        return None
    return status_pb2.CertID(
        hash_algorithm=reference.hash_algorithm,
        issuer_name_hash=reference.issuer_name_hash,
        issuer_key_hash=reference.issuer_key_hash,
        serial_number=format_serial(reference.serial),
    )


def _candidate(value: Candidate) -> status_pb2.IssuerCandidate:
    fit = status_pb2.IssuerFit.ValueType(status_pb2.IssuerFit.Value(f"ISSUER_FIT_{value.fit}"))
    return status_pb2.IssuerCandidate(issuer=value.issuer, fit=fit, hash_algorithm=value.hash_algorithm)


def _change(revision: int, value: StatusChange) -> status_pb2.CertificateStatusChange:
    return status_pb2.CertificateStatusChange(
        revision=revision,
        action=_ACTIONS[value.action],
        change_time=timestamp(value.changed_at),
        revocation=revocation_message(value.revocation) if value.revocation else None,
        changed_by=actor_message(value.actor),
    )
