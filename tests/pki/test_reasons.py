"""Reasons and changes of mind."""

from __future__ import annotations

import pytest
from cryptography import x509

from services.errors import DomainError, FailedPrecondition, InvalidArgument
from services.pki.reasons import NAMES, Action, Reason, allowed_reasons, decide

_HOLD, _RELEASE = Reason.CERTIFICATE_HOLD, Reason.REMOVE_FROM_CRL


def test_names_are_those_of_the_library() -> None:
    """The names of RFC 5280 are spelled as cryptography spells them, one for each reason."""
    assert set(NAMES) == set(Reason)
    assert set(NAMES.values()) == {flag.value for flag in x509.ReasonFlags}


@pytest.mark.parametrize(
    ("current", "requested", "action"),
    [
        (None, Reason.UNSPECIFIED, Action.REVOKE),
        (None, Reason.KEY_COMPROMISE, Action.REVOKE),
        (None, _HOLD, Action.HOLD),
        (_HOLD, _HOLD, Action.NOTHING),
        (_HOLD, _RELEASE, Action.RELEASE),
        (_HOLD, Reason.SUPERSEDED, Action.REVOKE),
        (_HOLD, Reason.UNSPECIFIED, Action.REVOKE),
        (Reason.UNSPECIFIED, Reason.UNSPECIFIED, Action.NOTHING),
        (Reason.SUPERSEDED, Reason.SUPERSEDED, Action.NOTHING),
        (Reason.SUPERSEDED, Reason.KEY_COMPROMISE, Action.REVOKE),
        (Reason.UNSPECIFIED, Reason.KEY_COMPROMISE, Action.REVOKE),
        (Reason.KEY_COMPROMISE, Reason.KEY_COMPROMISE, Action.NOTHING),
    ],
)
def test_allowed_changes(current: int | None, requested: int, action: Action) -> None:
    """What a request comes down to follows from what is recorded."""
    assert decide(current, requested) is action


@pytest.mark.parametrize(
    ("current", "requested", "error", "reason"),
    [
        (None, _RELEASE, FailedPrecondition, "NOT_ON_HOLD"),
        (Reason.SUPERSEDED, _RELEASE, FailedPrecondition, "NOT_ON_HOLD"),
        (Reason.KEY_COMPROMISE, Reason.SUPERSEDED, FailedPrecondition, "ALREADY_REVOKED"),
        (Reason.KEY_COMPROMISE, _HOLD, FailedPrecondition, "ALREADY_REVOKED"),
        (Reason.SUPERSEDED, _HOLD, FailedPrecondition, "ALREADY_REVOKED"),
        (Reason.SUPERSEDED, Reason.UNSPECIFIED, FailedPrecondition, "ALREADY_REVOKED"),
        (None, 7, InvalidArgument, "REASON_NOT_ALLOWED"),
        (None, -1, InvalidArgument, "REASON_NOT_ALLOWED"),
        (None, 11, InvalidArgument, "REASON_NOT_ALLOWED"),
        (_HOLD, 7, InvalidArgument, "REASON_NOT_ALLOWED"),
    ],
)
def test_refused_changes(current: int | None, requested: int, error: type[DomainError], reason: str) -> None:
    """7 never, 8 only as release, and no other change of a reason than to keyCompromise."""
    with pytest.raises(error) as caught:
        decide(current, requested)
    assert caught.value.reason == reason


@pytest.mark.parametrize("requested", [2, 6, 8, 10])
def test_the_baseline_preset_is_shorter(requested: int) -> None:
    """Holds and reasons for CAs are refused under the baseline requirements."""
    assert allowed_reasons("baseline") == {0, 1, 3, 4, 5, 9}  # R110
    with pytest.raises(InvalidArgument) as caught:
        decide(None, requested, "baseline")
    assert caught.value.reason == "REASON_NOT_ALLOWED"


def test_an_unknown_preset_is_an_error_of_configuration() -> None:
    """A preset that doesn't exist is named, with those that do."""
    with pytest.raises(ValueError, match="rfc5280, baseline"):
        allowed_reasons("strict")
