"""Revocation lists that were signed elsewhere: a full one that says what is recorded here (R112, R113)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import ca_pb2
from services.ca.revoke import RevokeCommand
from services.ca.target import BySerial
from services.db import counts
from services.errors import DomainError, FailedPrecondition, InvalidArgument
from services.pki.reasons import Reason
from tests.ca.importing import BEFORE, HOLD, KEY, LONG_AGO, ROOT, leaf, revoked, send, whole, with_certificate
from tests.ca.test_bad_input import call
from tests.ca.test_hierarchy import in_one_batch
from tests.ca.world import START, Ca, make_actor

HELD, OVER, REVOKED, GOOD = 0x1000, 0x1001, 0x1002, 0x1003
ADMIN = make_actor("admin")
DAY = timedelta(days=1)
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def make(
    number: int,
    serials: Iterable[int] = (HELD, OVER, REVOKED),
    *,
    extensions: Extensions = (),
    of_entries: Extensions = (),
    made: datetime = START - DAY,
) -> bytes:
    """A list of the old CA."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.subject)
        .last_update(made)
        .next_update(START + 30 * DAY)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder(serial, BEFORE)
        for value, critical in of_entries:
            entry = entry.add_extension(value, critical)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def point(**restricted: object) -> x509.IssuingDistributionPoint:
    """An issuing distribution point."""
    return x509.IssuingDistributionPoint(
        full_name=restricted.get("full_name"),  # type: ignore[arg-type]
        relative_name=None,
        only_contains_user_certs="user" in restricted,
        only_contains_ca_certs="ca" in restricted,
        only_some_reasons=frozenset({x509.ReasonFlags.superseded}) if "reasons" in restricted else None,
        indirect_crl="indirect" in restricted,
        only_contains_attribute_certs="attribute" in restricted,
    )


@pytest.fixture
def old(old: Ca) -> Ca:
    """The old CA without its key: of four certificates one is on hold, two are revoked, one of these has expired."""
    ended = leaf(OVER, days=1900)
    entries = [
        with_certificate(leaf(HELD), revoked(BEFORE, HOLD)),
        with_certificate(ended, revoked(LONG_AGO + 100 * DAY)),
        with_certificate(leaf(REVOKED), revoked(BEFORE)),
        with_certificate(leaf(GOOD)),
    ]
    send(old, whole(entries, key_reference=""))
    return old


def record(ca: Ca, der: bytes) -> str:
    """Call the servicer; returns the number."""
    request = ca_pb2.ImportCertificateRevocationListRequest(issuer="old", crl_der=der)
    found = call(ca, "ImportCertificateRevocationList", request, "admin")
    return str(found.number)


def refusal(ca: Ca, der: bytes) -> DomainError:
    """Why a list is refused."""
    with pytest.raises(DomainError) as refused:
        record(ca, der)
    assert [each.field for each in refused.value.violations] == ["crl_der"]
    return refused.value


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lists_that_are_not_full(old: Ca) -> None:
    """Whatever restricts a list, or may do so, is refused, and named: nobody would know of what it leaves out."""
    address = [x509.UniformResourceIdentifier("http://ocsp.example.com/crl/1.crl")]
    cases: dict[str, tuple[dict[str, Extensions], str]] = {
        "attribute certificates": ({"extensions": ((point(attribute=True), True),)}, "attribute certificates only"),
        "others than CAs": ({"extensions": ((point(user=True), True),)}, "none of CAs only"),
        "CAs": ({"extensions": ((point(ca=True), True),)}, "of CAs only"),
        "some reasons": ({"extensions": ((point(reasons=True), True),)}, "some reasons only"),
        "indirect": ({"extensions": ((point(indirect=True), True),)}, "indirect"),
        "a shard": ({"extensions": ((point(full_name=address), True),)}, "distribution point"),
        "not critical": ({"extensions": ((point(user=True), False),)}, "none of CAs only"),
        "delta": ({"extensions": ((x509.DeltaCRLIndicator(1), True),)}, "a delta"),
        "unknown and critical": ({"extensions": ((UNKNOWN, True),)}, "critical extension 1.2.3.4"),
        "an entry, unknown and critical": ({"of_entries": ((UNKNOWN, True),)}, "critical extension 1.2.3.4"),
        "an entry of another CA": (
            {"of_entries": ((x509.CertificateIssuer([x509.DirectoryName(ROOT.subject)]), True),)},
            "1000 is of another CA",
        ),
        "an entry that is removed": (
            {"of_entries": ((x509.CRLReason(x509.ReasonFlags.remove_from_crl), False),)},
            "only a delta",
        ),
    }
    for number, (name, (odd, text)) in enumerate(cases.items(), 10):
        refused = refusal(old, make(number, **odd))  # type: ignore[arg-type]
        assert (type(refused), refused.reason) == (InvalidArgument, "CRL_INVALID"), name
        assert text in refused.message, name
    assert record(old, make(10, extensions=((UNKNOWN, False),))) == "a"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("octets", [b"\x0c\x06\xff\xff\xff\xff\xff\xff", b"\x1f\x06Old CA"], ids=["text", "kind"])
