"""One certificate of another CA as it is sent, whatever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from services.cli.importing.findings import Findings
from services.openssl_ca.index import Revocation

Tick = Callable[[int], None]
"""Told how many more records were dealt with."""


class Record(NamedTuple):
    """One certificate, or only its status."""

    place: int
    """Its number in the source, from 1: that of the line in an index."""
    file: str
    serial: str
    """Hex, in any case."""
    certificate: bytes | None
    """In DER."""
    subject: str
    expiry: datetime
    revocation: Revocation | None
    line: int = 0
    """Where it is in the file; 0: the file has nothing else."""

    @property
    def origin(self) -> str:
        """Where it was found, as in "index.txt:17"."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Tally:
    """How many records were found of each kind; findings tell which of them are left out."""

    total: int = 0
    valid: int = 0
    revoked: int = 0
    on_hold: int = 0
    """Among the revoked ones."""
    expired: int = 0
    with_certificate: int = 0
    status_only: int = 0
    unreadable: int = 0
    """Not among the others."""

    def as_json(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


class Source(Protocol):
    """Where records come from. It is read twice: to check everything, and to send what may be sent."""

    @property
    def name(self) -> str:
        """What it is, for people and for the audit log."""

    def check(self, findings: Findings, now: datetime, tick: Tick) -> Tally:
        """Look at every record, and tell what is odd. Raises Failed for what cannot be read at all."""

    def records(self) -> Iterator[Record]:
        """The records that make sense. Raises Failed where the source is not what was checked."""
