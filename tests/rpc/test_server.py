"""The server's life: files that change, a taken address, health, a clean stop, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from goodstanding.ca.v1 import ca_pb2_grpc
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.clock import utc_now
from services.config import ConfigError
from services.rpc.client import explain
from services.rpc.deny_list import DenyList
from services.rpc.identity import Authenticator
from services.rpc.lifecycle import serve_until_signal
from services.rpc.metrics import RpcMetrics, serve_metrics
from services.rpc.server import RpcServer, TlsFiles, build_server

from .conftest import CA_SERVICE, Authority, Credential, Running, Start, TinyStatus, get, write_tls


async def works(running: Running, credential: Credential, authority: Authority | None = None) -> bool:
    """Whether a new connection comes about."""
    running.authority = authority or running.authority
    async with running.channel(credential) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        ends: Any = await asyncio.gather(stub.GetCertificate(get(), timeout=5), return_exceptions=True)
    failed = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert all(end.code() is grpc.StatusCode.UNAVAILABLE for end in failed)
    return not failed


@pytest.mark.asyncio
async def test_new_files_are_used_without_a_restart(start: Start, authority: Authority) -> None:
    """The next handshake uses new root, certificate and key; half a change changes nothing."""
    theirs = Authority()
    async with start() as running:
        assert await works(running, authority.client())
        server = theirs.server()
        running.files.certificate.write_bytes(server.pem)  # without its key: not usable yet
        assert await works(running, authority.client())
        running.files.key.write_bytes(server.key_pem)
        running.files.root.write_bytes(theirs.root.pem)
        assert await works(running, theirs.client(), theirs)
        assert not await works(running, authority.client(), theirs)
        running.files.key.unlink()
        assert await works(running, theirs.client(), theirs)


def bare(files: TlsFiles, listen: str = "127.0.0.1:0") -> RpcServer:
    """A server without services."""
    authenticator = Authenticator(trust_domain="goodstanding", is_denied=lambda _: False, clock=utc_now)
    return build_server(listen=listen, tls=files, services={}, authenticator=authenticator)


@pytest.mark.asyncio
async def test_a_taken_address_is_told(start: Start, tmp_path: Path) -> None:
    """A second server on the same address does not start, and says why."""
    async with start() as running:
        with pytest.raises(ConfigError, match=rf"cannot listen on {running.address}: Address already in use; "):
            bare(running.files, running.address)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("server.pem", b"x", "is not a certificate in PEM"),
        ("root.pem", b"", "is not a certificate in PEM"),
        ("server.key", b"x", "is not an unencrypted private key in PEM"),
        ("server.key", Authority().root.key_pem, "is not the key of the certificate"),
        ("server.key", None, "No such file or directory"),
    ],
)
async def test_useless_tls_files_are_named(
    name: str, content: bytes | None, message: str, tmp_path: Path, authority: Authority
) -> None:
    """A server does not start with files that cannot work, and names the one at fault."""
    files = write_tls(tmp_path, authority, authority.server())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name}: .*{message}"):
        bare(files)


@pytest.mark.asyncio
async def test_sigterm_stops_cleanly(tmp_path: Path, authority: Authority) -> None:
    """At SIGTERM health turns NOT_SERVING, streams end with a reason, and the wait is not longer than needed."""
    files = write_tls(tmp_path, authority, authority.server())
    server = bare(files)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve_until_signal(server, ready=ready.set))
    await asyncio.wait_for(ready.wait(), 5)
    await server.set_serving("issuer/issuing", True)
    running = Running(server, authority, files, DenyList(frozenset), RpcMetrics())
    async with running.channel(authority.client()) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="issuer/issuing"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert "[SHUTTING_DOWN]" in explain(caught.value)
        await asyncio.wait_for(serving, 2)


@pytest.mark.asyncio
async def test_a_stream_that_begins_while_the_server_stops(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """GRPC gives such calls up by itself; nobody has to be woken for that."""
    entered, stopped, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def late(_servicer: object, requests: Any, _context: object) -> Any:
        entered.set()
        while not stopped.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stopped.wait()
        try:
            async for _ in requests:
                yield status_pb2.WatchCertificateStatusResponse()
        finally:
            ended.set()

    monkeypatch.setattr(TinyStatus, "WatchCertificateStatus", late)
    async with start() as running, running.channel(authority.client("responder")) as channel:
        stub: Any = status_pb2_grpc.CertificateStatusServiceStub(channel)
        watching = stub.WatchCertificateStatus()
        await watching.write(status_pb2.WatchCertificateStatusRequest())
        async with asyncio.timeout(10):
            await entered.wait()
            await running.server.stop(0)
            stopped.set()
            await ended.wait()
            await asyncio.sleep(0)
    assert "unexpectedly" not in "".join(capsys.readouterr())


def test_metrics_are_served_and_taken_addresses_told() -> None:
    """/metrics answers with calls by method and code; a second server on the address says why not."""
    metrics = RpcMetrics(CollectorRegistry())
    metrics.observe("/a/B", "OK", 0.01)
    stop, port = _serve(metrics)
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert 'goodstanding_rpc_calls_total{code="OK",method="/a/B"} 1.0' in text
        assert 'goodstanding_rpc_seconds_bucket{code="OK",le="0.01",method="/a/B"} 1.0' in text
        with pytest.raises(ConfigError, match="Address already in use"):
            serve_metrics(f"127.0.0.1:{port}", metrics.registry)
    finally:
        stop()


def _serve(metrics: RpcMetrics) -> tuple[Any, int]:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    return serve_metrics(f"127.0.0.1:{port}", metrics.registry), port


@pytest.mark.asyncio
async def test_calls_are_counted_by_method_and_code(start: Start, authority: Authority) -> None:
    """A success and a failure each count under their own code."""
    async with start() as running, running.channel(authority.client()) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        await stub.GetCertificate(get(), timeout=5)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.GetCertificate(get("not-found"), timeout=5)
        for code in ("OK", "NOT_FOUND"):
            labels = {"method": f"/{CA_SERVICE}/GetCertificate", "code": code}
            assert running.metrics.registry.get_sample_value("goodstanding_rpc_calls_total", labels) == 1


def test_a_deny_list_outlives_failed_loads() -> None:
    """When the list cannot be read, the last one stays in force, and reading goes on."""
    answers: list[frozenset[str] | Exception] = [frozenset({"a"}), OSError("gone"), frozenset({"a", "b"})]
    heard = threading.Event()

    def load() -> frozenset[str]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            assert deny.is_denied("a")
            raise answer
        return answer

    def broken(_: frozenset[str]) -> None:
        raise RuntimeError("no")

    deny = DenyList(load, interval=0.01)
    deny.subscribe(broken)  # does not keep the next one from hearing
    deny.subscribe(lambda _: heard.set())
    deny.start()
    try:
        assert heard.wait(5)
        assert deny.is_denied("b")
    finally:
        deny.stop()


def test_an_unreadable_deny_list_at_the_start_stops_the_service() -> None:
    """Nobody is let in before the list was read once."""

    def load() -> frozenset[str]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        DenyList(load).start()
