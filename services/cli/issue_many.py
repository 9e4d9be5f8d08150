"""`goodstanding issue --many`: a certificate for each of many certificate requests, over one call.

* The certificate for NAME.csr is NAME.crt, beside it or in another folder. What is there already is left alone, so that
  the same command again goes on where the last one ended.
* Request ids follow from the requests and from where their certificates go: one that was issued, and not written, is
  handed out once more. The sum says how many were: whoever wants new ones names a request id of his own.
* One that is refused does not stop the others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.failures import Failed
from services.cli.options import Connection, is_pem

SUFFIXES = (".csr", ".req", ".p10")
IN_A_MESSAGE = 50
OCTETS_IN_A_MESSAGE = 256 * 1024
MAX_OCTETS = 128 * 1024


@dataclass(frozen=True)
class Job:
    """A file with a certificate request, and where its certificate goes."""

    csr: Path
    target: Path


def plan(paths: Iterable[Path], out: Path | None) -> list[Job]:
    """What is to be done. Raises Failed: nothing to do, a folder that is missing, two with one target."""
    if out is not None and not out.is_dir():
        raise Failed(f"{out} is no folder; make it first. Nothing was issued")
    files = list(chain.from_iterable(_files(path) for path in paths))
    if not files:
        raise Failed(f"no certificate request there: a folder's are those that end in {', '.join(SUFFIXES)}")
    jobs = [Job(file, (out or file.parent) / f"{file.stem}.crt") for file in dict.fromkeys(files)]
    targets: dict[Path, Path] = {}
    for job in jobs:
        other = targets.setdefault(job.target, job.csr)
        if other != job.csr or job.target == job.csr:
            raise Failed(f"{job.csr} and {other} would both be {job.target}; rename one. Nothing was issued")
    return jobs


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())


def issue_many(
    jobs: list[Job],
    template: ca_pb2.IssueCertificateRequest,
    connection: Connection,
    *,
    with_chain: bool,
    as_json: bool,
) -> None:
    """Issue, write, and say what became of each. Raises Failed if not all is well in the end."""
    dry_run = template.validate_only
    waiting = [job for job in jobs if dry_run or not job.target.exists()]
    report = _Report(as_json=as_json, skipped=len(jobs) - len(waiting))
    sent: list[Job] = []
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        messages = _messages(waiting, template, sent, report)
        again = "the same command again goes on where this one ended"
        try:
            for answer in ca.stream(stub.IssueCertificates, messages, retry=again) if waiting else ():
                for result in answer.results:
                    _take(result, sent[result.index], report, with_chain=with_chain, dry_run=dry_run)
        except BaseException:
            report.broke_off(dry_run=dry_run)
            raise
    report.end(dry_run=dry_run)


def _messages(
    jobs: list[Job], template: ca_pb2.IssueCertificateRequest, sent: list[Job], report: _Report
) -> Iterator[ca_pb2.IssueCertificatesRequest]:
    """Called from another thread, as fast as the service takes them. `sent` tells what the indexes of results mean."""
    message, octets = ca_pb2.IssueCertificatesRequest(), 0
    for job in jobs:
        try:
            content = job.csr.read_bytes()
        except OSError as error:
            report.failed(job, f"cannot be read: {error.strerror}")
            continue
        if len(content) > MAX_OCTETS:
            report.failed(job, f"larger than {MAX_OCTETS} octets, so no certificate request")
            continue
        if len(message.requests) == IN_A_MESSAGE or octets + len(content) > OCTETS_IN_A_MESSAGE:
            yield message
            message, octets = ca_pb2.IssueCertificatesRequest(), 0
        message.requests.append(_request(content, template, job.target))
        octets += len(content)
        sent.append(job)
    yield message


def _request(content: bytes, template: ca_pb2.IssueCertificateRequest, target: Path) -> ca_pb2.IssueCertificateRequest:
    request = ca_pb2.IssueCertificateRequest()
    request.CopyFrom(template)
    if is_pem(content):
        request.csr_pem = content.decode("utf-8", errors="replace")
    else:
        request.csr_der = content
    # template.request_id, if given, tells one run from another.
    place = os.fsencode(target.absolute())
    request.request_id = "many-" + hashlib.sha256(request.SerializeToString(deterministic=True) + place).hexdigest()
    return request


def _take(result: ca_pb2.IssuanceResult, job: Job, report: _Report, *, with_chain: bool, dry_run: bool) -> None:
    if result.HasField("error"):
        report.failed(job, f"{result.error.message} [{result.error.reason}]")
        return
    if not dry_run:
        ders = (result.certificate.certificate_der, *(result.chain_der if with_chain else ()))
        try:
            _write(job.target, "".join(map(DER_cert_to_PEM_cert, ders)))
        except OSError as error:
            report.failed(job, f"was issued, but {job.target} cannot be written: {error.strerror}; try again")
            return
    report.issued(job, output.certificate(result.certificate), replayed=result.replayed)


def _write(target: Path, pem: str) -> None:
    """Whole or not at all, and in the place of nothing."""
    half = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        half.write_text(pem)
        os.link(half, target)
    finally:
        half.unlink(missing_ok=True)


class _Report:
    """What became of each: JSON lines, or lines for people on standard error, and the sum at the end."""

    def __init__(self, *, as_json: bool, skipped: int) -> None:
        self._as_json = as_json
        self._skipped = skipped
        self._issued = self._failed = self._replayed = 0

    def issued(self, job: Job, described: output.Json, *, replayed: bool) -> None:
        """A certificate was issued, now or before, and written; or would be."""
        self._issued += not replayed
        self._replayed += replayed
        if self._as_json:
            told = {"csr": str(job.csr), "certificate": str(job.target), "error": None}
            output.emit_line({**told, "replayed": replayed, **described})
        elif replayed and described["state"] != "valid":
            output.note(f"{job.csr}: was issued before, and is {described['state']} now")

    def failed(self, job: Job, why: str) -> None:
        """No certificate was issued or written."""
        self._failed += 1
        if self._as_json:
            output.emit_line({"csr": str(job.csr), "certificate": None, "error": why})
        else:
            output.note(f"{job.csr}: {why}")

    def broke_off(self, *, dry_run: bool) -> None:
        """How far it came."""
        output.note(f"It ended early, after: {self._sum(dry_run=dry_run)}")

    def end(self, *, dry_run: bool) -> None:
        """The sum. Raises Failed if one has failed."""
        done = self._sum(dry_run=dry_run)
        if self._failed:
            raise Failed(done)
        output.note(done + ("; for new ones, give another --request-id" if self._replayed else ""))

    def _sum(self, *, dry_run: bool) -> str:
        there = f", {self._skipped} there already" if self._skipped else ""
        before = f", {self._replayed} issued before and handed out once more" if self._replayed else ""
        return f"{self._issued} {'would be issued' if dry_run else 'issued'}{before}{there}, {self._failed} failed"
