"""The gRPC face of the audit log: parse, call, convert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import grpc

from goodstanding.ca.v1 import audit_pb2, audit_pb2_grpc
from services.ca.audit_reading import AuditQuery, AuditReading
from services.ca.target import BySerial
from services.clock import Clock, from_epoch, to_epoch, utc_now
from services.db.audit import AuditCursor
from services.db.chain import AuditEntry
from services.errors import InvalidArgument
from services.rpc import messages, paging, requests

T = TypeVar("T")


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Serves goodstanding.ca.v1.AuditService. `readers` reads the database."""

    def __init__(self, reading: AuditReading, *, readers: Executor, clock: Clock = utc_now) -> None:
        self._reading = reading
        self._readers = readers
        self._clock = clock

    async def ListAuditEntries(
        self,
        request: audit_pb2.ListAuditEntriesRequest,
        context: grpc.aio.ServicerContext[audit_pb2.ListAuditEntriesRequest, audit_pb2.ListAuditEntriesResponse],
    ) -> audit_pb2.ListAuditEntriesResponse:
        """Return one page of entries."""
        query, filters = _query(request)
        page = await self._read(lambda: self._reading.page(query))
        cursor = (to_epoch(page.next.at), page.next.sequence) if page.next else None
        return audit_pb2.ListAuditEntriesResponse(
            entries=[_message(entry) for entry in page.entries],
            next_page_token=paging.encode_token(cursor, filters) if cursor else "",
        )

    async def ExportAuditEntries(
        self,
        request: audit_pb2.ExportAuditEntriesRequest,
        context: grpc.aio.ServicerContext[audit_pb2.ExportAuditEntriesRequest, audit_pb2.ExportAuditEntriesResponse],
    ) -> AsyncIterator[audit_pb2.ExportAuditEntriesResponse]:
        """Send entries in the order of the chain."""
        after = request.after_sequence
        while True:
            lines, after = await self._export(after)
            if not lines:
                return
            yield audit_pb2.ExportAuditEntriesResponse(entries_json=lines)

    async def GetAuditHead(
        self,
        request: audit_pb2.GetAuditHeadRequest,
        context: grpc.aio.ServicerContext[audit_pb2.GetAuditHeadRequest, audit_pb2.GetAuditHeadResponse],
    ) -> audit_pb2.GetAuditHeadResponse:
        """Return the last entry's number and hash."""
        now = self._clock()
        head = await self._read(self._reading.head)
        return audit_pb2.GetAuditHeadResponse(
            sequence=head.sequence, hash=head.hash, as_of_time=messages.timestamp(now)
        )

    async def _export(self, after: int) -> tuple[list[str], int]:
        return await self._read(lambda: self._reading.export(after))

    async def _read(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)


def _query(request: audit_pb2.ListAuditEntriesRequest) -> tuple[AuditQuery, Sequence[str]]:
    """The query, and the filters that its page tokens are bound to."""
    for field, value in (("identity", request.identity), ("method", request.method), ("result", request.result)):
        if "\0" in value:  # PostgreSQL cannot even be asked for it
            raise InvalidArgument("NAME_INVALID", "no name holds a NUL", field=field)
    time_from = requests.read_optional_time(request, "from_time")
    time_until = requests.read_optional_time(request, "until_time")
    target = None
    if request.HasField("issuer_and_serial_number"):
        given = requests.read_issuer_and_serial(request.issuer_and_serial_number, "issuer_and_serial_number")
        target = BySerial.parse(given.serial_number or "", given.issuer or "")
    filters = (
        str(time_from or ""),
        str(time_until or ""),
        request.identity,
        request.method,
        request.result,
        str(request.refused),
        f"{target.issuer}/{target.serial.hex()}" if target else "",
    )
    cursor = paging.decode_token(request.page_token, filters)
    query = AuditQuery(
        page_size=paging.page_size(request.page_size),
        after=_cursor(cursor) if cursor else None,
        time_from=time_from,
        time_until=time_until,
        identity=request.identity,
        method=request.method,
        result=request.result,
        refused=request.refused,
        target=target,
    )
    return query, filters


def _cursor(values: Sequence[int]) -> AuditCursor:
    try:
        return AuditCursor(from_epoch(values[0]), values[1])
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(
            "PAGE_TOKEN_INVALID", "page_token is not a next_page_token of this service", field="page_token"
        ) from None


def _message(entry: AuditEntry) -> audit_pb2.AuditEntry:
    event = entry.event
    return audit_pb2.AuditEntry(
        sequence=entry.sequence,
        time=messages.timestamp(event.at),
        actor=messages.actor_message(event.actor),
        method=event.method,
        result=event.result,
        issuer=event.issuer,
        serial_number=event.serial.hex(),
        details_json=event.details,
        previous_hash=entry.previous_hash,
        hash=entry.hash,
    )
