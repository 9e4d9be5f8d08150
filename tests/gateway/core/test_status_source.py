"""The watch outlives whatever ends a stream, and a look-up that goes wrong is never more than unavailable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from grpc import aio

import gateway.status_source
from gateway.answers import AnswerCache
from gateway.channel import ServiceChannel
from gateway.clock import boot_time
from gateway.evidence import CertificateKey
from gateway.knowledge import Knowledge, StatusUnavailable
from gateway.status_source import StatusClient, StatusWatch
from goodstanding.status.v1 import status_pb2 as pb
from goodstanding.status.v1 import status_pb2_grpc
from goodstanding.types.v1 import types_pb2
from tests.gateway.core.world import authority, issuer_of

pytestmark = pytest.mark.asyncio

KEY = CertificateKey("issuing", b"\x01")
Told = pb.WatchCertificateStatusResponse


class Service(status_pb2_grpc.CertificateStatusServiceServicer):
    """Answers every ping at once; a test may say something else first, or let calls hang or fail."""

    def __init__(self) -> None:
        self.streams = 0
        self.says: list[Told] = []
        """Said one on each stream, behind the first answer."""
        self.failing_lists = 0
        self.silent_streams = 0
        self.look_ups = asyncio.Event()
        issuer = issuer_of("issuing", authority("issuing")[0])
        self.issuer = types_pb2.Issuer(
            name="issuing",
            state=types_pb2.ISSUER_STATE_ACTIVE,
            subject_der=issuer.subject_der,
            public_key_der=issuer.public_key_der,
        )

    async def WatchCertificateStatus(self, request_iterator: Any, _context: Any) -> AsyncIterator[Told]:  # noqa: N802
        self.streams += 1
        said = False
        if self.silent_streams:
            self.silent_streams -= 1
            await asyncio.sleep(60)
        async for request in request_iterator:
            if request.HasField("ping"):
                yield Told(pong=Told.Pong(id=request.ping.id, revision=5))
            elif request.start.history != "h":
                yield Told(reset=Told.Reset(history="h", revision=5))
            if self.says and not said:
                said = True
                yield self.says.pop(0)

    async def ListIssuers(self, _request: Any, context: Any) -> pb.ListIssuersResponse:  # noqa: N802
        if self.failing_lists:
            self.failing_lists -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return pb.ListIssuersResponse(issuers=[self.issuer])

    async def BatchGetCertificateStatus(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        self.look_ups.set()
        await asyncio.sleep(60)

    async def GetCertificateStatus(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetPastCertificateStatus(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ExplainCertificateStatus(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetCertificateRevocationList(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    def FetchCertificateRevocationList(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError


class Channel:
    """A channel without TLS, in the place of ServiceChannel."""

    def __init__(self, port: int) -> None:
        self._target = f"127.0.0.1:{port}"
        self.current = aio.insecure_channel(self._target)
        self.broken_files = 0

    def reopen(self) -> None:
        if self.broken_files:
            self.broken_files -= 1
            raise OSError("gateway.pem: no such file")
        self.current = aio.insecure_channel(self._target)


class World:
    """A watch, what it fills, and the service that it follows."""

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self.channel = Channel(port)
        self.client = StatusClient(cast("ServiceChannel", self.channel), boot_time, timeout=5.0)
        self.knowledge = Knowledge(AnswerCache(10, 100_000), self.client.look_up, boot_time, 1.0)
        self.client.evidence = self.knowledge.evidence
        self.watching = self.watch()

    def watch(self, ping_interval: float = 0.02) -> asyncio.Task[None]:
        """Begin a watch."""
        watch = StatusWatch(self.client, self.knowledge, boot_time, ping_interval, lambda: None)
        return asyncio.create_task(watch.run())

    async def proven_after(self, moment: float) -> None:
        """Wait until a ping that was sent later is answered, and the issuers are known."""
        await until(lambda: self.knowledge.evidence.proof > moment and len(self.knowledge.issuers) == 1)


async def until(condition: Callable[[], bool], within: float = 5.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """A watch and its service; the watch has not been heard yet."""
    service, server = Service(), aio.server()
    status_pb2_grpc.add_CertificateStatusServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    world = World(service, port)
    yield world
    world.watching.cancel()
    await asyncio.gather(world.watching, return_exceptions=True)
    await world.channel.current.close()
    await server.stop(0)


async def test_the_watch_outlives_its_channel(world: World) -> None:
    """A credential is renewed, the old channel is closed in time: the watch goes on over the new one."""
    await world.proven_after(0.0)
    old = world.channel.current
    world.channel.reopen()
    await old.close()
    await world.proven_after(boot_time())
    assert world.service.streams == 2


async def test_the_watch_outlives_nonsense(world: World) -> None:
    """A message that makes no sense costs the stream, and nothing more."""
    await world.proven_after(0.0)
    record = pb.StatusRecord(issuer="issuing", serial_number="not hex")
    unusable = types_pb2.Issuer(name="broken", public_key_der=b"\x30\x00")
    world.service.says = [
        Told(changes=Told.Changes(records=[record], through_revision=6)),
        Told(changes=Told.Changes(issuers=[unusable], through_revision=6)),
        Told(),
    ]
    await until(lambda: world.service.streams >= 4)
    await world.proven_after(boot_time())


async def test_the_watch_outlives_a_credential_that_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is stuck, and the files for another are being replaced: it tries again."""
    monkeypatch.setattr(gateway.status_source, "_STUCK_AFTER", 0.2)
    world.service.silent_streams, world.channel.broken_files = 1, 1
    await world.proven_after(0.0)
    assert world.channel.broken_files == 0


async def test_issuers_are_listed_before_a_watch_goes_on(world: World) -> None:
    """However often it fails: a gateway that follows changes without knowing an issuer would answer nobody."""
    world.service.failing_lists = 3
    await world.proven_after(0.0)


async def test_a_look_up_whose_channel_closes_is_unavailable(world: World) -> None:
    """GRPC calls it cancelled; for those who asked it must not look as if they had been."""
    asker = asyncio.create_task(world.knowledge.look_up(KEY))
    await world.service.look_ups.wait()
    await world.channel.current.close()
    with pytest.raises(StatusUnavailable):
        await asker
    assert not world.watching.done()


async def test_an_asker_who_gives_up_is_cancelled(world: World) -> None:
    """The other way round: a cancelled look-up stays cancelled."""
    asker = asyncio.create_task(world.client.look_up([KEY]))
    await world.service.look_ups.wait()
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker


async def test_a_cancelled_watch_ends_though_a_message_comes_at_that_moment(world: World) -> None:
    """A gateway that is stopped must not wait for a watch that takes a pong for the end of its cancellation."""
    for number in range(60):
        watching = world.watch(ping_interval=0.0)
        await world.proven_after(boot_time())
        for _ in range(number % 7):
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait([watching], timeout=5)
        assert watching.done()
