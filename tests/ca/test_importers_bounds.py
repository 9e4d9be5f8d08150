"""What the role importer cannot do: fill the services, have good said of what was never issued, hold up others."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca import admission, imports
from services.ca.hierarchy import ImportCommand
from services.ca.import_chunks import Chunk
from services.ca.import_servicer import _certificate
from services.ca.issue import IssueCommand
from services.ca.revoke import RevokeCommand
from services.ca.target import BySerial
from services.db import issuers
from services.db.records import IssuerState
from services.errors import DomainError, InvalidArgument, PermissionDenied, ResourceExhausted
from services.pki import der as parts
from services.pki.hierarchy import make_issuing, make_root
from services.pki.issuers import public_key_of
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from tests.ca.importing import (
    BEFORE,
    COMPROMISE,
    HOLD,
    IMPORTER,
    KEY,
    LONG_AGO,
    NAME,
    ROOT,
    Told,
    entry,
    leaf,
    recorded,
    revoked,
    send,
    statuses,
    told,
    whole,
    with_certificate,
)
from tests.ca.test_writer import Gate
from tests.ca.world import START, Ca, make_actor, make_csr

ADMIN = make_actor("admin")
ISSUING: dict[str, Any] = {"issuer": "issuing", "certificates_der": [], "key_reference": ""}


def test_rows_without_certificate(old: Ca) -> None:
    """Into an issuer that has always issued here, an importer brings only what its key has signed (G2)."""
    rows = [entry(0x1000), entry(0x1001, revoked(BEFORE))]
    refused = [(each, "CERTIFICATE_NEEDED", True) for each in ("1000", "1001")]
    assert told(send(old, whole(rows, **ISSUING))) == Told((2, 0, 0, 0, 0, 2), refused)
    assert statuses(old, 0x1000, 0x1001, name="issuing") == ["unknown", "unknown"]
    assert told(send(old, whole(rows, **ISSUING), actor=ADMIN)).counts == (2, 2, 0, 0, 0, 0)
    assert statuses(old, 0x1000, 0x1001, name="issuing") == ["good", "revoked"]
    assert told(send(old, whole([entry(0x1002)], **ISSUING))).counts == (1, 1, 0, 0, 0, 0), "an admin has begun it"
    issuing = old.hierarchy.issuing
    signed = leaf(0x1003, key=old.hierarchy.issuing_key, issuer=issuing.subject, begins=START)
    assert told(send(old, whole([with_certificate(signed)], **ISSUING))).counts == (1, 1, 0, 0, 0, 0)
    send(old, whole([entry(0x2000)]))
    assert told(send(old, whole([entry(0x2001)]))).counts == (1, 1, 0, 0, 0, 0), "one that moved in moves on"


def test_an_authority_that_came_as_a_status_first(old: Ca) -> None:
    """Once the issuer is known, it is one of an issuer's own: no importer ends it (ISSUED_HERE)."""
    key = generate_key("p256")
    below = make_root(name="Below", key=key, now=START)
    ends = {"seconds": int(below.not_valid_after_utc.timestamp())}
    bare = entry(format(below.serial_number, "040x"), revoked(BEFORE, COMPROMISE), not_after_time=ends)
    given: dict[str, Any] = {
        "issuer": "below",
        "certificates_der": [below.public_bytes(Encoding.DER)],
        "key_reference": "",
    }
    alive = entry(bare.serial_number, not_after_time=ends)
    send(old, whole([alive, entry(0x1000)], **given))
    assert [code for _, code, _ in told(send(old, whole([bare], **given))).findings] == ["ISSUED_HERE"]
    assert statuses(old, 0x1000, name="below") == ["good"]


def below_with(there: bytes, instead: bytes) -> bytes:
    """A certificate of a CA below the old one, with something else in the place of some octets, and signed."""
    key = generate_key("p256")
    while public_key_of(key)[-1] % 2:
        key = generate_key("p256")
    below = make_issuing(root=ROOT, root_key=KEY, name="Padded", key=key, now=START).public_bytes(Encoding.DER)
    signed, algorithm = parts.signed_parts(below)
    signed = parts.header(0x30, len(signed)) + signed.replace(there, instead)
    assert isinstance(KEY, ec.EllipticCurvePrivateKey)
    signature = KEY.sign(signed, ec.ECDSA(hashes.SHA256()))
    content = signed + algorithm + parts.header(0x03, len(signature) + 1) + b"\0" + signature
    return parts.header(0x30, len(content)) + content


