"""Issuing: what is recorded and handed out, who may ask for what, and which issuer signs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID

from services.ca.authority import CertificateAuthority
from services.ca.blocked_keys import BlockCommand
from services.ca.issue import IssueCommand
from services.ca.keystore import HeldKeys
from services.ca.settings import AuthoritySettings
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.db import issuers, position, status
from services.db.engine import Database
from services.db.records import Actor, IssuerState
from services.errors import (
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from services.pki.names import SubjectAlternativeNames
from services.pki.profile_tables import read_profiles
from tests.ca.world import START, Ca, Hierarchy, make_actor, make_ca, make_csr


def test_what_is_handed_out_is_what_is_recorded(ca: Ca, issuer: Actor) -> None:
    """G1: the certificate is in the database, with the status good, when the call returns."""
    result = ca.issue(replace(issuer, request_id="first"))
    record = result.certificate
    assert ca.authority.get(BySerial(record.serial)) == record
    assert record.actor == replace(issuer, request_id="first")
    assert record.issued_at == START
    with ca.db.read() as conn:
        found = status.get_statuses(conn, record.issuer_id, [record.serial])[record.serial]
    assert (found.revocation, found.revision, found.certificate_id) == (None, record.revision, record.id)


def test_the_certificate_verifies(ca: Ca, issuer: Actor) -> None:
    """It is signed by the issuer at the head of the chain, which leaves the root out, and points to the gateway."""
    result = ca.issue(issuer)
    assert result.certificate.der is not None
    certificate = x509.load_der_x509_certificate(result.certificate.der)
    (above,) = (x509.load_der_x509_certificate(der) for der in result.chain_der)
    certificate.verify_directly_issued_by(above)
    assert above == ca.hierarchy.issuing
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value  # R97
    assert {entry.access_method: entry.access_location.value for entry in access} == {
        AuthorityInformationAccessOID.OCSP: "http://ocsp.example.com",
        AuthorityInformationAccessOID.CA_ISSUERS: "http://ocsp.example.com/ca/issuing.cer",
    }


def test_names_given_replace_those_of_the_request(ca: Ca, issuer: Actor) -> None:
    """The CSR's names are dropped when the call brings its own."""
    result = ca.issue(issuer, names=SubjectAlternativeNames(dns=("other.example.com",)))
    assert result.certificate.subject_alternative_names == ("DNS:other.example.com",)


def test_validate_only_records_nothing(ca: Ca, issuer: Actor) -> None:
    """Everything is checked, nothing is signed, and the request id stays free."""
    actor = replace(issuer, request_id="again")
    before = ca.count("certificates"), ca.count("idempotency_keys")
    result = ca.issue(actor, validate_only=True)
    assert (result.certificate.der, result.certificate.serial) == (None, b"")
    assert result.certificate.subject_alternative_names == ("DNS:test.example.com",)
    assert (ca.count("certificates"), ca.count("idempotency_keys")) == before
    assert ca.issue(actor).certificate.der


@pytest.mark.parametrize(
    ("role", "profile", "allowed"),
    [
        pytest.param(role, profile, allowed, id=f"{role}-{profile}")
        for role, profile, allowed in [
            ("admin", "server", True),
            ("admin", "ocsp-responder", False),
            ("issuer", "server", True),
            ("issuer", "client", True),
            ("issuer", "ocsp-responder", False),
            ("responder", "ocsp-responder", True),
            ("responder", "server", False),
            ("responder", "client", False),
            ("reader", "server", False),
        ]
    ],
)
def test_profiles_belong_to_roles(ca: Ca, role: str, profile: str, allowed: bool) -> None:
    """R69: only a responder gets ocsp-responder, and nothing else."""
    if allowed:
        assert ca.issue(make_actor(role), profile=profile).certificate.profile == profile
        return
    with pytest.raises(PermissionDenied) as refused:
        ca.issue(make_actor(role), profile=profile)
    assert refused.value.reason == "PROFILE_NOT_ALLOWED"


SMALL = make_csr(key=rsa.generate_private_key(65537, 1024))
ASKED = {"names": SubjectAlternativeNames(dns=("-bad",)), "validity": timedelta(days=900)}


