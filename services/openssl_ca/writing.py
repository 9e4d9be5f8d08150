"""What index.txt says of certificates that are recorded here, and the next serial number. Pure.

What no row can hold (some reasons, and times that go with others) stands beside it, in index.txt.more: one line for
each such row, in the order of the rows, so that both can be read together. OpenSSL does not look at it.

    1003    20260102030405Z    privilegeWithdrawn    20251224000000Z
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from services.openssl_ca.index import IndexRow, Revocation
from services.openssl_ca.oneline import index_subject
from services.openssl_ca.times import format_generalized
from services.pki.reasons import NAMES, Reason

MORE_SUFFIX: Final = ".more"
MORE_HEADER: Final = (
    "# What index.txt has no room for: serial number, time, reason and invalidity time of revocations, in the order\n"
    "# of its rows. OpenSSL does not read this; goodstanding does, when it imports the folder.\n"
)

# What index.txt has no word for (crl_reasons in apps/ca.c): whoever writes one makes `openssl ca` refuse the file.
UNWRITABLE_REASONS: Final = frozenset({Reason.PRIVILEGE_WITHDRAWN, Reason.AA_COMPROMISE})
_WITH_KEY_TIME: Final = frozenset({Reason.KEY_COMPROMISE, Reason.CA_COMPROMISE})

# OpenSSL before 3.2 refuses the whole file where a revocation is not of these years.
_FIRST_TIME: Final = datetime(1950, 1, 1, tzinfo=UTC)
_LAST_TIME: Final = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)

_MAX_SERIAL: Final = 2**159 - 1
"""The highest serial number with 20 octets in DER (RFC 5280, section 4.1.2.2)."""
_ROOM: Final = 2**64


class Entry(NamedTuple):
    """A certificate as it is recorded."""

    serial: bytes
    der: bytes | None
    subject: str
    """What index.txt shall say where there is no certificate, to the letter."""
    not_after: datetime
    revocation: Revocation | None
    """Whatever its reason and its times are."""


def index_row(entry: Entry, now: datetime) -> IndexRow:
    """The row for a certificate, in the state in which `openssl ca -updatedb` would leave it at `now`.

    A reason or a time that a row cannot hold is left out: `is_whole` tells. Raises ValueError for a certificate that
    is none.
    """
    serial = serial_text(int.from_bytes(entry.serial, "big"))
    subject = index_subject(entry.der, serial) if entry.der else entry.subject
    if entry.revocation is not None:
        return IndexRow("R", entry.not_after, writable(entry.revocation), serial, subject=subject)
    return IndexRow("E" if entry.not_after <= now else "V", entry.not_after, None, serial, subject=subject)


def writable(revocation: Revocation) -> Revocation:
    """What a row can hold of a revocation. A reason of "unspecified" counts as none (RFC 5280, section 5.3.1)."""
    time, reason, instruction, invalidity = revocation
    time = min(max(time, _FIRST_TIME), _LAST_TIME)
    if reason in UNWRITABLE_REASONS or reason is Reason.UNSPECIFIED:
        reason = None
    return Revocation(
        time,
        reason,
        instruction if reason is Reason.CERTIFICATE_HOLD else None,
        invalidity if reason in _WITH_KEY_TIME else None,
    )


def is_whole(revocation: Revocation) -> bool:
    """Whether a row can hold all of a revocation."""
    absent = revocation.reason is Reason.UNSPECIFIED
    return writable(revocation) == (revocation._replace(reason=None) if absent else revocation)


def more_line(serial: bytes, revocation: Revocation) -> str:
    """The line of index.txt.more for a revocation that no row can hold, without its newline."""
    reason = "" if revocation.reason is None else NAMES[revocation.reason]
    invalidity = revocation.invalidity_time
    number, time = serial_text(int.from_bytes(serial, "big")), format_generalized(revocation.time)
    return f"{number}\t{time}\t{reason}\t{format_generalized(invalidity) if invalidity else ''}"


def serial_text(number: int) -> str:
    """A number as OpenSSL writes it into its files: upper-case hex, two digits an octet."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex().upper()


@dataclass(slots=True)
class NextSerial:
    """A serial number that is free, with room for many more behind it: for the file `serial`.

    It is one more than the highest, which keeps the old ones apart from the new ones. Where that does not fit into 20
    octets any more, it is `chance`, a random number, unless a certificate is there already or soon behind.
    """

    chance: int
    """A random number below 2**158."""
    highest: int = field(default=0, init=False)
    _taken: bool = field(default=False, init=False)

    def note(self, serial: bytes) -> None:
        """There is a certificate with that number."""
        number = int.from_bytes(serial, "big")
        self.highest = max(self.highest, number)
        self._taken = self._taken or self.chance <= number < self.chance + _ROOM

    @property
    def value(self) -> int:
        """The next one. Raises ValueError if there is none (try another `chance`)."""
        if self.highest + _ROOM <= _MAX_SERIAL:
            return self.highest + 1
        if self._taken:
            raise ValueError("the serial numbers there are leave no room behind this one")
        return self.chance
