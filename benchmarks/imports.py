"""Importing a million certificates by their statuses: seconds, processor time and memory (`make bench-import`).

Makes an `index.txt` as `openssl ca` writes it, with valid, revoked (one in ten) and expired rows and random serial
numbers of 16 octets, starts goodstanding, and brings the rows in as users do: with `goodstanding import openssl`, which
checks all of them before it sends them. `--through call` has a plain client send them, which checks nothing. At the end
a sample of the statuses is compared with the file.

Prints a table, and with `--json FILE` writes what was measured. `--serials counted` numbers the certificates one after
the other, `--again` imports everything a second time, which brings nothing new.
"""

from __future__ import annotations

import argparse
import calendar
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.cores import cpu_seconds
from benchmarks.issuing import credentials
from benchmarks.machine import machine, versions
from benchmarks.processes import System, goodstanding
from goodstanding.ca.v1 import import_pb2, import_pb2_grpc
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.clock import utc_now
from services.pki.hierarchy import make_root
from services.pki.keys import generate_key

ROWS = 1_000_000
GOAL_SECONDS = 60.0
IN_A_MESSAGE = 1000
SAMPLE = 250
ISSUER = "old"
REASONS = {"": 0, "keyCompromise": 1, "superseded": 4, "cessationOfOperation": 5}


