"""G3 for thousands of revocations at once: each is told in time, and single ones beside them are not held up."""

from __future__ import annotations

import http.client
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

from cryptography.x509 import ocsp

from goodstanding.ca.v1 import ca_pb2
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub
from goodstanding.types.v1 import types_pb2
from services.clock import utc_now
from services.db import certificates, issuers, position, status
from services.db.engine import Database
from services.db.records import Actor, NewCertificate
from services.pki.serials import serial_from_int
from tests.freshness.load import STEADY, TAU, Certificates, Load
from tests.freshness.world import World

COUNT = 5000
EVERY = 50
"""Of so many, the hammer asks about one all the time."""
SINGLES = 8
_ACTOR = Actor("", "test", "admin", "", "local", "")


def record(world: World, count: int, key: bytes) -> list[int]:
    """Certificates of one key as the database holds them, and their serial numbers; issuing so many would take long."""
    now = utc_now()
    serials = [1 << 126 | secrets.randbits(120) for _ in range(count)]
    db = Database.open(world.database.url)
    try:
        with db.write() as conn:
            (issuer_id,) = (record.id for record in issuers.list_issuers(conn) if record.name == "issuing")
            rows = [
                NewCertificate(
                    issuer_id=issuer_id,
                    serial=serial_from_int(serial),
                    der=None,
                    subject="CN=leaf.example.com",
                    common_name=None,
                    subject_alternative_names=(),
                    profile="server",
                    public_key_sha256=key,
                    not_before=now,
                    not_after=now + timedelta(days=1),
                    issued_at=now,
                    actor=_ACTOR,
                )
                for serial in serials
            ]
            ids = certificates.insert_certificates(conn, rows)
            status.insert_statuses(conn, rows, ids, position.advance(conn, count))
    finally:
        db.close()
    return serials


def revoke_all(world: World, key: bytes, acknowledged: Callable[[int], object]) -> int:
    """Revoke all with that key, and tell each serial number as soon as its result is there. Returns how many."""
    request = ca_pb2.RevokeCertificatesRequest(reason=types_pb2.REVOCATION_REASON_KEY_COMPROMISE)
    request.public_key.public_key_sha256 = key
    count = 0
    with world.channel() as channel:
        for response in CertificateAuthorityServiceStub(channel).RevokeCertificates(request, timeout=120):
            for result in response.results:
                assert result.outcome == ca_pb2.REVOCATION_OUTCOME_REVOKED
                acknowledged(int(result.certificate.serial_number, 16))
            count += len(response.results)
    return count


def ask_each(world: World, address: str, serials: Sequence[int]) -> Counter[str]:
    """What a gateway says of each, once."""
    said: Counter[str] = Counter()
    connection = http.client.HTTPConnection(address, timeout=10)
    for request in Certificates(world.issuer, serials).requests(nonce=False):
        connection.request("POST", "/", bytes.fromhex(request), {"Content-Type": "application/ocsp-request"})
        response = ocsp.load_der_ocsp_response(connection.getresponse().read())
        answered = response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        said[response.certificate_status.name if answered else response.response_status.name] += 1
    connection.close()
    return said


def test_thousands_at_once(world: World) -> None:
    """No good after the bound for any of them; revocations beside them are done before they are."""
    leaked = secrets.token_bytes(32)
    singles, steady = (record(world, count, secrets.token_bytes(32)) for count in (SINGLES, STEADY))
    many = record(world, COUNT, leaked)
    watched = many[::EVERY]
    places = {serial: place for place, serial in enumerate(watched, SINGLES)}
    with Load(world, [*singles, *watched, *steady], connections=1, pause=0.003) as load:

        def acknowledge(serial: int) -> None:
            if serial in places:
                load.acknowledged[places[serial]] = time.monotonic()

        beside = threading.Thread(target=lambda: [load.revoke_now() for _ in range(SINGLES)])
        beside.start()
        assert revoke_all(world, leaked, acknowledge) == COUNT
        ended = time.monotonic()
        beside.join()
        load.wait_out_the_bound()
    load.tell()
    load.judge()
    time.sleep(max(0.0, ended + TAU - time.monotonic()))
    said = ask_each(world, world.gateway_addresses[0], many)
    assert said["GOOD"] == 0, said
    assert said["REVOKED"] > 0.9 * COUNT, said
    assert load.acknowledged.keys() == set(range(SINGLES + len(watched)))
    assert load.acknowledged[0] < ended
