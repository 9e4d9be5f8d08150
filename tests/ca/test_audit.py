"""What the certificate authority writes into its audit log, and when."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import pytest

from services.ca.revoke import RevokeCommand
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.db.chain import AuditEntry
from services.db.engine import Database
from services.db.records import Actor
from services.errors import FailedPrecondition
from services.pki.reasons import Reason
from tests.ca.world import Ca, Hierarchy, audit_entries, chain_flaws, make_actor, make_ca, make_csr, with_id


def about(entries: list[AuditEntry], serial: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, request id and details of what is told of a certificate."""
    return [
        (each.event.method, each.event.actor.request_id, json.loads(each.event.details))
        for each in entries
        if each.event.serial == serial
    ]


def test_a_certificates_life(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """Issuing and each change have an entry with who asked, and what became of it; what changed nothing says so."""
    result = ca.issue(with_id(issuer, "first"))
    serial, der = result.certificate.serial, result.certificate.der
    assert der is not None
    ca.revoke(revoker, serial, Reason.CERTIFICATE_HOLD)
    ca.revoke(revoker, serial, Reason.REMOVE_FROM_CRL)
    ca.revoke(revoker, serial, Reason.SUPERSEDED)
    ca.revoke(revoker, serial, Reason.SUPERSEDED)
    entries = audit_entries(ca.db)
    time = "2026-07-01T12:00:00Z"
    assert about(entries, serial) == [
        (
            "IssueCertificate",
            "first",
            {
                "certificate_sha256": hashlib.sha256(der).hexdigest(),
                "names": ["DNS:test.example.com"],
                "not_after_time": result.certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "profile": "server",
            },
        ),
        ("RevokeCertificate", "", {"action": "hold", "reason": "certificateHold", "revocation_time": time}),
        ("RevokeCertificate", "", {"action": "release"}),
        ("RevokeCertificate", "", {"action": "revoke", "reason": "superseded", "revocation_time": time}),
        ("RevokeCertificate", "", {"action": "none", "reason": "superseded"}),
    ]
    mine = [each.event for each in entries if each.event.serial == serial]
    assert {(each.issuer, each.certificate_id, each.result) for each in mine} == {
        ("issuing", result.certificate.id, "OK")
    }
    assert [each.actor for each in mine] == [with_id(issuer, "first"), *[revoker] * 4]
    assert chain_flaws(ca.db) == []


def test_the_hierarchy_is_told_of(ca: Ca) -> None:
    """The log begins with the issuers and their certificates."""
    told = [(each.event.method, each.event.issuer) for each in audit_entries(ca.db)]
    assert told == [
        ("AddIssuer", "root"),
        ("AddIssuer", "issuing"),
        ("RegisterCertificate", "root"),
        ("RegisterCertificate", "root"),
    ]


def test_retries_add_nothing(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """A retry is answered with what was done, and was not done again (G6); neither is what only is checked."""
    csr = make_csr()
    for _ in range(3):
        serial = ca.issue(with_id(issuer, "same"), csr_der=csr).certificate.serial
    for _ in range(3):
        ca.revoke(with_id(revoker, "same"), serial, Reason.SUPERSEDED)
    ca.issue(issuer, validate_only=True)
    ca.authority.revoke(RevokeCommand(target=BySerial(serial), reason=1, validate_only=True), revoker)
    methods = [method for method, _, _ in about(audit_entries(ca.db), serial)]
    assert methods == ["IssueCertificate", "RevokeCertificate"]
    assert len(audit_entries(ca.db)) == 4 + 2


def test_a_refused_work_leaves_the_others_alone(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """What is refused in a batch has no entry of what was done."""
    serial = ca.issue(issuer).certificate.serial
    with pytest.raises(FailedPrecondition):
        ca.revoke(revoker, serial, Reason.REMOVE_FROM_CRL)
    assert len(about(audit_entries(ca.db), serial)) == 1
    assert chain_flaws(ca.db) == []


def test_two_processes_write_one_chain(database_url: str, hierarchy: Hierarchy) -> None:
    """Two certificate authorities on one database never fork the chain, and one that starts later goes on with it."""
    first, second = Database.open(database_url), Database.open(database_url)
    with Writer(first) as one, Writer(second) as two:
        cas = [make_ca(first, one, hierarchy), make_ca(second, two, hierarchy, register=False)]

        def issue(ca: Ca, name: str) -> None:
            for _ in range(10):
                serial = ca.issue(make_actor("issuer", name)).certificate.serial
                ca.revoke(make_actor("revoker", name), serial, Reason.SUPERSEDED)

        threads = [
            threading.Thread(target=issue, args=(ca, f"{place}-{n}")) for n in (1, 2) for place, ca in enumerate(cas)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert chain_flaws(first) == []
        assert len(audit_entries(first)) == 4 + 4 * 10 * 2
    with Writer(second) as again:
        make_ca(second, again, hierarchy, register=False).issue(make_actor("issuer"))
    assert chain_flaws(first) == []
    assert len(audit_entries(first)) == 4 + 4 * 10 * 2 + 1
    first.close()
    second.close()