@pytest.mark.parametrize("validate_only", [True, False], ids=["dry-run", "for-real"])
@pytest.mark.parametrize(
    ("wishes", "error", "told"),
    [
        pytest.param(
            {"issuer": "nope", "csr_der": SMALL, **ASKED},
            NotFound,
            "issuer ISSUER_UNKNOWN, csr_der KEY_TOO_SMALL, validity VALIDITY_TOO_LONG, names NAME_INVALID",
            id="issuer-and-key",
        ),
        pytest.param(
            {"issuer": "nope", **ASKED},
            NotFound,
            "issuer ISSUER_UNKNOWN, validity VALIDITY_TOO_LONG, names NAME_INVALID",
            id="issuer",
        ),
        pytest.param(
            {"profile": "nope", "issuer": "nope", "csr_der": SMALL, **ASKED},
            NotFound,
            "profile PROFILE_UNKNOWN, issuer ISSUER_UNKNOWN, csr_der KEY_TOO_SMALL, names NAME_INVALID",
            id="profile-issuer-and-key",
        ),
        pytest.param(
            {"profile": "nope", "names": ASKED["names"], "validity": timedelta(days=99_999)},
            NotFound,
            "profile PROFILE_UNKNOWN, validity VALIDITY_BEYOND_ISSUER, names NAME_INVALID",
            id="profile",
        ),
        pytest.param(
            {"profile": "nope", "issuer": "root", "csr_der": b"x", "names": SubjectAlternativeNames(uri=("a:b",))},
            NotFound,
            "profile PROFILE_UNKNOWN, issuer ISSUER_NOT_ACTIVE, csr_der CSR_MALFORMED",
            id="nothing-that-is-known",
        ),
        pytest.param(
            {"issuer": "root", "profile": "client", "csr_der": b"x", "names": SubjectAlternativeNames(ip=("1.2.3.4",))},
            FailedPrecondition,
            "issuer ISSUER_NOT_ACTIVE, csr_der CSR_MALFORMED, ips NAME_NOT_ALLOWED",
            id="no-request",
        ),
    ],
)
def test_what_there_is_not_hides_nothing(
    ca: Ca, issuer: Actor, wishes: dict[str, Any], error: type[DomainError], told: str, validate_only: bool
) -> None:
    """An issuer or profile that is unknown is one finding of several, and the first, whose status the error has."""
    with pytest.raises(error) as refused:
        ca.issue(issuer, validate_only=validate_only, **wishes)
    short = {"subject_alternative_names.dns_names[0]": "names", "subject_alternative_names.ip_addresses[0]": "ips"}
    found = [f"{short.get(each.field, each.field)} {each.reason}" for each in refused.value.violations]
    assert ", ".join(found) == told
    assert refused.value.reason == told.split()[1].rstrip(",")


def test_a_blocked_key_beside_an_unknown_issuer(ca: Ca, issuer: Actor) -> None:
    """A dry run tells of both."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    command = BlockCommand(hashes=(sha256(point).digest(),), comment="", validate_only=False)
    ca.authority.blocking.begin(command, make_actor("admin")).result()
    with pytest.raises(NotFound) as refused:
        ca.issue(issuer, csr_der=make_csr(key=key), issuer="nope", validate_only=True)
    assert [each.reason for each in refused.value.violations] == ["ISSUER_UNKNOWN", "KEY_BLOCKED"]


def test_what_a_linter_has_against_the_addresses(ca: Ca, issuer: Actor) -> None:
    """Nobody's request is at fault: the findings name the setting, on the profile, and no text comes twice."""
    profiles, _ = read_profiles({"web": {"lint": "cabf-serverauth", "validity": {"max": "90d"}}})
    settings = AuthoritySettings(public_url="http://127.0.0.1:2560", crl_distribution="full")
    keys = HeldKeys({"issuing": ca.hierarchy.issuing_key})
    authority = CertificateAuthority(ca.db, ca.writer, keys, settings, profiles=profiles, clock=ca.clock)
    command = IssueCommand(csr_der=make_csr("www.example.com"), profile="web", validate_only=True)
    with pytest.raises(InvalidArgument) as refused:
        authority.begin_issue(command, issuer)
    error = refused.value
    cured = {each.description.rpartition("): ")[2] for each in error.violations if each.field == "profile"}
    assert cured == {
        f"it comes from public_url in [ca]; set that, or have the profile leave it out ({names})"
        for names in ("ocsp, ca_issuers", "crl_distribution_point")
    }
    others = [each for each in error.violations if each.field != "profile"]
    assert all(each.field == "csr_der" and "127.0.0.1" not in each.description for each in others)
    assert (error.reason, error.violations[0].description) == ("LINT_FAILED", error.message)
    assert error.message.startswith("the linter (cabf-serverauth) refuses the certificate: cabf.")


def test_a_role_ends_the_search(ca: Ca) -> None:
    """Who may not issue under a profile is told so, and nothing about what it asked for."""
    with pytest.raises(PermissionDenied) as refused:
        ca.issue(make_actor("responder"), issuer="nope", csr_der=SMALL, **ASKED)
    assert [each.reason for each in refused.value.violations] == ["PROFILE_NOT_ALLOWED"]


