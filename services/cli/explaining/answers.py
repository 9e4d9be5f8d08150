"""An OCSP response, decoded, verified and explained, as JSON values. Whose it is makes no difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.ocsp.reading import ReadBasic, ReadExtension, ReadResponse, ReadSingle, UnreadableResponse, read_response
from services.cli.explaining.certificates import UNREADABLE, load_certificate, serial_number
from services.cli.explaining.meanings import CERT_STATUSES, EXTENSIONS, REASONS, RESPONSE_STATUSES, Status, value_text
from services.cli.explaining.signatures import algorithm_name
from services.cli.explaining.verification import HASHES, Given, Outcome, Verification, verify
from services.cli.failures import Failed
from services.cli.output import Json
from services.clock import rfc3339

_MOST = 100
"""Certificates and extensions that are told of one by one."""


def read_answer(der: bytes, origin: str) -> ReadResponse:
    """The answer in these octets. Raises Failed, naming the part that is wrong."""
    if not der:
        raise Failed(f"{origin} is empty")
    try:
        return read_response(der)
    except UnreadableResponse as error:
        raise Failed(f"{origin} is not an OCSP response (DER): {error}") from error


def explain_answer(read: ReadResponse, origin: str, given: Given) -> Json:
    """Everything there is to say about an answer."""
    status = RESPONSE_STATUSES.get(read.status) or Status(
        f"status {read.status}", "no such status is defined (RFC 6960, section 4.2.1)", "Ask another responder."
    )
    told: Json = {
        "kind": "response",
        "origin": origin,
        "summary": "",
        "advice": "",
        "response_status": {"number": read.status, "name": status.name, "meaning": status.meaning},
        "deviations": list(read.deviations)[:_MOST],
    }
    if read.basic is None:
        told["summary"] = f"The responder gave no answer, but the error {status.name}: {status.meaning}."
        told["advice"] = status.advice
        return told
    verification = verify(read.basic, given)
    told |= _basic(read.basic, verification)
    told["summary"], told["advice"] = _summary(told, verification), _advice(read.basic, verification)
    return told


def _basic(basic: ReadBasic, verification: Verification) -> Json:
    return {
        "responder": _responder(basic, verification),
        "produced_at": _time(basic.produced_at),
        "signature_algorithm": algorithm_name(basic.algorithm.oid),
        "certificates": [_single(single) for single in basic.singles[:_MOST]],
        "certificates_left_out": max(0, len(basic.singles) - _MOST),
        "extensions": _extensions(basic.extensions),
        "enclosed_certificates": [_certificate(each) for each in basic.certificates[:16]],
        "verification": {
            "outcome": str(verification.outcome),
            "issuer": verification.issuer[0] if verification.issuer else None,
            "checks": [
                {"name": check.name, "outcome": str(check.outcome), "text": check.text} for check in verification.checks
            ],
        },
    }


def _responder(basic: ReadBasic, verification: Verification) -> Json:
    signer = verification.signer
    if basic.responder_name is None:
        named = {"by": "key", "value": (basic.responder_key_hash or b"").hex()}
    else:
        named = {"by": "name", "value": _name(basic.responder_name)}
    return {
        **named,
        "certificate": None if signer is None else _described(signer),
        "delegated": verification.delegated if signer is not None else None,
    }


def _name(name_der: bytes) -> str:
    try:
        return x509.Name.from_bytes(name_der).rfc4514_string()
    except ValueError:
        return name_der.hex()


def _single(single: ReadSingle) -> Json:
    cert_id = single.cert_id
    reason = None if single.reason is None else REASONS.get(single.reason, (str(single.reason), "no such reason"))
    return {
        "serial_number": f"{cert_id.serial_number:x}",
        "hash_algorithm": HASHES.get(cert_id.hash_algorithm.oid, cert_id.hash_algorithm.oid),
        "issuer_name_hash": cert_id.issuer_name_hash.hex(),
        "issuer_key_hash": cert_id.issuer_key_hash.hex(),
        "status": single.status,
        "meaning": CERT_STATUSES[single.status],
        "revocation_time": _time(single.revocation_time) if single.revocation_time else None,
        "reason": reason[0] if reason else None,
        "reason_meaning": reason[1] if reason else None,
        "this_update": _time(single.this_update),
        "next_update": _time(single.next_update) if single.next_update else None,
        "extensions": _extensions(single.extensions),
    }


def _extensions(extensions: Iterable[ReadExtension]) -> list[Json]:
    told = []
    for each in list(extensions)[:_MOST]:
        name, meaning = EXTENSIONS.get(each.oid, (each.oid, "not known here"))
        value = value_text(each.oid, each.value)
        told.append({"oid": each.oid, "name": name, "meaning": meaning, "critical": each.critical, "value": value})
    return told


def _certificate(certificate_der: bytes) -> Json:
    try:
        return _described(load_certificate(certificate_der))
    except ValueError as error:
        return {"unreadable": str(error)}


def _described(certificate: x509.Certificate) -> Json:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        is_for_ocsp = ExtendedKeyUsageOID.OCSP_SIGNING in usages
    except (x509.ExtensionNotFound, *UNREADABLE):
        is_for_ocsp = False
    return {
        "subject": _text(lambda: certificate.subject.rfc4514_string()),
        "issuer": _text(lambda: certificate.issuer.rfc4514_string()),
        "serial_number": f"{serial_number(certificate):x}",
        "not_before_time": _text(lambda: _time(certificate.not_valid_before_utc)),
        "not_after_time": _text(lambda: _time(certificate.not_valid_after_utc)),
        "ocsp_signing": is_for_ocsp,
    }


def _text(tell: Callable[[], str]) -> str | None:
    """What is told, or None where the certificate's part cannot be read."""
    try:
        return tell()
    except UNREADABLE:
        return None


