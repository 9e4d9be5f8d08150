"""Explanations in words: what was found, and what to do about it. For people; programs read the fields."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ocsp.matching import PHRASES
from services.clock import rfc3339
from services.db.records import RevocationRecord
from services.pki.reasons import NAMES, Reason
from services.pki.serials import format_serial
from services.status.explanation import Candidate, Cause, Explanation, IssuerFit

_FITS = {
    **{IssuerFit[fit.name]: phrase for fit, phrase in PHRASES.items()},
    IssuerFit.SERIAL_NUMBER_ONLY: "issuer {name} has a certificate with that serial number",
}
_IMPORTED = "imported"
"""The profile that imported certificates are listed under: their time of issuing is not known."""
_NAMING = "make the request with the certificate of the right issuer"


def summary(explanation: Explanation) -> str:
    """The cause in one or two sentences."""
    recorded = explanation.certificate
    if recorded is not None and recorded.der is None:
        return f"{_cause(explanation)} Only its status is recorded, the certificate itself is not."
    return _cause(explanation)


def _cause(explanation: Explanation) -> str:
    issuer, serial = _issuer(explanation), format_serial(explanation.reference.serial)
    recorded = explanation.certificate
    revocation = explanation.finding.record.revocation if explanation.finding.record else None
    match explanation.cause:
        case Cause.NOT_REVOKED:
            if recorded is not None and recorded.profile == _IMPORTED:
                return f"Serial number {serial} of issuer {issuer} was imported and is not revoked: its status is good."
            issued = f" on {rfc3339(recorded.issued_at)}" if recorded else ""
            return f"Issuer {issuer} issued serial number {serial}{issued}, and it is not revoked: the status is good."
        case Cause.REVOKED:
            return f"Serial number {serial} of issuer {issuer} has been revoked {_when_and_why(revocation)}."
        case Cause.ON_HOLD:
            return f"Serial number {serial} of issuer {issuer} has been on hold {_when_and_why(revocation)}."
        case Cause.ISSUER_COMPROMISED:
            return (
                f"Every certificate of issuer {issuer} is revoked, serial number {serial} among them, because the "
                f"issuer's key has been compromised {_when_and_why(revocation)}."
            )
        case Cause.SERIAL_NUMBER_IMPOSSIBLE:
            return f"Issuer {issuer} matches, but the serial number is zero, negative or longer than 20 octets."
        case Cause.HASH_ALGORITHM_NOT_SUPPORTED:
            near = _near(explanation.candidates)
            return f"The CertID uses a hash algorithm that is not supported, or a hash of a wrong length{near}."
        case Cause.ISSUER_NOT_KNOWN:
            return f"No issuer here is the one that was asked about{_near(explanation.candidates)}."
        case Cause.CERTIFICATE_DIFFERS:
            return f"Issuer {issuer} has another certificate with serial number {serial} than this one."
        case _:
            whom = f"Issuer {issuer} is known, and has no" if explanation.issuer else "No issuer here has a"
            return f"{whom} certificate with serial number {serial}{_near(explanation.candidates)}."


def advice(explanation: Explanation) -> str:
    """What to do."""
    match explanation.cause:
        case Cause.NOT_REVOKED:
            return "Nothing."
        case Cause.REVOKED | Cause.ISSUER_COMPROMISED:
            return "Issue another certificate and put it in this one's place; a revocation is not taken back."
        case Cause.ON_HOLD:
            return "Release it with `goodstanding revoke --reason removeFromCRL`, or revoke it for good."
        case Cause.SERIAL_NUMBER_IMPOSSIBLE:
            return "Ask about the serial number as it stands in the certificate."
        case Cause.HASH_ALGORITHM_NOT_SUPPORTED:
            return "Make the CertID with SHA-1, SHA-256, SHA-384 or SHA-512."
        case Cause.ISSUER_NOT_KNOWN:
            return _unknown_issuer(explanation.candidates)
        case Cause.CERTIFICATE_DIFFERS:
            return "Two certificates share a serial number: ask the issuer which is genuine, and replace this one."
        case _:
            others = [each.issuer for each in explanation.candidates if each.fit is IssuerFit.SERIAL_NUMBER_ONLY]
            if others:
                return f"Was issuer {' or '.join(map(_quoted, others))} meant? Then {_NAMING}."
            return (
                "Check the serial number. If the certificate was issued elsewhere with this issuer's key, import it; "
                "if it was issued a moment ago, ask again."
            )


def _unknown_issuer(candidates: Sequence[Candidate]) -> str:
    fits = {candidate.fit for candidate in candidates}
    mixed = [
        (name.issuer, key.issuer)
        for name in candidates
        for key in candidates
        if (name.fit, key.fit) == (IssuerFit.NAME_ONLY, IssuerFit.KEY_ONLY)
    ]
    if mixed:
        name, key = map(_quoted, mixed[0])
        return (
            f"The request mixes the name of {name} with the key of {key}: it was made with the certificate of {key}, "
            f"for a certificate of {name}. Make it with the certificate of {name} (`openssl ocsp -issuer`)."
        )
    if IssuerFit.SWAPPED in fits or IssuerFit.KEY_WITH_ALGORITHM in fits or IssuerFit.OTHER_HASH_ALGORITHM in fits:
        return (
            "The client makes its CertIDs wrongly (RFC 6960, section 4.1.1): correct it. The name is hashed as DER, "
            "the key without its algorithm, both with the function that is named."
        )
    if IssuerFit.NAME_ONLY in fits:
        return (
            f"The issuer's key was rolled over, or somebody else uses its name: {_NAMING}, or import that issuer with "
            "`goodstanding ca import`."
        )
    if IssuerFit.KEY_ONLY in fits:
        return (
            f"The issuer's name changed, or is encoded in another way: {_NAMING}, with the name exactly as it stands "
            "in certificates, or import the CA certificate of that name with `goodstanding ca import`."
        )
    if fits:
        return f"If one of these issuers was meant, {_NAMING}."
    return (
        f"If the certificate is of another CA, ask its responder; if it is of an issuer here, {_NAMING}; otherwise "
        "import the issuer with `goodstanding ca import`."
    )


def _near(candidates: Sequence[Candidate]) -> str:
    told = [
        _FITS[each.fit].format(name=_quoted(each.issuer), hash=each.hash_algorithm)
        for each in candidates
        if each.fit is not IssuerFit.MATCH
    ]
    return "; " + "; ".join(told) if told else ""


def _when_and_why(revocation: RevocationRecord | None) -> str:
    if revocation is None:
        return ""
    return f"since {rfc3339(revocation.revoked_at)} ({NAMES[Reason(revocation.reason)]})"


def _issuer(explanation: Explanation) -> str:
    return _quoted(explanation.issuer.name) if explanation.issuer else "unknown"


def _quoted(name: str) -> str:
    return f'"{name}"'
