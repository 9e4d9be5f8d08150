"""When an answer begins and ends (R56–R59, R75–R77, R84–R86; G5).

Answers that can be shared follow a grid of periods, a quarter of their validity each: within a period every worker and
every restart gives the same times, and when a period ends, three quarters of the validity are left for caches that hold
the old answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from gateway.answers import Status

_UNKNOWN_VALIDITY = 300
_BASELINE_MINIMUM = 8 * 3600 - 1


class Preset(StrEnum):
    """Values for validity and max-age that go together."""

    DEFAULT = "default"
    """Twelve hours, held by caches for five minutes."""
    BASELINE = "baseline"
    """A day; never less than 8 hours or more than 10 days, both ends counted (R84–R86)."""
    SHORT = "short"
    """Ten minutes, held by caches for ten seconds: for clients near by, who can ask often."""


_VALUES = {Preset.DEFAULT: (12 * 3600, 300), Preset.BASELINE: (24 * 3600, 300), Preset.SHORT: (600, 10)}


@dataclass(frozen=True, slots=True)
class Window:
    """The times of one SingleResponse, in seconds since 1970."""

    this_update: int
    next_update: int
    good_until: int
    """From then on another answer is made."""
    good_from: int
    """Before that, which is where a clock that was set back may be, another is made too."""


@dataclass(frozen=True, slots=True)
class ValidityPolicy:
    """How long answers are valid. All values are seconds.

    Raises ValueError: they do not fit together.
    """

    validity: int
    clock_skew: int
    max_age: int = 300
    """The longest that HTTP caches may hold an answer."""
    minimum: int = 0
    """Answers that would be valid for less are not made: the signer's certificate ends too soon."""

    def __post_init__(self) -> None:
        if self.clock_skew > self.validity // 4:
            # Otherwise more than half of an answer's life would be over when it is given (R85).
            raise ValueError(f"clock_skew ({self.clock_skew} s) is more than a quarter of validity ({self.validity} s)")
        if self.validity < self.minimum:
            raise ValueError(
                f"validity is less than 8 hours ({self.minimum} s), which the baseline preset forbids (R84)"
            )

    @classmethod
    def of(cls, preset: Preset, validity: int | None, max_age: int | None, clock_skew: int) -> Self:
        """The values of a preset, except for those that are given. Raises ValueError."""
        usual_validity, usual_max_age = _VALUES[preset]
        return cls(
            usual_validity if validity is None else validity,
            clock_skew,
            usual_max_age if max_age is None else max_age,
            _BASELINE_MINIMUM if preset is Preset.BASELINE else 0,
        )

    def window(self, status: Status, now: int, signer_not_before: int, signer_not_after: int) -> Window | None:
        """The times for an answer about `status`; None if the signer's certificate does not allow one now.

        thisUpdate is not before the status came about, so that a revocation is never later than it (R59), nor before
        the signer's certificate begins, because some clients check that certificate as of producedAt.
        """
        if not status.known:
            return self._unknown(now, signer_not_after)
        period = max(1, self.validity // 4)
        start = (now - self.clock_skew) // period * period
        # A database whose clock is ahead must not make clients refuse what is good: they take no thisUpdate to come. A
        # revocation cannot be helped so, because its own time may not be later than thisUpdate (R59).
        changed_at = status.changed_at if status.revocation else min(status.changed_at, now)
        this_update = max(start, changed_at, signer_not_before)
        next_update = min(this_update + self.validity, signer_not_after)
        if not signer_not_before <= now < signer_not_after or next_update <= max(now, this_update):
            return None
        if next_update - this_update < self.minimum:
            return None
        good_from = max(start + self.clock_skew, signer_not_before)
        return Window(this_update, next_update, min(start + period + self.clock_skew, next_update), good_from)

    def _unknown(self, now: int, signer_not_after: int) -> Window | None:
        # The certificate may be issued a moment later: nobody should hold on to this for long.
        next_update = min(now + min(self.validity, _UNKNOWN_VALIDITY), signer_not_after)
        return Window(now, next_update, now, now) if now < next_update else None


@dataclass(frozen=True, slots=True)
class ValidityPolicies:
    """The policy for each issuer."""

    general: ValidityPolicy
    special: Mapping[str, ValidityPolicy]
    """By name of issuer."""

    def of(self, issuer: str) -> ValidityPolicy:
        """The policy for an issuer."""
        return self.special.get(issuer, self.general)


def as_time(seconds: int) -> datetime:
    """Seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)
