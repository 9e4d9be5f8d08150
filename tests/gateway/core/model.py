"""A model of what surrounds the gateway's knowledge: the network, the status service, its database and its replicas.

The real Knowledge, Evidence and AnswerCache face it. Every step that it can take is one that gRPC, clocks and databases
allow; each rule of the service's side is a method of its own, so that a test can break it.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from gateway.answers import AnswerCache, Entry, Revocation, Status
from gateway.evidence import CertificateKey, Evidence
from gateway.issuers import Issuer
from gateway.knowledge import Knowledge, LookedUp, StatusUnavailable

TAU = 1.0
KEYS = [CertificateKey("issuing", bytes([serial])) for serial in (1, 2)]
UNKNOWN = CertificateKey("issuing", b"\x09")
OTHERS = [CertificateKey("issuing", bytes([serial])) for serial in range(100, 110)]
THE_ISSUER = CertificateKey("issuing", b"")
"""Stands for the issuer itself among the changes."""
ISSUER = Issuer("issuing", True, b"", b"\x30\x08\x30\x02\x06\x00\x03\x02\x00\x01", (), 1)


@dataclass
class Database:
    """What is committed, and in which order."""

    history: str = "h0"
    revision: int = 10
    revoked: dict[CertificateKey, int] = field(default_factory=dict)
    """The revision of the revocation that is in force."""
    touched: dict[CertificateKey, int] = field(default_factory=dict)
    """The revision of the latest change."""
    changes: list[tuple[CertificateKey, int]] = field(default_factory=list)
    compromised: bool = False

    def compromise(self) -> None:
        self.revision += 1
        self.changes.append((THE_ISSUER, self.revision))
        self.compromised = True

    def change(self, key: CertificateKey, *, revoke: bool) -> None:
        self.revision += 1
        self.touched[key] = self.revision
        self.changes.append((key, self.revision))
        if revoke:
            self.revoked[key] = self.revision
        else:
            self.revoked.pop(key, None)

    def status(self, key: CertificateKey) -> Status:
        if key == UNKNOWN:
            return Status(key, False, None, 0, 0, 0)
        revocation = Revocation(1, 1) if key in self.revoked or self.compromised else None
        return Status(key, True, revocation, 1, 2, self.touched.get(key, 1))


@dataclass
class Call:
    """A look-up on its way: sent, then read, then delivered or lost."""

    keys: Sequence[CertificateKey]
    history: str
    min_revision: int
    sent_at: float
    done: asyncio.Future[list[LookedUp]]
    result: list[LookedUp] | None = None
    refused: bool = False
    rows: list[Status] | None = None
    """What was read of it without a revision, where a rule is broken."""


@dataclass
class Stream:
    """A watch stream: what the gateway has said and not been read, what the service has said and not been heard."""

    history: str
    told: int
    started: bool = False
    pings: deque[int] = field(default_factory=deque)
    messages: deque[tuple[Any, ...]] = field(default_factory=deque)


class World:
    """One gateway, one status service, one database."""

    now: ClassVar[float] = 0.0

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pass_time(100.0)
        self.database = Database()
        self.replica: Database | None = None
        """Where the service's place is taken by one that is behind: what that one knows."""
        self.earlier: list[Database] = []
        self.asleep = 0.0
        self.cache = AnswerCache(max_entries=1, max_bytes=1_000_000)
        self.knowledge = Knowledge(self.cache, self._fetch, self.clock, TAU)
        self.knowledge.evidence = Evidence(remembered_changes=2)
        self.calls: list[Call] = []
        self.stream: Stream | None = None
        self.ping = 0
        self.acknowledged: dict[CertificateKey, float] = {}
        """When the revoker saw success, for certificates that are still revoked."""
        self.held: list[Entry] = []
        """What answers under way were made from."""
        self.askers: list[asyncio.Task[Entry]] = []

    def end(self) -> None:
        for asker in self.askers:
            asker.cancel()
        self._run(self.knowledge.close())
        self._run(self._end_askers())

    async def _end_askers(self) -> None:
        await asyncio.gather(*self.askers, return_exceptions=True)

    def _run(self, what: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(what)

    def _settle(self) -> None:
        """Let every task of the gateway go on as far as it can."""

        async def rounds() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self._run(rounds())
        for asker in [asker for asker in self.askers if asker.done()]:
            self.askers.remove(asker)
            if asker.exception() is None:
                self.held.append(asker.result())
            else:
                assert isinstance(asker.exception(), StatusUnavailable)
        del self.held[:-6]

    async def _fetch(self, keys: Sequence[CertificateKey]) -> Sequence[LookedUp]:
        evidence = self.knowledge.evidence
        done: asyncio.Future[list[LookedUp]] = self.loop.create_future()
        self.calls.append(Call(keys, evidence.history, evidence.applied, self.clock(), done))
        return await done

    def begin(self) -> None:
        """Most of what can go wrong needs a watch that has worked."""
        self.connect()
        self.serve_stream(pongs=True)
        self.hear(9)

    def pass_time(self, seconds: float) -> None:
        World.now += seconds

    def sleep(self, seconds: float) -> None:
        """The machine is suspended, and everything on it."""
        World.now += seconds
        self.asleep += seconds

    def clock(self) -> float:
        """The boot clock, which goes on in suspend."""
        return World.now

    def fall_behind(self, which: int) -> None:
        """A replica takes the service's place, one that is behind what this gateway has seen."""
        evidence, database = self.knowledge.evidence, self.database
        has_seen_all = (evidence.history, evidence.applied) == (database.history, database.revision)
        if self.replica is None and has_seen_all and self.earlier:
            self.replica = self.earlier[-1 - which % len(self.earlier)]
            self.stream = None

    def catch_up(self) -> None:
        """The service is back in its place."""
        if self.replica is not None:
            self.replica = self.stream = None

    @property
    def served(self) -> Database:
        """The database as the service has it that the gateway is connected to."""
        return self.replica or self.database

    def _changes(self) -> bool:
        """Whether something may change now. Not while a replica lags: it could not be told from one that is not."""
        if self.replica is None:
            self.earlier = [*self.earlier[-3:], copy.deepcopy(self.database)]
        return self.replica is None

    def change(self, key: CertificateKey, revoke: bool) -> None:
        """A revocation, a hold or a release is acknowledged."""
        if not self._changes():
            return
        self.commit(key, revoke=revoke)
        if revoke:
            self.acknowledged.setdefault(key, self.now)
        elif not self.database.compromised:
            self.acknowledged.pop(key, None)

    def commit(self, key: CertificateKey, *, revoke: bool) -> None:
        """Revisions follow the order of commits."""
        self.database.change(key, revoke=revoke)

    def compromise(self) -> None:
        """The revocation of the CA certificate is acknowledged, and with it that of all that it issued."""
        if not self._changes():
            return
        self.database.compromise()
        for key in KEYS:
            self.acknowledged.setdefault(key, self.now)

    def change_others(self, count: int) -> None:
        """More than the gateway remembers, or than the service tells one by one."""
        for key in OTHERS[:count] if self._changes() else ():
            self.database.change(key, revoke=True)

    def begin_history(self) -> None:
        """The CA service has started again. Its revisions may be used a second time, with other meanings."""
        if not self._changes():
            return
        self.database.history = f"h{int(self.database.history[1:]) + 1}"
        self.database.revision = max(10, self.database.revision - 3)
        self.database.changes.clear()

    def ask(self, key: CertificateKey) -> None:
        """Somebody asks: from the cache, or by a look-up, as the responder does."""
        held = self.knowledge.held(key)
        if held is not None:
            self.held.append(held)
            return
        self.askers.append(self.loop.create_task(self.knowledge.look_up(key)))
        self._settle()

    def read(self, which: int) -> None:
        """The status service reads for a look-up that has reached it."""
        waiting = [call for call in self.calls if call.result is None and not call.refused]
        if not waiting:
            return
        call, database = waiting[which % len(waiting)], self.served
        if (call.history and call.history != database.history) or call.min_revision > database.revision:
            call.refused = True
        else:
            self.look(call, database)

    def look(self, call: Call, database: Database) -> None:
        """Rows and revision are from one snapshot."""
        call.result = [
            LookedUp(database.status(key), database.history, database.revision, call.sent_at) for key in call.keys
        ]

    def deliver(self, which: int) -> None:
        """The answer to a look-up arrives, in any order."""
        read = [call for call in self.calls if call.result is not None or call.refused]
        if not read:
            return
        call = read[which % len(read)]
        self.calls.remove(call)
        if call.result is None:
            call.done.set_exception(StatusUnavailable("refused"))
        else:
            call.done.set_result(call.result)
        self._settle()

    def look_up_at_once(self, key: CertificateKey) -> None:
        """What mostly happens."""
        self.ask(key)
        for _ in range(len(self.calls)):
            self.read(0)
            self.deliver(0)

    def look_up_slowly(self, key: CertificateKey) -> None:
        """It is read, and the answer is on its way for a while."""
        self.ask(key)
        for _ in range(len(self.calls)):
            self.read(0)

    def connect(self) -> None:
        """A stream begins, as `StatusWatch` begins it. What was on the way on the one before is lost."""
        evidence = self.knowledge.evidence
        evidence.connected()
        self.stream = Stream(evidence.history, evidence.applied)

    def lose_stream(self) -> None:
        """It breaks; what is on its way is lost."""
        self.stream = None

    def send_ping(self) -> None:
        """The gateway asks for a proof."""
        if self.stream is not None:
            self.ping += 1
            self.knowledge.evidence.ping_sent(self.ping, self.clock())
            self.stream.pings.append(self.ping)

    def serve_stream(self, pongs: bool) -> None:
        """The service reads the database, and tells of what it finds; or its answers to pings come later."""
        stream, database = self.stream, self.served
        if stream is None:
            return
        behind = [(key, revision) for key, revision in database.changes if revision > stream.told]
        same = stream.history == database.history and stream.told <= database.revision
        if not same or self.is_too_far(behind):
            stream.history, stream.started = database.history, True
            stream.messages.append(("reset", database.history, database.revision))
        elif behind:
            self.tell(stream, behind)
        stream.told = database.revision
        if pongs:
            self.answer_pings(stream)

    def is_too_far(self, behind: Sequence[tuple[CertificateKey, int]]) -> bool:
        """Whether there is too much to be told one by one."""
        return len(behind) > 6

    def tell(self, stream: Stream, behind: Sequence[tuple[CertificateKey, int]]) -> None:
        """Changes are coalesced, as the service does, and in two messages where there is enough for two."""
        latest = list(dict(behind).items())
        cut = len(latest) // 2
        for part, through in ((latest[:cut], latest[cut][1] - 1), (latest[cut:], self.served.revision)):
            if part:
                certificates = [(key, revision) for key, revision in part if key != THE_ISSUER]
                issuers = [replace(ISSUER, revision=revision) for key, revision in part if key == THE_ISSUER]
                stream.messages.append(("changes", certificates, issuers, max(through, part[-1][1])))

    def answer_pings(self, stream: Stream) -> None:
        """Behind every change that was read."""
        if stream.pings:
            stream.messages.append(("pong", stream.pings[-1], self.served.revision))
            stream.pings.clear()

    def hear(self, count: int) -> None:
        """Messages of the stream arrive, in their order."""
        knowledge = self.knowledge
        while self.stream is not None and self.stream.messages and count:
            count -= 1
            match self.stream.messages.popleft():
                case ("pong", ping, revision):
                    knowledge.evidence.pong(ping, revision)
                case ("changes", changed, issuers, through):
                    knowledge.changes(changed, issuers, through)
                case ("reset", history, revision) if knowledge.evidence.may_follow(history, revision):
                    knowledge.reset(history, revision)
                case _:
                    self.stream = None

    def heartbeat(self, seconds: float, heard: bool) -> None:
        """What mostly happens; or all of it, but the pong is on its way for a while."""
        self.pass_time(seconds)
        if self.stream is None:
            self.connect()
        self.send_ping()
        self.serve_stream(pongs=True)
        if heard:
            self.hear(9)

    def is_honest(self) -> bool:
        """G3: nothing that might be written now says `good` of what was revoked τ ago or longer."""
        ready = [entry for entry in map(self.cache.get, KEYS) if entry is not None]
        for entry in [*ready, *self.held]:
            says_good = entry.status.known and entry.status.revocation is None
            acknowledged = self.acknowledged.get(entry.status.key)
            overdue = acknowledged is not None and self.now >= acknowledged + TAU
            if says_good and overdue and self.knowledge.fresh(entry):
                return False
        return True
