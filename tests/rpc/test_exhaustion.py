"""G8: no credential, good or bad, can take the server away from the others, or refuse to be named in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog.testing
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.rpc.server import Limits

from .conftest import CA_SERVICE, CLIENT, STATUS_SERVICE, Authority, Credential, Running, Start, get
from .test_g8_security import failure, reason_of

GET = f"/{CA_SERVICE}/GetCertificate"
WATCH = f"/{STATUS_SERVICE}/WatchCertificateStatus"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
ELSEWHERE = x509.UniformResourceIdentifier("spiffe://elsewhere/admin/mallory")


async def nothing() -> AsyncIterator[Any]:
    """A client that begins a call, and never says what it wants."""
    await asyncio.Event().wait()
    yield b""


async def end_of(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, 5)
    return caught.value


async def answers(running: Running, credential: Credential) -> bool:
    """Whether the server has room for a call of that credential."""
    async with running.channel(credential) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        return bool(await stub.GetCertificate(get(), timeout=5))


@pytest.mark.asyncio
async def test_a_caller_is_checked_before_it_has_said_anything(start: Start, authority: Authority) -> None:
    """Calls of a useless or denied credential that never send their request end at once, and take no room."""
    denied = authority.client("admin", "denied")
    async with start(Limits(concurrent_rpcs=4)) as running:
        running.denied.add(denied.fingerprint)
        await asyncio.sleep(0.3)
        for stranger, reason in (
            (authority.odd([ELSEWHERE], [CLIENT]), "CREDENTIAL_IDENTITY_INVALID"),
            (denied, "CREDENTIAL_DENIED"),
        ):
            async with running.channel(stranger) as channel:
                calls: list[Any] = [channel.stream_unary(GET)(nothing()) for _ in range(4)]
                assert {reason_of(await end_of(call)) for call in calls} == {reason}
                assert await answers(running, authority.client())


@pytest.mark.asyncio
async def test_a_request_that_does_not_come_is_not_waited_for(start: Start, authority: Authority) -> None:
    """The limit of a unary call counts from its beginning, not from the request; a stream's request has it, too."""
    async with start(Limits(unary_seconds=0.3)) as running, running.channel(authority.client()) as channel:
        calls: list[Any] = [channel.stream_unary(method)(nothing()) for method in (GET, HEALTH_WATCH)]
        for call in calls:
            error = await end_of(call)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "TOO_SLOW")


@pytest.mark.asyncio
@pytest.mark.parametrize(("method", "body"), [(GET, b"\x0a\xff"), (WATCH, b"\x0a\xff"), (GET, None)])
async def test_what_is_no_message_is_the_callers_mistake(
    method: str, body: bytes | None, start: Start, authority: Authority
) -> None:
    """Octets that are no request, or no request at all: INVALID_ARGUMENT, and no traceback that fills the log."""

    async def said() -> AsyncIterator[Any]:
        if body is not None:
            yield body

    async with start() as running, running.channel(authority.client()) as channel:
        with structlog.testing.capture_logs() as logs:
            call: Any = channel.stream_stream(method)(said())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call.read(), 5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == ("MESSAGE_MISSING" if body is None else "MESSAGE_MALFORMED")
    assert not [line for line in logs if "exc_info" in line]


@pytest.mark.asyncio
async def test_a_credential_has_its_share_of_the_server(start: Start, authority: Authority) -> None:
    """Whoever holds all the streams of its share gets no more, over new connections neither; others still do."""
    greedy = authority.client("importer")
    async with start(Limits(rpcs_per_identity=3)) as running, running.channel(greedy) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        for watch in watches:
            await watch.read()
        async with running.channel(authority.client("importer")) as another:  # the same identity, renewed
            again: Any = health_pb2_grpc.HealthStub(another)
            error = await end_of(again.Check(health_pb2.HealthCheckRequest()))
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
            assert await answers(running, authority.client())
            watches[0].cancel()
            await asyncio.sleep(0.2)
            assert await again.Check(health_pb2.HealthCheckRequest())


@pytest.mark.asyncio
async def test_the_log_names_who_was_refused(start: Start, authority: Authority) -> None:
    """A role that was not enough, and a certificate that names nobody: the log says which certificate it was."""
    reader, stranger = authority.client("reader", "bob"), authority.odd([ELSEWHERE], [CLIENT])
    async with start() as running:
        with structlog.testing.capture_logs() as logs:
            async with running.channel(reader) as channel:
                ca: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
                await end_of(ca.RevokeCertificate(ca_pb2.RevokeCertificateRequest()))
            await failure(running, stranger)
    refused = [line for line in logs if line["event"] == "call refused"]
    assert [line["fingerprint"] for line in refused] == [reader.fingerprint, stranger.fingerprint]
    assert refused[0]["identity"] == "spiffe://goodstanding/reader/bob"
