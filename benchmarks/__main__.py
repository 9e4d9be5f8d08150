"""`python -m benchmarks`: everything is made in a temporary folder, measured over loopback, and removed."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from benchmarks import crls, imports, plot, report
from benchmarks.issuing import CALLERS, issue_all, requests
from benchmarks.machine import machine, versions
from benchmarks.measure import Goal, Row
from benchmarks.openssl import make_authority
from benchmarks.processes import BenchmarkError, System, gateway, goodstanding
from benchmarks.revoking import revoke_and_watch
from benchmarks.run_answering import run_answering
from benchmarks.run_issuing import run_issuing
from benchmarks.sizes import FULL, QUICK, Progress, Size
from benchmarks.starting import start_and_ask
from benchmarks.tasks import add_percentiles, percentile_rows

# On the disk of the checkout: /tmp may be in memory, where nothing is durable, and quick.
RESULTS = Path(__file__).parent / "results"
TITLE = "goodstanding beside nginx and openssl; P-256 unless it says otherwise"
GOAL_START = Goal(value=2.0)
GOAL_REVOKED = Goal(value=250.0)


def main() -> int:
    """Run the benchmarks, print the report, and write it to files if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure issuing and OCSP answers.")
    parser.add_argument("--quick", action="store_true", help="less of everything; about a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="also draw them (`make bench-page` installs what)"
    )
    options = parser.parse_args()
    if not Path("/proc/self/stat").exists() or shutil.which("openssl") is None:
        parser.error("needs Linux, for its /proc, and the openssl command")
    if options.plot is not None and not plot.can_draw():
        parser.error("--plot needs Pillow: .venv/bin/python -m pip install --require-hashes -r requirements/bench.txt")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    size = QUICK if options.quick else FULL
    RESULTS.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
            facts = [("machine", machine(Path(folder))), ("versions", versions()), ("size", size.facts())]
            rows, left_out = run(Path(folder), size, lambda doing: print(f"… {doing}", file=sys.stderr, flush=True))
    except BenchmarkError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text(TITLE, facts, rows, left_out))
    document = report.document(datetime.now(UTC).isoformat(timespec="seconds"), facts, rows, left_out)
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    if options.plot is not None:
        plot.draw(rows, options.plot)
    return 0


def run(folder: Path, size: Size, progress: Progress) -> tuple[list[Row], list[str]]:
    """All rows, in the order of the report, and what was left out. Everything that is started ends with it."""
    progress("starting")
    peer = make_authority(folder / "openssl")
    data = folder / "data"
    with goodstanding(data) as system:
        issuer = x509.load_pem_x509_certificate((data / "ca/issuing.pem").read_bytes())
        issuing, serials = run_issuing(system, peer, folder, size, progress)
        answering, left_out = run_answering(system, issuer, peer, serials, folder, size, progress)
        revoking = run_revoking(system, issuer, size, progress)
    starting = run_starting(data, issuer, serials[0], size, progress)
    lists = run_crls(folder / "crls", size, progress)
    return [
        *answering,
        *revoking,
        *starting,
        *issuing,
        *lists,
        *run_import(folder / "import", size, progress),
    ], left_out


def run_revoking(system: System, issuer: x509.Certificate, size: Size, progress: Progress) -> list[Row]:
    """From a revocation's success to `revoked` from two gateways: one run of many revocations."""
    progress(f"{size.revocations} revocations")
    serials = issue_all(system, requests(size.revocations, "revoked"), CALLERS).serials
    rows = percentile_rows(
        "revoked", "goodstanding, revoke acknowledged, then revoked by both gateways", goal=GOAL_REVOKED
    )
    with gateway(system, "second") as second:
        add_percentiles(rows, revoke_and_watch(system, (system.http, second.http), issuer, serials))
    return rows


def run_starting(data: Path, issuer: x509.Certificate, serial: int, size: Size, progress: Progress) -> list[Row]:
    """From the start of all processes to the first answer."""
    row = Row("cold_start", "goodstanding, all processes restarted, then the first answer", "s", goal=GOAL_START)
    for number in range(size.starts):
        progress(f"restart {number + 1} of {size.starts}")
        row.add(start_and_ask(data, issuer, serial))
    return [row]


def run_crls(folder: Path, size: Size, progress: Progress) -> list[Row]:
    """A full list of revoked certificates, from a cold start, and the next one after one more revocation."""
    progress(f"a revocation list of {size.entries:,} entries")
    folder.mkdir()
    crls.fill(folder, size.entries)
    measured = crls.in_process(folder, "full")
    what = f"goodstanding, a full CRL of {size.entries:,} entries"
    rows = [
        Row("crl_cold", f"{what}: from a cold start to the list", "s", goal=Goal(value=crls.GOAL_SECONDS)),
        Row("crl_one_more", f"{what}: one more revocation, then the next list", "s"),
        Row("crl_memory", f"{what}: the most memory", "MiB", goal=Goal(value=crls.GOAL_MIB)),
    ]
    for row, key in zip(rows, ("cold_seconds", "one_more_seconds", "peak_mib"), strict=True):
        row.add(measured[key])
    return rows


def run_import(folder: Path, size: Size, progress: Progress) -> list[Row]:
    """An OpenSSL CA moves in, by its index alone: everything is checked, then sent, then durable."""
    progress(f"an import of {size.imported:,} rows")
    folder.mkdir()
    imports.prepare(folder, size.imported, counted=False)
    with goodstanding(folder / "data") as system:
        measured = imports.measure(folder, system, "command")
        imports.check_sample(folder, system, size.imported)
    what = f"goodstanding import openssl, {size.imported:,} rows"
    goal = Goal(value=imports.GOAL_SECONDS) if size.imported == imports.ROWS else Goal()
    rows = [
        Row("import", f"{what}: from the command to the report", "s", goal=goal),
        Row("import_ca_memory", f"{what}: the most memory of the ca", "MiB"),
        Row("import_client_memory", f"{what}: the most memory of the command", "MiB"),
    ]
    for row, key in zip(rows, ("seconds", "ca_peak_mib", "client_mib"), strict=True):
        row.add(measured[key])
    return rows


if __name__ == "__main__":
    sys.exit(main())
