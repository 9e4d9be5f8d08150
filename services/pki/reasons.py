"""Why a certificate is revoked, and which change of mind is allowed.

Numbers are those of CRLReason (RFC 5280, section 5.3.1); 7 is not used there, nor here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum

from services.errors import FailedPrecondition, InvalidArgument


class Reason(IntEnum):
    """CRLReason."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    REMOVE_FROM_CRL = 8
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10


NAMES: Mapping[Reason, str] = {
    Reason.UNSPECIFIED: "unspecified",
    Reason.KEY_COMPROMISE: "keyCompromise",
    Reason.CA_COMPROMISE: "cACompromise",
    Reason.AFFILIATION_CHANGED: "affiliationChanged",
    Reason.SUPERSEDED: "superseded",
    Reason.CESSATION_OF_OPERATION: "cessationOfOperation",
    Reason.CERTIFICATE_HOLD: "certificateHold",
    Reason.REMOVE_FROM_CRL: "removeFromCRL",
    Reason.PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
    Reason.AA_COMPROMISE: "aACompromise",
}
"""The names of RFC 5280."""

COMPROMISES = frozenset({Reason.KEY_COMPROMISE, Reason.CA_COMPROMISE})
"""The reasons that say that a key is in other hands: whatever a CA signed with it is worth nothing from then on."""

_PRESETS: Mapping[str, frozenset[Reason]] = {
    "rfc5280": frozenset(Reason),
    # Baseline requirements 7.2.2: no hold, and none of the reasons for CAs (R110).
    "baseline": frozenset(
        {
            Reason.UNSPECIFIED,
            Reason.KEY_COMPROMISE,
            Reason.AFFILIATION_CHANGED,
            Reason.SUPERSEDED,
            Reason.CESSATION_OF_OPERATION,
            Reason.PRIVILEGE_WITHDRAWN,
        }
    ),
}


class Action(StrEnum):
    """What a request to revoke comes down to."""

    REVOKE = "revoke"
    HOLD = "hold"
    RELEASE = "release"
    NOTHING = "nothing"
    """It is so already: the stored record is the answer."""


def allowed_reasons(preset: str) -> frozenset[Reason]:
    """The reasons that callers may give under a preset, `rfc5280` or `baseline`. Raises ValueError for another."""
    try:
        return _PRESETS[preset]
    except KeyError:
        raise ValueError(f"{preset!r} is not a preset of reasons; one of {', '.join(_PRESETS)}") from None


def decide(current_reason: int | None, requested: int, preset: str = "rfc5280") -> Action:
    """Say what to do when `requested` is asked for, and `current_reason` is recorded (None: not revoked).

    A hold may become a revocation or be released; a revocation may be raised to keyCompromise; nothing else changes.
    Raises InvalidArgument (REASON_NOT_ALLOWED, on `reason`), FailedPrecondition (ALREADY_REVOKED, NOT_ON_HOLD; on
    `reason`).
    """
    reason = _allowed(requested, preset)
    if reason is Reason.REMOVE_FROM_CRL:
        return _release(current_reason)
    if current_reason == reason:
        return Action.NOTHING
    if current_reason is None or current_reason == Reason.CERTIFICATE_HOLD or reason is Reason.KEY_COMPROMISE:
        return Action.HOLD if reason is Reason.CERTIFICATE_HOLD else Action.REVOKE
    rule = (
        "no other reason takes the place of that"
        if current_reason == Reason.KEY_COMPROMISE
        else "only keyCompromise may take the place of another reason"
    )
    raise FailedPrecondition(
        "ALREADY_REVOKED",
        f"it is revoked already, for {_name(current_reason)}; {rule}",
        field="reason",
        metadata={"current_reason": _name(current_reason)},
    )


def _allowed(requested: int, preset: str) -> Reason:
    allowed = allowed_reasons(preset)
    if requested not in allowed:
        listed = ", ".join(NAMES[reason] for reason in sorted(allowed))
        raise InvalidArgument("REASON_NOT_ALLOWED", f"this reason is not allowed; one of {listed}", field="reason")
    return Reason(requested)


def _release(current_reason: int | None) -> Action:
    if current_reason == Reason.CERTIFICATE_HOLD:
        return Action.RELEASE
    raise FailedPrecondition(
        "NOT_ON_HOLD", "removeFromCRL releases a hold, and this certificate is not on hold", field="reason"
    )


def _name(reason: int) -> str:
    return NAMES[Reason(reason)]