def test_a_fourth_delegate_is_refused(ca: Ca, responder: Actor) -> None:
    """The refusal names when the oldest expires and what to configure; after that there is room again."""
    first = ca.issue(responder, profile="ocsp-responder").certificate
    ca.clock.advance(hours=1)
    for _ in range(2):
        ca.issue(responder, profile="ocsp-responder")
    for validate_only in (False, True):
        with pytest.raises(ResourceExhausted) as refused:
            ca.issue(responder, profile="ocsp-responder", validate_only=validate_only)
    assert refused.value.reason == "TOO_MANY_DELEGATES"
    assert f"{first.not_after:%Y-%m-%dT%H:%M:%SZ}" in refused.value.message
    assert "max_live_delegates" in refused.value.message
    assert ca.issue(make_actor("responder", "another"), profile="ocsp-responder")
    ca.clock.now = first.not_after + timedelta(seconds=1)
    assert ca.issue(responder, profile="ocsp-responder")


def test_delegates_cannot_be_won_by_haste(ca: Ca, responder: Actor) -> None:
    """Of many concurrent calls exactly as many succeed as the limit allows."""

    def attempt(_: int) -> bool:
        try:
            return bool(ca.issue(responder, profile="ocsp-responder"))
        except ResourceExhausted:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(attempt, range(12))) == 3


def test_delegates_cannot_be_won_through_two_processes(
    database: Database, hierarchy: Hierarchy, responder: Actor
) -> None:
    """Two writers on one database keep the limit together."""
    with Writer(database) as one, Writer(database) as two:
        cas = [make_ca(database, one, hierarchy), make_ca(database, two, hierarchy, register=False)]

        def attempt(number: int) -> bool:
            try:
                return bool(cas[number % 2].issue(responder, profile="ocsp-responder"))
            except ResourceExhausted:
                return False

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(16))) == 3


def change_state(ca: Ca, name: str, state: IssuerState) -> None:
    """As an operator would, in another process."""
    with ca.db.write() as conn:
        issuer_id = next(record.id for record in issuers.list_issuers(conn) if record.name == name)
        issuers.set_issuer_state(conn, issuer_id, state, position.advance(conn, 1))
    ca.authority.directory._read_at = float("-inf")


@pytest.mark.parametrize(
    ("states", "issuer_name", "error", "reason"),
    [
        pytest.param({}, "nobody", NotFound, "ISSUER_UNKNOWN", id="unknown"),
        pytest.param({}, "root", FailedPrecondition, "ISSUER_NOT_ACTIVE", id="offline"),
        pytest.param(
            {"issuing": IssuerState.RETIRED}, "issuing", FailedPrecondition, "ISSUER_NOT_ACTIVE", id="retired"
        ),
        pytest.param({"issuing": IssuerState.RETIRED}, "", FailedPrecondition, "ISSUER_NOT_ACTIVE", id="none-left"),
        pytest.param({"root": IssuerState.ACTIVE}, "", FailedPrecondition, "ISSUER_AMBIGUOUS", id="several"),
        pytest.param({"root": IssuerState.ACTIVE}, "root", Unavailable, "KEY_UNAVAILABLE", id="without-key"),
    ],
)
def test_issuers_that_cannot_be_used(
    ca: Ca, issuer: Actor, states: dict[str, IssuerState], issuer_name: str, error: type[DomainError], reason: str
) -> None:
    """Each has its reason."""
    for name, state in states.items():
        change_state(ca, name, state)
    with pytest.raises(error) as refused:
        ca.issue(issuer, issuer=issuer_name)
    assert refused.value.reason == reason


def test_an_expired_issuer_signs_nothing(ca: Ca, issuer: Actor) -> None:
    """R93."""
    ca.clock.now = ca.hierarchy.issuing.not_valid_after_utc + timedelta(seconds=1)
    with pytest.raises(FailedPrecondition) as refused:
        ca.issue(issuer)
    assert refused.value.reason == "ISSUER_EXPIRED"


def test_an_issuer_may_be_named(ca: Ca, issuer: Actor) -> None:
    """By the name that ListIssuers gives."""
    assert ca.issue(issuer, issuer="issuing").certificate.issuer_name == "issuing"


def test_serial_numbers_differ(ca: Ca, issuer: Actor) -> None:
    """R89: many callers at once, and no serial number twice, each with a revision of its own."""
    csr = make_csr()
    with ThreadPoolExecutor(16) as pool:
        records = [
            future.certificate
            for future in pool.map(lambda _: ca.authority.issue(IssueCommand(csr_der=csr), issuer), range(100))
        ]
    assert len({record.serial for record in records}) == 100
    assert len({record.revision for record in records}) == 100
    assert ca.count("certificates") == 102


def test_without_a_key_nothing_is_recorded(
    database: Database, writer: Writer, hierarchy: Hierarchy, issuer: Actor, ca: Ca
) -> None:
    """A missing key is Unavailable, and leaves no trace."""
    from services.ca.authority import CertificateAuthority

    keyless = CertificateAuthority(
        database, writer, HeldKeys({}), AuthoritySettings(public_url="http://x"), clock=ca.clock
    )
    with pytest.raises(Unavailable) as refused:
        keyless.issue(IssueCommand(csr_der=make_csr()), issuer)
    assert refused.value.reason == "KEY_UNAVAILABLE"
    assert ca.count("certificates") == 2
