"""A certificate authority with what makes its revocation lists, and what those say."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from cryptography import x509

from services.ca.crl_figures import CrlFigures
from services.ca.crl_schedule import COALESCE_SECONDS, CrlSchedule, CrlTimes
from services.db import crls, issuers
from services.db.engine import Database
from services.db.records import FULL, Actor, StatusRecord
from services.db.status import get_statuses
from services.pki.reasons import NAMES, Reason
from services.pki.serials import serial_from_int
from services.status.compromise import as_issuer_stands
from tests.ca.world import Ca

ISSUING = 2
PUBLIC_URL = "http://ocsp.example.com"


class Ticks:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lists(NamedTuple):
    """A certificate authority, and what makes its revocation lists."""

    ca: Ca
    schedule: CrlSchedule
    ticks: Ticks

    def step(self, seconds: float = 0.0) -> int:
        """Some time passes, then the schedule looks."""
        self.ticks.now += seconds
        self.ca.clock.advance(seconds=seconds)
        return self.schedule.step()

    def settle(self) -> int:
        """Long enough after the last change for lists to be made of it."""
        return self.step() + self.step(COALESCE_SECONDS + 1)

    def crl(self, scope: int = FULL) -> x509.CertificateRevocationList:
        """The newest list of a scope."""
        with self.ca.db.read() as conn:
            newest = crls.newest_list(conn, ISSUING, scope)
            assert newest is not None
            blocks = [crls.read_block(conn, newest, n) for n in range(newest.size // 2**20 + 1)]
        return x509.load_der_x509_crl(b"".join(block for block in blocks if block is not None))


def make_schedule(ca: Ca, ticks: Ticks, figures: CrlFigures | None = None) -> CrlSchedule:
    """A schedule of its own, as another process would have it."""
    authority = ca.authority
    times = CrlTimes(validity=timedelta(days=7), interval=timedelta(days=1))
    return CrlSchedule(
        ca.db, authority.directory, authority.crl_points, times, clock=ca.clock, figures=figures, ticks=ticks
    )


def number_of(crl: x509.CertificateRevocationList) -> int:
    """The CRL number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def entries_of(crl: x509.CertificateRevocationList) -> dict[bytes, tuple[str, object, object]]:
    """Reason, date and invalidity date by serial number."""
    found: dict[bytes, tuple[str, object, object]] = {}
    for entry in crl:
        said = {type(each.value): each.value for each in entry.extensions}
        reason, invalidity = said.get(x509.CRLReason), said.get(x509.InvalidityDate)
        name = reason.reason.value if isinstance(reason, x509.CRLReason) else NAMES[Reason.UNSPECIFIED]
        since = invalidity.invalidity_date_utc if isinstance(invalidity, x509.InvalidityDate) else None
        found[serial_from_int(entry.serial_number)] = (name, entry.revocation_date_utc, since)
    return found


def answers(db: Database, serials: list[bytes]) -> dict[bytes, tuple[str, object, object]]:
    """The same from what OCSP answers are made of."""
    with db.read() as conn:
        (issuer,) = (record for record in issuers.list_issuers(conn) if record.id == ISSUING)
        records = get_statuses(conn, ISSUING, serials).values()
    stands: list[StatusRecord] = [as_issuer_stands(record, issuer) for record in records]
    return {
        each.serial: (NAMES[Reason(each.revocation.reason)], each.revocation.revoked_at, each.revocation.invalidity_at)
        for each in stands
        if each.revocation is not None
    }


def issue(ca: Ca, actor: Actor, count: int = 1) -> list[bytes]:
    """Issue certificates; their serial numbers."""
    return [ca.issue(actor).certificate.serial for _ in range(count)]
