"""The ca process whole: settings from a file, mTLS, calls, health by issuer, a new history, a clean end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2, health_pb2_grpc

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.ca import serve as serving
from services.ca.bootstrap import register_hierarchy
from services.ca.serve import SERVICE, serve
from services.ca.signing_pool import SigningPool
from services.clock import utc_now
from services.config import ConfigError, load_settings
from services.db import position
from services.db.engine import Database
from services.errors import FailedPrecondition
from services.pki import mtls
from services.pki.keys import encrypt_key, generate_key, plain_key
from services.rpc.server import RpcServer
from tests.ca.crowd import AT_ONCE, signing_pids
from tests.ca.world import audit_entries, chain_flaws, make_csr, make_hierarchy
from tests.waiting import until

CONFIG = """
[database]
url = "{url}"
[ca]
listen = "127.0.0.1:0"
public_url = "http://ocsp.example.com"
passphrase_file = "passphrase"
[tls]
root = "tls-root.pem"
[tls.ca]
certificate = "server.pem"
key = "server.key"
"""


class Installation:
    """A folder with everything that the process needs, and a client's credential."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        (folder / "config.toml").write_text(CONFIG.format(url=url))
        (folder / "passphrase").write_text("secret\n")
        self._write_hierarchy()
        self._write_tls()

    def _write_hierarchy(self) -> None:
        now = utc_now() - timedelta(minutes=5)
        made = make_hierarchy(now)
        (self.folder / "issuing.key").write_bytes(encrypt_key(made.issuing_key, b"secret"))
        db = Database.open(self.url)
        register_hierarchy(db, made.root, made.issuing, key_ref="issuing.key", root_crl=made.root_crl, now=now)
        db.close()

    def _write_tls(self) -> None:
        root_key, server_key, client_key = (generate_key() for _ in range(3))
        now = utc_now() - timedelta(minutes=5)
        root = mtls.make_tls_ca(key=root_key, now=now)
        server = mtls.make_server_credential(ca=root, ca_key=root_key, key=server_key, now=now)
        identity = mtls.identity_uri("admin", "test")
        client = mtls.make_client_credential(ca=root, ca_key=root_key, key=client_key, identity=identity, now=now)
        (self.folder / "tls-root.pem").write_bytes(root.public_bytes(Encoding.PEM))
        (self.folder / "server.pem").write_bytes(server.public_bytes(Encoding.PEM))
        (self.folder / "server.key").write_bytes(plain_key(server_key))
        self.credentials = grpc.ssl_channel_credentials(
            root.public_bytes(Encoding.PEM), plain_key(client_key), client.public_bytes(Encoding.PEM)
        )

    async def run(self, use: Callable[[grpc.aio.Channel], Awaitable[None]]) -> None:
        """Serve, use it, and end it as a supervisor would."""
        loop = asyncio.get_running_loop()
        started: asyncio.Future[RpcServer] = loop.create_future()
        serving = asyncio.create_task(serve(load_settings(self.folder / "config.toml"), ready=started.set_result))
        either: list[asyncio.Future[Any]] = [serving, started]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            return serving.result()
        try:
            async with grpc.aio.secure_channel(f"localhost:{started.result().port}", self.credentials) as channel:
                await use(channel)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(serving, 10)


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Installation:
    """A fresh one."""
    return Installation(tmp_path, database_url)


