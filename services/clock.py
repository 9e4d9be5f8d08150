"""The wall clock, as whole seconds. Whatever needs the time takes a `Clock`, so that tests bring their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time now, in UTC, cut to whole seconds (R58)."""
    return datetime.now(UTC).replace(microsecond=0)


def from_epoch(seconds: int) -> datetime:
    """The UTC time that many seconds after 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def rfc3339(moment: datetime) -> str:
    """A UTC time as people and programs read it (RFC 3339): 2026-02-03T04:05:06Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def to_epoch(moment: datetime) -> int:
    """Whole seconds from 1970 to `moment`, which must be aware."""
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return int(moment.timestamp())
