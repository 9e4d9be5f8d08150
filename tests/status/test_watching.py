"""The watch through real gRPC, on both databases: what a watcher is told, and in which order (G3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from cryptography import x509

from goodstanding.status.v1 import status_pb2
from goodstanding.types.v1 import types_pb2
from services.db.records import Position
from services.status.stream import Patience
from tests.status.builders import Registry, Request, Service, Watch, number
from tests.status.conftest import ServiceFactory

pytestmark = pytest.mark.asyncio

CERTIFICATE, OTHER = number(1), number(2)


@pytest.fixture(autouse=True)
def issued(registry: Registry, issuing: x509.Certificate) -> int:
    """Two certificates; the revision of the last."""
    return registry.issue("issuing", CERTIFICATE, OTHER)


async def watching(service: Service, registry: Registry) -> Watch:
    """A watch that knows everything up to now."""
    watch = service.watch()
    await watch.start(registry.position())
    return watch


def kinds(messages: list[status_pb2.WatchCertificateStatusResponse]) -> list[str | None]:
    """What sort of messages they are."""
    return [message.WhichOneof("message") for message in messages]


async def test_a_watcher_that_knows_nothing_is_reset(service: Service, registry: Registry) -> None:
    """The first message back tells where it is from now on, and pings are answered from there."""
    watch = service.watch()
    await watch.start()
    await watch.ping(1)
    reset, pong = await watch.told_until_pong(1)
    here = registry.position()
    assert (reset.reset.history, reset.reset.revision) == (here.history, here.revision)
    assert (pong.pong.id, pong.pong.revision) == (1, here.revision)


async def test_a_watcher_resumes_from_its_revision(service: Service, registry: Registry, issued: int) -> None:
    """What it has missed is told, and nothing else; no reset."""
    before = Position(registry.position().history, issued)
    revoked = registry.revoke("issuing", CERTIFICATE, reason=4)
    watch = service.watch()
    await watch.start(before)
    await watch.ping(1)
    changes, pong = await watch.told_until_pong(1)
    (record,) = changes.changes.records
    assert (record.issuer, record.serial_number, record.revision) == ("issuing", CERTIFICATE.hex(), revoked)
    assert record.status == types_pb2.CERTIFICATE_STATUS_REVOKED
    assert record.revocation.reason == types_pb2.REVOCATION_REASON_SUPERSEDED
    assert changes.changes.through_revision == pong.pong.revision == revoked


async def test_a_watcher_resumes_across_a_restart_of_the_service(
    serve: ServiceFactory, registry: Registry, issued: int
) -> None:
    """The changes are in the database, and not only in the memory of the service that saw them."""
    before = registry.position()
    revisions = [registry.revoke("issuing", serial) for serial in (CERTIFICATE, OTHER)]
    watch = (await serve()).watch()
    await watch.start(before)
    told = await watch.told()
    assert [record.revision for record in told.changes.records] == revisions


async def test_a_change_is_told_without_a_ping(service: Service, registry: Registry) -> None:
    """Revocations travel at once, and certificates that were only issued do not travel."""
    watch = await watching(service, registry)
    await watch.ping(1)
    assert kinds(await watch.told_until_pong(1)) == ["pong"]
    registry.issue("issuing", number(3))
    revision = registry.revoke("issuing", CERTIFICATE)
    told = await watch.told()
    assert [record.serial_number for record in told.changes.records] == [CERTIFICATE.hex()]
    assert told.changes.through_revision == revision


async def test_a_change_before_the_ping_is_told_before_its_pong(service: Service, registry: Registry) -> None:
    """Every commit that was acknowledged before the ping was sent comes first (G3)."""
    watch = await watching(service, registry)
    for ping_id in range(1, 40):
        revision = registry.revoke("issuing", CERTIFICATE, reason=6)
        await watch.ping(ping_id)
        messages = await watch.told_until_pong(ping_id)
        assert messages[-1].pong.revision >= revision
        assert [m.changes.records[0].revision for m in messages if m.HasField("changes")] == [revision]


async def test_a_change_between_the_arrival_of_the_ping_and_its_read_is_told_first(
    serve: ServiceFactory, registry: Registry
) -> None:
    """The read that answers a ping begins after it arrived, so that it sees what committed in between (G3)."""
    service = await serve()
    watch = await watching(service, registry)
    await watch.ping(1)
    await watch.told_until_pong(1)
    revoked = _revoke_when_read_begins(service, registry)
    await watch.ping(2)
    changes, pong = await watch.told_until_pong(2)
    assert changes.changes.records[0].revision == revoked[0] == pong.pong.revision


def _revoke_when_read_begins(service: Service, registry: Registry) -> list[int]:
    """Revoke once, at the moment when somebody asks for a read: the ping has arrived, and the read has not begun."""
    want_read, revisions = service.hub.want_read, list[int]()

    def revoke_first() -> None:
        if not revisions:
            revisions.append(registry.revoke("issuing", CERTIFICATE))
        want_read()

    service.hub.want_read = revoke_first  # type: ignore[method-assign]
    return revisions


async def test_changes_are_coalesced(service: Service, registry: Registry) -> None:
    """A certificate that changed often is told once, as it is now."""
    before = registry.position()
    for _ in range(5):
        registry.revoke("issuing", CERTIFICATE, reason=6)
        last = registry.release("issuing", CERTIFICATE)
    watch = service.watch()
    await watch.start(before)
    told = await watch.told()
    (record,) = told.changes.records
    assert (record.status, record.revision) == (types_pb2.CERTIFICATE_STATUS_GOOD, last)
    assert not record.HasField("revocation")


async def test_many_changes_come_in_parts_behind_which_the_pong_comes(service: Service, registry: Registry) -> None:
    """No message has more than 1,000 changes, and together they have all of them in order."""
    serials = [number(i) for i in range(1000, 3500)]
    registry.issue("issuing", *serials)
    before = registry.position()
    registry.revoke("issuing", *serials)
    watch = service.watch()
    await watch.start(before)
    await watch.ping(1)
    *parts, pong = await watch.told_until_pong(1)
    assert [len(message.changes.records) for message in parts] == [1000, 1000, 500]
    assert [record.serial_number for m in parts for record in m.changes.records] == [s.hex() for s in serials]
    assert [m.changes.through_revision for m in parts] == [m.changes.records[-1].revision for m in parts]
    assert parts[-1].changes.through_revision == pong.pong.revision


async def test_a_revision_from_the_future_resets(service: Service, registry: Registry) -> None:
    """A watcher that knows more than the database has been told of something that was lost."""
    here = registry.position()
    watch = service.watch()
    await watch.start(Position(here.history, here.revision + 1))
    assert (await watch.told()).reset.revision == here.revision


async def test_a_new_history_resets_watchers(service: Service, registry: Registry) -> None:
    """A restored database or a restarted ca: what was cached counts for nothing."""
    watch = await watching(service, registry)
    await watch.ping(1)
    await watch.told_until_pong(1)
    registry.new_history()
    told = await watch.told()
    here = registry.position()
    assert (told.reset.history, told.reset.revision) == (here.history, here.revision)
    await watch.ping(2)
    assert (await watch.told()).pong.revision == here.revision


async def test_issuers_travel_too(service: Service, registry: Registry) -> None:
    """An issuer that comes in, and one that changes; changes of its certificates carry its name."""
    watch = await watching(service, registry)
    await watch.ping(1)
    await watch.told_until_pong(1)
    registry.add_issuer("late")
    told = await watch.told()
    assert [issuer.name for issuer in told.changes.issuers] == ["late"]
    registry.issue("late", CERTIFICATE)
    registry.revoke("late", CERTIFICATE)
    assert (await watch.told()).changes.records[0].issuer == "late"
    revision = registry.retire_issuer("issuing")
    told = await watch.told()
    assert [(issuer.name, issuer.revision) for issuer in told.changes.issuers] == [("issuing", revision)]


async def test_without_a_database_there_is_no_pong(service: Service, registry: Registry, unplug: Any) -> None:
    """Never a stale one; the stream stays, and goes on when the database is back."""
    watch = await watching(service, registry)
    await watch.ping(1)
    await watch.told_until_pong(1)
    with unplug:
        await watch.ping(2)
        reading = asyncio.ensure_future(watch.told())
        await asyncio.sleep(0.3)
        assert not reading.done()
        assert not service.hub.is_available
    assert (await reading).pong.id == 2
    assert service.hub.is_available


async def test_a_finished_watcher_is_answered_before_the_end(service: Service, registry: Registry) -> None:
    """One that has said all it wants to say (grpcurl does so) hears its pong, and a good end."""
    requests = [Request(start=Request.Start()), Request(ping=Request.Ping(id=5))]
    told = [message async for message in service.stub.WatchCertificateStatus(iter(requests))]
    assert kinds(told) == ["reset", "pong"]


START, PING = Request(start=Request.Start()), Request(ping=Request.Ping(id=1))


@pytest.mark.parametrize(
    "said",
    [[PING], [START, START], [START, PING, PING], [Request()]],
    ids=["ping first", "start twice", "the same ping twice", "empty"],
)
async def test_what_a_watcher_must_not_say(
    service: Service, said: list[status_pb2.WatchCertificateStatusRequest]
) -> None:
    """The first message is start, no later one is, and ids of pings increase."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in service.stub.WatchCertificateStatus(iter(said)):
            pass
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_silent_watcher_is_cut_off(serve: ServiceFactory, registry: Registry) -> None:
    """No ping for so long: the stream ends, also while there is something to tell."""
    service = await serve(patience=Patience(silence=0.3))
    watch = await watching(service, registry)
    registry.revoke("issuing", CERTIFICATE)
    with pytest.raises(grpc.aio.AioRpcError) as cut:
        await _read_to_the_end(watch, lambda: registry.revoke("issuing", CERTIFICATE))
    assert cut.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def _read_to_the_end(watch: Watch, between: Callable[[], object]) -> None:
    while await watch.call.read() is not grpc.aio.EOF:
        between()


async def test_a_watcher_that_does_not_read_is_cut_off(serve: ServiceFactory, registry: Registry) -> None:
    """Its messages do not pile up, and others are served as before."""
    service = await serve(patience=Patience(writing=0.3))
    serials = [number(i) for i in range(1000, 2000)]
    registry.issue("issuing", *serials)
    # Without probing for bandwidth gRPC buffers 64 KiB for a reader that does not read, and then its writers wait.
    slow = service.watch(await service.connect(("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)))
    await slow.start(registry.position())
    quick = await watching(service, registry)
    for ping_id in range(1, 100):
        registry.revoke("issuing", *serials)
        await quick.ping(ping_id)
        await quick.told_until_pong(ping_id)
        if len(service.hub._watchers) == 1:
            break
    else:
        pytest.fail("the slow watcher is still being served")
    assert slow.call is not None
