"""`make flood`: an hour's worth of each flood in minutes, and a table of what hot answers keep of their rate.

The gateway has the first core to itself; everything else runs on the second, as in `make bench`. `FLOOD_SECONDS` is how
long each flood lasts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.cores import first_core, pin, second_core
from benchmarks.machine import machine, versions
from tests.flood.place import Place
from tests.flood.report import GOAL, table
from tests.flood.run import HOUR, Size, run

SECONDS = float(os.environ.get("FLOOD_SECONDS", "120"))


def main() -> int:
    """Flood, and print what came of it; 1 where a bound was broken, while a missed goal is only told."""
    parser = argparse.ArgumentParser(prog="python -m tests.flood", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    options = parser.parse_args()
    size = Size(SECONDS)
    with tempfile.TemporaryDirectory(prefix="flood-") as folder:
        place = Place(Path(folder), cache_entries=size.cache_entries, max_pending=size.max_pending)
        try:
            place.start()
            pin(place.gateway.pids()[0], first_core())
            for pid in (place.ca.pids()[0], place.status.pids()[0], 0):
                pin(pid, second_core())
            about = machine(Path(folder))
            rows = run(place, size, _tell)
        finally:
            place.stop()
    numbers = {
        "goal": GOAL,
        "an_hour": HOUR,
        "size": vars(size),
        "machine": about,
        "versions": versions(),
        "floods": [row.numbers() for row in rows],
    }
    sys.stdout.write(table(rows) + "\n")
    text = json.dumps(numbers, indent=2)
    sys.stdout.write(text + "\n")
    if options.json:
        options.json.write_text(text + "\n")
    return 0 if all(not row.broken for row in rows) else 1


def _tell(progress: str) -> None:
    sys.stderr.write(progress + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
