"""The process: real mTLS, health that follows the database, and a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc

from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.clock import utc_now
from services.config import CredentialFiles, DatabaseSettings, Settings, StatusSettings, TlsSettings
from services.errors import FailedPrecondition
from services.pki.mtls import identity_uri, make_client_credential, make_server_credential, make_tls_ca
from services.rpc.server import RpcServer
from services.status.serve import SERVICE, serve
from tests.status.builders import Registry, Request

pytestmark = pytest.mark.asyncio

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with real certificates; `client.pem` and `client.key` beside them are a responder's."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    now = utc_now()
    root = make_tls_ca(key=keys[0], now=now)
    server = make_server_credential(ca=root, ca_key=keys[0], key=keys[1], now=now)
    identity = identity_uri("responder", "gateway")
    client = make_client_credential(ca=root, ca_key=keys[0], key=keys[2], identity=identity, now=now)
    for name, certificate, key in (("root", root, keys[0]), ("server", server, keys[1]), ("client", client, keys[2])):
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.key").write_bytes(plain)
    return Settings(
        database=DatabaseSettings(url=f"sqlite:///{tmp_path / 'goodstanding.db'}"),
        status=StatusSettings(listen="127.0.0.1:0"),
        tls=TlsSettings(
            root=tmp_path / "root.pem",
            status=CredentialFiles(certificate=tmp_path / "server.pem", key=tmp_path / "server.key"),
        ),
    )


@pytest_asyncio.fixture
async def channel(settings: Settings, registry: Registry, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A responder's channel to the running process."""
    started: asyncio.Future[RpcServer] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, ready=started.set_result))
    await asyncio.wait((started, serving), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    files = [(tmp_path / name).read_bytes() for name in ("root.pem", "client.key", "client.pem")]
    credentials = grpc.ssl_channel_credentials(*files)
    async with grpc.aio.secure_channel(f"localhost:{started.result().port}", credentials) as opened:
        yield opened
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await serving


async def until_health(channel: grpc.aio.Channel, status: int) -> None:
    """Wait until health says so, of the server and of the service."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(5):
        for name in ("", SERVICE):
            while (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status != status:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_responder_is_served(channel: grpc.aio.Channel, registry: Registry) -> None:
    """Look-ups and the watch, through the real interceptor with a real client certificate."""
    registry.add_issuer("issuing")
    stub = status_pb2_grpc.CertificateStatusServiceStub(channel)
    listed = await stub.ListIssuers(status_pb2.ListIssuersRequest())
    assert [issuer.name for issuer in listed.issuers] == ["issuing"]
    said = [Request(start=Request.Start()), Request(ping=Request.Ping(id=1))]
    told = [message.WhichOneof("message") async for message in stub.WatchCertificateStatus(iter(said))]
    assert told == ["reset", "pong"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_health_follows_the_database(channel: grpc.aio.Channel, registry: Registry, tmp_path: Path) -> None:
    """NOT_SERVING while the file is away, SERVING again when it is back."""
    await until_health(channel, SERVING)
    file = tmp_path / "goodstanding.db"
    file.rename(tmp_path / "away.db")
    await until_health(channel, NOT_SERVING)
    (tmp_path / "away.db").rename(file)
    await until_health(channel, SERVING)


async def test_a_database_without_tables_is_refused(settings: Settings, empty_database_url: str) -> None:
    """It says what to do, instead of failing call by call."""
    empty = settings.model_copy(update={"database": DatabaseSettings(url=empty_database_url)})
    with pytest.raises(FailedPrecondition) as refused:
        await serve(empty)
    assert refused.value.reason in {"DATABASE_NEEDS_UPGRADE", "DATABASE_MISSING"}
