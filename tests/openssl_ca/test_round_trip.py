"""Leaving and coming back: what is exported and imported again is what was recorded, on both databases.

All that is between the two is the real thing: the services' own import and export, the folder that the command writes,
and the reader of the import command.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodstanding.ca.v1 import export_pb2, import_pb2
from goodstanding.types.v1 import types_pb2
from services.ca.export import Exporting
from services.ca.export_servicer import ExportServicer
from services.ca.writer import Writer
from services.cli.importing.index_source import IndexSource
from services.cli.importing.sending import Sending, header_of
from services.cli.index_writer import Exported, IndexWriter
from services.db.engine import Database
from services.openssl_ca.index import Revocation
from services.openssl_ca.oneline import subject_line
from services.pki.hierarchy import make_root
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from tests.ca.importing import END, Request, at, chunk, send
from tests.ca.world import START, Ca, call_as, make_actor, make_ca, make_hierarchy
from tests.conftest import BACKENDS, PostgresServer
from tests.openssl_ca.test_writing import moments, revocations

BEGIN = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
KEY = generate_key("p256")
HIERARCHY = make_hierarchy()
NUMBERS = count(1)


class Recorded(NamedTuple):
    """A certificate as it is to be recorded."""

    serial: int
    subject: x509.Name | str
    """A name: with its certificate. A text: only its status."""
    not_after: datetime
    revocation: Revocation | None


Places = tuple[Ca, Ca]


@pytest.fixture(scope="module", params=BACKENDS)
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Two installations: one to leave, one to come back to. Each example has an issuer of its own in both."""
    with ExitStack() as stack:
        found = []
        for _ in range(2):
            db = Database.open(_fresh(request, tmp_path_factory, stack))
            stack.callback(db.close)
            writer = stack.enter_context(Writer(db))
            found.append(make_ca(db, writer, HIERARCHY))
        yield found[0], found[1]


def _fresh(request: pytest.FixtureRequest, folders: pytest.TempPathFactory, stack: ExitStack) -> str:
    if request.param == "sqlite":
        path = folders.mktemp("place") / "goodstanding.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create(template=request.getfixturevalue("migrated_postgres"))
    stack.callback(server.drop, name)
    return server.url(name)


def _attributes() -> st.SearchStrategy[x509.NameAttribute[Any]]:
    texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
    oids = [NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.USER_ID, x509.ObjectIdentifier("1.2.3.4")]
    kind = x509.name._ASN1Type.UTF8String
    return st.builds(lambda oid, text: x509.NameAttribute(oid, text, _type=kind), st.sampled_from(oids), texts)


relative = st.lists(_attributes(), min_size=1, max_size=2, unique_by=lambda each: each.oid)
names = st.lists(relative.map(x509.RelativeDistinguishedName), max_size=3).map(x509.Name)
lines = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
serials = st.integers(1, 2**159 - 1) | st.integers(1, 2**16)
recorded = st.builds(Recorded, serials, names | lines, moments(2002, 2300), st.none() | revocations())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(recorded, min_size=1, max_size=8, unique_by=lambda each: each.serial))
def test_round_trip(places: Places, tmp_path: Path, wanted: list[Recorded]) -> None:
    """Issuer, serial numbers, validity, statuses, times, reasons and subjects come back as they left."""
    here, there = places
    number = next(NUMBERS)
    name, root = f"ca{number}", make_root(name=f"CA {number}", key=KEY, now=BEGIN)
    ca_der = root.public_bytes(Encoding.DER)
    header = Request(header=import_pb2.ImportHeader(issuer=name, certificates_der=[ca_der], crl_number="0f"))
    _import(here, [header, chunk(*(_sent(each, root) for each in wanted)), END])
    first = _export(here, name)
    assert {int(each.serial_number, 16): _told(each) for each in _rows(first) if each.certificate_der != ca_der} == {
        each.serial: _expected(each) for each in wanted
    }

    folder = tmp_path / name
    folder.mkdir()
    with IndexWriter(folder, START, Exported()) as rows:
        rows.take(iter(first[1:]), lambda: None)
    source = IndexSource(folder / "index.txt", folder / "newcerts", root, None)
    again = header_of(name, ca_der, key_reference="", crl_number=0x0F, source="", validate_only=False)
    _import(there, list(Sending(again, source.records()).messages()))
    second = _export(there, name)

    assert (second[0].head.issuer.name, second[0].head.crl_number) == (name, "f")
    assert second[0].head.issuer.certificates_der == first[0].head.issuer.certificates_der
    assert _by_serial(second) == _by_serial(first)


