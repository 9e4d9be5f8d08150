"""How long a certificate is valid: what was asked for, the limits of the profile on that day, and the issuer's end.

A length counts the first and the last second (R92).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from services.errors import FailedPrecondition, InvalidArgument

BACK_DATING = timedelta(seconds=60)
"""How long before now a certificate begins to be valid: clocks of relying parties may be a little behind."""

SHORT_LIVED = timedelta(days=7)
"""R94: a certificate that lives no longer may do without revocation."""

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Cap:
    """From this moment on (UTC), no certificate is issued for longer than this."""

    since: datetime
    longest: timedelta


BASELINE_CAPS = tuple(
    Cap(datetime(year, month, day, tzinfo=UTC), timedelta(days=days))
    for year, month, day, days in ((2020, 9, 1, 398), (2026, 3, 15, 200), (2027, 3, 15, 100), (2029, 3, 15, 47))
)
"""Baseline requirements 6.3.2: it depends on the day of issuing."""


class ValidityPolicy(Protocol):
    """What a profile says about validity."""

    @property
    def name(self) -> str:
        """The profile's name."""

    @property
    def default_validity(self) -> timedelta:
        """If nothing is asked for."""

    @property
    def max_validity(self) -> timedelta:
        """At the most."""

    @property
    def min_validity(self) -> timedelta:
        """At the least."""

    @property
    def caps(self) -> Sequence[Cap]:
        """Limits by date, earliest first."""

    @property
    def cut_to_issuer(self) -> bool:
        """Whether a validity beyond the issuer's is cut rather than refused (R93)."""


class ValidityBounds(Protocol):
    """The validity of an issuer."""

    @property
    def not_before(self) -> datetime:
        """Its first second."""

    @property
    def not_after(self) -> datetime:
        """Its last second."""


def longest_validity(policy: ValidityPolicy, now: datetime) -> timedelta:
    """The limit of a profile for what is issued now."""
    caps = [cap.longest for cap in policy.caps if cap.since <= now]
    return min(policy.max_validity, caps[-1]) if caps else policy.max_validity


def decide_period(
    policy: ValidityPolicy,
    issuer: ValidityBounds,
    now: datetime,
    not_after: datetime | None,
    validity: timedelta | None,
) -> tuple[datetime, datetime]:
    """Return the first and the last second.

    `now` is in whole seconds (UTC). A default is cut to the limit of the day and to what is left of the issuer; what
    was asked for is refused beyond them.

    Raises InvalidArgument: VALIDITY_INVALID, VALIDITY_TOO_LONG, VALIDITY_TOO_SHORT, VALIDITY_BEYOND_ISSUER.
    FailedPrecondition: ISSUER_EXPIRED, ISSUER_NOT_ACTIVE.
    """
    if now > issuer.not_after:
        raise FailedPrecondition("ISSUER_EXPIRED", "the certificate of the issuer has expired", field="issuer")
    if now < issuer.not_before:
        text = "the certificate of the issuer is not valid yet"
        raise FailedPrecondition("ISSUER_NOT_ACTIVE", text, field="issuer")
    field = "not_after_time" if not_after is not None else "validity"
    first = max(now - BACK_DATING, issuer.not_before)
    # As whoever has nothing but the certificate reckons: of an issuer of this very minute, one issued a little later.
    longest = longest_validity(policy, first + BACK_DATING)
    last = _last_second(min(policy.default_validity, longest), first, not_after, validity, field)
    if last < now:
        raise InvalidArgument("VALIDITY_INVALID", "the certificate would have expired already", field=field)
    if last > issuer.not_after and not policy.cut_to_issuer and (not_after or validity):
        text = f"the certificate would outlive its issuer, which is valid until {issuer.not_after:%Y-%m-%dT%H:%M:%SZ}"
        raise InvalidArgument("VALIDITY_BEYOND_ISSUER", text, field=field)
    _check_length(policy, longest, last - first + SECOND, field)
    return first, min(last, issuer.not_after)


def _check_length(policy: ValidityPolicy, longest: timedelta, length: timedelta, field: str) -> None:
    if length > longest:
        text = f"the profile {policy.name} allows {in_words(longest)} at most"
        if longest < policy.max_validity:
            text += " for what is issued today"
        raise InvalidArgument("VALIDITY_TOO_LONG", text, field=field)
    if length < policy.min_validity:
        text = f"the profile {policy.name} allows no less than {int(policy.min_validity.total_seconds())} seconds"
        raise InvalidArgument("VALIDITY_TOO_SHORT", text, field=field)


def in_words(length: timedelta) -> str:
    """A length for messages: in days where it is whole days, in seconds otherwise."""
    return f"{length.days} days" if length.days and not length.seconds else f"{int(length.total_seconds())} seconds"


def _last_second(
    default: timedelta, first: datetime, not_after: datetime | None, validity: timedelta | None, field: str
) -> datetime:
    if not_after is not None and validity is not None:
        raise InvalidArgument("VALIDITY_INVALID", "either the end of the validity or its length", field=field)
    if not_after is not None:
        return not_after.astimezone(UTC).replace(microsecond=0)
    length = default if validity is None else validity
    if length < SECOND or length.microseconds:
        raise InvalidArgument("VALIDITY_INVALID", "a validity is a positive number of whole seconds", field=field)
    try:
        return first + length - SECOND
    except OverflowError:
        raise InvalidArgument("VALIDITY_BEYOND_ISSUER", "the validity goes past the year 9999", field=field) from None
