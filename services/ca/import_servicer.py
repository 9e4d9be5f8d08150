"""The gRPC face of imports: reads the stream, a message at a time, and waits until each is recorded.

No more than two messages are held in memory beside what gRPC has read ahead; a sender that is quicker waits (flow
control). Between two messages others have their turn with the writer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from typing import TypeVar

import grpc

from goodstanding.ca.v1 import import_pb2, import_pb2_grpc
from services.ca.bridge import Bridge
from services.ca.import_chunks import Chunk
from services.ca.import_entries import Finding, SentCertificate, SentRevocation
from services.ca.imports import MAX_SOURCE, ImportHeader, Importing, ImportReport, ImportRun
from services.db.records import Actor, IssuerRecord
from services.errors import DomainError, FailedPrecondition, InvalidArgument, ResourceExhausted
from services.pki.crls import MAX_CARRIED_ON
from services.rpc import messages
from services.rpc.identity import current_caller
from services.rpc.refusals import CallObject, describe_call

T = TypeVar("T")

MAX_LISTED = 2000
SILENCE_SECONDS = 30.0
QUEUE_FULL_SECONDS = 0.2

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,40})", re.ASCII)
_Context = grpc.aio.ServicerContext


class ImportServicer(import_pb2_grpc.ImportServiceServicer):
    """The servicer. Make it inside the event loop that serves. `readers` are the threads that check certificates."""

    def __init__(self, importing: Importing, *, readers: Executor) -> None:
        self._importing = importing
        self._readers = readers
        self._bridge = Bridge(readers)

    async def ImportCertificates(
        self,
        request_iterator: AsyncIterator[import_pb2.ImportCertificatesRequest],
        context: _Context[import_pb2.ImportCertificatesRequest, import_pb2.ImportCertificatesResponse],
    ) -> import_pb2.ImportCertificatesResponse:
        """Bring in the certificates of one issuer."""
        actor = current_caller().actor("")
        sent = aiter(request_iterator)
        first = await _next(sent)
        if first is None or first.WhichOneof("part") != "header":
            raise _out_of_order("an import begins with its header")
        header = _header(first.header)
        describe_call(lambda: CallObject(issuer=header.issuer[:64], dry_run=header.validate_only))
        with self._importing.at_a_time.one(actor.identity), self._importing.alone(header):
            run = await self._begin(header, actor)
            issuer = await self._carry_out(run, sent)
        return _response(run.report(issuer))

    async def AbandonImport(
        self,
        request: import_pb2.AbandonImportRequest,
        _context: _Context[import_pb2.AbandonImportRequest, import_pb2.AbandonImportResponse],
    ) -> import_pb2.AbandonImportResponse:
        """Give up an import that was not completed."""
        actor = current_caller().actor("")
        describe_call(lambda: CallObject(issuer=request.issuer[:64], dry_run=request.validate_only))
        abandon = partial(self._importing.abandon, request.issuer, actor, validate_only=request.validate_only)
        with self._importing.alone(ImportHeader(issuer=request.issuer, validate_only=request.validate_only)):
            found = await self._bridge.run(abandon)
        return import_pb2.AbandonImportResponse(
            certificate_der=found.record.certificates_der[0],
            begin_time=messages.timestamp(found.unfinished.begun_at),
            certificates_count=found.unfinished.certificates,
        )

    async def _begin(self, header: ImportHeader, actor: Actor) -> ImportRun:
        try:
            return await self._patiently(partial(self._importing.begin, header, actor))
        except DomainError as error:
            error.violations = tuple(replace(each, field=_in_header(each.field)) for each in error.violations)
            raise

    async def _carry_out(
        self, run: ImportRun, sent: AsyncIterator[import_pb2.ImportCertificatesRequest]
    ) -> IssuerRecord | None:
        """Record one message after the other, while the next one is being read and checked."""
        ahead = asyncio.ensure_future(self._read(run, sent))
        try:
            while (chunk := await ahead) is not None:
                ahead = asyncio.ensure_future(self._read(run, sent))
                run.take_in(await self._patiently(partial(run.record, chunk)))
            return await self._patiently(run.finish)
        finally:
            ahead.cancel()
            await asyncio.wait([ahead])
            if not ahead.cancelled():
                ahead.exception()  # seen: something else has ended the import before

    async def _read(self, run: ImportRun, sent: AsyncIterator[import_pb2.ImportCertificatesRequest]) -> Chunk | None:
        """The next message, checked; None for the end message."""
        request = await _next(sent)
        if request is None:
            raise FailedPrecondition(
                "IMPORT_UNFINISHED", "the stream ended without its end message: run the import again, as a whole"
            )
        match request.WhichOneof("part"):
            case "certificates":
                certificates = request.certificates.certificates
                _check_size(len(certificates))
                checking = partial(run.read, map(_certificate, certificates))
                return await asyncio.get_running_loop().run_in_executor(self._readers, checking)
            case "end":
                return None
        raise _out_of_order("after the header come certificates, and then the end")

    async def _patiently(self, begin: Callable[[], Future[T]]) -> T:
        """What the future comes to. Where the writer's queue is full, those who want one thing go first."""
        while True:
            try:
                return await self._bridge.run(begin)
            except ResourceExhausted as error:
                if error.reason != "QUEUE_FULL":
                    raise
            await asyncio.sleep(QUEUE_FULL_SECONDS)


