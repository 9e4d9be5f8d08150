"""Keys that are never certified again (R103): blocking them, listing those that are, and taking back a mistake.

Every revocation for a compromise blocks the certificate's key in its own transaction (`services.ca.batch`), and every
certificate that is recorded is looked up in the transaction that records it: no order of events gets around it. A key
that was compromised stays blocked, whoever asks; only what somebody has named by mistake is unblocked.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from services.ca.batch import Batch, Exclusive, Plan
from services.ca.writer import Writer, resolved
from services.clock import Clock
from services.db import blocked_keys
from services.db.chain import AuditEvent, details
from services.db.engine import Conflict, Connection, Database
from services.db.records import Actor, BlockedKey
from services.errors import FailedPrecondition, FieldViolation, InvalidArgument

MAX_KEYS = 1000
MAX_COMMENT = 200
_HASHES_FIELD = "public_key_sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCommand:
    """Keys to block, by the SHA-256 of their SubjectPublicKeyInfo."""

    hashes: tuple[bytes, ...]
    comment: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class BlockResult:
    """How many of the keys are blocked now, and how many were before."""

    blocked: int
    already_blocked: int


@dataclass(frozen=True, slots=True)
class UnblockResult:
    """How many of the keys were blocked, and how many were not."""

    unblocked: int
    not_blocked: int


class Blocking:
    """The use cases."""

    def __init__(self, db: Database, writer: Writer, clock: Clock) -> None:
        self._db = db
        self._writer = writer
        self._clock = clock

    def begin(self, command: BlockCommand, actor: Actor) -> Future[BlockResult]:
        """Queue the keys; the future resolves once they are blocked durably. Raises InvalidArgument."""
        _require_hashes(command)
        if command.validate_only:
            with self._db.read() as conn:
                return resolved(_count(conn, command)[1])
        return self._writer.submit(_Blocking(command, actor, self._clock))

    def begin_unblock(self, command: BlockCommand, actor: Actor) -> Future[UnblockResult]:
        """Queue the keys; the future resolves once they are unblocked durably.

        Raises InvalidArgument; FailedPrecondition (KEY_COMPROMISED) for keys that have to stay, as it does.
        """
        _require_hashes(command)
        if not command.comment.strip():
            raise InvalidArgument("COMMENT_INVALID", "say why: the audit log keeps it", field="comment")
        if command.validate_only:
            with self._db.read() as conn:
                return resolved(_to_unblock(conn, command)[1])
        return self._writer.submit(_Unblocking(command, actor, self._clock))

    def page(self, limit: int, after: bytes | None) -> list[BlockedKey]:
        """One page of blocked keys, in the order of their hashes."""
        with self._db.read() as conn:
            return blocked_keys.list_blocked(conn, limit=limit, after=after)

    def get(self, public_key_sha256: bytes) -> BlockedKey | None:
        """What is recorded of one key, if it is blocked."""
        with self._db.read() as conn:
            return blocked_keys.get_blocked(conn, public_key_sha256)


@dataclass(frozen=True, slots=True)
class _Blocking(Exclusive):
    """One caller's keys, in the writer's transaction. Repeated, it finds them blocked: it needs no request id."""

    command: BlockCommand
    actor: Actor
    clock: Clock

    def decide(self, batch: Batch) -> Plan[BlockResult]:
        new, result = _count(batch.conn, self.command)
        now = self.clock()
        keys = tuple(BlockedKey(each, "import", self.command.comment, now, self.actor) for each in new)
        said = details({"comment": self.command.comment, "public_keys_sha256": [each.hex() for each in new]})
        events = [AuditEvent("BlockPublicKeys", self.actor, now, details=said)] if new else []
        return Plan(lambda: result, blocked_keys=keys, audit=events)


@dataclass(frozen=True, slots=True)
class _Unblocking(Exclusive):
    """One caller's keys, in the writer's transaction. Repeated, it finds them gone."""

    command: BlockCommand
    actor: Actor
    clock: Clock

    def decide(self, batch: Batch) -> Plan[UnblockResult]:
        blocked, result = _to_unblock(batch.conn, self.command)
        if not blocked:
            return Plan(lambda: result)
        said = details({"comment": self.command.comment, "public_keys_sha256": [each.hex() for each in blocked]})
        event = AuditEvent("UnblockPublicKeys", self.actor, self.clock(), details=said)
        return Plan(lambda: result, audit=[event], others=_Removal(blocked))


@dataclass(frozen=True, slots=True)
class _Removal:
    hashes: tuple[bytes, ...]

    def write(self, conn: Connection) -> None:
        # Works beside this one have had their say by now: what they tell of a compromise is in this transaction.
        if blocked_keys.find_compromised(conn, self.hashes):
            raise Conflict("KEY_COMPROMISED", "a key was compromised while it was being unblocked; try again")
        blocked_keys.unblock_keys(conn, self.hashes)


def _to_unblock(conn: Connection, command: BlockCommand) -> tuple[tuple[bytes, ...], UnblockResult]:
    """The keys that are blocked, and the result. Raises FailedPrecondition (KEY_COMPROMISED)."""
    wanted = tuple(dict.fromkeys(command.hashes))
    compromised = blocked_keys.find_compromised(conn, wanted)
    if compromised:
        text = "the key of a certificate that is revoked for a compromise is never certified again"
        places = [place for place, each in enumerate(command.hashes) if each in compromised]
        violations = [FieldViolation(f"{_HASHES_FIELD}[{place}]", "KEY_COMPROMISED", text) for place in places]
        raise FailedPrecondition("KEY_COMPROMISED", text, violations=violations)
    known = blocked_keys.find_blocked(conn, wanted)
    blocked = tuple(each for each in wanted if each in known)
    return blocked, UnblockResult(len(blocked), len(wanted) - len(blocked))


def _count(conn: Connection, command: BlockCommand) -> tuple[tuple[bytes, ...], BlockResult]:
    """The keys that are not blocked yet, and the result."""
    wanted = tuple(dict.fromkeys(command.hashes))
    known = blocked_keys.find_blocked(conn, wanted)
    new = tuple(each for each in wanted if each not in known)
    return new, BlockResult(len(new), len(known))


def _require_hashes(command: BlockCommand) -> None:
    count = len(command.hashes)
    if not 1 <= count <= MAX_KEYS:
        text = f"1 to {MAX_KEYS} keys in one call, not {count}; make several calls"
        raise InvalidArgument("BATCH_SIZE_INVALID", text, field=_HASHES_FIELD)
    wrong = [place for place, each in enumerate(command.hashes) if len(each) != 32]
    if wrong:
        text = "a key is given by the SHA-256 of its SubjectPublicKeyInfo in DER: 32 octets"
        places = [FieldViolation(f"{_HASHES_FIELD}[{place}]", "KEY_HASH_INVALID", text) for place in wrong]
        raise InvalidArgument("KEY_HASH_INVALID", text, violations=places)
    if len(command.comment) > MAX_COMMENT or not (command.comment or " ").isprintable():
        raise InvalidArgument("COMMENT_INVALID", f"up to {MAX_COMMENT} printable characters", field="comment")
