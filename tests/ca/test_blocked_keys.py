"""Blocked keys: none is certified again, whatever the order of events (R103), on both databases."""

from __future__ import annotations

import hashlib
import json
import threading
import tomllib
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from goodstanding.ca.v1 import ca_pb2
from services.ca.batch import Batch, Plan
from services.ca.blocked_keys import BlockCommand
from services.ca.issue import IssueCommand
from services.ca.revoke import RevokeCommand
from services.ca.target import BySerial
from services.db.records import Actor
from services.errors import DomainError, FailedPrecondition, InvalidArgument
from services.pki.profile_tables import read_profiles
from services.pki.profiles import BUILTIN
from services.pki.reasons import Reason
from tests.ca.test_bad_input import call
from tests.ca.world import Ca, audit_entries, make_actor, make_csr, with_id


def sha256(key: ec.EllipticCurvePrivateKey) -> bytes:
    """What a key is blocked by."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    """A key that nobody has used yet."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def admin() -> Actor:
    """A caller that may block keys."""
    return make_actor("admin")


def block(ca: Ca, actor: Actor, *hashes: bytes, **more: Any) -> tuple[int, int]:
    """Block keys, and return how many are new and how many are not."""
    result = ca.authority.blocking.begin(BlockCommand(hashes=hashes, **more), actor).result()
    return result.blocked, result.already_blocked


def test_blocked_keys_are_refused(ca: Ca, issuer: Actor, admin: Actor, key: ec.EllipticCurvePrivateKey) -> None:
    """KEY_BLOCKED on the request, also where it is only checked; nothing is recorded. Others are not affected."""
    before = ca.issue(issuer, csr_der=make_csr(key=key))
    assert block(ca, admin, sha256(key), comment="found on a web page") == (1, 0)
    rows = ca.count("certificates")
    for validate_only in (True, False):
        with pytest.raises(InvalidArgument) as caught:
            ca.issue(issuer, csr_der=make_csr(key=key), validate_only=validate_only)
        assert (caught.value.reason, caught.value.violations[0].field) == ("KEY_BLOCKED", "csr_der")
    with pytest.raises(InvalidArgument) as caught:
        ca.issue(issuer, csr_der=make_csr(key=key), validate_only=True, validity=timedelta(days=900))
    assert {each.reason for each in caught.value.violations} == {"KEY_BLOCKED", "VALIDITY_TOO_LONG"}
    assert ca.count("certificates") == rows
    assert ca.issue(issuer).certificate.serial
    assert ca.authority.get(BySerial(before.certificate.serial)).revocation is None
    recorded = ca.authority.blocking.get(sha256(key))
    assert recorded is not None
    assert (recorded.source, recorded.comment, recorded.actor) == ("import", "found on a web page", admin)


@pytest.mark.parametrize(
    ("reason", "blocks"),
    [
        (Reason.KEY_COMPROMISE, True),
        (Reason.CA_COMPROMISE, True),
        (Reason.SUPERSEDED, False),
        (Reason.UNSPECIFIED, False),
    ],
    ids=["keyCompromise", "cACompromise", "superseded", "unspecified"],
)
def test_a_compromise_blocks_the_key(
    ca: Ca, issuer: Actor, revoker: Actor, key: ec.EllipticCurvePrivateKey, reason: Reason, blocks: bool
) -> None:
    """The revocation itself blocks it, in its own transaction; other reasons leave the key alone."""
    issued = ca.issue(issuer, csr_der=make_csr(key=key)).certificate
    ca.revoke(revoker, issued.serial, reason)
    recorded = ca.authority.blocking.get(sha256(key))
    assert (recorded is not None) is blocks
    if recorded is None:
        assert ca.issue(issuer, csr_der=make_csr("again.example.com", key=key))
        return
    assert (recorded.source, recorded.actor.identity) == ("revocation", revoker.identity)
    with pytest.raises(InvalidArgument, match="blocked"):
        ca.issue(issuer, csr_der=make_csr("again.example.com", key=key), profile="client")


def test_a_raised_reason_blocks_the_key(ca: Ca, issuer: Actor, revoker: Actor, key: ec.EllipticCurvePrivateKey) -> None:
    """A revocation that is raised to keyCompromise later counts from then on; raised again, nothing happens."""
    issued = ca.issue(issuer, csr_der=make_csr(key=key)).certificate
    ca.revoke(revoker, issued.serial, Reason.SUPERSEDED)
    assert ca.authority.blocking.get(sha256(key)) is None
    ca.revoke(revoker, issued.serial, Reason.KEY_COMPROMISE)
    ca.revoke(revoker, issued.serial, Reason.KEY_COMPROMISE)
    assert ca.count("blocked_keys") == 1