async def health(channel: grpc.aio.Channel, service: str) -> Any:
    """What health says."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


@pytest.mark.asyncio
async def test_issue_and_revoke_over_grpc(installation: Installation) -> None:
    """The whole way, with the actor read from the client's certificate."""

    async def use(channel: grpc.aio.Channel) -> None:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        request = ca_pb2.IssueCertificateRequest(csr_der=make_csr(), request_id="one")
        first, again = await asyncio.gather(stub.IssueCertificate(request), stub.IssueCertificate(request))
        assert first == again
        issued = first.certificate
        assert issued.issued_by.identity == "spiffe://goodstanding/admin/test"
        assert (issued.issued_by.role, issued.issued_by.request_id) == ("admin", "one")
        assert first.certificate_pem.startswith("-----BEGIN CERTIFICATE-----")
        revoked = await stub.RevokeCertificate(
            ca_pb2.RevokeCertificateRequest(
                certificate_pem=first.certificate_pem, reason=types_pb2.REVOCATION_REASON_KEY_COMPROMISE
            )
        )
        assert revoked.certificate.state == types_pb2.CERTIFICATE_STATE_REVOKED
        name = types_pb2.IssuerAndSerialNumber(serial_number=issued.serial_number)
        found = await stub.GetCertificate(ca_pb2.GetCertificateRequest(issuer_and_serial_number=name))
        assert found.certificate == revoked.certificate
        assert found.certificate_pem == first.certificate_pem
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.IssueCertificate(ca_pb2.IssueCertificateRequest(csr_der=b"garbage"))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [await health(channel, name) for name in ("", SERVICE, "issuer/issuing", "crl/root")] == [1, 1, 1, 1]

    await installation.run(use)


@pytest.mark.asyncio
async def test_bulk_issuing_over_the_wire(installation: Installation) -> None:
    """Requests in several messages are answered before the sender ends; the audit log tells what was refused."""
    garbage = ca_pb2.IssueCertificateRequest(csr_der=b"garbage", request_id="one")
    tried = ca_pb2.IssueCertificateRequest(csr_der=b"garbage", validate_only=True)
    fine = [ca_pb2.IssueCertificateRequest(csr_der=make_csr(), request_id=f"fine-{number}") for number in range(3)]

    async def use(channel: grpc.aio.Channel) -> None:
        call = ca_pb2_grpc.CertificateAuthorityServiceStub(channel).IssueCertificates()
        found: dict[int, ca_pb2.IssuanceResult] = {}
        for requests in ([fine[0], garbage], [tried, *fine[1:]]):
            await call.write(ca_pb2.IssueCertificatesRequest(requests=requests))
            wanted = len(found) + len(requests)
            while len(found) < wanted:
                answer = await call.read()
                assert isinstance(answer, ca_pb2.IssueCertificatesResponse)
                found.update({each.index: each for each in answer.results})
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert [found[index].error.reason for index in range(5)] == ["", "CSR_MALFORMED", "CSR_MALFORMED", "", ""]
        assert found[0].certificate.certificate_der

    await installation.run(use)
    db = Database.open(installation.url)
    told = [entry.event for entry in audit_entries(db)[4:]]
    db.close()
    # The refused one is written later than those that it came with.
    assert sorted((each.method, each.result, each.actor.request_id) for each in told) == [
        ("IssueCertificate", "CSR_MALFORMED", "one"),
        *(("IssueCertificate", "OK", f"fine-{number}") for number in range(3)),
    ]
    refused = next(each for each in told if each.result != "OK")
    assert refused.actor.identity == "spiffe://goodstanding/admin/test"
    assert json.loads(refused.details)["csr_sha256"] == hashlib.sha256(b"garbage").hexdigest()


