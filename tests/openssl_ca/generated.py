"""An index.txt with rows of every kind, written down as OpenSSL does, and not by the code that is tested."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from random import Random

ROWS = 10_000
NOW = datetime.now(UTC).replace(microsecond=0)
UTC_TIME, GENERALIZED_TIME = "%y%m%d%H%M%SZ", "%Y%m%d%H%M%SZ"
EXPIRIES = (
    *((NOW + timedelta(days=days)).strftime(UTC_TIME) for days in (1, 400, -1, -4000)),
    *("491231235959Z", "20500101000000Z", "99991231235959Z", "500101000000Z"),
)
# The last one is still to come: OpenSSL takes it for revoked, and so do we.
REVOKED = tuple((NOW - timedelta(days=days)).strftime(UTC_TIME) for days in (0, 300, 9000, -2))
WORDS = (
    *("", ",unspecified", ",keyCompromise", ",CACompromise", ",affiliationChanged", ",superseded"),
    *(",cessationOfOperation", ",certificateHold", ",removeFromCRL", ",KEYCOMPROMISE"),
    *(",holdInstruction,holdInstructionNone", ",holdInstruction,holdInstructionCallIssuer"),
    *(",holdInstruction,holdInstructionReject", ",holdInstruction,1.2.840.10040.2.3"),
    *(",keyTime,20250102030405Z", ",CAkeyTime,19990102030405Z"),
)
SUBJECTS = ("/C=GB/O=Ex, Inc./CN=www.example.com", r"/CN=Zo\xC3\xAB", r"/CN=a\/b\+c/O=x+OU=y", "/CN=a/b", "")


def rows(random: Random) -> Iterator[tuple[int, str, str]]:
    """Serial number, state and line of each row: every kind with every expiry and all widths of serial numbers."""
    kinds = cycle([("V", ""), ("E", ""), *(("R", time + word) for word in WORDS for time in REVOKED)])
    expiries, subjects, widths = cycle(EXPIRIES), cycle(SUBJECTS), cycle(range(1, 21))
    taken: set[int] = set()
    while len(taken) < ROWS:
        width = next(widths)
        number = random.getrandbits(8 * width - 1)
        if number == 0 or number in taken:
            continue
        taken.add(number)
        digits = number.to_bytes((number.bit_length() + 7) // 8, "big").hex().upper()
        (state, revocation), expiry = next(kinds), next(expiries)
        if random.random() < 0.1:  # so that kinds do not always come with the same expiry
            next(expiries)
        yield number, state, f"{state}\t{expiry}\t{revocation}\t{digits}\tunknown\t{next(subjects)}\n"
