"""The loop that accepts calls: no path of a call ends it, and when it ends all the same, so does the process."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

from goodstanding.ca.v1 import ca_pb2_grpc
from services.rpc import accepting
from services.rpc.lifecycle import EndedError, serve_until_signal

from .conftest import Authority, Credential, Running, Start, get, write_tls
from .test_server import bare

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000")
END_HEADERS, END_STREAM = 4, 1
DATA, HEADERS, RST_STREAM = 0, 1, 3
ODD_PATHS = {
    "not UTF-8": b"/goodstanding.ca.v1.CertificateAuthorityService/\xff",
    "no method": b"/",
    "no slash": b"abc",
    "zero": b"/a\0b/c",
    "surrogates": b"/\xed\xa0\x80/x",
    "long": b"/" + b"\xfe" * 100,
}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def call(path: bytes, stream: int) -> bytes:
    """A call without a message, its header fields as literals (RFC 7541, 6.2.2)."""
    fields = {b":method": b"POST", b":scheme": b"https", b":path": path, b":authority": b"localhost"}
    fields |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    block = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(text)]) + text for name, text in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, b"")


async def end_of_a_stream(reader: asyncio.StreamReader) -> None:
    """Read until a stream is at its end, by its last frame or a reset."""
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] == RST_STREAM or (head[3] in (HEADERS, DATA) and head[4] & END_STREAM):
            return


async def send(running: Running, credential: Credential, folder: Path, *calls: bytes) -> None:
    """Send calls on a connection of their own, and wait until all of them are answered."""
    (folder / "client.pem").write_bytes(credential.pem + credential.key_pem)
    context = ssl.create_default_context(cadata=running.authority.root.pem.decode())
    context.load_cert_chain(folder / "client.pem")
    context.set_alpn_protocols(["h2"])
    context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=context)
    try:
        writer.write(PREFACE + b"".join(calls))
        async with asyncio.timeout(10):
            for _ in calls:
                await end_of_a_stream(reader)
    finally:
        writer.close()


async def works(running: Running, credential: Credential) -> bool:
    """Whether a call on a new connection is answered."""
    async with running.channel(credential) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        answer = await stub.GetCertificate(get(), timeout=5)
        return bool(answer.certificate.issued_by.identity)


@pytest.mark.asyncio
@pytest.mark.parametrize("denied", [False, True], ids=["allowed", "denied"])
async def test_no_path_ends_the_server(start: Start, authority: Authority, tmp_path: Path, denied: bool) -> None:
    """Whatever path a call has, the calls after it are answered; also where it comes from one who is denied."""
    credential, other = authority.client(), authority.client(name="bob")
    async with start() as running:
        if denied:
            running.denied.add(credential.fingerprint)
            while not running.deny.is_denied(credential.fingerprint):
                await asyncio.sleep(0.01)
        for number, path in enumerate(ODD_PATHS.values()):
            await send(running, credential, tmp_path, call(path, 1))
            assert await works(running, other), list(ODD_PATHS)[number]
        sent = [call(path, 1 + 2 * number) for number, path in enumerate(list(ODD_PATHS.values()) * 8)]
        await send(running, credential, tmp_path, *sent)
        assert await works(running, other)
        assert not running.server.ended.done()
        labels = {"method": "unknown", "code": "UNAUTHENTICATED" if denied else "UNIMPLEMENTED"}
        refused = running.metrics.registry.get_sample_value("goodstanding_rpc_calls_total", labels)
        assert (refused or 0) >= 9 * 2, "those that gRPC itself lets pass"


def test_grpcio_is_known() -> None:
    """What protects the server fits the grpcio that is installed."""
    assert accepting.IS_POSSIBLE


@pytest.mark.asyncio
async def test_a_server_that_ended_ends_the_process(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no calls are accepted any more, the process does not stay as if nothing had happened."""

    def fail(*_: object) -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(accepting._Unknown, "refuse", fail)
    server = bare(write_tls(tmp_path, authority, authority.server()))
    client = authority.client()
    credentials = grpc.ssl_channel_credentials(authority.root.pem, client.key_pem, client.pem)

    async def ask() -> None:
        async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
            call: Any = channel.unary_unary("/a/b")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"", timeout=1)

    serving = asyncio.ensure_future(serve_until_signal(server))
    asking = asyncio.ensure_future(ask())
    with pytest.raises(EndedError):
        await asyncio.wait_for(serving, 10)
    await asking
