"""G6: retries are safe. The same caller, method, request id and payload get the same result; another is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.issue import IssueCommand
from services.ca.retries import KEPT, prune
from services.ca.revoke import RevokeCommand
from services.ca.target import ByCertificate, BySerial
from services.ca.writer import Writer
from services.db.engine import Database
from services.db.records import Actor
from services.errors import AlreadyExists, InvalidArgument
from services.pki.names import SubjectAlternativeNames
from services.pki.reasons import Reason
from tests.ca.world import START, Ca, Hierarchy, make_actor, make_ca, make_csr, with_id

CSR = make_csr()
OTHER_CSR = make_csr("other.example.com")
PEM = x509.load_der_x509_csr(CSR).public_bytes(Encoding.PEM).decode()
NAMES = SubjectAlternativeNames(dns=("a.example.com",))
FIRST: dict[str, Any] = {"csr_der": CSR}


@pytest.mark.parametrize(
    ("first", "again", "same"),
    [
        pytest.param(FIRST, FIRST, True, id="identical"),
        pytest.param(FIRST, {"csr_pem": PEM}, True, id="pem-for-der"),
        pytest.param(FIRST, FIRST | {"profile": "server"}, True, id="default-spelled-out"),
        pytest.param(FIRST, {"csr_der": OTHER_CSR}, False, id="another-request"),
        pytest.param(FIRST, FIRST | {"profile": "client"}, False, id="another-profile"),
        pytest.param(FIRST, FIRST | {"issuer": "issuing"}, False, id="issuer-named"),
        pytest.param(FIRST, FIRST | {"validity": timedelta(days=1)}, False, id="another-validity"),
        pytest.param(FIRST, FIRST | {"not_after": START + timedelta(days=1)}, False, id="another-end"),
        pytest.param(FIRST, FIRST | {"names": NAMES}, False, id="other-names"),
        pytest.param(FIRST | {"names": NAMES}, FIRST | {"names": NAMES}, True, id="same-names"),
    ],
)
def test_issuing_again(ca: Ca, issuer: Actor, first: dict[str, Any], again: dict[str, Any], same: bool) -> None:
    """One certificate, whatever happens to the second call."""
    actor = with_id(issuer, "id-1")
    original = ca.issue(actor, **first)
    ca.clock.advance(seconds=90)
    if same:
        assert ca.issue(actor, **again) == original
    else:
        with pytest.raises(AlreadyExists) as refused:
            ca.issue(actor, **again)
        assert refused.value.reason == "REQUEST_ID_REUSED"
        assert refused.value.violations[0].field == "request_id"
    assert ca.count("certificates") == 3


def test_the_key_is_caller_method_and_id(ca: Ca, issuer: Actor) -> None:
    """Another caller, another id and no id each get a certificate of their own."""
    actors = [with_id(issuer, "id"), with_id(issuer, "other"), with_id(make_actor("admin"), "id"), issuer, issuer]
    results = [ca.issue(actor, csr_der=CSR).certificate.serial for actor in actors]
    assert len(set(results)) == len(actors)


def test_what_would_be_refused_now_is_still_answered(ca: Ca, issuer: Actor) -> None:
    """A retry gets its certificate even when the end it asked for has passed by now."""
    actor = with_id(issuer, "late")
    command: dict[str, Any] = {"csr_der": CSR, "not_after": START + timedelta(hours=1)}
    original = ca.issue(actor, **command)
    ca.clock.advance(days=1)
    assert ca.issue(actor, **command).certificate == original.certificate
    with pytest.raises(InvalidArgument):
        ca.issue(with_id(issuer, "too-late"), **command)


def test_a_refused_call_leaves_its_id_free(ca: Ca, issuer: Actor) -> None:
    """Nothing was done, so nothing is remembered."""
    actor = with_id(issuer, "id")
    with pytest.raises(InvalidArgument):
        ca.issue(actor, csr_der=CSR, validity=timedelta(days=9999))
    assert ca.issue(actor, csr_der=CSR)


def test_concurrent_retries_give_one_certificate(ca: Ca, issuer: Actor) -> None:
    """Many calls at once with one id."""
    actor = with_id(issuer, "race")
    with ThreadPoolExecutor(16) as pool:
        futures = list(pool.map(lambda _: ca.authority.issue(IssueCommand(csr_der=CSR), actor), range(32)))
    assert len({future.certificate for future in futures}) == 1
    assert ca.count("certificates") == 3


def test_concurrent_retries_through_two_processes(database: Database, hierarchy: Hierarchy, issuer: Actor) -> None:
    """Two writers on one database: still one certificate for each id."""
    with Writer(database) as one, Writer(database) as two:
        cas = [make_ca(database, one, hierarchy), make_ca(database, two, hierarchy, register=False)]

        def attempt(number: int) -> tuple[int, bytes]:
            name = number // 2
            return name, cas[number % 2].issue(with_id(issuer, f"id-{name}"), csr_der=CSR).certificate.serial

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(attempt, range(80)))
    assert len(set(found)) == 40
    assert cas[0].count("certificates") == 42


def test_revoking_again_gives_what_was_recorded_then(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """A retry of a hold is answered with the hold, also after its release; and it holds nothing again."""
    serial = ca.issue(issuer).certificate.serial
    held = ca.revoke(with_id(revoker, "hold"), serial, Reason.CERTIFICATE_HOLD)
    ca.clock.advance(hours=1)
    released = ca.revoke(with_id(revoker, "release"), serial, Reason.REMOVE_FROM_CRL)
    assert ca.revoke(with_id(revoker, "hold"), serial, Reason.CERTIFICATE_HOLD) == held
    assert ca.revoke(with_id(revoker, "release"), serial, Reason.REMOVE_FROM_CRL) == released
    assert ca.authority.get(BySerial(serial)).revocation is None
    assert ca.count("status_changes") == 2


def test_a_call_that_changed_nothing_is_remembered_too(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """The same reason under another id: its retry still gets that record after an upgrade."""
    serial = ca.issue(issuer).certificate.serial
    first = ca.revoke(revoker, serial, Reason.SUPERSEDED)
    again = ca.revoke(with_id(revoker, "again"), serial, Reason.SUPERSEDED)
    assert again == first
    ca.revoke(revoker, serial, Reason.KEY_COMPROMISE)
    assert ca.revoke(with_id(revoker, "again"), serial, Reason.SUPERSEDED) == first
    command = RevokeCommand(target=BySerial(serial), reason=Reason.SUPERSEDED)
    assert ca.authority.begin_revoke(command, with_id(revoker, "again")).result().unchanged


@pytest.mark.parametrize("changed", ["reason", "invalidity", "target"])
def test_revoking_something_else_is_refused(ca: Ca, issuer: Actor, revoker: Actor, changed: str) -> None:
    """Another reason, another time or another certificate under the same id."""
    one, two = (ca.issue(issuer).certificate for _ in range(2))
    actor = with_id(revoker, "id")
    ca.revoke(actor, one.serial, Reason.SUPERSEDED)
    command = RevokeCommand(target=BySerial(one.serial), reason=Reason.SUPERSEDED)
    assert one.der is not None
    changes: dict[str, RevokeCommand] = {
        "reason": replace(command, reason=Reason.KEY_COMPROMISE),
        "invalidity": replace(command, invalidity_at=START),
        "target": replace(command, target=BySerial(two.serial)),
    }
    with pytest.raises(AlreadyExists) as refused:
        ca.authority.revoke(changes[changed], actor)
    assert refused.value.reason == "REQUEST_ID_REUSED"
    assert ca.count("status_changes") == 1


def test_concurrent_revocations_with_one_id_make_one_change(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """All get the same record."""
    certificate = ca.issue(issuer).certificate
    assert certificate.der is not None
    command = RevokeCommand(target=ByCertificate(certificate.der), reason=Reason.KEY_COMPROMISE)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: ca.authority.revoke(command, with_id(revoker, "race")), range(16)))
    assert len(found) == 1
    assert ca.count("status_changes") == 1


def test_ids_are_kept_for_seven_days(ca: Ca, issuer: Actor) -> None:
    """Pruning forgets older ones, whatever their number, and no younger ones."""
    ca.issue(with_id(issuer, "old"), csr_der=CSR)
    ca.clock.advance(seconds=1)
    young = ca.issue(with_id(issuer, "young"), csr_der=CSR)
    ca.clock.now = START + KEPT
    assert prune(ca.db, ca.clock) == 0
    ca.clock.advance(seconds=1)
    assert prune(ca.db, ca.clock) == 1
    assert ca.issue(with_id(issuer, "young"), csr_der=CSR) == young
