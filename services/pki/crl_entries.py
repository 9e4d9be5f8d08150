"""Revoked certificates as the octets that a revocation list has of them, kept so that one change costs one change.

Guarantees: at most one entry for each serial number; an entry is the DER of RFC 5280, section 5.1.2.6, with the reason
and the invalidity date where there are any (R110). A million of them take about 60 MB.

Entries lie in buckets by the end of their serial number, each bucket one run of octets in the order of arrival: putting
in another one touches a single bucket, and a list is the buckets one after the other. Times are seconds since 1970.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from services.pki.reasons import Reason

BUCKETS: Final = 4096

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UTC_TIME: Final = b"\x17\x0d"
_GENERALIZED_TIME: Final = b"\x18\x0f"
# The Extensions reasonCode and invalidityDate up to their values (RFC 5280, sections 5.3.1 and 5.3.2).
_REASON_CODE: Final = bytes.fromhex("300a0603551d1504030a01")
_INVALIDITY_DATE: Final = bytes.fromhex("30180603551d180411")


def encode_entry(serial: bytes, revoked_at: int, reason: int, invalidity_at: int | None) -> bytes:
    """The DER of one revoked certificate. `serial` is big-endian, unsigned, 1 to 20 octets without zeros in front.

    Raises ValueError for reasons that no full list has: 7, 8, and numbers that are no reasons.
    """
    content = _integer(serial) + _after_serial(revoked_at, reason, invalidity_at)
    # At most 23 + 17 + 40 octets: one octet for the length is always enough.
    return b"\x30" + len(content).to_bytes(1) + content


def _integer(serial: bytes) -> bytes:
    if not 1 <= len(serial) <= 20 or not serial[0]:
        raise ValueError("a serial number has 1 to 20 octets, the first of them not zero")
    content = b"\x00" + serial if serial[0] >= 0x80 else serial
    return b"\x02" + len(content).to_bytes(1) + content


@lru_cache(maxsize=65536)
def _after_serial(revoked_at: int, reason: int, invalidity_at: int | None) -> bytes:
    if Reason(reason) is Reason.REMOVE_FROM_CRL:
        raise ValueError("removeFromCRL is for delta CRLs")
    extensions = b""
    if reason != Reason.UNSPECIFIED:
        extensions += _REASON_CODE + reason.to_bytes(1)
    if invalidity_at is not None:
        extensions += _INVALIDITY_DATE + _GENERALIZED_TIME + _digits(invalidity_at)
    if extensions:
        extensions = b"\x30" + len(extensions).to_bytes(1) + extensions
    return _time(revoked_at) + extensions


def _time(seconds: int) -> bytes:
    """UTCTime through 2049, GeneralizedTime from then on, and before 1950 (RFC 5280, section 5.1.2.6)."""
    digits = _digits(seconds)
    return _UTC_TIME + digits[2:] if b"1950" <= digits < b"2050" else _GENERALIZED_TIME + digits


def _digits(seconds: int) -> bytes:
    return f"{_EPOCH + timedelta(seconds=seconds):%Y%m%d%H%M%SZ}".rjust(15, "0").encode("ascii")


class RevokedEntries:
    """The entries of one list. Not to be changed while `octets` is used."""

    def __init__(self) -> None:
        self._buckets: dict[int, _Bucket] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, serial: bytes, entry: bytes, keep_until: int) -> None:
        """Put in the entry (of `encode_entry`) of that serial number, in the place of the one that was there.

        It may be dropped once `keep_until` is past.
        """
        number = _bucket_of(serial)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
        self._count += bucket.put(_integer(serial), entry, keep_until)

    def add(self, serial: bytes, entry: bytes, keep_until: int) -> None:
        """Put in the entry of a serial number that is not there yet, which nobody checks. Quicker than `put`."""
        number = _bucket_of(serial)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
        bucket.octets += entry
        bucket.keep_until.append(keep_until)
        self._count += 1

    def remove(self, serial: bytes) -> None:
        """Take out the entry of that serial number, if there is one."""
        bucket = self._buckets.get(_bucket_of(serial))
        if bucket is not None:
            self._count -= bucket.remove(_integer(serial))

    def drop_before(self, moment: int) -> int:
        """Take out the entries that were to be kept until a time before `moment`. Returns how many."""
        dropped = sum(bucket.drop_before(moment) for bucket in self._buckets.values())
        self._count -= dropped
        return dropped

    def octets(self) -> list[bytes | bytearray]:
        """All entries, one after the other, in pieces."""
        return [bucket.octets for _, bucket in sorted(self._buckets.items()) if bucket.octets]


def _bucket_of(serial: bytes) -> int:
    return int.from_bytes(serial[-2:]) % BUCKETS


class _Bucket:
    """Entries one after the other, and until when each of them is kept."""

    __slots__ = ("keep_until", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self.keep_until = array("q")

    def put(self, integer: bytes, entry: bytes, keep_until: int) -> bool:
        """Returns whether there is one entry more now."""
        found = self._find(integer)
        if found is None:
            self.octets += entry
            self.keep_until.append(keep_until)
            return True
        index, start, end = found
        self.octets[start:end] = entry
        self.keep_until[index] = keep_until
        return False

    def remove(self, integer: bytes) -> bool:
        """Returns whether there was one."""
        found = self._find(integer)
        if found is None:
            return False
        index, start, end = found
        del self.octets[start:end], self.keep_until[index]
        return True

    def drop_before(self, moment: int) -> int:
        if not self.keep_until or min(self.keep_until) >= moment:
            return 0
        kept = [
            (bytes(self.octets[start:end]), until)
            for (start, end), until in zip(self._bounds(), self.keep_until, strict=True)
            if until >= moment
        ]
        dropped = len(self.keep_until) - len(kept)
        self.octets = bytearray(b"".join(entry for entry, _ in kept))
        self.keep_until = array("q", [until for _, until in kept])
        return dropped

    def _find(self, integer: bytes) -> tuple[int, int, int] | None:
        # Nearly always it is not there, which this search through octets tells in a microsecond.
        if integer not in self.octets:
            return None
        for index, (start, end) in enumerate(self._bounds()):
            if self.octets.startswith(integer, start + 2, end):
                return index, start, end
        return None

    def _bounds(self) -> Iterator[tuple[int, int]]:
        start = 0
        while start < len(self.octets):
            end = start + 2 + self.octets[start + 1]
            yield start, end
            start = end