def test_a_key_in_another_spelling(old: Ca) -> None:
    """A public key with unused bits has no hash that a CertID could name: it would stop every look-up (R27)."""
    send(old, whole([entry(0x1000)]))
    der = below_with(b"\x03\x42\x00\x04", b"\x03\x42\x01\x04")
    x509.load_der_x509_certificate(der).verify_directly_issued_by(ROOT)
    for actor in (IMPORTER, ADMIN):
        with pytest.raises(InvalidArgument) as refused:
            send(old, whole([], issuer="padded", certificates_der=[der], key_reference=""), actor=actor)
        assert refused.value.reason == "KEY_WEAK"
    assert statuses(old, 0x1000) == ["good"]


def test_a_key_that_is_none(old: Ca) -> None:
    """A point that is on no curve verifies nothing, and would fail wherever it is first used."""
    send(old, whole([entry(0x1000)]))
    der = below_with(b"\x03\x42\x00\x04", b"\x03\x42\x00\x05")
    with pytest.raises(InvalidArgument) as refused:
        send(old, whole([], issuer="none", certificates_der=[der], key_reference=""))
    assert refused.value.reason == "ISSUER_CERTIFICATE_INVALID"


def one_more(ca: Ca, name: str, actor: Any = IMPORTER, **given: Any) -> None:
    """Import an issuer of that name."""
    root = make_root(name=name, key=generate_key("p256"), now=LONG_AGO)
    der = [root.public_bytes(Encoding.DER)]
    send(ca, whole([], issuer=name, key_reference="", **{"certificates_der": der} | given), actor=actor)


def fill(ca: Ca, names: list[str], actor: Any) -> str:
    """Import one after the other; why one is refused."""
    for name in names:
        try:
            one_more(ca, name, actor)
        except ResourceExhausted as full:
            return full.reason
    return ""


def test_room_for_issuers(old: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them fit into one message, whoever brings them in, and half of the room is the admin's."""
    monkeypatch.setattr(admission, "MAX_SIZE", 16 * admission.OVERHEAD)
    names = [f"ca{number}" for number in range(12)]
    assert fill(old, names, IMPORTER) == "TOO_MANY_ISSUERS"
    brought_in = {each.name for each in old.authority.issuers()} & set(names)
    assert 0 < len(brought_in) < 8
    one_more(old, "another", ADMIN)
    assert fill(old, [f"admin-{name}" for name in names], ADMIN) == "TOO_MANY_ISSUERS"


def test_long_certificates_of_authorities(old: Ca) -> None:
    """Those that are longer than any are refused."""
    key = generate_key("p256")
    root = make_root(name="Long", key=key, now=LONG_AGO)
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x04\x82\xff\xf0" + bytes(0xFFF0))
    builder = x509.CertificateBuilder(root.subject, root.subject, root.public_key(), 5, LONG_AGO, START + timedelta(9))
    for each in root.extensions:
        builder = builder.add_extension(each.value, critical=each.critical)
    long = builder.add_extension(padding, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(InvalidArgument) as refused:
        one_more(old, "long", certificates_der=[long])
    assert refused.value.reason == "ISSUER_CERTIFICATE_INVALID"


def test_long_subjects_of_authorities(old: Ca) -> None:
    """Those that no index holds are refused on every database, and whoever writes beside them notices nothing."""
    key = generate_key("p256")
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, f"{n:064}") for n in range(40)])
    root = make_root(name="Long", key=key, now=LONG_AGO)
    builder = x509.CertificateBuilder(name, name, root.public_key(), 5, LONG_AGO, START + timedelta(9))
    for each in root.extensions:
        builder = builder.add_extension(each.value, critical=each.critical)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(InvalidArgument) as refused:
        one_more(old, "long", certificates_der=[der])
    assert refused.value.reason == "ISSUER_CERTIFICATE_INVALID"


def test_imports_at_a_time(old: Ca) -> None:
    """One caller has a few, all together some more; those that have ended make room."""
    importing = old.authority.importing

    def nested(identities: list[str]) -> None:
        if identities:
            with importing.at_a_time.one(identities[0]):
                nested(identities[1:])

    nested(["a"] * imports.MAX_OF_ONE)
    everybody = [f"{number // imports.MAX_OF_ONE}" for number in range(imports.MAX_AT_A_TIME)]
    nested(everybody)
    for too_many in (["a"] * (imports.MAX_OF_ONE + 1), [*everybody, "b"]):
        with pytest.raises(ResourceExhausted) as refused:
            nested(too_many)
        assert refused.value.reason == "TOO_MANY_IMPORTS"
    nested(everybody)


def test_a_key_for_what_has_gone_offline_meanwhile(old: Ca) -> None:
    """The right to bring a key is looked at where it is recorded, not only when the import begins."""
    send(old, whole([entry(0x1000)], key_reference=""))
    command = ImportCommand(name=NAME, certificates_der=(ROOT.public_bytes(Encoding.DER),), key_ref="file:ca/old.key")
    with pytest.raises(PermissionDenied):
        old.authority.hierarchy.begin_import(command, IMPORTER).result(10)
    assert old.authority.directory.named(NAME).state is IssuerState.OFFLINE


