"""Two workers are one gateway: the same answers, the same knowledge, the same signers, one account."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e.system import System
from tests.gateway.workers.fleet import Connection, Fleet, children, question, running, sockets
from tests.waiting import wait_until

MAX_STALENESS = 1.0


def both(fleet: Fleet) -> list[Connection]:
    """A connection to each worker."""
    return [fleet.connect(worker) for worker in fleet.workers()]


@pytest.mark.parametrize("kind", ["p-256", "rsa-2048", "ed25519"])
def test_the_same_octets(kind: str, system: System, request_der: bytes) -> None:
    """Whichever worker answers, the octets and the ETag are the same, for each kind of key that signs repeatably."""
    with running(system, f"same-{kind}", signer_keys=[kind]) as fleet:
        connections = [*both(fleet), *(fleet.connect() for _ in range(20))]
        replies = {connection.ask(request_der) for connection in connections for _ in range(2)}
        assert {reply.says for reply in replies} == {"good"}
        assert len({reply.body for reply in replies}) == 1
        assert len({reply.etag for reply in replies}) == 1
        assert None not in {reply.etag for reply in replies}


def test_a_revocation_reaches_all(fleet: Fleet, system: System) -> None:
    """No worker says good any more once a second has passed since the revoker saw success (G3)."""
    certificate = system.issue("revoked.example.com")
    request = question(system, certificate)
    connections = both(fleet)
    assert [connection.ask(request).says for connection in connections] == ["good", "good"]
    system.run("goodstanding", "revoke", "--cert", str(certificate), "--reason", "superseded")
    bound = time.monotonic() + MAX_STALENESS

    def all_revoked() -> bool:
        asked_at = time.monotonic()
        said = [connection.ask(request).says for connection in connections]
        assert asked_at < bound or "good" not in said
        return said == ["revoked", "revoked"]

    wait_until(all_revoked, 10)


def test_one_account(fleet: Fleet, request_der: bytes) -> None:
    """Counters are the sums over the workers, and gauges are told of each."""
    connections = both(fleet)
    requests = fleet.metric("goodstanding_http_requests_total", door="protocol")
    answers = fleet.metric("goodstanding_ocsp_answers_total")
    for connection in connections:
        for _ in range(10):
            connection.ask(request_der)
    assert fleet.metric("goodstanding_http_requests_total", door="protocol") == requests + 20
    assert fleet.metric("goodstanding_ocsp_answers_total") == answers + 20
    for worker in ("1", "2"):
        assert fleet.metric("goodstanding_http_open_connections", worker=worker) >= 1
        assert fleet.metric("process_resident_memory_bytes", worker=worker) > 0
    assert fleet.metric("goodstanding_signer_not_after_seconds", issuer="issuing") > time.time()
    assert fleet.metric("goodstanding_workers") == 2


def test_readiness_tells_of_each(fleet: Fleet) -> None:
    """`/readyz` names the workers with their processes, and what they have."""
    found = fleet.readiness()
    assert found["ready"]
    assert sorted(worker["pid"] for worker in found["workers"].values()) == sorted(fleet.workers())
    assert all(worker["signers"] == {"issuing": True} for worker in found["workers"].values())


def test_each_explains(fleet: Fleet, request_der: bytes) -> None:
    """Every worker tells how it answers: one that was asked from its cache, the others after a look-up."""
    headers = {"content-type": "application/ocsp-request"}
    for _ in range(2):
        ask = urllib.request.Request(f"http://{fleet.gateway.ops}/explain", request_der, headers)
        with urllib.request.urlopen(ask, timeout=10) as reply:
            told = json.loads(reply.read())["explanations"]
    assert [each["worker"] for each in told] == [1, 2]
    assert {each["answer"]["status"] for each in told} == {"successful"}
    assert [each["certificates"][0]["source"] for each in told] == ["cache", "cache"]
    connections = both(fleet)
    assert {connection.ask(request_der).body.hex() for connection in connections} == {
        each["answer"]["der"] for each in told
    }


def test_what_is_inherited(fleet: Fleet) -> None:
    """Workers share one socket with the parent, the one that listens for clients, and none other."""
    first, second = (sockets(pid) for pid in fleet.workers())
    parent = sockets(fleet.parent)
    listener = first & parent
    assert len(listener) == 1
    assert second & parent == listener
    assert first & second == listener


def test_no_children_of_their_own(fleet: Fleet) -> None:
    """A worker starts nothing."""
    assert [children(pid) for pid in fleet.workers()] == [[], []]


def responder_files(system: System, folder: Path, number: int) -> bytes:
    """Put a new responder certificate and key into place, and return the hash of the key."""
    key, csr, pem = (folder / f"{number}.{kind}" for kind in ("key", "csr", "pem"))
    make = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    subprocess.run([*make, "-keyout", str(key), "-out", str(csr)], check=True, capture_output=True)
    credential = ("--cert-file", "enroller/enroller.pem", "--key-file", "enroller/enroller.key")
    system.run("goodstanding", "issue", str(csr), "--profile", "ocsp-responder", "--out", str(pem), *credential)
    public = x509.load_pem_x509_certificate(pem.read_bytes()).public_key()
    pem.replace(folder / "responder.pem")
    key.replace(folder / "responder.key")
    return x509.SubjectKeyIdentifier.from_public_key(public).digest


def test_files_that_change_reach_all(system: System, request_der: bytes, tmp_path: Path) -> None:
    """A signer that is replaced in its files signs in every worker, while connections stay (R68)."""
    who = ("--name", "enroller", "--role", "responder", "--out", "enroller")
    system.run("goodstanding", "credential", "new", *who)
    first = responder_files(system, tmp_path, 1)
    tables = f"""
[[gateway.issuers.issuing.signers]]
certificate = "{tmp_path}/responder.pem"
key = "{tmp_path}/responder.key"
"""
    with running(system, "files", tables) as fleet:
        connections = both(fleet)

        def signers() -> set[bytes | None]:
            return {connection.ask(request_der).ocsp.responder_key_hash for connection in connections}

        assert signers() == {first}
        second = responder_files(system, tmp_path, 2)
        wait_until(lambda: signers() == {second}, 20)