def test_an_issuer_that_cannot_be_read(old: Ca, octets: bytes) -> None:
    """It is not ours, and no internal error (R106)."""
    assert b"\x0c\x06Old CA" in make(10)
    refused = refusal(old, make(10).replace(b"\x0c\x06Old CA", octets))
    assert refused.reason == "CRL_INVALID"


@pytest.mark.parametrize("few", [False, True], ids=["of all revoked", "of its own"])
def test_lists_that_lack_what_is_revoked_here(old: Ca, monkeypatch: pytest.MonkeyPatch, few: bool) -> None:
    """What OCSP says is revoked is in the list; who brings one that was made before has to make a newer one (R113)."""
    if few:  # as a root has, below which much is revoked
        monkeypatch.setattr(counts, "count_certificates", lambda *_: [])
    for serials, named in (((), "1000, 1002"), ((HELD, GOOD + 9), "1002")):
        refused = refusal(old, make(10, serials))
        assert (type(refused), refused.reason) == (FailedPrecondition, "CRL_INCOMPLETE")
        assert f" {named}, revoked here" in refused.message
        assert "goodstanding ca crl old" in refused.message
    # That a list had shown the certificate that has expired, before it came here, can be: no list is here yet.
    assert record(old, make(10, (HELD, REVOKED))) == "a"
    revoke = RevokeCommand(target=BySerial(GOOD.to_bytes(2), "old"), reason=Reason.SUPERSEDED)
    old.authority.begin_revoke(revoke, make_actor("revoker")).result(10)
    assert refusal(old, make(11)).reason == "CRL_INCOMPLETE"
    assert record(old, make(11, (HELD, REVOKED, GOOD))) == "b"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_entry_goes_after_a_list_has_shown_it(old: Ca) -> None:
    """RFC 5280, section 3.3: that of an expired certificate stays until a list was made after its end."""
    ended = LONG_AGO + 3000 * DAY
    assert record(old, make(10)) == "a"
    old.clock.advance(days=(ended - old.clock()).days - 10)
    now = old.clock()
    soon = x509.CertificateRevocationListBuilder(ROOT.subject).next_update(ended + 99 * DAY)

    def of(number: int, when: datetime, serials: Iterable[int]) -> bytes:
        builder = soon.last_update(when).add_extension(x509.CRLNumber(number), critical=False)
        for serial in serials:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, BEFORE).build())
        return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)

    assert record(old, of(11, now, (HELD, REVOKED))) == "b"
    old.clock.advance(days=20)
    assert refusal(old, of(12, old.clock(), ())).reason == "CRL_INCOMPLETE"
    assert record(old, of(12, old.clock(), (HELD, REVOKED))) == "c"
    assert record(old, of(13, old.clock(), ())) == "d"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lists_that_know_of_more(old: Ca) -> None:
    """What is good here is revoked here first, or OCSP would go on saying so; nobody says it of what is not known."""
    refused = refusal(old, make(10, (HELD, REVOKED, GOOD)))
    assert (type(refused), refused.reason) == (FailedPrecondition, "REVOCATION_NOT_RECORDED")
    assert "serial number 1003, not revoked here" in refused.message
    assert record(old, make(10, (HELD, REVOKED, GOOD + 1))) == "a"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_change_at_the_same_moment(old: Ca) -> None:
    """A certificate that is revoked after the list was compared, and before it is recorded, is minded, too."""
    revoke = RevokeCommand(target=BySerial(GOOD.to_bytes(2), "old"), reason=Reason.SUPERSEDED)
    found = in_one_batch(
        old,
        lambda: old.authority.begin_revoke(revoke, make_actor("revoker")),
        lambda: old.authority.foreign_crls.begin("old", make(10), ADMIN),
    )
    assert found[1] == "CRL_INCOMPLETE"
    assert record(old, make(10, (HELD, OVER, REVOKED, GOOD))) == "a"