def write_index(file: Path, count: int, *, counted: bool) -> None:
    """An index of so many rows, the oldest first."""
    reasons = list(REASONS)
    now = int(time.time())
    with file.open("w") as out:
        for number in range(count):
            serial = _serial(number, counted=counted)
            ends = time.strftime("%y%m%d%H%M%SZ", time.gmtime(now + (number - count // 4) * 60))
            subject = f"/C=DE/O=Example GmbH/CN=host-{number}.example.com"
            if number % 10 == 3:
                when = time.strftime("%y%m%d%H%M%SZ", time.gmtime(now - 3600 - number % 86400))
                reason = reasons[number // 10 % len(reasons)]
                out.write(f"R\t{ends}\t{when}{',' if reason else ''}{reason}\t{serial}\tunknown\t{subject}\n")
            else:
                out.write(f"{'V' if number >= count // 4 else 'E'}\t{ends}\t\t{serial}\tunknown\t{subject}\n")


def _serial(number: int, *, counted: bool) -> str:
    if counted:
        return format(0x1000 + number, "06X")
    return (bytes([0x40 | number % 0x3F]) + hashlib.sha256(number.to_bytes(8)).digest()[:15]).hex().upper()


def entries(file: Path) -> Iterator[import_pb2.ImportedCertificate]:
    """The rows of an index."""
    with file.open() as lines:
        for place, line in enumerate(lines, 1):
            _, ends, revocation, serial, _, subject = line.rstrip("\n").split("\t")
            entry = import_pb2.ImportedCertificate(
                origin=f"index.txt:{place}", serial_number=serial.lower(), subject=subject
            )
            entry.not_after_time.seconds = _seconds(ends)
            if revocation:
                when, _, reason = revocation.partition(",")
                entry.revocation.revocation_time.seconds = _seconds(when)
                entry.revocation.reason = types_pb2.RevocationReason.ValueType(REASONS[reason])
            yield entry


def _seconds(text: str) -> int:
    year = int(text[:2])
    return _day(year + (2000 if year < 50 else 1900), int(text[2:4]), int(text[4:6])) + (
        int(text[6:8]) * 3600 + int(text[8:10]) * 60 + int(text[10:12])
    )


@lru_cache(maxsize=4096)
def _day(year: int, month: int, day: int) -> int:
    return calendar.timegm((year, month, day, 0, 0, 0))


def requests(folder: Path) -> Iterator[import_pb2.ImportCertificatesRequest]:
    """The whole import."""
    certificate = x509.load_pem_x509_certificate((folder / "old.pem").read_bytes())
    yield import_pb2.ImportCertificatesRequest(
        header=import_pb2.ImportHeader(
            issuer=ISSUER, certificates_der=[certificate.public_bytes(Encoding.DER)], source="benchmark"
        )
    )
    rows = entries(folder / "index.txt")
    while batch := list(islice(rows, IN_A_MESSAGE)):
        yield import_pb2.ImportCertificatesRequest(certificates=import_pb2.ImportedCertificates(certificates=batch))
    yield import_pb2.ImportCertificatesRequest(end=import_pb2.ImportEnd())


def send(folder: Path, address: str) -> dict[str, float]:
    """Import everything. To be called once in a process."""
    system = System(folder / "data", address, "", "", {})
    with grpc.secure_channel(address, credentials(system)) as channel:
        stub = import_pb2_grpc.ImportServiceStub(channel)
        begun = time.perf_counter()
        response = stub.ImportCertificates(requests(folder))
        seconds = time.perf_counter() - begun
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "client_cpu_seconds": usage.ru_utime + usage.ru_stime,
        "client_mib": usage.ru_maxrss / 1024,
        "added": response.counts.added_count,
        "unchanged": response.counts.unchanged_count,
        "findings": len(response.findings),
    }


def run_command(folder: Path) -> dict[str, float]:
    """Import everything with the command. To be called once in a process."""
    parts = ["--index", folder / "index.txt", "--ca", folder / "old.pem", "--offline", "--name", ISSUER]
    command = [sys.executable, "-m", "services.cli", "import", "openssl", folder, *parts, "--json"]
    begun = time.perf_counter()
    arguments = [*map(str, command), "--data", str(folder / "data")]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - begun
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stdout)
    return {
        "seconds": seconds,
        "client_cpu_seconds": usage.ru_utime + usage.ru_stime,
        "client_mib": usage.ru_maxrss / 1024,
        "added": report["service"]["counts"]["added"],
        "unchanged": report["service"]["counts"]["unchanged"],
        "findings": len(report["findings"]) + len(report["service"]["findings"]),
    }


def measure(folder: Path, system: System, through: str) -> dict[str, float]:
    """One import in a process of its own, and what it cost the ca."""
    pid = system.pids["ca"]
    before = cpu_seconds(pid)
    address = system.ca if through == "call" else ""
    command = [sys.executable, "-m", "benchmarks.imports", "--send", str(folder), address]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found | {"ca_cpu_seconds": cpu_seconds(pid) - before, "ca_peak_mib": _peak_mib(pid)}


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def check_sample(folder: Path, system: System, count: int) -> None:
    """Raise SystemExit unless the status service says of some certificates what the index says."""
    step = max(1, count // SAMPLE)
    wanted = [entry for place, entry in enumerate(entries(folder / "index.txt")) if place % step == 0][:SAMPLE]
    with grpc.secure_channel(system.status, credentials(system)) as channel:
        stub = status_pb2_grpc.CertificateStatusServiceStub(channel)
        named = [types_pb2.IssuerAndSerialNumber(issuer=ISSUER, serial_number=each.serial_number) for each in wanted]
        asked = [status_pb2.CertificateReference(issuer_and_serial_number=each) for each in named]
        answer = stub.BatchGetCertificateStatus(status_pb2.BatchGetCertificateStatusRequest(certificates=asked))
    for entry, record in zip(wanted, answer.records, strict=True):
        revoked = entry.HasField("revocation")
        expected = types_pb2.CERTIFICATE_STATUS_REVOKED if revoked else types_pb2.CERTIFICATE_STATUS_GOOD
        same_time = record.revocation.revocation_time == entry.revocation.revocation_time
        if record.status != expected or not same_time or record.revocation.reason != entry.revocation.reason:
            raise SystemExit(f"{entry.origin}: the status service says otherwise")


def prepare(folder: Path, count: int, *, counted: bool) -> None:
    """The old CA's certificate and index."""
    made = make_root(name="Old CA", key=generate_key("p256"), now=utc_now() - timedelta(days=3000))
    (folder / "old.pem").write_bytes(made.public_bytes(Encoding.PEM))
    write_index(folder / "index.txt", count, counted=counted)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="make bench-import", description="Import certificates by their statuses.")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--serials", choices=("random", "counted"), default="random")
    parser.add_argument("--through", choices=("command", "call"), default="command")
    parser.add_argument("--again", action="store_true", help="import everything a second time, too")
    parser.add_argument("--json", type=Path, help="write what was measured to a file")
    parser.add_argument("--send", nargs=2, metavar=("FOLDER", "ADDRESS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.send:
        place, address = Path(given.send[0]), given.send[1]
        print(json.dumps(send(place, address) if address else run_command(place)))
        return
    results: dict[str, Any] = {"rows": given.rows, "serials": given.serials, "through": given.through}
    with tempfile.TemporaryDirectory(prefix="goodstanding-import-") as name:
        folder = Path(name)
        results |= {"machine": machine(folder), "versions": versions()}
        prepare(folder, given.rows, counted=given.serials == "counted")
        with goodstanding(folder / "data") as system:
            results["ca_mib_before"] = _peak_mib(system.pids["ca"])
            results["first"] = measure(folder, system, given.through)
            check_sample(folder, system, given.rows)
            if given.again:
                results["again"] = measure(folder, system, given.through)
        results["database_mib"] = (folder / "data" / "goodstanding.db").stat().st_size / 2**20
    _show(results)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


def _show(results: dict[str, Any]) -> None:
    goal = GOAL_SECONDS * results["rows"] / ROWS
    print(
        f"{results['rows']:,} rows, {results['serials']} serial numbers; the database has "
        f"{results['database_mib']:.0f} MiB; the ca had {results['ca_mib_before']:.0f} MiB before"
    )
    for kind in ("first", "again"):
        if kind in results:
            found = results[kind]
            print(
                f"{kind:6} {found['seconds']:7.1f} s (goal {goal:.0f}), {results['rows'] / found['seconds']:8,.0f}/s;"
                f" processor: ca {found['ca_cpu_seconds']:.1f} s, client {found['client_cpu_seconds']:.1f} s;"
                f" memory: ca {found['ca_peak_mib']:.0f} MiB, client {found['client_mib']:.0f} MiB;"
                f" added {found['added']:,.0f}, unchanged {found['unchanged']:,.0f}"
            )


if __name__ == "__main__":
    main()
