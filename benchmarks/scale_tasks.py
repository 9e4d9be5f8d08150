"""What is measured of a database's size: each task is done on all of them in turn, and notes the p50 of its calls.

Look-ups and list pages are those of the use cases, in this process, so that nothing beside the database hides what its
size costs; look-ups are made through gRPC too. Issuing is through the ca service, durable.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median

import grpc

from benchmarks.issuing import CALLERS, credentials, issue_all, request
from benchmarks.processes import System
from benchmarks.scale_rows import name_of
from benchmarks.scale_worlds import World
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.ca.find import Finding, ListQuery
from services.ca.issuers import IssuerDirectory
from services.ca.keystore import HeldKeys
from services.clock import from_epoch, utc_now
from services.db.engine import Database
from services.db.records import CertificateCursor, CertificateState
from services.pki.der import public_key_der, subject_der
from services.pki.keys import issuer_hashes
from services.status.lookup import ByCertID, StatusReader

PAGE = 100
BATCH = 32
"""What the gateway asks for at once under load."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Task:
    """So many calls a round. `key` and `what` are for the report."""

    key: str
    what: str
    calls: int
    call: Call | None = None
    """Timed here, unless there is `times`."""
    times: Callable[[int], list[float]] | None = None
    """Makes so many calls, and tells the seconds of each."""

    def p50(self, share: float = 1.0) -> float:
        """The median of its calls, in ms."""
        count = max(1, int(self.calls * share))
        return 1e3 * median(self.times(count) if self.times else list(self._timed(count)))

    def _timed(self, count: int) -> Iterator[float]:
        assert self.call is not None
        for _ in range(count):
            begun = time.perf_counter()
            self.call()
            yield time.perf_counter() - begun


@dataclass
class Asker:
    """Asks one world. `close` ends its connections."""

    world: World
    system: System
    random: random.Random = field(default_factory=lambda: random.Random(1))
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        db = Database.open(self.world.url, read_only=True)
        self.stack.callback(db.close)
        self._reader = StatusReader(db, utc_now)
        self._finding = Finding(db, IssuerDirectory(db, HeldKeys({}), "http://ocsp.example.com"), utc_now)
        channel = self.stack.enter_context(grpc.secure_channel(self.system.status, credentials(self.system)))
        self._stub = status_pb2_grpc.CertificateStatusServiceStub(channel)
        issuer = self.world.issuer
        self._hashes = issuer_hashes(subject_der(issuer), public_key_der(issuer), "sha1")

    def tasks(self) -> list[Task]:
        """All of them, in the order of the report."""
        return [
            Task("lookup_1", "look-up of one", 1_000, lambda: self._reader.get(self._reference())),
            Task("lookup_32", f"look-up of {BATCH}", 200, lambda: self._reader.batch(self._references(BATCH))),
            Task("lookup_grpc_1", "look-up of one over gRPC", 500, self._ask_one),
            Task("lookup_grpc_32", f"look-up of {BATCH} over gRPC", 100, self._ask_many),
            Task("issue_1", "issuing, 1 caller", 100, times=lambda count: self._issue(count, 1)),
            Task("issue_32", f"issuing, {CALLERS} callers", 320, times=lambda count: self._issue(count, CALLERS)),
            *(Task(f"list_{key}", f"list, {what}", 20, self._lister(make)) for key, what, make in self._lists()),
        ]

    def close(self) -> None:
        """Close the connections."""
        self.stack.close()

    def _serial(self) -> bytes:
        population = self.world.population
        return population.serial(self.random.randint(1, population.count))

    def _reference(self) -> ByCertID:
        return ByCertID("sha1", *self._hashes, self._serial())

    def _references(self, count: int) -> list[ByCertID]:
        return [self._reference() for _ in range(count)]

    def _message(self) -> status_pb2.CertificateReference:
        algorithm, name, key, serial = self._reference()
        cert_id = status_pb2.CertID(
            hash_algorithm=algorithm, issuer_name_hash=name, issuer_key_hash=key, serial_number=serial.hex()
        )
        return status_pb2.CertificateReference(cert_id=cert_id)

    def _ask_one(self) -> None:
        self._stub.GetCertificateStatus(status_pb2.GetCertificateStatusRequest(certificate=self._message()), timeout=30)

    def _ask_many(self) -> None:
        wanted = status_pb2.BatchGetCertificateStatusRequest(certificates=[self._message() for _ in range(BATCH)])
        self._stub.BatchGetCertificateStatus(wanted, timeout=30)

    def _issue(self, count: int, callers: int) -> list[float]:
        csrs = [request(name_of(self.random.getrandbits(32))) for _ in range(count)]
        return issue_all(self.system, csrs, callers).latencies

    def _lister(self, make: Callable[[], ListQuery]) -> Call:
        return lambda: self._finding.list(make())

    def _lists(self) -> list[tuple[str, str, Callable[[], ListQuery]]]:
        population = self.world.population
        number = population.count // 2
        middle = CertificateCursor(from_epoch(population.issued_at(number)), population.last_id + number)
        now = from_epoch(population.now)
        soon, later = now + timedelta(days=7), now + timedelta(days=37)
        return [
            ("first", "first page", lambda: ListQuery(page_size=PAGE)),
            ("middle", "page in the middle", lambda: ListQuery(page_size=PAGE, after=middle)),
            ("issuer", "of an issuer", lambda: ListQuery(page_size=PAGE, issuer="issuing")),
            ("valid", "valid", lambda: ListQuery(page_size=PAGE, state=CertificateState.VALID)),
            ("revoked", "revoked", lambda: ListQuery(page_size=PAGE, state=CertificateState.REVOKED)),
            ("expired", "expired", lambda: ListQuery(page_size=PAGE, state=CertificateState.EXPIRED)),
            ("name", "by name", lambda: ListQuery(page_size=PAGE, name=population.name(self._number()))),
            ("client", "of a profile (one in ten)", lambda: ListQuery(page_size=PAGE, profile="client")),
            ("ca", "of a profile (two of all)", lambda: ListQuery(page_size=PAGE, profile="ca")),
            (
                "expiring",
                "expiring in a week",
                lambda: ListQuery(page_size=PAGE, not_after_from=now, not_after_until=soon),
            ),
            ("later", "expiring after a month", lambda: ListQuery(page_size=PAGE, not_after_from=later)),
        ]

    def _number(self) -> int:
        return self.random.randint(1, self.world.population.count)
