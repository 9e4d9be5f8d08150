"""How much is measured, by default and with --quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str], None]
"""Told what is being measured now, for people who wait."""


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

    def facts(self) -> dict[str, str]:
        """The same for a report."""
        return {
            "rounds": str(self.rounds),
            "seconds a row of OCSP answers": str(self.seconds),
            "certificates a row": str(self.certificates),
            "lone calls": str(self.lone_calls),
            "revocations": str(self.revocations),
        }


FULL = Size(rounds=5, seconds=2.0, certificates=1500, lone_calls=300, revocations=100)
QUICK = Size(rounds=3, seconds=0.4, certificates=300, lone_calls=60, revocations=20)
