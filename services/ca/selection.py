"""Which certificates a bulk revocation is about, found in steps: those of a list, with a key, or that fit a filter.

A step holds no transaction open: between two of them others write. So it says what was meant when it was found, and
whoever acts on it reads the status again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import Protocol

from cryptography import x509

from services.ca.bootstrap import CA_PROFILE
from services.ca.issuers import IssuerDirectory
from services.ca.target import BySerial, Target
from services.clock import Clock, to_epoch
from services.db import selection
from services.db.engine import Connection, Database
from services.db.records import (
    CertificateCursor,
    CertificateRecord,
    CertificateSelection,
    CertificateState,
    IssuerRecord,
)
from services.errors import DomainError, FailedPrecondition, InvalidArgument
from services.pki.der import is_ca
from services.pki.profiles import OCSP_RESPONDER
from services.pki.serials import serial_from_int

STEP = 100
"""Certificates: so many changes share a transaction, for about ten milliseconds."""

_ONLY_BY_NAME = (CA_PROFILE, OCSP_RESPONDER)
"""Profiles that a filter has to name. Nobody asks about responder certificates, which carry nocheck (R66)."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A certificate that is meant, or why there is none. `reason` is its own; None: that of the call."""

    index: int
    record: CertificateRecord | None = None
    refused: DomainError | None = None
    """Why nothing is done, whatever its status is."""
    reason: int | None = None
    is_ca: bool = False
    """Whether it is the certificate of a CA, one of an issuer here or another one."""


class Selection(Protocol):
    """Which certificates are meant."""

    def steps(self, db: Database, issuers: IssuerDirectory, clock: Clock) -> Iterator[list[Selected]]:
        """Find them, at most `STEP` at a time; none after a long look without result.

        Raises DomainError for what no certificate can fit.
        """


@dataclass(frozen=True, slots=True)
class ListedTarget:
    """One entry of a list: a certificate, or what is wrong with how it is named."""

    target: Target | DomainError
    reason: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """Certificates that are named one by one."""

    targets: Sequence[ListedTarget]

    def steps(self, db: Database, issuers: IssuerDirectory, clock: Clock) -> Iterator[list[Selected]]:  # noqa: ARG002
        """As `Selection.steps`."""
        for start in range(0, len(self.targets), STEP):
            step = self.targets[start : start + STEP]
            with db.read() as conn:
                serials = [each.target.serial for each in step if isinstance(each.target, BySerial)]
                found = selection.find_by_serials(conn, serials) if serials else {}
                selected = [_find(conn, issuers, found, listed, index) for index, listed in enumerate(step, start)]
                selected = _marked(conn, selected)
            yield selected


def _find(
    conn: Connection,
    issuers: IssuerDirectory,
    found: dict[bytes, list[CertificateRecord]],
    listed: ListedTarget,
    index: int,
) -> Selected:
    try:
        match listed.target:
            case DomainError() as error:
                raise error
            case BySerial() as by_serial:
                record = by_serial.find_among(found.get(by_serial.serial, ()), issuers)
            case by_certificate:
                record = by_certificate.find(conn, issuers)
    except DomainError as error:
        return Selected(index, refused=error, reason=listed.reason)
    return Selected(index, record, reason=listed.reason)


def _marked(conn: Connection, selected: list[Selected]) -> list[Selected]:
    """With those of CAs marked: other rules hold for them (R48), whatever profile they came from."""
    ids = {each.record.id for each in selected if each.record}
    found = {id_ for id_, der in selection.read_ders(conn, ids) if is_ca(der)} if ids else set()
    if not found:
        return selected
    return [replace(each, is_ca=True) if each.record and each.record.id in found else each for each in selected]