def test_a_retry_gets_what_was_issued_before(
    ca: Ca, issuer: Actor, admin: Actor, key: ec.EllipticCurvePrivateKey
) -> None:
    """A retry certifies nothing: it gets the certificate of the first call (G6)."""
    caller, csr = with_id(issuer, "one"), make_csr(key=key)
    first = ca.issue(caller, csr_der=csr)
    block(ca, admin, sha256(key))
    assert ca.issue(caller, csr_der=csr) == first


class _Gate:
    """A work that keeps the writer busy, so that what comes after it shares one batch."""

    key = None
    serialise = False

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def decide(self, batch: Batch) -> Plan[None]:
        self.begun.set()
        self.go_on.wait(10)
        return Plan(lambda: None)


@pytest.mark.parametrize("how", ["revoked", "blocked"])
def test_it_cannot_be_raced_within_a_batch(
    ca: Ca, issuer: Actor, revoker: Actor, admin: Actor, key: ec.EllipticCurvePrivateKey, how: str
) -> None:
    """What blocks a key and what would certify it meet in one transaction: what came first is first."""
    first = ca.issue(issuer, csr_der=make_csr(key=key)).certificate
    gate = _Gate()
    done = ca.writer.submit(gate)
    assert gate.begun.wait(10)
    before: Future[Any] = ca.authority.begin_issue(IssueCommand(csr_der=make_csr("b.example.com", key=key)), issuer)
    blocking: Future[Any] = (
        ca.authority.begin_revoke(RevokeCommand(target=BySerial(first.serial), reason=Reason.KEY_COMPROMISE), revoker)
        if how == "revoked"
        else ca.authority.blocking.begin(BlockCommand(hashes=(sha256(key),)), admin)
    )
    after: Future[Any] = ca.authority.begin_issue(IssueCommand(csr_der=make_csr("a.example.com", key=key)), issuer)
    other: Future[Any] = ca.authority.begin_issue(IssueCommand(csr_der=make_csr("o.example.com")), issuer)
    gate.go_on.set()
    done.result(10)
    assert before.result(10).certificate.serial
    assert blocking.result(10)
    with pytest.raises(DomainError) as caught:
        after.result(10)
    assert caught.value.reason == "KEY_BLOCKED"
    assert other.result(10).certificate.serial
    assert ca.count("certificates") == 2 + 3


def test_bulk(ca: Ca, admin: Actor, key: ec.EllipticCurvePrivateKey) -> None:
    """A thousand at a time; repeated ones are counted, and keep what is recorded of them."""
    hashes = [hashlib.sha256(number.to_bytes(4)).digest() for number in range(1000)]
    assert block(ca, admin, *hashes[:600], validate_only=True) == (600, 0)
    assert ca.count("blocked_keys") == 0
    assert block(ca, admin, *hashes[:600], comment="first") == (600, 0)
    assert block(ca, admin, *hashes[:999], hashes[998], comment="second") == (399, 600)
    recorded = ca.authority.blocking.get(hashes[0])
    assert recorded is not None
    assert recorded.comment == "first"


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({}, "BATCH_SIZE_INVALID", "public_key_sha256"),
        ({"public_key_sha256": [b"\0" * 32] * 1001}, "BATCH_SIZE_INVALID", "public_key_sha256"),
        ({"public_key_sha256": [b"\0" * 32, b"\0" * 31]}, "KEY_HASH_INVALID", "public_key_sha256[1]"),
        ({"public_key_sha256": [b"\0" * 32], "comment": "a\0"}, "COMMENT_INVALID", "comment"),
        ({"public_key_sha256": [b"\0" * 32], "comment": "a" * 201}, "COMMENT_INVALID", "comment"),
    ],
    ids=["none", "too many", "31 octets", "NUL", "long comment"],
)
def test_bad_input(ca: Ca, fields: dict[str, Any], reason: str, field: str) -> None:
    """Each with its reason and field; nothing is recorded."""
    with pytest.raises(InvalidArgument) as caught:
        call(ca, "BlockPublicKeys", ca_pb2.BlockPublicKeysRequest(**fields), "admin")
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, field)
    assert ca.count("blocked_keys") == 0


def test_listing(ca: Ca, admin: Actor) -> None:
    """Page after page in the order of the hashes, or one of them; a token is good for its own query alone."""
    hashes = sorted(hashlib.sha256(bytes([number])).digest() for number in range(5))
    request = ca_pb2.BlockPublicKeysRequest(public_key_sha256=hashes, comment="test")
    assert call(ca, "BlockPublicKeys", request, "admin").blocked_count == 5
    found, token = [], ""
    while True:
        query = ca_pb2.ListBlockedPublicKeysRequest(page_size=2, page_token=token)
        page = call(ca, "ListBlockedPublicKeys", query, "reader")
        found += page.keys
        token = page.next_page_token
        if not token:
            break
    assert [key.public_key_sha256 for key in found] == hashes
    assert (found[0].source, found[0].comment) == (ca_pb2.BLOCKED_KEY_SOURCE_IMPORT, "test")
    assert found[0].block_time.ToDatetime(ca.clock().tzinfo) == ca.clock() + timedelta(0)
    for wanted, count in ((hashes[3], 1), (b"\1" * 32, 0)):
        query = ca_pb2.ListBlockedPublicKeysRequest(public_key_sha256=wanted)
        assert len(call(ca, "ListBlockedPublicKeys", query, "reader").keys) == count