async def _next(
    sent: AsyncIterator[import_pb2.ImportCertificatesRequest],
) -> import_pb2.ImportCertificatesRequest | None:
    """The next message; None at the end. Raises ResourceExhausted (STREAM_SILENT)."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await anext(sent, None)
    except TimeoutError:
        raise ResourceExhausted(
            "STREAM_SILENT", "no message came for 30 seconds; run the import again, as a whole"
        ) from None


def _check_size(count: int) -> None:
    if not 1 <= count <= MAX_LISTED:
        raise InvalidArgument(
            "LIST_SIZE_INVALID",
            f"{count} certificates in one message; send 1 to {MAX_LISTED}, and more messages",
            field="certificates.certificates",
        )


def _out_of_order(text: str) -> InvalidArgument:
    return InvalidArgument("IMPORT_ORDER_INVALID", text, field="part")


def _header(given: import_pb2.ImportHeader) -> ImportHeader:
    if len(given.source) > MAX_SOURCE or not given.source.isprintable():
        text = f"the source has at most {MAX_SOURCE} printable characters"
        raise InvalidArgument("SOURCE_INVALID", text, field="header.source")
    return ImportHeader(
        issuer=given.issuer,
        certificates_der=tuple(given.certificates_der),
        key_ref=given.key_reference or None,
        retired=given.retired,
        crl_number=_crl_number(given.crl_number) if given.crl_number else None,
        source=given.source,
        validate_only=given.validate_only,
    )


def _crl_number(text: str) -> int:
    found = _HEX.fullmatch(text)
    number = int(found[1], 16) if found else -1
    if not 0 <= number <= MAX_CARRIED_ON:
        raise InvalidArgument(
            "CRL_NUMBER_INVALID",
            f"a number in hex is expected, of at most {MAX_CARRIED_ON:x}",
            field="header.crl_number",
        )
    return number


def _in_header(field: str) -> str:
    """The path of a field that the checks of ImportIssuer name."""
    if field.startswith("header."):
        return field
    return f"header.{'issuer' if field == 'name' else field}"


def _certificate(given: import_pb2.ImportedCertificate) -> SentCertificate:
    revocation = None
    if given.HasField("revocation"):
        its = given.revocation
        revocation = SentRevocation(
            its.revocation_time.seconds if its.HasField("revocation_time") else None,
            its.reason,
            its.invalidity_time.seconds if its.HasField("invalidity_time") else None,
            its.hold_instruction,
        )
    return SentCertificate(
        given.origin,
        given.serial_number,
        given.certificate_der,
        given.subject,
        given.not_after_time.seconds if given.HasField("not_after_time") else None,
        given.not_before_time.seconds if given.HasField("not_before_time") else None,
        revocation,
    )


def _response(report: ImportReport) -> import_pb2.ImportCertificatesResponse:
    counts = report.counts
    return import_pb2.ImportCertificatesResponse(
        issuer=messages.issuer_message(report.issuer) if report.issuer else None,
        counts=import_pb2.ImportCounts(
            received_count=counts.received,
            added_count=counts.added,
            unchanged_count=counts.unchanged,
            revoked_count=counts.revoked,
            completed_count=counts.completed,
            refused_count=counts.refused,
        ),
        findings=[_finding(each) for each in report.findings],
        omitted_findings_count=report.omitted_findings,
    )


def _finding(found: Finding) -> import_pb2.ImportFinding:
    return import_pb2.ImportFinding(
        origin=found.origin, serial_number=found.serial_number, code=found.code, text=found.text, refused=found.refused
    )