@pytest.mark.asyncio
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_signing_process_of_the_service(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the file, keys and profiles among them, are the signing process's; it ends with the service."""
    pools: list[SigningPool] = []

    def make_pool(setup: Any, writer: Any, directory: Any, clock: Any, processes: int) -> SigningPool:
        pools.append(SigningPool(setup, writer, directory, clock, processes, AT_ONCE))
        return pools[0]

    monkeypatch.setattr(serving, "SigningPool", make_pool)
    config = installation.folder / "config.toml"
    config.write_text(config.read_text() + '[profiles.mine]\nbased_on = "server"\nvalidity = { default = "5d" }\n')

    async def use(channel: grpc.aio.Channel) -> None:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        request = ca_pb2.IssueCertificateRequest(csr_der=make_csr(), profile="mine")
        await stub.IssueCertificate(request)
        await stub.IssueCertificate(request)
        await until(lambda: pools[0].running == 1, within=60)
        many = await asyncio.gather(*(stub.IssueCertificate(request) for _ in range(30)))
        assert len({each.certificate.serial_number for each in many}) == 30
        assert {each.certificate.profile for each in many} == {"mine"}
        assert (pools[0].tally.signed, pools[0].tally.returned) == (30, 0)

    await installation.run(use)
    assert signing_pids() == []


@pytest.mark.asyncio
async def test_refused_calls_are_in_the_audit_log(installation: Installation) -> None:
    """What was refused is written at the end at the latest, with the caller and what was asked for; no dry run is."""

    async def use(channel: grpc.aio.Channel) -> None:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        calls: list[Any] = [
            stub.IssueCertificate(ca_pb2.IssueCertificateRequest(csr_der=b"garbage", request_id="one")),
            stub.IssueCertificate(ca_pb2.IssueCertificateRequest(csr_der=b"garbage", validate_only=True)),
            stub.RevokeCertificate(
                ca_pb2.RevokeCertificateRequest(
                    issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(serial_number="7f01"),
                    reason=types_pb2.REVOCATION_REASON_SUPERSEDED,
                )
            ),
            stub.RevokeCertificate(
                ca_pb2.RevokeCertificateRequest(certificate_pem="x", request_id="not printable \x00")
            ),
            stub.GetCertificate(ca_pb2.GetCertificateRequest()),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError):
                await call

    await installation.run(use)
    db = Database.open(installation.url)
    told = [entry.event for entry in audit_entries(db)[4:]]
    assert chain_flaws(db) == []
    db.close()
    assert {each.actor.identity for each in told} == {"spiffe://goodstanding/admin/test"}
    assert sorted((each.method, each.result, each.serial, json.loads(each.details)) for each in told) == [
        ("IssueCertificate", "CSR_MALFORMED", b"", {"csr_sha256": hashlib.sha256(b"garbage").hexdigest()}),
        ("RevokeCertificate", "CERTIFICATE_UNKNOWN", b"\x7f\x01", {"reason": "superseded"}),
        ("RevokeCertificate", "REQUEST_ID_INVALID", b"", {"reason": "unspecified"}),
    ]


@pytest.mark.asyncio
async def test_a_missing_key_shows_in_health(installation: Installation) -> None:
    """The rest serves on; issuing is Unavailable."""
    (installation.folder / "issuing.key").unlink()

    async def use(channel: grpc.aio.Channel) -> None:
        assert [await health(channel, name) for name in ("", "issuer/issuing")] == [1, 2]
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        assert len((await stub.ListIssuers(ca_pb2.ListIssuersRequest())).issuers) == 2
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.IssueCertificate(ca_pb2.IssueCertificateRequest(csr_der=make_csr()))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    await installation.run(use)


@pytest.mark.asyncio
async def test_each_start_begins_a_history(installation: Installation) -> None:
    """Those who watched before the restart have to begin anew."""
    histories = []

    async def use(channel: grpc.aio.Channel) -> None:
        db = Database.open(installation.url)
        with db.read() as conn:
            histories.append(position.read_position(conn).history)
        db.close()

    await installation.run(use)
    await installation.run(use)
    assert len(set(histories)) == 2


@pytest.mark.asyncio
async def test_a_wrong_passphrase_stops_the_start(installation: Installation) -> None:
    """With the file in the text, before the address is taken."""
    (installation.folder / "passphrase").write_text("wrong")

    async def use(channel: grpc.aio.Channel) -> None:
        raise AssertionError("it serves")

    with pytest.raises(FailedPrecondition) as refused:
        await installation.run(use)
    assert refused.value.reason == "KEY_PASSPHRASE_WRONG"
    assert "issuing.key" in refused.value.message


@pytest.mark.asyncio
async def test_a_list_of_keys_that_is_no_use_stops_the_start(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file and the line: a list that is half read would let through what it is there for (R102)."""
    lines = "# openssl-blacklist\n0123456789abcdef0123\nCertificate\n"
    (installation.folder / "blacklist.RSA-4096").write_text(lines)
    monkeypatch.setenv("GOODSTANDING_CA__WEAK_KEY_LISTS", '["blacklist.RSA-4096", "missing"]')

    async def use(channel: grpc.aio.Channel) -> None:
        raise AssertionError("it serves")

    with pytest.raises(ConfigError) as refused:
        await installation.run(use)
    one, other = str(refused.value).splitlines()
    assert "blacklist.RSA-4096: line 3: 20 or 64 hex digits" in one
    assert "missing: no such file" in other
