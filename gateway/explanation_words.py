"""The gateway's explanations in words: what came of a request, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.answer import Why
from gateway.ocsp.matching import PHRASES, Fit

_WHY: Final[Mapping[str, tuple[str, str]]] = {
    Why.MALFORMED: (
        "The request cannot be read as an OCSP request: malformedRequest, before anything was looked up",
        "Correct the client: a DER-encoded OCSPRequest (RFC 6960, section 4.1.1), with a nonce of 1 to 128 octets if "
        "any, and no more certificates than gateway.max_requests.",
    ),
    Why.NONCE_MISSING: (
        'The policy is nonce = "require", and the request has no nonce: malformedRequest',
        'Have the client send a nonce, or set gateway.nonce to "echo".',
    ),
    Why.SIGNATURE_MISSING: (
        'The policy is signed_requests = "require", and the request is not signed: sigRequired',
        'Have the client sign its requests, or set gateway.signed_requests to "ignore".',
    ),
    Why.REQUESTOR_NAME_MISSING: (
        "The request is signed and has no requestorName: malformedRequest",
        "Have the client say who it is (RFC 6960, section 4.1.2).",
    ),
    Why.SIGNER_NOT_TRUSTED: (
        "The signature on the request does not count: unauthorized",
        "Check the client's certificate and its chain against gateway.request_trust_anchors.",
    ),
    Why.ISSUERS_NOT_LOADED: (
        "The status service has told this gateway of no issuers yet: tryLater",
        "Wait a moment; if it stays so, see /readyz of the gateway, and whether the status service can be reached.",
    ),
    Why.ISSUER_NOT_OURS: (
        "No issuer that this gateway knows has both hashes: unauthorized, because nobody here may answer for it",
        "Ask with the right issuer's certificate, or ask the responder of the CA that issued the certificate.",
    ),
    Why.SEVERAL_ISSUERS: (
        "The request asks about several issuers: unauthorized, because a signer speaks for one key only",
        "Send one request for each issuer.",
    ),
    Why.SIGNER_AWAITED: (
        "Nobody can sign for this issuer now, though a signer is on its way: tryLater",
        "Wait a moment; if it stays so, /readyz and the log of the gateway say what is wrong with its signer's files, "
        "or why its enrolment at the CA service fails.",
    ),
    Why.SIGNER_MISSING: (
        "Nobody can sign for this issuer, which is offline or has expired: unauthorized",
        "Give the gateway a key and certificate of a responder: [[gateway.issuers.NAME.signers]].",
    ),
    Why.NEVER_ISSUED: (
        'The serial number was never issued, and the policy is never_issued = "unauthorized"',
        "Check the serial number and the issuer; import the certificate if it was issued elsewhere; or set "
        'gateway.never_issued to "unknown".',
    ),
    Why.SIGNER_ENDS: (
        "The signer's certificate ends too soon for an answer: tryLater",
        "Wait for its renewal; if it stays so, see /readyz of the gateway.",
    ),
    Why.CLOCKS_APART: (
        "The clocks of gateway and database are too far apart for one answer: tryLater",
        "Set the clocks right.",
    ),
    Why.STATUS_UNAVAILABLE: (
        "The status cannot be looked up, or not fresh enough: tryLater, because nothing is said without evidence",
        "See whether the status service can be reached from the gateway and is quick enough (gateway.max_staleness).",
    ),
    Why.OVERLOADED: (
        "Too much is waiting to be answered: tryLater",
        "Wait, add workers (gateway.workers) or gateways, or raise gateway.max_pending.",
    ),
    Why.INTERNAL: ("Something unexpected went wrong: internalError", "See the gateway's log, and report it."),
}


def summary(told: Mapping[str, Any]) -> str:
    """What came of the request, in a sentence or two."""
    if told["refusal"]:
        text, detail = _WHY[told["refusal"]["why"]][0], told["refusal"]["detail"]
        detail = "; ".join(filter(None, (detail, *_near(told))))
        return f"{text} ({detail})." if detail else f"{text}."
    sentences = [_certificate(each) for each in told["certificates"]]
    ready = "The answer was ready" if told["answer"]["ready"] else "The answer was made and signed for this request"
    return f"{' '.join(sentences)} {ready}; its signer's certificate ends {told['signer']['not_after_time']}."


def advice(told: Mapping[str, Any]) -> str:
    """What to do."""
    if told["refusal"]:
        return _WHY[told["refusal"]["why"]][1]
    found = {each["status"] for each in told["certificates"]}
    if "unknown" in found:
        return (
            "Unknown means that the issuer never gave that serial number: check it and the issuer; import the "
            "certificate if it was issued elsewhere; if it was issued a moment ago, ask again."
        )
    return "Nothing."


def _near(told: Mapping[str, Any]) -> list[str]:
    """The first issuers that nearly fit."""
    cert_ids = told["request"]["cert_ids"] if told["request"] else ()
    misses = [miss for cert_id in cert_ids for miss in cert_id["near_misses"]][:4]
    return [PHRASES[Fit(miss["fit"])].format(name=miss["issuer"], hash=miss["hash_algorithm"]) for miss in misses]


def _certificate(told: Mapping[str, Any]) -> str:
    serial = told["serial_number"]
    if serial is None:
        return "A serial number that nobody can have: unknown, without a look-up."
    if told["source"] == "cache":
        how = f"from the cache, on evidence {told['evidence_age_seconds']} s old"
    else:
        how = f"looked up for this request at revision {told['read_at_revision']}"
    return f"Serial number {serial}: {told['status']}, {how}."
