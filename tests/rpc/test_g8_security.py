"""G8: nobody gets in by default."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.clock import utc_now
from services.errors import Unauthenticated
from services.rpc.authorization import ANY_ROLE, METHOD_ROLES
from services.rpc.identity import Authenticator, current_caller
from services.rpc.server import Limits

from .conftest import CLIENT, DAY, SERVER, Authority, Credential, Running, Start, get

URI = x509.UniformResourceIdentifier
ADMIN = "spiffe://goodstanding/admin/alice"


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in the error's google.rpc.ErrorInfo; "" without one."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else ():
        detail.Unpack(info)
    return str(info.reason)


async def failure(running: Running, credential: Credential | None, request: Any = None) -> grpc.aio.AioRpcError:
    """The error that GetCertificate ends with."""
    async with running.channel(credential) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCertificate(request or get(), timeout=5)
        return caught.value


# name of the case -> the credential that a root of ours (or another one) made
HANDSHAKE_CASES: dict[str, Callable[[Authority], Credential | None]] = {
    "no certificate": lambda _: None,
    "expired": lambda ours: ours.client(age=20 * DAY),
    "of another authority": lambda _: Authority().client(),
    "serverAuth instead of clientAuth": lambda ours: ours.odd([URI(ADMIN)], [SERVER]),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", HANDSHAKE_CASES)
async def test_a_bad_certificate_gets_no_connection(case: str, start: Start, authority: Authority) -> None:
    """A client without a usable certificate does not get past the TLS handshake."""
    async with start() as running:
        error = await failure(running, HANDSHAKE_CASES[case](authority))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not reason_of(error)


FIRST_CHECK_CASES: dict[str, tuple[Callable[[Authority], Credential], str]] = {
    "no extended key usage": (lambda ours: ours.odd([URI(ADMIN)], None), "CREDENTIAL_NOT_CLIENT_AUTH"),
    "a CA certificate": (lambda ours: ours.odd([URI(ADMIN)], [CLIENT], ca=True), "CREDENTIAL_NOT_CLIENT_AUTH"),
    "two URIs": (
        lambda ours: ours.odd([URI(ADMIN), URI("spiffe://goodstanding/reader/b")], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
    "the same URI twice": (lambda ours: ours.odd([URI(ADMIN), URI(ADMIN)], [CLIENT]), "CREDENTIAL_IDENTITY_INVALID"),
    "a URI and a DNS name": (
        lambda ours: ours.odd([URI(ADMIN), x509.DNSName("example.com")], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
    "a DNS name that spells an identity": (
        lambda ours: ours.odd([x509.DNSName(ADMIN)], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
    "an email that spells an identity": (
        lambda ours: ours.odd([x509.RFC822Name(ADMIN)], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
    "no name at all": (lambda ours: ours.odd([], [CLIENT]), "CREDENTIAL_IDENTITY_INVALID"),
    "another trust domain": (
        lambda ours: ours.odd([URI("spiffe://elsewhere/admin/alice")], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
    "an unknown role": (
        lambda ours: ours.odd([URI("spiffe://goodstanding/root/alice")], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
    "one path segment too many": (
        lambda ours: ours.odd([URI("spiffe://goodstanding/admin/alice/x")], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
    "other case": (
        lambda ours: ours.odd([URI("SPIFFE://goodstanding/admin/alice")], [CLIENT]),
        "CREDENTIAL_IDENTITY_INVALID",
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", FIRST_CHECK_CASES)
async def test_a_certificate_that_tls_takes_is_checked_first(case: str, start: Start, authority: Authority) -> None:
    """What TLS lets through, the first check refuses, with a reason."""
    make, reason = FIRST_CHECK_CASES[case]
    async with start() as running:
        error = await failure(running, make(authority))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAUTHENTICATED, reason)


@pytest.mark.asyncio
async def test_the_caller_is_the_certificate(start: Start, authority: Authority) -> None:
    """A handler is told identity, role, fingerprint and address of its caller, in other threads as well."""
    credential = authority.client("reader", "bob")
    async with start() as running, running.channel(credential) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        actor = (await stub.GetCertificate(get(), timeout=5)).certificate.issued_by
    assert (actor.identity, actor.role) == ("spiffe://goodstanding/reader/bob", "reader")
    assert actor.credential_fingerprint == credential.fingerprint
    assert actor.peer.startswith("ipv4:127.0.0.1:")
    with pytest.raises(LookupError):
        current_caller()


@pytest.mark.asyncio
async def test_a_role_that_is_not_named_may_not_call(start: Start, authority: Authority) -> None:
    """A reader cannot revoke; the error names role and method."""
    async with start() as running, running.channel(authority.client("reader")) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RevokeCertificate(ca_pb2.RevokeCertificateRequest(), timeout=5)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")
    assert caught.value.details() == "the role reader may not call RevokeCertificate; it takes one of: admin, revoker"


def test_every_method_of_the_contract_has_its_roles() -> None:
    """The table names each method of both services, as their comments in the contract do."""
    for module in (ca_pb2, status_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert METHOD_ROLES.get(f"/{service.full_name}/{method.name}"), method.full_name


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [True, False], ids=["with a credential", "without clientAuth"])
async def test_an_unknown_method_tells_nothing_to_strangers(known: bool, start: Start, authority: Authority) -> None:
    """An unknown method is UNIMPLEMENTED (what grpcurl's fall-back needs), and UNAUTHENTICATED for the unknown."""
    credential = authority.client() if known else authority.odd([URI(ADMIN)], None)
    async with start() as running, running.channel(credential) as channel:
        call: Any = channel.unary_unary("/goodstanding.ca.v1.CertificateAuthorityService/DropEverything")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=5)
        output = running.metrics.registry.get_sample_value
        code = "UNIMPLEMENTED" if known else "UNAUTHENTICATED"
        assert output("goodstanding_rpc_calls_total", {"method": "unknown", "code": code}) == 1
    assert caught.value.code().name == code
    assert reason_of(caught.value) == ("METHOD_UNKNOWN" if known else "CREDENTIAL_NOT_CLIENT_AUTH")


