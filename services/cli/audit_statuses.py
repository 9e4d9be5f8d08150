"""Whether certificates are recorded as the audit log says: `goodstanding audit verify --statuses`.

The chain proves that the log is what was written. This finds what was changed beside it, in the tables that statuses
are answered from: a revocation that was taken back or put in by hand, another end or profile, a certificate that was
removed, or one that nobody has issued. Certificates that the log tells nothing of are compared as far as it does:
imported ones, and those of before the log began, from their first change on.

The log is read first, certificates after it, and things happen meanwhile. So what differs is looked at again, beside
what the log has become, until it fits or has not fitted several times.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

import grpc

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.client import Client
from services.cli.failures import Failed
from services.db.chain import ChainVerifier, Flaw

ROUNDS = 4
"""How often something has to differ before it is told."""
AT_ONCE = 200
"""How many differences are looked at together."""

_ISSUED = frozenset({"IssueCertificate", "RegisterCertificate"})
_WITHOUT_ENTRY = frozenset({"imported", "ca"})
"""Profiles of certificates that may have come in with an import, which has one entry for many."""

Key = tuple[str, str]
"""Issuer and serial number."""


@dataclass(frozen=True)
class Difference:
    """A certificate that is recorded otherwise than the log says."""

    issuer: str
    serial_number: str
    text: str

    def __str__(self) -> str:
        return f"{self.serial_number} of {self.issuer}: {self.text}"


@dataclass
class Ledger:
    """What the log says of each certificate. Takes some 300 octets of memory for each of them."""

    began: str = ""
    """The time of the first entry."""
    reading: bool = True
    """Whether this is the log as it was before the certificates were looked at."""
    _issued: dict[Key, str] = field(default_factory=dict)
    """Profile and end, or `_SEEN` once a certificate was found as the log says."""
    _changed: dict[Key, output.Json | None] = field(default_factory=dict)
    """The revocation that the last change left, if any."""
    _late: set[Key] = field(default_factory=set)
    _doubted: set[Key] = field(default_factory=set)

    def take(self, line: str) -> None:
        """The next line of the log. One that is none is for whoever verifies the chain to tell of."""
        try:
            entry = json.loads(line)
            said, serial = entry["details"], entry["serial_number"]
            self.began = self.began or str(entry["time"])
            if entry["result"] != "OK" or not serial:
                return
            key = (sys.intern(str(entry["issuer"])), str(serial))
            if entry["method"] in _ISSUED:
                self._issued[key] = sys.intern(_period(said["profile"], said["not_after_time"]))
                if not self.reading:
                    self._late.add(key)
            elif said.get("action") in ("revoke", "hold"):
                self._changed[key] = {name: said.get(name) for name in _REVOCATION}
            elif said.get("action") == "release":
                self._changed[key] = None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    def see(self, certificate: output.Json) -> str | None:
        """What is wrong with a certificate as it is recorded; None if nothing."""
        key = _key(certificate)
        text = self._compare(key, certificate)
        if text is not None:
            self._doubted.add(key)
        elif key in self._issued:
            self._issued[key] = _SEEN
        return text

    def _compare(self, key: Key, certificate: output.Json) -> str | None:
        issued = self._issued.get(key)
        if issued is None and self._should_know(certificate):
            asked = (certificate["issued_by"] or {}).get("identity") or "nobody"
            return (
                f"it is recorded as issued at {certificate['issue_time']} for {asked}, which the log does not tell of"
            )
        recorded = _period(certificate["profile"], certificate["not_after_time"])
        if issued not in (None, _SEEN, recorded):
            return f"it is recorded as {recorded}, and was issued as {issued}"
        if issued is None and key not in self._changed:
            return None
        was, now = self._changed.get(key), certificate["revocation"]
        return None if was == now else f"it is recorded as {_words(now)}, and the log says {_words(was)}"

    def missing(self) -> Iterator[Key]:
        """What was issued, and is not among the certificates that were seen. What was issued meanwhile is left out."""
        others = self._late | self._doubted
        return (key for key, issued in self._issued.items() if issued is not _SEEN and key not in others)

    def tells_of(self, certificate: output.Json) -> bool:
        """Whether there is anything to compare a certificate with."""
        key = _key(certificate)
        return key in self._issued or key in self._changed

    def _should_know(self, certificate: output.Json) -> bool:
        """The log began with the upgrade of a database from before it, and imports have entries of their own."""
        return certificate["profile"] not in _WITHOUT_ENTRY and certificate["issue_time"] > self.began


@dataclass
class Comparison:
    """Compares every certificate with the log, and looks again at what differs."""

    ca: Client
    verifier: ChainVerifier
    certificates: Iterator[output.Json]
    """All there are, as they are asked for."""
    later: Callable[[], Iterable[str]]
    """What the log has become meanwhile: the lines behind the last one that was verified."""
    ledger: Ledger = field(default_factory=Ledger)
    differences: list[Difference] = field(default_factory=list)
    compared: int = 0
    unknown: int = 0
    """Certificates that the log tells nothing of."""

    def reading(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of the log, on their way to somebody else."""
        for line in lines:
            self.ledger.take(line)
            yield line

    def run(self, most: int) -> list[Flaw]:
        """Find up to `most` differences. Returns what is wrong with the rest of the log."""
        self.ledger.reading = False
        flaws: list[Flaw] = []
        for doubts in _portions(self._doubts()):
            flaws += self._settle(doubts)
            if flaws or len(self.differences) >= most:
                break
        return flaws

    def described(self) -> output.Json:
        """As JSON."""
        differences = [asdict(each) for each in self.differences]
        return {"compared": self.compared, "not_in_the_log": self.unknown, "differences": differences}

    def summary(self) -> str:
        """For a person, where nothing differs."""
        unknown = f"; the log says nothing of {self.unknown} others, which came in with imports or before it began"
        return f"{self.compared} certificates are recorded as the log says{unknown if self.unknown else ''}"

    def _doubts(self) -> Iterator[Key]:
        for certificate in self.certificates:
            if self.ledger.see(certificate):
                yield _key(certificate)
            elif self.ledger.tells_of(certificate):
                self.compared += 1
            else:
                self.unknown += 1
        yield from list(self.ledger.missing())

    def _settle(self, doubts: list[Key]) -> list[Flaw]:
        """See which of them go on differing. Each is read before the log is, which then says no less than that."""
        texts: dict[Key, str] = {}
        flaws: list[Flaw] = []
        for _ in range(ROUNDS):
            found = {key: self._get(key) for key in doubts}
            for line in self.reading(self.later()):
                flaws += self.verifier.take(line)
            texts = {key: text for key, each in found.items() if (text := self._look(each))}
            self.compared += len(doubts) - len(texts)
            doubts = list(texts)
            if flaws or not doubts:
                return flaws
        self.differences += [Difference(*key, text) for key, text in texts.items()]
        return flaws

    def _look(self, certificate: output.Json | None) -> str | None:
        return self.ledger.see(certificate) if certificate else "it was issued, and is recorded no more"

    def _get(self, key: Key) -> output.Json | None:
        issuer, serial = key
        named = types_pb2.IssuerAndSerialNumber(issuer=issuer, serial_number=serial)
        request = ca_pb2.GetCertificateRequest(issuer_and_serial_number=named)
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(self.ca.channel)
        try:
            return output.certificate(self.ca.renewed().call(stub.GetCertificate, request).certificate)
        except Failed as error:
            if isinstance(error.__cause__, grpc.Call) and error.__cause__.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise


def _portions(keys: Iterable[Key]) -> Iterator[list[Key]]:
    rest = iter(keys)
    while portion := list(itertools.islice(rest, AT_ONCE)):
        yield portion


_REVOCATION = ("revocation_time", "reason", "invalidity_time")
_SEEN = "seen"


def _key(certificate: output.Json) -> Key:
    return certificate["issuer"], certificate["serial_number"] or ""


def _period(profile: str, not_after: str) -> str:
    return f"{profile} until {not_after}"


def _words(revocation: output.Json | None) -> str:
    return "good" if revocation is None else output.revocation_words(revocation)
