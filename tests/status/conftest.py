"""A database with issuers and certificates to ask about, and a real gRPC server in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager

import grpc
import pytest
import pytest_asyncio
from cryptography import x509

from goodstanding.status.v1 import status_pb2_grpc
from services.db.engine import Database
from services.errors import Unavailable
from services.status.hub import PositionHub
from services.status.lookup import StatusReader
from services.status.servicer import CertificateStatusServicer
from services.status.stream import Patience
from tests.status.builders import NOW, ErrorsToStatus, Registry, Service


@pytest.fixture
def registry(database: Database) -> Registry:
    """An empty registry."""
    return Registry(database)


@pytest.fixture
def reader(database: Database) -> StatusReader:
    """Look-ups in the same database."""
    return StatusReader(database, lambda: NOW)


ServiceFactory = Callable[..., Awaitable[Service]]


@pytest_asyncio.fixture
async def serve(database: Database) -> AsyncIterator[ServiceFactory]:
    """Starts a service of the database, with the options given."""
    async with AsyncExitStack() as stack:

        async def start(*, patience: Patience | None = None, interval: float = 0.025) -> Service:
            hub = PositionHub(database, interval=interval)
            servicer = CertificateStatusServicer(StatusReader(database, lambda: NOW), hub, patience=patience)
            server = grpc.aio.server(interceptors=[ErrorsToStatus()])
            status_pb2_grpc.add_CertificateStatusServiceServicer_to_server(servicer, server)
            port = server.add_insecure_port("127.0.0.1:0")
            hub.start()
            stack.push_async_callback(hub.stop)
            stack.callback(servicer.close)
            await server.start()
            stack.push_async_callback(server.stop, None)

            async def connect(*options: tuple[str, int]) -> status_pb2_grpc.CertificateStatusServiceAsyncStub:
                channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
                return status_pb2_grpc.CertificateStatusServiceStub(await stack.enter_async_context(channel))

            return Service(hub, await connect(), connect)

        yield start


@pytest_asyncio.fixture
async def service(serve: ServiceFactory) -> Service:
    """A service of the database."""
    return await serve()


@pytest.fixture
def issuing(registry: Registry) -> x509.Certificate:
    """The certificate of an issuer named "issuing"."""
    return registry.add_issuer("issuing")


@pytest.fixture
def unplug(database: Database, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    """Within it the database cannot be read, whoever asks."""

    @contextmanager
    def away() -> Iterator[None]:
        raise Unavailable("DATABASE_UNAVAILABLE", "the database cannot be used now; try again later")
        yield

    @contextmanager
    def unplugged() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(database, "read", away)
            yield

    return unplugged()