@pytest.mark.asyncio
async def test_a_method_that_a_servicer_leaves_out_is_unimplemented(start: Start, authority: Authority) -> None:
    """A method of the contract that the servicer does not have is no internal error."""
    async with start() as running, running.channel(authority.client()) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListIssuers(ca_pb2.ListIssuersRequest(), timeout=5)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


@pytest.mark.asyncio
async def test_a_registered_method_without_roles_is_denied(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that somebody forgot to put into the table is denied to everybody, admins too."""
    monkeypatch.delitem(METHOD_ROLES, "/goodstanding.ca.v1.CertificateAuthorityService/GetCertificate")
    async with start() as running:
        error = await failure(running, authority.client("admin"))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")


async def one_ping(number: int = 1) -> AsyncIterator[status_pb2.WatchCertificateStatusRequest]:
    """A watcher that pings once and keeps the stream open.

    It writes nothing later: grpc.aio's client forgets the status of a stream that ends during a write.
    """
    yield status_pb2.WatchCertificateStatusRequest(ping=status_pb2.WatchCertificateStatusRequest.Ping(id=number))
    await asyncio.sleep(60)


async def read_to_the_end(stream: Any) -> None:
    """Read until the stream fails."""
    while await stream.read():
        pass


@pytest.mark.asyncio
async def test_denying_works_on_an_open_channel_within_a_second(start: Start, authority: Authority) -> None:
    """The next call on an open connection is refused, and a stream in progress is cut, both within a second."""
    credential, other = authority.client(name="denied"), authority.client(name="other")
    async with start() as running, running.channel(credential) as channel, running.channel(other) as fine:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        await stub.GetCertificate(get(), timeout=5)
        watch: Any = status_pb2_grpc.CertificateStatusServiceStub(channel)
        stream = watch.WatchCertificateStatus(one_ping())
        assert (await stream.read()).pong.id == 1

        running.denied.add(credential.fingerprint)
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(read_to_the_end(stream), 3)
        assert time.monotonic() - began < 1
        assert (caught.value.code(), reason_of(caught.value)) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "CREDENTIAL_DENIED",
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCertificate(get(), timeout=5)
        assert reason_of(caught.value) == "CREDENTIAL_DENIED"
        others: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(fine)
        await others.GetCertificate(get(), timeout=5)


def test_a_certificate_that_expires_on_an_open_connection_is_refused(authority: Authority) -> None:
    """The dates are looked at for each call, not only at the handshake."""
    credential = authority.client()
    context = {"x509_pem_cert": [credential.pem], "peer_uri": [ADMIN.encode()]}
    moment = utc_now()
    authenticator = Authenticator(trust_domain="goodstanding", is_denied=lambda _: False, clock=lambda: moment)
    assert authenticator.authenticate(context, "peer", "id").role == "admin"
    moment = credential.certificate.not_valid_after_utc
    assert authenticator.authenticate(context, "peer", "id").role == "admin"
    moment += timedelta(seconds=1)
    with pytest.raises(Unauthenticated) as caught:
        authenticator.authenticate(context, "peer", "id")
    assert caught.value.reason == "CREDENTIAL_EXPIRED"


@pytest.mark.asyncio
async def test_an_unforeseen_failure_keeps_its_text(start: Start, authority: Authority) -> None:
    """An exception that nobody mapped becomes INTERNAL with an id; neither its text nor its class goes out."""
    async with start() as running:
        error = await failure(running, authority.client(), get("unforeseen"))
        async with running.channel(authority.client()) as channel:
            stub: Any = status_pb2_grpc.CertificateStatusServiceStub(channel)
            stream = stub.WatchCertificateStatus(one_ping(666))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
    for each in (error, caught.value):
        assert (each.code(), reason_of(each)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        text = f"{each.details()} {each.trailing_metadata()} {each.debug_error_string()}"
        assert "secret" not in text
        assert "RuntimeError" not in text
        assert str(each.details()).startswith("internal error; request id ")


@pytest.mark.asyncio
async def test_health_and_reflection_need_a_credential_of_any_role(start: Start, authority: Authority) -> None:
    """Every role may ask about health and contract; a certificate that is no credential may not."""
    async with start() as running:
        for role in sorted(ANY_ROLE):
            async with running.channel(authority.client(role)) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
                assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert "CertificateAuthorityService" in str(await reflected(running, authority.client("reader")))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(running, authority.odd([URI(ADMIN)], None))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def reflected(running: Running, credential: Credential) -> Any:
    """The list of services, by reflection."""
    async with running.channel(credential) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        stream = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        return await stream.read()


@pytest.mark.asyncio
async def test_limits_hold(start: Start, authority: Authority) -> None:
    """Too large a message, too long a call and too many calls are refused, each with its code."""
    limits = Limits(unary_seconds=0.3, receive_bytes=10_000, concurrent_rpcs=2)
    async with start(limits) as running, running.channel(authority.client()) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCertificate(get("x" * 20_000), timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        ends = await asyncio.gather(*(stub.GetCertificate(get("slow")) for _ in range(4)), return_exceptions=True)
        codes = sorted(end.code().name for end in ends if isinstance(end, grpc.aio.AioRpcError))
        assert codes == ["DEADLINE_EXCEEDED"] * 2 + ["RESOURCE_EXHAUSTED"] * 2
