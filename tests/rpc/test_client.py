"""What the client knows about a call that failed, and how long it takes to find out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from goodstanding.ca.v1 import ca_pb2_grpc
from services.rpc.client import explain, never_sent, open_channel

from .conftest import Authority, get


def failure(address: str, authority: Authority) -> grpc.RpcError:
    """The error of a call to that address."""
    client = authority.client()
    with open_channel(address, authority.root.pem, client.pem, client.key_pem) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetCertificate(get(), timeout=0.5)
    return caught.value


@contextmanager
def hanging_up() -> Iterator[str]:
    """A listener that ends every connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_without_a_connection_nothing_was_sent(authority: Authority) -> None:
    """Where no connection came about, the call was certainly not carried out."""
    assert never_sent(failure("127.0.0.1:1", authority))
    assert never_sent(failure("nowhere.invalid:1", authority))
    with hanging_up() as address:
        assert never_sent(failure(address, authority))


def test_silence_leaves_a_doubt(authority: Authority) -> None:
    """A call that ran out of time may have been carried out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not never_sent(failure(f"127.0.0.1:{silent.getsockname()[1]}", authority))


def test_a_cut_connection_leaves_a_doubt() -> None:
    """So may one whose connection ended."""

    class CutError(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "Socket closed"

    assert not never_sent(CutError())
    assert not never_sent(grpc.RpcError())


def test_explaining_has_a_limit(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """To find out what failed takes no longer than it may, even where a name is not resolved for long."""
    error, client, done = failure("127.0.0.1:1", authority), authority.client(), threading.Event()

    def resolve(*_: object, **__: object) -> list[Any]:
        done.wait(5)
        raise socket.gaierror(socket.EAI_AGAIN, "resolved too late")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    begin = time.monotonic()
    material = {"ca_pem": authority.root.pem, "cert_pem": client.pem, "key_pem": client.key_pem}
    text = explain(error, address="slow.example.com:1", **material, within=0.3)
    spent = time.monotonic() - begin
    done.set()
    assert "slow.example.com:1 does not answer" in text
    assert spent < 1