def _time(moment: datetime) -> str:
    return rfc3339(moment) if moment.year >= 1000 else moment.isoformat()


def _summary(told: Json, verification: Verification) -> str:
    certificates: Sequence[Json] = told["certificates"]
    words = {
        Outcome.PASSED: "It verifies: every check passed.",
        Outcome.WARNING: "It verifies, with something to look at.",
        Outcome.NOT_CHECKED: "Whether it can be trusted was not checked to the end.",
        Outcome.FAILED: "It does not verify: a client must not believe it.",
    }
    said = "; ".join(f"serial number {each['serial_number']} is {_status(each)}" for each in certificates[:5])
    more = f"; and {len(certificates) - 5} more" if len(certificates) > 5 else ""
    return f"The answer says: {said or 'nothing about any certificate'}{more}. {words[verification.outcome]}"


def _status(single: Json) -> str:
    if single["status"] != "revoked":
        return str(single["status"])
    reason = f" ({single['reason']})" if single["reason"] else ""
    return f"revoked since {single['revocation_time']}{reason}"


def _advice(basic: ReadBasic, verification: Verification) -> str:
    for outcome in (Outcome.FAILED, Outcome.NOT_CHECKED):
        first = next((check for check in verification.checks if check.outcome is outcome), None)
        if first is not None:
            return _CURES.get(first.name, "Ask again, and ask whoever runs the responder if it stays so.")
    statuses = {single.status for single in basic.singles}
    if "unknown" in statuses:
        return (
            "Check the serial number and the issuer in the request; a certificate that was issued a moment ago may not "
            "be known yet."
        )
    if any(single.reason == 6 for single in basic.singles):
        return "Ask the issuer whether the hold will be released; until then the certificate is not to be trusted."
    if "revoked" in statuses:
        return "Do not trust the certificate; have another one issued and put it in its place."
    return "Nothing."


_CURES = {
    "issuer": "Give the certificate of the CA that issued the certificate with --issuer FILE.",
    "signature": "Do not believe the answer. Fetch it again; if it stays so, tell whoever runs the responder.",
    "responder": "Do not believe the answer: tell whoever runs the responder that it signs with the wrong certificate.",
    "responder's certificate": "Tell whoever runs the responder: its certificate has to be renewed.",
    "times": "Fetch it again. If it is too old then, a cache or the responder is stuck; if too new, a clock is wrong.",
    "producedAt": "Set the clock of this machine, or of the responder.",
    "certificate": "Ask about the certificate that is meant, with the right issuer.",
    "request": "Do not take it for an answer to that request; a cache may have mixed them up.",
    "nonce": "Do not take it for an answer to that request: it may be replayed.",
}
