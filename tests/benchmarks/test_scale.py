"""A database that a generator filled is one that the services work with."""

from __future__ import annotations

from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks import report, scale_report
from benchmarks.issuing import request
from benchmarks.scale_load import load
from benchmarks.scale_rows import Population, Template, name_of
from benchmarks.scale_worlds import prepare
from services.ca.find import ListQuery
from services.ca.writer import Writer
from services.clock import from_epoch, to_epoch
from services.db import audit, certificates, position, schema, status
from services.db.chain import ChainVerifier, line
from services.db.counts import count_certificates
from services.db.engine import Database
from services.db.records import CertificateState
from services.pki.certificates import Issuer
from services.pki.serials import serial_from_int
from services.status.lookup import BySerial, StatusReader
from tests.ca.world import START, ManualClock, make_actor, make_ca, make_csr, make_hierarchy

COUNT = 2_000
REVOKED = 49


def test_services_work_on_what_was_loaded(database_url: str) -> None:
    """Look-ups, pages, issuing, revoking, the schema: as if all of it had been issued."""
    database = Database.open(database_url)
    with Writer(database) as writer:
        ca = make_ca(database, writer, make_hierarchy())
        population, trail = prepare(database, ca.authority, COUNT)
    database.close()
    load(database_url, population, trail)

    database = Database.open(database_url)
    schema.check_current(database)
    clock = ManualClock()
    reader = StatusReader(database, clock)
    with database.read() as conn:
        assert position.read_position(conn).revision == population.revision
        changes = status.changes_between(conn, population.last_revision, population.revision, COUNT)
    assert len(changes.records) == population.revoked == COUNT // REVOKED

    with database.read() as conn:
        verifier = ChainVerifier([audit.read_head(conn)])
        entries = audit.read_entries(conn, after=0, limit=2 * COUNT)
        counted = count_certificates(conn, START)
    assert [flaw for entry in entries for flaw in verifier.take(line(entry))] + verifier.end() == []
    assert sum(entry.event.method == "IssueCertificate" for entry in entries) >= COUNT
    assert sum(each.valid + each.revoked + each.expired for each in counted) == population.last_id + COUNT
    assert sum(each.revoked for each in counted) == population.revoked

    for number in (1, REVOKED, COUNT):
        (finding,) = reader.get(BySerial("issuing", population.serial(number), "x")).findings
        assert finding.record is not None
        assert (finding.record.revocation is not None) == population.is_revoked(number)
        assert finding.record.not_after == from_epoch(population.not_after(number))
        with database.read() as conn:
            (found,) = certificates.find_by_serial(conn, population.serial(number))
        assert found.der is not None
        certificate = x509.load_der_x509_certificate(found.der)
        assert serial_from_int(certificate.serial_number) == found.serial
        assert certificate.subject.rfc4514_string() == found.subject == f"CN={population.name(number)}"
    (unknown,) = reader.get(BySerial("issuing", population.serial(COUNT + 1), "x")).findings
    assert unknown.record is None

    with Writer(database) as writer:
        ca = make_ca(database, writer, ca.hierarchy, clock, register=False)
        listed = [
            ca.authority.list(ListQuery(page_size=COUNT, **query))
            for query in (
                {"state": CertificateState.REVOKED},
                {"name": population.name(7).upper()},
                {"profile": "client"},
                {"not_after_from": START},
            )
        ]
        revoked, named, clients, current = (
            [row.id - population.last_id for row in page.certificates] for page in listed
        )
        assert revoked == list(range(COUNT - COUNT % REVOKED, 0, -REVOKED))
        assert named == [7]
        assert clients == list(range(COUNT - 7, 0, -10))
        assert len(current) > COUNT // 5

        new = ca.issue(make_actor("issuer"), csr_der=make_csr("new.example.com")).certificate
        assert new.id == population.last_id + COUNT + 1
        (finding,) = reader.get(BySerial(None, new.serial, "x")).findings
        assert finding.record is not None
        assert finding.record.revision == population.revision + 1
        ca.revoke(make_actor("revoker"), population.serial(1))
        (finding,) = reader.get(BySerial(None, population.serial(1), "x")).findings
        assert finding.record is not None
        assert finding.record.revocation is not None
    database.close()


def test_rows_by_key_are_those_of_issuing() -> None:
    """Serial numbers and names are all different, and come in their order, in two sweeps."""
    population = Population(COUNT, 1, _templates(), 2, 10, to_epoch(START))
    statuses, names = list(population.statuses()), list(population.names())
    assert sorted(row[2] for row in statuses) == sorted(row[1] for row in names) == list(range(3, COUNT + 3))
    for keys in ([row[1].hex() for row in statuses], [row[0] for row in names]):
        assert len(set(keys)) == COUNT
        assert sum(before > after for before, after in pairwise(keys)) == 1


def test_serial_numbers_are_spread_at_any_size() -> None:
    """16 octets, the first of them not zero, anything from the least to the greatest."""
    for count in (1, 100, 10_000_000):
        population = Population(count, 1, _templates(), 2, 10, to_epoch(START))
        serials = [population.serial(number) for number in range(1, min(count, COUNT) + 1)]
        assert all(len(serial) == 16 and serial[0] for serial in serials)
        if len(serials) > 1:
            assert min(serials)[0] < 4
            assert max(serials)[0] > 0xFB


def _templates() -> tuple[Template, Template]:
    hierarchy = make_hierarchy()
    issuer = Issuer(hierarchy.issuing, hierarchy.issuing_key)
    found: dict[bool, Template] = {}
    csr = x509.load_der_x509_csr(request(name_of(0)))
    for serial in (0x7F << 120, 0xFF << 120):
        builder = x509.CertificateBuilder(
            issuer.certificate.subject, csr.subject, csr.public_key(), serial, START, START
        )
        builder = builder.add_extension(next(iter(csr.extensions)).value, critical=False)
        der = builder.sign(hierarchy.issuing_key, hashes.SHA256())
        template = Template(der.public_bytes(Encoding.DER), name_of(0))
        found[template.high] = template
    return found[False], found[True]


def test_a_template_is_for_one_name() -> None:
    """Of another certificate nothing can be varied."""
    with pytest.raises(ValueError, match="that name once"):
        Template(make_hierarchy().issuing.public_bytes(Encoding.DER), name_of(0))


def test_the_report_compares_two_sizes() -> None:
    """One line a task, with the median of the rounds' ratios, also when it was read from a file."""
    rows = [
        *scale_report.pair("a", "look-up, one", 10_000, 10_000_000),
        *scale_report.pair("b", "list", 10_000, 10_000_000),
    ]
    for row, values in zip(rows, ([1.0, 2.0], [1.1, 2.2], [1.0, 1.0], [1.3, 1.3]), strict=True):
        for value in values:
            row.add(value)
    lines = scale_report.lines(report.rows_of(report.document("", [], rows)))
    assert lines[0][1:3] == (
        "10\N{NO-BREAK SPACE}000 certificates",
        "10\N{NO-BREAK SPACE}000\N{NO-BREAK SPACE}000 certificates",
    )
    assert [line[0] for line in lines[1:]] == ["look-up, one", "list"]
    assert [line[3:] for line in lines[1:]] == [("1.10 (1.10 – 1.10)", "met"), ("1.30 (1.30 – 1.30)", "**missed**")]
