"""The hash chain of the audit log: what an entry is, how it is written down, and how a chain is verified.

Pure: no database, no clock. What it guarantees: an entry's hash covers everything that the entry says, its number and
the hash of the entry before it; so whoever changes, removes or moves an entry has to compute every later hash anew, and
then the hash of the last one (the head) is another. Against a head that was kept elsewhere, nothing can be hidden.

An entry is written down as JSON in the form of RFC 8785: keys sorted, no spaces, UTF-8. Its hash is the SHA-256 of that
text without the member "hash". Changing this form makes every chain look forged; `FORMAT` is part of each entry, so
that a later form can stand beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from services.clock import rfc3339
from services.db.records import Actor

FORMAT = 1
OK = "OK"
"""The result of what was done. Anything else is the stable reason of a refusal."""
NO_HASH = bytes(32)
"""What the first entry has for the hash of the one before it."""

quoted = encode_basestring
"""Text as a JSON string, in canonical form."""

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_rfc3339 = lru_cache(maxsize=64)(rfc3339)
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


class AuditEvent(NamedTuple):
    """A decision that is to be recorded."""

    method: str
    """The RPC, such as IssueCertificate; or what a command did, such as CredentialDenied."""
    actor: Actor
    at: datetime
    result: str = OK
    issuer: str = ""
    """The issuer's name, where it is about one."""
    serial: bytes = b""
    certificate_id: int | None = None
    details: str = "{}"
    """JSON from `details`."""


class Head(NamedTuple):
    """The last entry of a chain; sequence 0 of an empty one."""

    sequence: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read SEQUENCE:HASH. Raises ValueError."""
        found = _HEAD.fullmatch(text.strip())
        if found is None:
            raise ValueError("a head looks like 1234:0f3a… with the 64 hex digits of a SHA-256")
        return cls(int(found[1]), bytes.fromhex(found[2]))


EMPTY = Head(0, NO_HASH)


class AuditEntry(NamedTuple):
    """An entry of the chain."""

    sequence: int
    event: AuditEvent
    previous_hash: bytes
    hash: bytes


def details(values: Mapping[str, Any]) -> str:
    """What an entry says beyond its columns, as canonical JSON. Whole numbers, text, lists and mappings only."""
    text = _encode(values)
    # Lone surrogates (from a request) are no UTF-8.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def link(event: AuditEvent, head: Head) -> AuditEntry:
    """The entry of an event, behind that head."""
    sequence = head.sequence + 1
    begin, end = _parts(sequence, event, head.hash)
    return AuditEntry(sequence, event, head.hash, hashlib.sha256((begin + end).encode()).digest())


def line(entry: AuditEntry) -> str:
    """The entry as one line of JSON, hash included: what is exported."""
    begin, end = _parts(entry.sequence, entry.event, entry.previous_hash)
    return f'{begin}"hash":"{entry.hash.hex()}",{end}'


def _parts(sequence: int, event: AuditEvent, previous_hash: bytes) -> tuple[str, str]:
    """The canonical text, cut where "hash" belongs. Put together by hand: it is on the way of every certificate."""
    method, actor, at, result, issuer, serial, certificate_id, more = event
    who = _actor(actor.fingerprint, actor.identity, actor.name, actor.role)
    about = "null" if certificate_id is None else certificate_id
    return (
        f'{{"actor":{who},"certificate_id":{about},"details":{more},',
        f'"issuer":{quoted(issuer)},"method":{quoted(method)},"peer":{quoted(actor.peer)},'
        f'"previous_hash":"{previous_hash.hex()}","request_id":{quoted(actor.request_id)},"result":{quoted(result)},'
        f'"sequence":{sequence},"serial_number":"{serial.hex()}","time":"{_rfc3339(at)}","version":{FORMAT}}}',
    )


@lru_cache(maxsize=256)
def _actor(fingerprint: str, identity: str, name: str, role: str) -> str:
    return _encode({"credential_fingerprint": fingerprint, "identity": identity, "name": name, "role": role})


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is wrong with a chain, and where: the sequence number of the first entry that shows it."""

    sequence: int
    text: str


class ChainVerifier:
    """Takes lines in the order of a chain, and finds what was changed, removed or moved.

    `anchors`: heads that were kept, by the database beside the entries or by somebody elsewhere. The chain has to hold
    each of them; and where its beginning was moved to an archive, the entry before its first has to be one of them.
    """

    def __init__(self, anchors: Iterable[Head] = ()) -> None:
        self._anchors = {anchor.sequence: anchor.hash for anchor in anchors}
        self._unseen = set(self._anchors) - {0}
        self.head = EMPTY
        self.count = 0

    def take(self, text: str) -> list[Flaw]:
        """What is wrong with the next line, and with its place."""
        expected = self.head.sequence + 1
        self.count += 1
        try:
            sequence, previous, stated, computed = _read(text)
        except (ValueError, KeyError, TypeError, RecursionError):
            return [Flaw(expected, f"what should be entry {expected} is no entry of an audit log, or was changed")]
        flaws = [Flaw(*each) for each in self._place(sequence, previous, expected)]
        if computed != stated:
            flaws.append(Flaw(sequence, f"entry {sequence} was changed: its content does not have its hash"))
        if sequence in self._anchors:
            self._unseen.discard(sequence)
            if self._anchors[sequence] != stated:
                flaws.append(Flaw(sequence, f"entry {sequence} is not the one whose hash was kept"))
        if sequence >= expected:
            self.head = Head(sequence, stated)
        return flaws

    def _place(self, sequence: int, previous: bytes, expected: int) -> list[tuple[int, str]]:
        if sequence < expected:
            return [(sequence, f"entry {sequence} comes after entry {expected - 1}: repeated or moved")]
        if sequence > expected:
            if self.head.sequence == 0 and self._anchors.get(sequence - 1) == previous:
                self._unseen.discard(sequence - 1)  # the beginning is elsewhere, and this follows it
                return []
            missing = (
                f"entry {expected} is" if sequence == expected + 1 else f"entries {expected} to {sequence - 1} are"
            )
            return [(expected, f"{missing} missing")]
        if previous != self.head.hash:
            return [(sequence, f"entry {sequence} does not follow entry {sequence - 1}: one of them was replaced")]
        return []

    def end(self) -> list[Flaw]:
        """What is wrong with the end of the chain."""
        known = max(self._unseen, default=0)
        if known <= self.head.sequence:
            return []
        text = f"the chain ends with entry {self.head.sequence}, and once had {known}"
        return [Flaw(self.head.sequence + 1, text)]


def _read(text: str) -> tuple[int, bytes, bytes, bytes]:
    """(sequence, previous hash, stated hash, computed hash). Raises ValueError, KeyError, TypeError, RecursionError."""
    entry = json.loads(text)
    if not isinstance(entry, dict) or _encode(entry) != text:
        raise ValueError("not in canonical form")
    stated = bytes.fromhex(entry.pop("hash"))
    sequence = entry["sequence"]
    if type(sequence) is not int or len(stated) != len(NO_HASH):
        raise ValueError("not an entry")
    return sequence, bytes.fromhex(entry["previous_hash"]), stated, hashlib.sha256(_encode(entry).encode()).digest()
