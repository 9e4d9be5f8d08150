"""`python -m benchmarks.scale`: does it cost more with ten million certificates than with ten thousand?

Fills two databases of the same kind, runs goodstanding on both at once, and measures every task on both in turn,
so that whatever else the machine does slows both. Everything is made in temporary folders, and removed,
however it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report, scale_report
from benchmarks.__main__ import RESULTS
from benchmarks.machine import machine, versions
from benchmarks.measure import Row
from benchmarks.processes import BenchmarkError
from benchmarks.scale_load import warm
from benchmarks.scale_tasks import Asker
from benchmarks.scale_worlds import DATABASES, databases, make_world, running
from benchmarks.sizes import Progress

SMALL = 10_000
LARGE = 10_000_000


def main() -> int:
    """Fill, measure, print, and write to a file if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=LARGE, help="certificates in the large database [%(default)s]")
    parser.add_argument("--small", type=int, default=SMALL, help="certificates in the small one [%(default)s]")
    parser.add_argument("--database", choices=DATABASES, action="append", help="only this kind; may be repeated")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE; other kinds stay in")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    RESULTS.mkdir(exist_ok=True)
    try:
        for kind in options.database or DATABASES:
            document = run(kind, (options.small, options.count), options.rounds, _say)
            if options.json is not None:
                write(options.json, kind, document)
    except BenchmarkError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(kind: str, counts: tuple[int, int], rounds: int, progress: Progress) -> dict[str, Any]:
    """Fill two databases of a kind, measure, print the report, and return it for programs."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=RESULTS)))
        facts = [("machine", machine(folder)), ("versions", versions())]
        urls = stack.enter_context(databases(kind, folder, len(counts)))
        worlds = [
            make_world(folder / f"data-{count}", url, count, progress) for count, url in zip(counts, urls, strict=True)
        ]
        filled = {name: text for world in worlds for name, text in world.facts().items()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        facts.append(("filled", {**filled, "memory of the generator": f"{peak:,.0f} MiB"}))
        askers = [Asker(*pair) for pair in zip(worlds, stack.enter_context(running(worlds)), strict=True)]
        for asker in askers:
            stack.callback(asker.close)
        for world in worlds:
            warm(world.url)
        rows = measure(kind, askers, rounds, progress)
    told = [f"{name}: " + "; ".join(f"{key} {value}" for key, value in group.items()) for name, group in facts]
    print("\n".join([kind, *told, "", *report.table(scale_report.lines(rows)), ""]), flush=True)
    return report.document(datetime.now(UTC).isoformat(timespec="seconds"), facts, rows)


def measure(kind: str, askers: list[Asker], rounds: int, progress: Progress) -> list[Row]:
    """Two rows for each task. Who is first takes turns from round to round; round 0 is for warming up."""
    tasks = list(zip(*(asker.tasks() for asker in askers), strict=True))
    sizes = [asker.world.population.count for asker in askers]
    rows = [scale_report.pair(f"{kind}_{task.key}", task.what, *sizes) for task, _ in tasks]
    for number in range(-1, rounds):
        for pair, noted in zip(tasks, rows, strict=True):
            progress(f"round {number + 1} of {rounds}: {pair[0].what}")
            for place in (0, 1) if number % 2 else (1, 0):
                taken = pair[place].p50()
                if number >= 0:
                    noted[place].add(taken)
    return [row for pair in rows for row in pair]


def write(file: Path, kind: str, document: dict[str, Any]) -> None:
    """Put the results of one kind of database into a file that may hold those of the other."""
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, kind: document}, indent=2) + "\n")


def _say(doing: str) -> None:
    print(f"… {doing}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
