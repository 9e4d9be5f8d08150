"""The status service as the gateway sees it: look-ups, issuers, revocation lists, and the watch.

The only file that speaks gRPC to the status service. Everything that goes wrong there becomes StatusUnavailable, or a
new attempt; a message that makes no sense counts as going wrong, and never as `good` (G2).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc import aio

from gateway.answers import Revocation, Status
from gateway.channel import ServiceChannel, is_ours
from gateway.clock import Clock
from gateway.evidence import CertificateKey, Evidence
from gateway.issuers import Issuer
from gateway.knowledge import Knowledge, LookedUp, StatusUnavailable
from gateway.spool import Octets, Spool
from goodstanding.status.v1 import status_pb2 as pb
from goodstanding.status.v1.status_pb2_grpc import CertificateStatusServiceStub
from goodstanding.types.v1 import types_pb2

if TYPE_CHECKING:  # exists only in the stubs
    from goodstanding.status.v1.status_pb2_grpc import CertificateStatusServiceAsyncStub

_logger = structlog.get_logger(__name__)

# Without a pong for that long, the stream is given up, and the connection with it.
_STUCK_AFTER = 5.0
# How long a revocation list may take, which may have tens of megabytes.
_CRL_TIMEOUT = 60.0
# How many octets of a revocation list are held in memory; what is longer goes into a file.
_HELD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A CRL (DER) with its times, in seconds since 1970, and its SHA-256."""

    der: Octets
    """A long one is in a file."""
    this_update: int
    next_update: int
    sha256: bytes = b""


class StatusClient:
    """Calls of the status service."""

    def __init__(self, channel: ServiceChannel, clock: Clock, timeout: float) -> None:
        self._channel = channel
        self._clock = clock
        self._timeout = timeout
        # The position that look-ups must have reached; set before the first one.
        self.evidence: Evidence | None = None

    @property
    def _stub(self) -> CertificateStatusServiceAsyncStub:
        return CertificateStatusServiceStub(self._channel.current)

    async def look_up(self, keys: Sequence[CertificateKey]) -> list[LookedUp]:
        """Look certificates up, all as of one revision.

        Raises StatusUnavailable: the service could not answer, or not from where this gateway is.
        """
        request = pb.BatchGetCertificateStatusRequest()
        for key in keys:
            reference = request.certificates.add().issuer_and_serial_number
            reference.issuer = key.issuer
            reference.serial_number = key.serial.hex()
        if self.evidence is not None and self.evidence.history:
            request.history = self.evidence.history
            request.min_revision = self.evidence.applied
        sent_at = self._clock()
        with _unavailable():
            reply = await self._stub.BatchGetCertificateStatus(request, timeout=self._timeout)
        if len(reply.records) != len(keys):
            raise StatusUnavailable("the status service gave another number of answers than was asked for")
        return [
            LookedUp(_status(key, record), reply.history, reply.revision, sent_at)
            for key, record in zip(keys, reply.records, strict=True)
        ]

    async def list_issuers(self) -> list[Issuer]:
        """All issuers.

        Raises StatusUnavailable: the service could not answer.
        """
        with _unavailable():
            reply = await self._stub.ListIssuers(pb.ListIssuersRequest(), timeout=5)
        return [_issuer(message) for message in reply.issuers]

    async def crl(self, issuer: str, shard: int = 0, known: RevocationList | None = None) -> RevocationList | None:
        """The newest revocation list of an issuer (shard 0) or of one of its shards; None if there is none.

        `known`, if that is the newest: its octets are not fetched again. Raises StatusUnavailable: the service could
        not answer, or there is no room for the list.
        """
        request = pb.FetchCertificateRevocationListRequest(
            issuer=issuer, shard=shard, known_sha256=known.sha256 if known is not None else b""
        )
        with _unavailable():
            call = self._stub.FetchCertificateRevocationList(request, timeout=_CRL_TIMEOUT)
            try:
                return await _read_crl(call, known)
            except aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return None
                raise
            except OSError as error:
                raise StatusUnavailable(f"there is no room for a revocation list: {error.strerror}") from error
            finally:
                call.cancel()

    def watch(self) -> aio.StreamStreamCall[pb.WatchCertificateStatusRequest, pb.WatchCertificateStatusResponse]:
        """Begin a watch stream."""
        return self._stub.WatchCertificateStatus()

    def reconnect(self) -> None:
        """Leave a connection that is stuck."""
        self._channel.reopen()


