"""Times as OpenSSL writes them into its files: UTCTime and GeneralizedTime, in UTC and whole seconds here."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

# What ASN1_TIME_set_string takes beside the usual `…Z`: no seconds, fractions of them, an offset.
_TIME = re.compile(r"(\d{10}|\d{12}|\d{14})(\.\d+)?(?:Z|([+-])(\d\d)(\d\d))", re.ASCII)
_LAST_UTC_YEAR = 2049


def read_time(text: str, *, generalized: bool = False) -> datetime:
    """Read `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; only the latter if `generalized`. Fractions of seconds are cut off.

    Years of two digits are those of RFC 5280, section 4.1.2.5.1: 50 is 1950, and 49 is 2049. Seconds may be left out
    and an offset may stand for the Z, as OpenSSL reads them. Raises ValueError.
    """
    length = len(text)
    if text[-1:] == "Z" and text[:-1].isdecimal() and text.isascii():
        if length == 13 and not generalized:
            return read_utc_time(text)
        if length == 15:
            return _moment(text)
    return _unusual(text, generalized)


def format_time(time: datetime) -> str:
    """Write UTCTime up to 2049 and GeneralizedTime from then on and before 1950, as certificates have it."""
    return f"{time:%y%m%d%H%M%SZ}" if 1950 <= time.year <= _LAST_UTC_YEAR else format_generalized(time)


def format_generalized(time: datetime) -> str:
    """Write GeneralizedTime."""
    return f"{time.year:04}{time:%m%d%H%M%SZ}"


def read_utc_time(text: str) -> datetime:
    """Read `YYMMDDHHMMSSZ`, which has to be digits but for its end. Raises ValueError for a time that there is not."""
    # The quickest way there is, and an index has a million of them.
    return datetime.fromisoformat(f"20{text[:6]}T{text[6:]}" if text[0] < "5" else f"19{text[:6]}T{text[6:]}")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}")


def _unusual(text: str, generalized: bool) -> datetime:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a time")
    digits, fraction, sign, hours, minutes = found.groups()
    wide = len(digits) == 14 or (generalized and len(digits) == 12)
    if (generalized and not wide) or (fraction and len(digits) != 14):
        raise ValueError("not a time of this kind")
    full = digits.ljust(14 if wide else 12, "0") + "Z"
    time = _moment(full) if wide else read_utc_time(full)
    if sign is None:
        return time
    if int(hours) > 12 or int(minutes) > 59:
        raise ValueError("no such offset")
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (1 if sign == "+" else -1)
    try:
        return time.replace(tzinfo=timezone(offset)).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a time") from None
