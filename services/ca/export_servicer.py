"""The gRPC face of exports: call, convert. Reads happen in threads, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from goodstanding.ca.v1 import export_pb2, export_pb2_grpc
from services.ca.at_a_time import AtATime
from services.ca.export import ExportEnd, ExportHead, Exporting, ExportPage
from services.db.exports import BEGINNING, ExportedRow, ExportPlace
from services.db.records import RevocationRecord
from services.rpc import messages
from services.rpc.identity import current_caller

T = TypeVar("T")

MAX_AT_A_TIME = 16
MAX_OF_ONE = 4
"""Exports: each has a page in memory, and its caller reads as slowly as he likes."""

OCTETS_IN_A_MESSAGE = 1024 * 1024
"""More than that only where one certificate has more. A message of gRPC holds four times as much."""


class ExportServicer(export_pb2_grpc.ExportServiceServicer):
    """Serves goodstanding.ca.v1.ExportService. `readers` reads."""

    def __init__(self, exporting: Exporting, *, readers: Executor) -> None:
        self._exporting = exporting
        self._readers = readers
        self._at_a_time = AtATime(MAX_AT_A_TIME, MAX_OF_ONE, "TOO_MANY_EXPORTS", "exports")

    async def ExportCertificates(
        self,
        request: export_pb2.ExportCertificatesRequest,
        context: grpc.aio.ServicerContext[export_pb2.ExportCertificatesRequest, export_pb2.ExportCertificatesResponse],
    ) -> AsyncIterator[export_pb2.ExportCertificatesResponse]:
        """Send head, certificates and end."""
        with self._at_a_time.one(current_caller().identity):
            head = await self._read(partial(self._exporting.begin, request.issuer))
            yield export_pb2.ExportCertificatesResponse(head=_head(head))
            place: ExportPlace | None = BEGINNING
            while place is not None:
                found, place = await self._page(head, place)
                for each in found:
                    yield export_pb2.ExportCertificatesResponse(certificates=each)
            end = await self._read(lambda: self._exporting.end(head))
            yield export_pb2.ExportCertificatesResponse(end=_end(end))

    async def _page(
        self, head: ExportHead, place: ExportPlace
    ) -> tuple[list[export_pb2.ExportedCertificates], ExportPlace | None]:
        def read() -> tuple[list[export_pb2.ExportedCertificates], ExportPlace | None]:
            page = self._exporting.page(head, place)
            return list(_in_messages(page)), page.next

        return await self._read(read)

    async def _read(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)


def _head(head: ExportHead) -> export_pb2.ExportHead:
    return export_pb2.ExportHead(
        issuer=messages.issuer_message(head.issuer),
        crl_number=f"{head.crl_number:x}",
        certificate_count=head.count,
        as_of_time=messages.timestamp(head.as_of),
    )


def _end(end: ExportEnd) -> export_pb2.ExportEnd:
    return export_pb2.ExportEnd(certificate_count=end.count, change_count=end.changes)


def _in_messages(page: ExportPage) -> Iterator[export_pb2.ExportedCertificates]:
    message, octets = export_pb2.ExportedCertificates(), 0
    for row, revocation in page.rows:
        size = len(row.der or b"") + len(row.subject) * 4
        if octets and octets + size > OCTETS_IN_A_MESSAGE:
            yield message
            message, octets = export_pb2.ExportedCertificates(), 0
        message.certificates.append(_certificate(row, revocation))
        octets += size
    if message.certificates:
        yield message


def _certificate(row: ExportedRow, revocation: RevocationRecord | None) -> export_pb2.ExportedCertificate:
    return export_pb2.ExportedCertificate(
        serial_number=row.serial.hex(),
        certificate_der=row.der or b"",
        subject=row.subject,
        not_before_time=Timestamp(seconds=row.not_before),
        not_after_time=Timestamp(seconds=row.not_after),
        revocation=messages.revocation_message(revocation) if revocation else None,
    )
