"""`python -m benchmarks`: everything is made in a temporary folder, measured over loopback, and removed."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from benchmarks import report
from benchmarks.issuing import CALLERS, issue_all, requests
from benchmarks.machine import machine, versions
from benchmarks.measure import Row, percentile
from benchmarks.openssl import make_authority
from benchmarks.processes import BenchmarkError, System, goodstanding
from benchmarks.revoking import revoke_and_watch
from benchmarks.run_answering import run_answering
from benchmarks.run_issuing import run_issuing
from benchmarks.sizes import FULL, QUICK, Progress, Size

# On the disk of the checkout: /tmp may be in memory, where nothing is durable, and quick.
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the benchmarks, print the report, and write it to a file if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure issuing and OCSP answers.")
    parser.add_argument("--quick", action="store_true", help="less of everything; under half a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    options = parser.parse_args()
    if not Path("/proc/self/stat").exists() or shutil.which("openssl") is None:
        parser.error("needs Linux, for its /proc, and the openssl command")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    size = QUICK if options.quick else FULL
    RESULTS.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
            facts = [("machine", machine(Path(folder))), ("versions", versions()), ("size", size.facts())]
            rows = run(Path(folder), size, lambda doing: print(f"… {doing}", file=sys.stderr, flush=True))
    except BenchmarkError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text("goodstanding beside openssl, P-256 throughout", facts, rows))
    if options.json is not None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        options.json.write_text(json.dumps(report.document(now, facts, rows), indent=2) + "\n")
    return 0


def run(folder: Path, size: Size, progress: Progress) -> list[Row]:
    """All rows, in the order of the report. Everything that is started ends with it."""
    progress("starting")
    peer = make_authority(folder / "openssl")
    with goodstanding(folder / "data") as system:
        issuer = x509.load_pem_x509_certificate((system.data / "ca/issuing.pem").read_bytes())
        rows, serials = run_issuing(system, peer, folder, size, progress)
        rows += run_answering(system, issuer, peer, serials, size, progress)
        return rows + run_revoking(system, issuer, size, progress)


def run_revoking(system: System, issuer: x509.Certificate, size: Size, progress: Progress) -> list[Row]:
    """From a revocation's success to the first `revoked`: one run of many revocations."""
    progress(f"{size.revocations} revocations")
    serials = issue_all(system, requests(size.revocations, "revoked"), CALLERS).serials
    taken = revoke_and_watch(system, issuer, serials)
    return [row_of(taken, name, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))]


def row_of(taken: Sequence[float], name: str, share: float) -> Row:
    """One percentile of the seconds that revocations took to be seen."""
    row = Row(f"revoked_{name}", f"revoke acknowledged, then revoked over OCSP: {name}", "ms")
    row.add(1e3 * percentile(taken, share))
    return row


if __name__ == "__main__":
    sys.exit(main())
