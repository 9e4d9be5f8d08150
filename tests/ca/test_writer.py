"""Group commit: what shares a transaction, and what happens to the others when one work or the commit fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest
from cryptography import x509

from services.ca.batch import Batch, Plan, Work
from services.ca.issue import MAX_QUICK, IssueCommand
from services.ca.writer import Job, Writer
from services.db.engine import Connection, Database
from services.db.records import IdempotencyKey
from services.errors import AlreadyExists, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from services.pki.crls import make_crl
from services.pki.hierarchy import make_issuing, make_root
from services.pki.issuers import Issuer
from services.pki.keys import KeyKind, generate_key
from tests.ca.world import START, Ca, Hierarchy, make_actor, make_ca, make_csr


@dataclass
class FakeWork:
    """A work that runs a function as its decision."""

    decision: Callable[[Batch], object]
    key: IdempotencyKey | None = None
    serialise: bool = False
    provisional: bool = False

    def decide(self, batch: Batch) -> Plan[object]:
        """Run it."""
        found = self.decision(batch)
        return Plan(lambda: found)


class Gate(FakeWork):
    """A work that holds its transaction until it is let go, so that others queue behind it."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()
        super().__init__(self._wait)

    def _wait(self, batch: Batch) -> None:
        self.begun.set()
        assert self.release.wait(10)