class StatusWatch:
    """Keeps a watch stream open and tells `knowledge` what it says."""

    def __init__(
        self,
        client: StatusClient,
        knowledge: Knowledge,
        clock: Clock,
        ping_interval: float,
        issuers_changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._knowledge = knowledge
        self._clock = clock
        self._ping_interval = ping_interval
        self._issuers_changed = issuers_changed
        self._ping_id = 0
        self._lost = False

    async def run(self) -> None:
        """Watch until cancelled; a stream that ends, however it ends, is followed by another."""
        while True:
            try:
                await self._follow()
                reason = "the status service ended the stream"
            except (aio.AioRpcError, StatusUnavailable, TimeoutError) as error:
                reason = error.details() or "" if isinstance(error, aio.AioRpcError) else str(error)
            except asyncio.CancelledError:
                if is_ours():
                    raise
                reason = "its connection was closed"
            except Exception as error:  # a watch that ends would leave the gateway without proofs for good
                reason = repr(error)
                _logger.exception("watch failed")
            if not self._lost:
                _logger.warning("watch lost", reason=reason)
            self._lost = True
            await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311  (spreads reconnects, no secret)

    async def _load_issuers(self) -> None:
        self._knowledge.issuers.replace(await self._client.list_issuers())
        self._issuers_changed()
        self._lost = False

    async def _follow(self) -> None:
        evidence = self._knowledge.evidence
        if evidence.history:
            # No reset will come that they would be loaded after; and after the last one that may have failed.
            await self._load_issuers()
        evidence.connected()
        call = self._client.watch()
        pinger: asyncio.Task[None] | None = None
        try:
            start = pb.WatchCertificateStatusRequest.Start(history=evidence.history, from_revision=evidence.applied)
            async with asyncio.timeout(_STUCK_AFTER):
                await call.write(pb.WatchCertificateStatusRequest(start=start))
            pinger = asyncio.create_task(self._ping(call))
            while True:
                # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with a message.
                async with asyncio.timeout(_STUCK_AFTER):
                    message = await call.read()
                if not isinstance(message, pb.WatchCertificateStatusResponse):
                    return
                await self._hear(message)
        except TimeoutError:
            self._client.reconnect()
            raise TimeoutError("no answer to any ping; connecting anew") from None
        finally:
            if pinger is not None:
                pinger.cancel()
            call.cancel()

    async def _ping(
        self, call: aio.StreamStreamCall[pb.WatchCertificateStatusRequest, pb.WatchCertificateStatusResponse]
    ) -> None:
        try:
            while True:
                self._ping_id += 1
                self._knowledge.evidence.ping_sent(self._ping_id, self._clock())
                ping = pb.WatchCertificateStatusRequest.Ping(id=self._ping_id)
                await call.write(pb.WatchCertificateStatusRequest(ping=ping))
                await asyncio.sleep(self._ping_interval)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # the reading side sees the same end, and acts on it

    async def _hear(self, message: pb.WatchCertificateStatusResponse) -> None:
        knowledge = self._knowledge
        match message.WhichOneof("message"):
            case "pong":
                knowledge.evidence.pong(message.pong.id, message.pong.revision)
            case "changes":
                changes = message.changes
                issuers = [_issuer(issuer) for issuer in changes.issuers]
                changed = [(_key(record), record.revision) for record in changes.records]
                knowledge.changes(changed, issuers, changes.through_revision)
                if issuers:
                    self._issuers_changed()
            case "reset":
                reset = message.reset
                if not knowledge.evidence.may_follow(reset.history, reset.revision):
                    self._client.reconnect()  # another connection may lead to another replica
                    raise StatusUnavailable(
                        "the status service is behind what it told before: its database is a replica that lags, or a "
                        "restored copy that the CA service has not been started on"
                    )
                knowledge.reset(reset.history, reset.revision)
                _logger.info("watch reset", history=reset.history, revision=reset.revision)
                await self._load_issuers()
            case _:
                raise StatusUnavailable("the status service said something that this gateway does not know")


async def _read_crl(
    call: aio.UnaryStreamCall[pb.FetchCertificateRevocationListRequest, pb.FetchCertificateRevocationListResponse],
    known: RevocationList | None,
) -> RevocationList:
    """What the service sends of a list. Raises StatusUnavailable unless its SHA-256 is what was announced."""
    first = await call.read()
    if not isinstance(first, pb.FetchCertificateRevocationListResponse) or first.WhichOneof("message") != "head":
        raise StatusUnavailable("the status service did not say what a revocation list is like")
    head = first.head
    times = head.this_update_time.seconds, head.next_update_time.seconds
    if head.unchanged:
        if known is None or known.sha256 != head.sha256:
            raise StatusUnavailable("the status service left out a revocation list that is not known here")
        return known
    digest, size = hashlib.sha256(), 0
    spool = Spool() if head.size > _HELD else None
    held = bytearray()
    while size < head.size:
        message = await call.read()
        if not isinstance(message, pb.FetchCertificateRevocationListResponse) or not message.chunk:
            raise StatusUnavailable("the status service sent half a revocation list")
        digest.update(message.chunk)
        size += len(message.chunk)
        if spool is None:
            held += message.chunk
        else:
            await spool.append(message.chunk)
    if digest.digest() != head.sha256:
        raise StatusUnavailable("the status service sent a revocation list that is not what it announced")
    if spool is not None:
        await spool.finish()
    return RevocationList(bytes(held) if spool is None else spool, *times, head.sha256)


@contextmanager
def _unavailable() -> Iterator[None]:
    """Whatever goes wrong in a call becomes StatusUnavailable."""
    try:
        yield
    except aio.AioRpcError as error:
        raise StatusUnavailable(f"{error.code().name}: {error.details()}") from error
    except asyncio.CancelledError:
        if is_ours():
            raise
        raise StatusUnavailable("the connection was closed during the call") from None


def _key(record: pb.StatusRecord) -> CertificateKey:
    return CertificateKey(record.issuer, bytes.fromhex(record.serial_number))


def _status(key: CertificateKey, record: pb.StatusRecord) -> Status:
    """A record as a status. Whatever is not plainly good, revoked or unknown is an error (G2)."""
    revocation = None
    match record.status:
        case types_pb2.CERTIFICATE_STATUS_UNKNOWN:
            return Status(key, known=False, revocation=None, changed_at=0, not_after=0, revision=0)
        case types_pb2.CERTIFICATE_STATUS_GOOD:
            if record.HasField("revocation"):
                raise StatusUnavailable("a good certificate with a revocation")
        case types_pb2.CERTIFICATE_STATUS_REVOKED:
            revocation = _revocation(record.revocation)
        case _:
            raise StatusUnavailable(f"the status number {record.status} is not known")
    if (record.issuer, record.serial_number) != (key.issuer, key.serial.hex()):
        raise StatusUnavailable("an answer about another certificate than was asked about")
    return Status(
        key,
        known=True,
        revocation=revocation,
        changed_at=record.change_time.seconds,
        not_after=record.not_after_time.seconds,
        revision=record.revision,
    )


def _revocation(message: types_pb2.Revocation) -> Revocation:
    invalidity = message.invalidity_time.seconds if message.HasField("invalidity_time") else None
    return Revocation(message.revocation_time.seconds, message.reason, invalidity)


def _issuer(message: types_pb2.Issuer) -> Issuer:
    return Issuer(
        name=message.name,
        active=message.state in (types_pb2.ISSUER_STATE_ACTIVE, types_pb2.ISSUER_STATE_RETIRED),
        subject_der=message.subject_der,
        public_key_der=message.public_key_der,
        certificates_der=tuple(message.certificates_der),
        revision=message.revision,
        compromised=message.HasField("compromise"),
    )