@dataclass(frozen=True, slots=True)
class ByKey:
    """All with a public key, CA certificates among them. `sha256` is that of its SubjectPublicKeyInfo."""

    sha256: bytes

    def steps(self, db: Database, issuers: IssuerDirectory, clock: Clock) -> Iterator[list[Selected]]:  # noqa: ARG002
        """As `Selection.steps`."""
        return _pages(db, CertificateSelection(last_id=0, public_key_sha256=self.sha256), clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByFilter:
    """All that fit whatever is given. CA and responder certificates only where `profile` is theirs.

    Others of CAs are refused, so that whoever asks hears of them; those of the issuers here are left out, and those of
    responders, whose revocation nobody would hear of.
    """

    issuer: str = ""
    profile: str = ""
    name: str = ""
    identity: str = ""
    """Of who asked for it."""
    state: CertificateState | None = None
    """When its turn comes."""
    issued_from: datetime | None = None
    issued_until: datetime | None = None
    not_after_from: datetime | None = None
    not_after_until: datetime | None = None

    def steps(self, db: Database, issuers: IssuerDirectory, clock: Clock) -> Iterator[list[Selected]]:
        """As `Selection.steps`. Raises InvalidArgument FILTER_MISSING; NotFound ISSUER_UNKNOWN."""
        if self == ByFilter():
            raise InvalidArgument("FILTER_MISSING", "an empty filter means every certificate; name one", field="filter")
        wanted = CertificateSelection(
            last_id=0,
            issuer_id=issuers.named(self.issuer, "filter.issuer").id if self.issuer else None,
            profile=self.profile or None,
            not_profiles=() if self.profile else _ONLY_BY_NAME,
            name=self.name or None,
            actor_identity=self.identity or None,
            state=self.state,
            issued_from=self.issued_from,
            issued_until=self.issued_until,
            not_after_from=self.not_after_from,
            not_after_until=self.not_after_until,
        )
        # "Everything of this root" is no way to say "and the issuers below it".
        if self.profile:
            return _pages(db, wanted, clock)
        own = _own_certificates(issuers.all())
        return ([_without_cas(each) for each in page] for page in _pages(db, wanted, clock, own))


def _without_cas(selected: Selected) -> Selected:
    if not selected.is_ca or selected.record is None:
        return selected
    profile = selected.record.profile
    text = f"a filter means the certificate of a CA only where it names its profile, which is {profile}"
    return replace(selected, refused=FailedPrecondition("PROFILE_REQUIRED", text, field="filter.profile"))


def _own_certificates(records: Sequence[IssuerRecord]) -> frozenset[tuple[int, bytes]]:
    """The issuers' own certificates: who issued each, and its serial number, which others may have given out, too."""
    holders = {der: record.id for record in records for der in record.certificates_der}
    return frozenset(
        (holders[record.chain_der[0]] if record.chain_der else record.id, _serial(der))
        for record in records
        for der in record.certificates_der
        if not record.chain_der or record.chain_der[0] in holders
    )


def own_serials(records: Iterable[IssuerRecord]) -> frozenset[bytes]:
    """The serial numbers of the issuers' own certificates."""
    return frozenset(_serial(der) for record in records for der in record.certificates_der)


@lru_cache(maxsize=4096)
def _serial(der: bytes) -> bytes:
    return serial_from_int(x509.load_der_x509_certificate(der).serial_number)


def _pages(
    db: Database, wanted: CertificateSelection, clock: Clock, without: frozenset[tuple[int, bytes]] = frozenset()
) -> Iterator[list[Selected]]:
    # Up to the last one of now: a caller who issues and issues would otherwise keep the call going.
    with db.read() as conn:
        wanted = replace(wanted, last_id=selection.highest_id(conn))
    after: CertificateCursor | None = None
    numbers = count()
    while True:
        with db.read() as conn:
            page, after = selection.select_certificates(conn, wanted, now=to_epoch(clock()), limit=STEP, after=after)
            meant = [record for record in page if (record.issuer_id, record.serial) not in without]
            step = _marked(conn, [Selected(next(numbers), record) for record in meant])
        if step or (not page and after is not None):
            yield step
        if after is None:
            return