def _sent(each: Recorded, root: x509.Certificate) -> import_pb2.ImportedCertificate:
    sent = import_pb2.ImportedCertificate()
    if isinstance(each.subject, str):
        sent.serial_number, sent.subject = f"{each.serial:x}", each.subject
        sent.serial_number = sent.serial_number.zfill(len(sent.serial_number) + len(sent.serial_number) % 2)
        sent.not_after_time.CopyFrom(at(each.not_after))
    else:
        sent.certificate_der = _certificate(each, each.subject, root)
    if each.revocation is not None:
        time, reason, instruction, invalidity = each.revocation
        sent.revocation.revocation_time.CopyFrom(at(time))
        sent.revocation.reason = types_pb2.RevocationReason.ValueType(reason or 0)
        sent.revocation.hold_instruction = instruction or ""
        if invalidity is not None:
            sent.revocation.invalidity_time.CopyFrom(at(invalidity))
    return sent


def _certificate(each: Recorded, subject: x509.Name, root: x509.Certificate) -> bytes:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(root.subject).serial_number(each.serial)
    valid = builder.not_valid_before(BEGIN + timedelta(days=1)).not_valid_after(each.not_after)
    signed = valid.public_key(root.public_key()).sign(KEY, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def _import(place: Ca, requests: list[Request]) -> None:
    response = send(place, requests)
    assert response.counts.refused_count == 0, response.findings


def _export(place: Ca, name: str) -> list[export_pb2.ExportCertificatesResponse]:
    place.authority.directory.forget()
    exporting = Exporting(place.db, place.authority.directory, place.clock)

    async def call() -> list[export_pb2.ExportCertificatesResponse]:
        context: Any = None
        with ThreadPoolExecutor(1) as readers:
            servicer = ExportServicer(exporting, readers=readers)
            call_as(make_actor("reader"))
            answers = servicer.ExportCertificates(export_pb2.ExportCertificatesRequest(issuer=name), context)
            return [each async for each in answers]

    return asyncio.run(call())


def _rows(answers: list[export_pb2.ExportCertificatesResponse]) -> Iterator[export_pb2.ExportedCertificate]:
    for each in answers:
        yield from each.certificates.certificates


def _by_serial(answers: list[export_pb2.ExportCertificatesResponse]) -> dict[str, export_pb2.ExportedCertificate]:
    return {each.serial_number: each for each in _rows(answers)}


def _told(each: export_pb2.ExportedCertificate) -> tuple[str, datetime, Revocation | None]:
    """Subject as index.txt has it, expiry and revocation."""
    subject = subject_line(each.certificate_der) if each.certificate_der else each.subject
    return subject, each.not_after_time.ToDatetime(UTC), _revocation(each) if each.HasField("revocation") else None


def _revocation(each: export_pb2.ExportedCertificate) -> Revocation:
    told = each.revocation
    invalidity = told.invalidity_time.ToDatetime(UTC) if told.HasField("invalidity_time") else None
    reason = Reason(told.reason) if told.reason else None
    return Revocation(told.revocation_time.ToDatetime(UTC), reason, told.hold_instruction or None, invalidity)


def _expected(each: Recorded) -> tuple[str, datetime, Revocation | None]:
    subject = each.subject
    if not isinstance(subject, str):
        subject = subject_line(_certificate(each, subject, _anybody()))
    revocation = each.revocation
    if revocation is not None and revocation.reason is Reason.UNSPECIFIED:
        revocation = revocation._replace(reason=None)
    return subject, each.not_after, revocation


def _anybody() -> x509.Certificate:
    return HIERARCHY.root
