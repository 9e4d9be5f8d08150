"""Calls to the services: finds address and credential, gives up within 15 seconds, explains what failed.

The limit is for the whole command, however many calls it makes, with the time that it takes to find out what failed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc

from services.cli.failures import Failed
from services.cli.folder import DataFolder
from services.cli.options import Connection
from services.rpc.client import PROBING, explain, never_sent, open_channel

TIME_LIMIT = 15.0
# Kept of it for the explanation, and for the start and the end of the process.
RESERVE = PROBING + 1.5
# The end of an upload may be the beginning of much work for the service.
UPLOAD_TIME_LIMIT = 60.0
RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL)

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)
Message = TypeVar("Message")


class Method(Protocol[Request, Response]):
    """A unary method of a stub."""

    def __call__(self, request: Request, /, timeout: float | None = None) -> Response:
        """Call it. Raises grpc.RpcError."""


class Responses(Protocol[Response]):
    """A call with many responses."""

    def __next__(self) -> Response:
        """The next one. Raises grpc.RpcError, and StopIteration at the end."""

    def cancel(self) -> object:
        """End it."""


class StreamMethod(Protocol[Request, Response]):
    """A method of a stub with many responses."""

    def __call__(self, request: Request, /) -> Responses[Response]:
        """Call it."""


class Uploading(Protocol[Response]):
    """A call with many requests that is on its way."""

    def result(self, timeout: float | None = None) -> Response:
        """The response. Raises grpc.RpcError, and grpc.FutureTimeoutError where it is not there in time."""

    def cancel(self) -> object:
        """End it."""


class UploadMethod(Protocol[Request, Response]):
    """A method of a stub with many requests."""

    def future(self, request_iterator: Iterator[Request], /) -> Uploading[Response]:
        """Call it."""


@dataclass(frozen=True)
class Material:
    """Everything needed to call one service."""

    address: str
    ca_pem: bytes
    cert_pem: bytes
    key_pem: bytes


@dataclass(frozen=True)
class Client:
    """A channel to one service, and the moment (monotonic clock) after which the command gives up."""

    channel: grpc.Channel
    material: Material
    deadline: float

    def call(self, method: Method[Request, Response], request: Request, *, retry: str = "") -> Response:
        """Call a method; `retry` is added to the explanation where the call may have been carried out all the same."""
        try:
            return method(request, timeout=max(0.1, self.deadline - time.monotonic()))
        except grpc.RpcError as error:
            raise Failed(self._explain(error, retry)) from error

    def renewed(self) -> Client:
        """The same with all its time before it: for the next page of a long list, which may take long as a whole."""
        return replace(self, deadline=time.monotonic() + TIME_LIMIT - RESERVE)

    def stream(
        self, method: StreamMethod[Request, Response], request: Request, *, retry: str = ""
    ) -> Iterator[Response]:
        """The responses as they come, for as long as one comes every `TIME_LIMIT` seconds; `retry` as in `call`."""
        call = method(request)
        patience = _Patience(call)
        try:
            while True:
                try:
                    response = next(call)
                except StopIteration:
                    return
                patience.renew()
                yield response
        except grpc.RpcError as error:
            if patience.lost:
                raise Failed(f"no answer in time from {self.material.address}; {retry or 'try again'}") from error
            raise Failed(self._explain(error, retry)) from error
        finally:
            call.cancel()
            patience.end()

    def upload(
        self, method: UploadMethod[Request, Response], requests: Iterator[Request], *, retry: str = ""
    ) -> Response:
        """Send requests, as many as there are, for as long as one is taken every `UPLOAD_TIME_LIMIT` seconds.

        `retry` as in `call`. What `requests` raises ends the call, and is raised here.
        """
        upload = _Upload(requests)
        call = method.future(upload)
        upload.call = call
        try:
            while True:
                try:
                    return call.result(timeout=0.25)
                except grpc.FutureTimeoutError:
                    upload.check()
        except grpc.FutureCancelledError:
            upload.check()
            raise Failed(f"the call was ended; {retry or 'try again'}") from None
        except _Stalled:
            raise Failed(f"no answer in time from {self.material.address}; {retry or 'try again'}") from None
        except grpc.RpcError as error:
            upload.check()
            raise Failed(self._explain(error, retry)) from error
        finally:
            call.cancel()

    def _explain(self, error: grpc.RpcError, retry: str) -> str:
        material = self.material
        text = explain(
            error,
            address=material.address,
            ca_pem=material.ca_pem,
            cert_pem=material.cert_pem,
            key_pem=material.key_pem,
        )
        code: Callable[[], grpc.StatusCode] | None = getattr(error, "code", None)
        unsure = code is not None and code() in RETRYABLE and not never_sent(error)
        return f"{text}; {retry}" if retry and unsure else text


class _Stalled(Exception):
    """Nothing was taken for too long."""


class _Upload(Iterator[Message]):
    """Requests as gRPC takes them, in a thread of its own: what they raise comes out here, and not in gRPC's log."""

    call: Uploading[Any] | None = None

    def __init__(self, requests: Iterator[Message]) -> None:
        self._requests = requests
        self._failure: BaseException | None = None
        self._progress = time.monotonic()

    def __next__(self) -> Message:
        self._progress = time.monotonic()
        try:
            return next(self._requests)
        except StopIteration:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by `check`
            self._failure = error
            if self.call is not None:
                self.call.cancel()
            raise StopIteration from None

    def check(self) -> None:
        """Raise what the requests have raised, or _Stalled."""
        if self._failure is not None:
            raise self._failure
        if time.monotonic() - self._progress > UPLOAD_TIME_LIMIT:
            raise _Stalled


class _Patience:
    """Cancels a stream on which nothing comes."""

    def __init__(self, call: Responses[Any]) -> None:
        self.lost = False
        self._call = call
        self._ended = threading.Event()
        self.renew()
        threading.Thread(target=self._watch, daemon=True).start()

    def renew(self) -> None:
        """Something came."""
        self._deadline = time.monotonic() + TIME_LIMIT - RESERVE

    def end(self) -> None:
        """Nothing more is waited for."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            if time.monotonic() >= self._deadline:
                self.lost = True
                self._call.cancel()
                return


@contextmanager
def connect(connection: Connection, service: str) -> Iterator[Client]:
    """A client of `ca` or `status`. Nothing is sent until the first call.

    Raises Failed: no data folder and not every option that takes its place, or files that cannot be used.
    """
    deadline = time.monotonic() + TIME_LIMIT - RESERVE
    material = find(connection, service)
    try:
        channel = open_channel(material.address, material.ca_pem, material.cert_pem, material.key_pem)
    except ValueError as error:
        raise Failed(f"the credential cannot be used: {error}") from error
    with channel:
        yield Client(channel, material, deadline)


def find(connection: Connection, service: str) -> Material:
    """Address and credential: each from its option, or else from the data folder."""
    folder = DataFolder(connection.data)
    given = connection.ca_address if service == "ca" else connection.status_address
    if not (given and connection.tls_ca and connection.cert_file) and not folder.config.exists():
        raise Failed(
            f"{folder.path} is no initialised data folder: name one with --data or GOODSTANDING_DATA, or give "
            f"--{service}-address, --tls-ca, --cert-file and --key-file"
        )
    return Material(
        given or folder.address(service),
        _content(connection.tls_ca or folder.tls / "ca.pem"),
        _content(connection.cert_file or folder.tls / "admin.pem"),
        _content(connection.key_file or folder.tls / "admin.key"),
    )


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
