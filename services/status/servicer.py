"""CertificateStatusService over gRPC: parse, call, convert.

Database reads run in a few threads of their own, so that the event loop never waits for the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from itertools import count
from typing import Any, TypeVar

from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.db.engine import Connection
from services.errors import InvalidArgument
from services.rpc.messages import issuer_message, timestamp
from services.rpc.requests import read_time
from services.status import messages
from services.status.explain_messages import explain_response, read_subject
from services.status.explanation import Explanation, explain
from services.status.hub import PositionHub
from services.status.issuer_index import IssuerIndex
from services.status.lookup import StatusReader
from services.status.stream import Patience, Ping, Start, WatchStream

T = TypeVar("T")

_READERS = 4


class CertificateStatusServicer(status_pb2_grpc.CertificateStatusServiceServicer):
    """The service. `hub` must have been started; `close` when the server has stopped."""

    def __init__(self, reader: StatusReader, hub: PositionHub, *, patience: Patience | None = None) -> None:
        self._reader = reader
        self._hub = hub
        self._patience = patience
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="status-read")

    def close(self) -> None:
        """Let go of the threads, without waiting for reads that nobody waits for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def GetCertificateStatus(
        self, request: status_pb2.GetCertificateStatusRequest, _context: Any
    ) -> status_pb2.GetCertificateStatusResponse:
        """Tell the status of one certificate."""
        reference = messages.read_reference(request.certificate, "certificate")
        return messages.get_response(await self._read(lambda: self._reader.get(reference)))

    async def GetPastCertificateStatus(
        self, request: status_pb2.GetPastCertificateStatusRequest, _context: Any
    ) -> status_pb2.GetPastCertificateStatusResponse:
        """Tell the status that one certificate had."""
        reference = messages.read_reference(request.certificate, "certificate")
        at = read_time(request.as_of_time, "as_of_time")
        found = await self._read(lambda: self._reader.get_at(reference, at))
        return status_pb2.GetPastCertificateStatusResponse(
            record=messages.finding_message(found), as_of_time=timestamp(at)
        )

    async def BatchGetCertificateStatus(
        self, request: status_pb2.BatchGetCertificateStatusRequest, _context: Any
    ) -> status_pb2.BatchGetCertificateStatusResponse:
        """Tell the status of many certificates."""
        references = messages.read_batch(request)
        history, min_revision = request.history, request.min_revision
        return messages.batch_response(
            await self._read(lambda: self._reader.batch(references, history=history, min_revision=min_revision))
        )

    async def WatchCertificateStatus(
        self, request_iterator: Any, _context: Any
    ) -> AsyncIterator[status_pb2.WatchCertificateStatusResponse]:
        """Tell of changes, and prove freshness."""
        stream = WatchStream(self._hub, self._patience)
        async with aclosing(stream.messages(_read_words(request_iterator))) as told:
            async for message in told:
                yield messages.watch_response(message, self._hub.issuers)

    async def ListIssuers(
        self, _request: status_pb2.ListIssuersRequest, _context: Any
    ) -> status_pb2.ListIssuersResponse:
        """List all issuers."""
        issuers, position = await self._read(self._reader.issuers)
        return status_pb2.ListIssuersResponse(
            issuers=[issuer_message(issuer) for issuer in issuers], history=position.history, revision=position.revision
        )

    async def GetCertificateRevocationList(
        self, request: status_pb2.GetCertificateRevocationListRequest, _context: Any
    ) -> status_pb2.GetCertificateRevocationListResponse:
        """Give an issuer's newest revocation list."""
        issuer = request.issuer
        crl = await self._read(lambda: self._reader.crl(issuer))
        return status_pb2.GetCertificateRevocationListResponse(
            crl_der=crl.der,
            this_update_time=timestamp(crl.this_update),
            next_update_time=timestamp(crl.next_update),
        )

    async def FetchCertificateRevocationList(
        self, request: status_pb2.FetchCertificateRevocationListRequest, _context: Any
    ) -> AsyncIterator[status_pb2.FetchCertificateRevocationListResponse]:
        """Give a newest revocation list in pieces."""
        issuer, shard = request.issuer, request.shard
        crl = await self._read(lambda: self._reader.describe_crl(issuer, shard))
        unchanged = request.known_sha256 == crl.sha256
        yield messages.crl_head(crl, unchanged=unchanged)
        sent = crl.size if unchanged else 0
        for block in count():
            if sent >= crl.size:
                return
            data = await self._read(partial(self._reader.crl_block, crl, block))
            sent += len(data)
            yield status_pb2.FetchCertificateRevocationListResponse(chunk=data)

    async def ExplainCertificateStatus(
        self, request: status_pb2.ExplainCertificateStatusRequest, _context: Any
    ) -> status_pb2.ExplainCertificateStatusResponse:
        """Tell why statuses are what they are."""
        references = read_subject(request)

        def look(conn: Connection, index: IssuerIndex) -> list[Explanation]:
            return [each for reference in references for each in explain(conn, index, reference)]

        return explain_response(*await self._read(lambda: self._reader.examine(look)))

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _read_words(
    requests: AsyncIterable[status_pb2.WatchCertificateStatusRequest],
) -> AsyncIterator[Start | Ping]:
    async for request in requests:
        kind = request.WhichOneof("message")
        if kind == "start":
            yield Start(messages.claim_of(request.start))
        elif kind == "ping":
            yield Ping(request.ping.id)
        else:
            raise InvalidArgument("MESSAGE_MISSING", "a watcher says start or ping", field="message")
