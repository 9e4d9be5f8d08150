"""How much is measured, by default and with --quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str], None]
"""Told what is being measured now, for people who wait."""

HOT = 1000
"""Certificates that are asked about again and again."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    """Per row and round, for OCSP answers."""
    certificates: int
    """Per row and round, with many callers; the batch of `openssl ca`; and those asked about for the first time."""
    lone_calls: int
    """Per round, with one caller."""
    revocations: int
    starts: int
    """Restarts of all processes."""
    entries: int
    """Of the revocation list."""
    imported: int
    """Rows of the index of an OpenSSL CA."""

    def facts(self) -> dict[str, str]:
        """The same for a report."""
        return {
            "rounds": str(self.rounds),
            "seconds a row of OCSP answers": str(self.seconds),
            "certificates asked about": f"{HOT:,}",
            "certificates a row": str(self.certificates),
            "lone calls": str(self.lone_calls),
            "revocations": str(self.revocations),
            "restarts": str(self.starts),
            "entries of the revocation list": f"{self.entries:,}",
            "rows imported": f"{self.imported:,}",
        }


FULL = Size(
    rounds=5, seconds=2.0, certificates=1600, lone_calls=300, revocations=200, starts=5, entries=1_000_000,
    imported=1_000_000,
)  # fmt: skip
QUICK = Size(
    rounds=3, seconds=0.3, certificates=500, lone_calls=60, revocations=20, starts=1, entries=50_000, imported=20_000
)