def test_twice_behind_a_release_in_the_same_transaction(old: Ca) -> None:
    """What comes in twice is revoked once, and as the first says, also where a call before it released a hold."""
    send(old, whole([entry(0x1001, revoked(BEFORE, HOLD))]))
    gate = Gate()
    old.writer.submit(gate)
    assert gate.begun.wait(10)
    release: Future[Any] = old.authority.begin_revoke(
        RevokeCommand(target=BySerial(b"\x10\x01", NAME), reason=Reason.REMOVE_FROM_CRL), make_actor("revoker")
    )
    run = old.authority.importing.begin(imports.ImportHeader(issuer=NAME, validate_only=True), IMPORTER).result(10)
    chunk: Chunk = run.read(
        map(_certificate, [entry(0x1001, revoked(BEFORE, COMPROMISE)), entry(0x1001, revoked(BEFORE, HOLD))])
    )
    brought_in = old.writer.submit(chunk)
    gate.release.set()
    release.result(10)
    assert brought_in.result(10).counts.revoked == 1
    assert recorded(old, 0x1001).revocation.reason == Reason.KEY_COMPROMISE


def test_two_beginnings_at_once_harm_nobody(old: Ca) -> None:
    """The same CA under two names: one of them is refused, and whoever shares their transaction notices nothing."""
    gate = Gate()
    old.writer.submit(gate)
    assert gate.begun.wait(10)
    der = (ROOT.public_bytes(Encoding.DER),)
    beginnings = [
        old.authority.importing.begin(imports.ImportHeader(issuer=name, certificates_der=der), IMPORTER)
        for name in ("one", "other")
    ]
    neighbour = old.authority.begin_issue(IssueCommand(csr_der=make_csr()), make_actor("issuer"))
    gate.release.set()
    assert neighbour.result(10).certificate.der
    errors = [each.exception(10) for each in beginnings]
    assert [error is None for error in errors] == [True, False]
    assert isinstance(errors[1], DomainError)
    assert errors[1].reason == "ISSUER_EXISTS"


def test_keys_that_are_in_use_here(old: Ca) -> None:
    """Records of another CA block no key that is certified here, unless an admin brings them in (R103)."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, csr = make_actor("issuer"), make_csr(key=key)
    mine = old.issue(issuer, csr_der=csr).certificate
    claimed = [certificate_for(key, serial) for serial in (0x1000, 0x1001)]
    send(old, whole([with_certificate(claimed[0])]))
    rows = [with_certificate(each, revoked(BEFORE, COMPROMISE)) for each in claimed]
    found = [("1000", "KEY_IN_USE", False), ("1001", "KEY_IN_USE", False)]
    assert told(send(old, whole(rows))) == Told((2, 1, 0, 1, 0, 0), found)
    assert old.count("blocked_keys") == 0
    old.issue(issuer, csr_der=csr, issuer="issuing")
    send(old, whole([with_certificate(certificate_for(key, 0x1002), revoked(BEFORE, COMPROMISE))]), actor=ADMIN)
    assert old.count("blocked_keys") == 1
    with pytest.raises(InvalidArgument):
        old.issue(issuer, csr_der=csr, issuer="issuing")
    assert old.authority.get(BySerial(mine.serial)).revocation is None


def certificate_for(key: ec.EllipticCurvePrivateKey, serial: int) -> bytes:
    """A certificate of the old CA for somebody's key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leaf.example.com")])
    builder = x509.CertificateBuilder(ROOT.subject, name, key.public_key(), serial, LONG_AGO, START + timedelta(days=9))
    assert isinstance(KEY, ec.EllipticCurvePrivateKey)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def test_imports_that_are_given_up(old: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginning and giving up, again and again, ends: what is given up stays, and every listing has to pass it by."""
    monkeypatch.setattr(admission, "MAX_HIDDEN", 6)

    def begin(name: str, actor: Any = IMPORTER) -> None:
        root = make_root(name=name, key=generate_key("p256"), now=LONG_AGO)
        given = imports.ImportHeader(issuer=name, certificates_der=(root.public_bytes(Encoding.DER),))
        old.authority.importing.begin(given, actor).result(10)
        old.authority.importing.abandon(name, actor, validate_only=False).result(10)

    for _ in range(3):
        begin("again")
    with pytest.raises(ResourceExhausted) as refused:
        begin("again")
    assert refused.value.reason == "TOO_MANY_ISSUERS"
    begin("again", ADMIN)
    with old.db.read() as conn:
        assert {each.name for each in issuers._all_issuers(conn)} == {"root", "issuing"}