def unblock(ca: Ca, actor: Actor, *hashes: bytes, **more: Any) -> tuple[int, int]:
    """Unblock keys, and return how many were blocked and how many were not."""
    command = BlockCommand(hashes=hashes, **{"comment": "a slip", **more})
    result = ca.authority.blocking.begin_unblock(command, actor).result()
    return result.unblocked, result.not_blocked


def test_a_mistake_is_taken_back(ca: Ca, issuer: Actor, admin: Actor, key: ec.EllipticCurvePrivateKey) -> None:
    """The key is certified again, the audit log says who and why, and a call that is repeated finds nothing to do."""
    block(ca, admin, sha256(key))
    before = len(audit_entries(ca.db))
    assert unblock(ca, admin, sha256(key), b"\1" * 32, validate_only=True) == (1, 1)
    assert len(audit_entries(ca.db)) == before
    assert unblock(ca, admin, sha256(key), b"\1" * 32) == (1, 1)
    assert unblock(ca, admin, sha256(key)) == (0, 1)
    (entry,) = audit_entries(ca.db)[before:]
    assert (entry.event.method, entry.event.actor) == ("UnblockPublicKeys", admin)
    assert json.loads(entry.event.details) == {"comment": "a slip", "public_keys_sha256": [sha256(key).hex()]}
    assert ca.issue(issuer, csr_der=make_csr(key=key)).certificate.serial


@pytest.mark.parametrize("first", ["blocked", "revoked"])
def test_a_compromised_key_stays_blocked(
    ca: Ca, issuer: Actor, revoker: Actor, admin: Actor, key: ec.EllipticCurvePrivateKey, first: str
) -> None:
    """Whichever blocked it first (R103); and the others that are named with it stay, too."""
    serial = ca.issue(issuer, csr_der=make_csr(key=key)).certificate.serial
    if first == "blocked":
        block(ca, admin, sha256(key))
    ca.revoke(revoker, serial, Reason.KEY_COMPROMISE)
    block(ca, admin, b"\1" * 32)
    with pytest.raises(FailedPrecondition) as caught:
        unblock(ca, admin, b"\1" * 32, sha256(key))
    assert (caught.value.reason, caught.value.violations[0].field) == ("KEY_COMPROMISED", "public_key_sha256[1]")
    assert ca.count("blocked_keys") == 2


def test_a_compromise_beside_it_is_not_lost(
    ca: Ca, issuer: Actor, revoker: Actor, admin: Actor, key: ec.EllipticCurvePrivateKey
) -> None:
    """Where both meet in one transaction, the key is blocked in the end."""
    serial = ca.issue(issuer, csr_der=make_csr(key=key)).certificate.serial
    block(ca, admin, sha256(key))
    gate = _Gate()
    ca.writer.submit(gate)
    assert gate.begun.wait(10)
    command = RevokeCommand(target=BySerial(serial), reason=Reason.KEY_COMPROMISE)
    revoking: Future[Any] = ca.authority.begin_revoke(command, revoker)
    unblocking = ca.authority.blocking.begin_unblock(BlockCommand(hashes=(sha256(key),), comment="a slip"), admin)
    gate.go_on.set()
    assert revoking.result(10)
    with pytest.raises(DomainError) as caught:
        unblocking.result(10)
    assert caught.value.reason == "KEY_COMPROMISED"
    assert ca.authority.blocking.get(sha256(key)) is not None


def test_a_mistake_needs_its_reason(ca: Ca) -> None:
    """Why it is taken back is for the audit log."""
    with pytest.raises(InvalidArgument) as caught:
        call(ca, "UnblockPublicKeys", ca_pb2.UnblockPublicKeysRequest(public_key_sha256=[b"\1" * 32]), "admin")
    assert (caught.value.reason, caught.value.violations[0].field) == ("COMMENT_INVALID", "comment")


def test_profiles_are_told(ca: Ca) -> None:
    """Those of the service, with the limit of the day and every setting."""
    told = {each.name: each for each in call(ca, "ListProfiles", ca_pb2.ListProfilesRequest(), "issuer").profiles}
    assert told.keys() == BUILTIN.keys()
    server = told["server"]
    assert (server.max_validity.ToTimedelta(), server.certificate_authority) == (timedelta(days=825), False)
    assert told["intermediate"].certificate_authority
    assert read_profiles(tomllib.loads(server.settings_toml)["profiles"])[0]["server"] == BUILTIN["server"]
