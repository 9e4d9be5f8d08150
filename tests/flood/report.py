"""The table and the numbers of `make flood`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.flood.flooding import Kept, Memory

GOAL = 0.8
"""What hot answers have to keep of their rate."""
FLAT = 8 << 20
"""Octets that the memory of a process may grow by from the first round of a flood to its last."""
_MIB = 1 << 20
_NOTE = """\
Hot, answered and tryLater are per second. Others: how much of the gateway's core somebody else used; where that is not
near zero, the machine was not quiet. The last columns: memory after the first round, and what it grew by since."""


@dataclass(frozen=True)
class Row:
    """One flood."""

    kind: str
    max_pending: int
    cache_entries: int
    kept: Sequence[Kept]
    memory: Memory
    highest: dict[str, float]
    """Of each number of the operators' page."""

    @property
    def ratio(self) -> float:
        """What hot answers keep of their rate: the median of the rounds."""
        return median(each.ratio for each in self.kept)

    def rate(self, of: Callable[[Kept], tuple[int, float]]) -> float:
        """So many in so many seconds, in the median of the rounds."""
        return median(count / seconds for count, seconds in map(of, self.kept))

    @property
    def others(self) -> float:
        """How much of the gateway's core somebody else used, in the median of the rounds."""
        return median(max(0.0, each.busy.first - each.busy.server) for each in self.kept)

    def grown(self, of: Sequence[int]) -> int:
        """Memory, from the end of the first round to that of the last, in octets."""
        return of[-1] - of[1]

    @property
    def broken(self) -> list[str]:
        """The bounds that did not hold. A missed goal is none."""
        found = {
            "the gateway's memory grew": self.grown(self.memory.gateway) > FLAT,
            "the status service's memory grew": self.grown(self.memory.status) > FLAT,
            "more were pending than may be": self.highest["goodstanding_http_pending"] > self.max_pending,
            "the cache held more than it may": self.highest["goodstanding_cache_entries"] > self.cache_entries,
        }
        return [what for what, is_so in found.items() if is_so]

    def numbers(self) -> dict[str, Any]:
        """For programs. Rates are per second, memory is in octets."""
        return {
            "kind": self.kind,
            "ratio": round(self.ratio, 3),
            "goal_met": self.ratio >= GOAL,
            "ratios": [round(each.ratio, 3) for each in self.kept],
            "hot_alone": round(self.rate(_alone)),
            "hot_flooded": round(self.rate(_flooded)),
            "flood_answered": round(self.rate(_answered)),
            "flood_try_later": round(self.rate(_put_off)),
            "questions": sum(each.flood.answered for each in self.kept),
            "not_asked": sum(each.flood.not_asked for each in self.kept),
            "gateway_busy": round(median(each.busy.server for each in self.kept), 2),
            "others_on_its_core": round(self.others, 2),
            "gateway_memory": self.memory.gateway,
            "status_memory": self.memory.status,
            "highest_pending": self.highest["goodstanding_http_pending"],
            "highest_cache_entries": self.highest["goodstanding_cache_entries"],
            "highest_cache_bytes": self.highest["goodstanding_cache_bytes"],
            "highest_evidence_age": round(self.highest["goodstanding_evidence_age_seconds"], 3),
            "broken": self.broken,
        }


def _alone(each: Kept) -> tuple[int, float]:
    return each.alone.successful, each.alone.seconds


def _flooded(each: Kept) -> tuple[int, float]:
    return each.flooded.successful, each.flooded.seconds


def _answered(each: Kept) -> tuple[int, float]:
    return each.flood.successful, each.flood.seconds


def _put_off(each: Kept) -> tuple[int, float]:
    return each.flood.put_off, each.flood.seconds


def table(rows: Sequence[Row]) -> str:
    """For readers."""
    heads = (
        "flood", "hot alone", "hot beside it", "kept", f"goal {GOAL:.0%}", "answered", "tryLater", "pending",
        "others", "gateway", "status service",
    )  # fmt: skip
    lines = [heads, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    broken = [f"{row.kind}: {what}" for row in rows for what in row.broken]
    return "\n".join([*text, "", *broken, _NOTE])


def _cells(row: Row) -> tuple[str, ...]:
    low, high = min(each.ratio for each in row.kept), max(each.ratio for each in row.kept)
    return (
        row.kind,
        f"{row.rate(_alone):,.0f}",
        f"{row.rate(_flooded):,.0f}",
        f"{row.ratio:.0%} ({low:.0%}–{high:.0%})",
        "met" if row.ratio >= GOAL else "missed",
        f"{row.rate(_answered):,.0f}",
        f"{row.rate(_put_off):,.0f}",
        f"{row.highest['goodstanding_http_pending']:.0f} of {row.max_pending}",
        f"{row.others:.0%}",
        _memory(row, row.memory.gateway),
        _memory(row, row.memory.status),
    )


def _memory(row: Row, of: Sequence[int]) -> str:
    return f"{of[1] / _MIB:.0f} MiB {row.grown(of) / _MIB:+.1f}"