class FlakyDatabase:
    """The real database, with commits that fail on demand."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.errors: list[Exception] = []
        self.transactions = 0
        self.provisional: list[bool] = []

    @contextmanager
    def write(self, *, provisional: bool = False) -> Iterator[Connection]:
        """One transaction."""
        self.transactions += 1
        self.provisional.append(provisional)
        with self.db.write(provisional=provisional) as conn:
            yield conn
            if self.errors:
                raise self.errors.pop(0)


def refuse(batch: Batch) -> object:
    """Refuse."""
    raise FailedPrecondition("NOT_ON_HOLD", "no")


def crash(batch: Batch) -> object:
    """Fail as a bug would."""
    raise ZeroDivisionError


class Panic(BaseException):
    """What a library written in Rust raises when it panics: not an Exception."""


def panic(batch: Batch) -> object:
    """Fail as a bug in a library would."""
    raise Panic


def run_behind_gate(writer: Writer, *works: Work[object]) -> list[object]:
    """Queue works while a transaction is running, so that they share the next; return results or errors."""
    gate = Gate()
    first = writer.submit(gate)
    assert gate.begun.wait(10)
    futures = [writer.submit(work) for work in works]
    gate.release.set()
    first.result(10)
    return [future.exception(10) or future.result() for future in futures]


def test_works_that_queue_share_a_transaction(database: Database) -> None:
    """Whatever queued while a transaction was running is in one transaction after it."""
    with Writer(database) as writer:
        batches = run_behind_gate(writer, *(FakeWork(lambda batch: batch) for _ in range(10)))
    assert len({id(batch) for batch in batches}) == 1


def test_a_batch_has_an_upper_size(database: Database) -> None:
    """More works than fit make more transactions."""
    with Writer(database, max_batch=4) as writer:
        batches = run_behind_gate(writer, *(FakeWork(lambda batch: batch) for _ in range(10)))
    assert len({id(batch) for batch in batches}) == 3


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        pytest.param(refuse, FailedPrecondition, id="refusal"),
        pytest.param(crash, ZeroDivisionError, id="bug"),
        pytest.param(panic, RuntimeError, id="panic"),
    ],
)
def test_a_failing_work_harms_nobody(
    database: Database, failing: Callable[[Batch], object], error: type[Exception]
) -> None:
    """Its neighbours succeed; it alone gets its error."""
    with Writer(database) as writer:
        before, failed, after = run_behind_gate(
            writer, FakeWork(lambda _: "one"), FakeWork(failing), FakeWork(lambda _: "two")
        )
    assert (before, after) == ("one", "two")
    assert isinstance(failed, error)


class RefusedInWriting:
    """A work that nothing speaks against until its rows are written."""

    key = None
    serialise = False

    def decide(self, batch: Batch) -> Plan[object]:
        """Go on."""
        return Plan(lambda: "written", others=self)

    def write(self, conn: Connection) -> None:
        """Refuse."""
        raise AlreadyExists("ISSUER_EXISTS", "it is there")


def test_what_is_refused_in_writing_harms_nobody(database: Database) -> None:
    """The others are written without it."""
    with Writer(database) as writer:
        works = FakeWork(lambda _: "one"), RefusedInWriting(), FakeWork(lambda _: "two")
        before, refused, after = run_behind_gate(writer, *works)
    assert (before, after) == ("one", "two")
    assert isinstance(refused, AlreadyExists)


def test_a_row_that_cannot_be_written_harms_nobody(ca: Ca) -> None:
    """A work whose write breaks a constraint fails alone, after its neighbours were written one by one."""
    issuer = make_actor("issuer")
    one = ca.issue(issuer)
    used, fresh = one.certificate.serial, b"\x01" * 16
    authority = ca.authority
    gate = Gate()
    ca.writer.submit(gate)
    assert gate.begun.wait(10)
    authority._issuing._signing._serials = iter([used, fresh]).__next__
    futures = [authority.begin_issue(IssueCommand(csr_der=make_csr()), issuer) for _ in range(2)]
    gate.release.set()
    assert isinstance(futures[0].exception(10), Unavailable)
    assert futures[1].result(10).certificate.serial == fresh


def test_company_makes_what_is_provisional_durable(database: Database) -> None:
    """Only a transaction in which nobody waits for the disk does not (G1)."""
    watched = FlakyDatabase(database)
    gate = Gate()
    with Writer(watched) as writer:  # type: ignore[arg-type]
        writer.submit(FakeWork(lambda _: None, provisional=True)).result(10)
        held = writer.submit(gate)
        assert gate.begun.wait(10)
        mixed = [writer.submit(FakeWork(lambda _: None, provisional=each)) for each in (True, False)]
        gate.release.set()
        for future in (held, *mixed):
            future.result(10)
        writer.submit(FakeWork(lambda _: None, provisional=True)).result(10)
    assert watched.provisional == [True, False, False, True]


def test_all_of_a_batch_fail_together(database: Database) -> None:
    """A commit that fails fails every work of its batch with Unavailable, and the writer goes on."""
    flaky = FlakyDatabase(database)
    with Writer(flaky) as writer:  # type: ignore[arg-type]

        def break_commit(batch: Batch) -> None:
            flaky.errors = [Unavailable("DATABASE_UNAVAILABLE", "gone")]

        results = run_behind_gate(writer, FakeWork(break_commit), *(FakeWork(lambda _: "written") for _ in range(3)))
        assert writer.submit(FakeWork(lambda _: "later")).result(10) == "later"
    assert all(isinstance(result, Unavailable) for result in results)


def test_a_failing_answer_is_written_once(database: Database) -> None:
    """What fails after the commit fails for its caller alone: the works of the batch are not carried out again."""
    carried_out: list[str] = []

    class Failing(FakeWork):
        def decide(self, batch: Batch) -> Plan[object]:
            self.decision(batch)
            return Plan(lambda: panic(batch))

    with Writer(database) as writer:
        failed, fine = run_behind_gate(
            writer, Failing(lambda _: carried_out.append("one")), FakeWork(lambda _: carried_out.append("two"))
        )
    assert isinstance(failed, RuntimeError)
    assert fine is None
    assert carried_out == ["one", "two"]


def test_a_full_queue_refuses(database: Database) -> None:
    """Past the bound a work is refused at once, and those inside are finished."""
    with Writer(database, max_queue=2) as writer:
        gate = Gate()
        writer.submit(gate)
        assert gate.begun.wait(10)
        inside = [writer.submit(FakeWork(lambda _: "done")) for _ in range(2)]
        with pytest.raises(ResourceExhausted) as refused:
            writer.submit(FakeWork(lambda _: "too many"))
        gate.release.set()
        assert [future.result(10) for future in inside] == ["done", "done"]
    assert refused.value.reason == "QUEUE_FULL"


def test_works_that_somebody_else_has_made(database: Database) -> None:
    """They are queued together, share a transaction, and count for the bound before they are there."""
    flaky = FlakyDatabase(database)
    writer = Writer(flaky, max_queue=30)  # type: ignore[arg-type]
    gate = Gate()
    held = writer.submit(gate)
    assert gate.begun.wait(10)
    jobs: list[Job[object]] = [Job(lambda: FakeWork(crash)) for _ in range(20)]
    for number, job in enumerate(jobs[:19]):
        job.supply(FakeWork(lambda _, number=number: number))  # type: ignore[misc]
    jobs[3].future.cancel()
    writer.require_room(9)
    writer.enqueue(jobs)
    assert writer.load == 21
    writer.require_room(9)
    with pytest.raises(ResourceExhausted):
        writer.require_room(10)
    gate.release.set()
    held.result(10)
    kept = [number for number in range(19) if number != 3]
    assert [jobs[number].future.result(10) for number in kept] == kept
    assert isinstance(jobs[19].future.exception(10), ZeroDivisionError)
    writer.close()
    late: Job[object] = Job(lambda: FakeWork(crash))
    writer.enqueue([late])
    assert isinstance(late.future.exception(10), Unavailable)


def test_close_finishes_what_is_queued(database: Database) -> None:
    """A clean stop writes everything that was taken in, and takes in no more."""
    writer = Writer(database)
    gate = Gate()
    writer.submit(gate)
    assert gate.begun.wait(10)
    futures = [writer.submit(FakeWork(lambda _: "done")) for _ in range(100)]
    closing = threading.Thread(target=writer.close)
    closing.start()
    gate.release.set()
    closing.join(10)
    assert [future.result(0) for future in futures] == ["done"] * 100
    with pytest.raises(Unavailable):
        writer.submit(FakeWork(lambda _: "late"))


def test_a_cancelled_work_is_not_carried_out(database: Database) -> None:
    """A caller that gives up while its work is queued takes the work with it."""
    ran: list[object] = []
    with Writer(database) as writer:
        gate = Gate()
        writer.submit(gate)
        assert gate.begun.wait(10)
        cancelled = writer.submit(FakeWork(ran.append))
        assert cancelled.cancel()
        gate.release.set()
        assert writer.submit(FakeWork(lambda _: "done")).result(10) == "done"
    assert ran == []


def test_refusals_of_the_request_are_told_as_such(database: Database) -> None:
    """The error reaches the caller as it was raised."""

    def wrong(batch: Batch) -> object:
        raise InvalidArgument("REASON_NOT_ALLOWED", "no", field="reason")

    with Writer(database) as writer, pytest.raises(InvalidArgument) as caught:
        writer.submit(FakeWork(wrong)).result(10)
    assert caught.value.violations[0].field == "reason"


def test_a_database_that_went_away_is_tried_once(database: Database) -> None:
    """Works that have to be written one by one do not wait for a dead database one after the other."""
    tried: list[int] = []

    def away(number: int) -> Callable[[Batch], object]:
        def decide(_: Batch) -> object:
            tried.append(number)
            if len(tried) == 1:
                raise ZeroDivisionError  # so that the works of the batch are written one by one
            raise Unavailable("DATABASE_UNAVAILABLE", "gone")

        return decide

    with Writer(database) as writer:
        results = run_behind_gate(writer, *(FakeWork(away(number)) for number in range(5)))
    assert all(isinstance(result, Unavailable) for result in results)
    assert tried == [0, 0]


def test_a_work_is_made_before_its_transaction(database: Database) -> None:
    """What queues while a work is made is made as well, and shares the transaction with it."""
    made: list[str] = []
    with Writer(database) as writer:

        def make(name: str) -> FakeWork:
            made.append(name)
            return FakeWork(lambda batch: batch)

        def make_slowly() -> FakeWork:
            others.append(writer.submit_unmade(lambda: make("second")))
            return make("first")

        others: list[Future[object]] = []
        first = writer.submit_unmade(make_slowly).result(10)
        assert others[0].result(10) is first
    assert made == ["first", "second"]


def test_a_work_that_cannot_be_made_harms_nobody(database: Database) -> None:
    """Its caller gets the error, whatever it is; its neighbours are written, and the writer goes on."""

    def fail(error: BaseException) -> FakeWork:
        raise error

    errors = [FailedPrecondition("ISSUER_NOT_ACTIVE", "no"), ZeroDivisionError(), Panic()]
    with Writer(database) as writer:
        gate = Gate()
        writer.submit(gate)
        assert gate.begun.wait(10)
        failed = [writer.submit_unmade(partial(fail, error)) for error in errors]
        fine = writer.submit_unmade(lambda: FakeWork(lambda _: "written"))
        gate.release.set()
        assert fine.result(10) == "written"
        assert [type(each.exception(10)) for each in failed] == [FailedPrecondition, ZeroDivisionError, RuntimeError]
        alone = writer.submit_unmade(partial(fail, errors[0]))
        assert isinstance(alone.exception(10), FailedPrecondition)
        assert writer.submit(FakeWork(lambda _: "later")).result(10) == "later"


def test_a_cancelled_work_is_not_made(database: Database) -> None:
    """A caller that gives up in time spares the certificate authority the signature."""
    with Writer(database) as writer:
        gate = Gate()
        writer.submit(gate)
        assert gate.begun.wait(10)
        cancelled = writer.submit_unmade(lambda: FakeWork(panic))
        assert cancelled.cancel()
        gate.release.set()
        assert writer.submit(FakeWork(lambda _: "done")).result(10) == "done"


@pytest.mark.parametrize(("kind", "quick"), [("p256", True), ("ed25519", True), ("p384", False), ("rsa2048", False)])
def test_who_signs_in_the_thread_that_writes(database: Database, kind: KeyKind, quick: bool) -> None:
    """Keys that sign quickly do, once they were used; whatever takes longer does not hold up those who write."""
    key, root_key = generate_key(kind), generate_key("p256")
    root = make_root(name="Root", key=root_key, now=START)
    issuing = make_issuing(root=root, root_key=root_key, name="Issuing", key=key, now=START)
    crl = make_crl(Issuer(root, root_key), number=1, this_update=START, next_update=START + timedelta(days=300))
    with Writer(database) as writer:
        authority = make_ca(database, writer, Hierarchy(root, issuing, key, crl)).authority
        assert not authority.issues_quickly("", "", 500)
        for _ in range(2):
            result = authority.issue(IssueCommand(csr_der=make_csr()), make_actor("issuer"))
            assert result.certificate.der is not None
            x509.load_der_x509_certificate(result.certificate.der).verify_directly_issued_by(issuing)
            assert authority.issues_quickly("", "", 500) is quick
        assert authority.issues_quickly("client", "issuing", MAX_QUICK) is quick
        assert not authority.issues_quickly("client", "issuing", MAX_QUICK + 1), "a long key takes long to check"
        assert not authority.issues_quickly("client", "another", 500)
        assert not authority.issues_quickly("no such profile", "", 500)
