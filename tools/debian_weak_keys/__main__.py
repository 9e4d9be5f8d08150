"""Make the lists of `services/known_keys/debian` anew: `make debian-weak-keys`.

For rsa-2048 it takes some thirty hours of a fast core, or eight with gmpy2 in .venv; for a curve, minutes. All cores
work unless told otherwise. What is done is kept in build/debian-weak-keys, so that it can be interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from functools import partial
from itertools import product
from multiprocessing import Pool
from pathlib import Path

from services.known_keys.debian_files import KINDS, RECORD_SIZE, path_of
from services.known_keys.numbers import sha256_of
from services.known_keys.records import pack
from tools.debian_weak_keys.generator import MACHINES, PROCESS_IDS, Generator, Machine, Seed
from tools.debian_weak_keys.keys import ec_scalar, ec_x, rsa_key

_PARTS = Path("build/debian-weak-keys")


def number_of(kind: str, machine: Machine, seed: Seed, process_id: int) -> int:
    """What a key is known by (`services.known_keys.numbers`)."""
    generator = Generator(machine, seed, process_id)
    if kind.startswith("rsa-"):
        return rsa_key(generator, int(kind.removeprefix("rsa-"))).modulus
    return ec_x(ec_scalar(generator, kind), kind)


def _record(kind: str, machine: Machine, seed: Seed, process_id: int) -> bytes:
    return sha256_of(number_of(kind, machine, seed, process_id))[:RECORD_SIZE]


def _records(kind: str, machine: Machine, seed: Seed, jobs: int) -> Iterator[bytes]:
    """The records of all process ids in their order: those of before, and then new ones."""
    path = _PARTS / f"{kind}-{machine.name}-{seed.value}"
    done = path.read_bytes() if path.exists() else b""
    done = done[: len(done) // RECORD_SIZE * RECORD_SIZE]
    count = len(done) // RECORD_SIZE
    yield from (done[RECORD_SIZE * each : RECORD_SIZE * (each + 1)] for each in range(count))
    if count == len(PROCESS_IDS):
        return
    with Pool(jobs) as pool, path.open("wb") as file:
        file.write(done)
        make = partial(_record, kind, machine, seed)
        for process_id, record in enumerate(pool.imap(make, PROCESS_IDS[count:], chunksize=16), count):
            file.write(record)
            if process_id % 256 == 0:
                file.flush()
                print(f"\r{path.name}: {process_id} of {len(PROCESS_IDS)}", end=" ", file=sys.stderr, flush=True)
            yield record
    print(file=sys.stderr)


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tools.debian_weak_keys", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"which lists (default: {' '.join(KINDS)})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    given = parser.parse_args()
    if strange := [kind for kind in given.kinds if kind not in KINDS]:
        parser.error(f"there is no list {', '.join(strange)}: choose of {', '.join(KINDS)}")
    _PARTS.mkdir(parents=True, exist_ok=True)
    for kind in given.kinds or KINDS:
        records: list[bytes] = []
        for machine, seed in product(MACHINES, Seed):
            records += _records(kind, machine, seed, given.jobs)
        fresh = _PARTS / f"{kind}.sha256"
        fresh.write_bytes(pack(records))
        fresh.replace(path_of(kind))  # not written over: others may have it mapped


if __name__ == "__main__":
    main()
