"""What the gateway knows, and whether it may still say so: cache, evidence and issuers under one roof.

Guarantees G2 and G3: a status comes from a look-up that was answered, or from an entry that the watch still vouches
for; `fresh` is true only while the evidence is younger than the bound. Nothing here waits for the network but
`status`, through the fetch function it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.answers import AnswerCache, Entry, Status
from gateway.batching import Batcher, TooManyWaiting
from gateway.clock import Clock
from gateway.evidence import CertificateKey, Evidence
from gateway.issuers import Issuer, IssuerIndex

_ATTEMPTS = 3


class StatusUnavailable(Exception):
    """The status cannot be had now; the asker may try later."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The result of a look-up: the status as of a revision, and when it was asked for (boot clock)."""

    status: Status
    history: str
    revision: int
    sent_at: float


Fetch = Callable[[Sequence[CertificateKey]], Awaitable[Sequence[LookedUp]]]


class Knowledge:
    """The gateway's knowledge. `fetch` looks certificates up; it raises StatusUnavailable."""

    def __init__(self, cache: AnswerCache, fetch: Fetch, clock: Clock, max_staleness: float) -> None:
        self.cache = cache
        self.evidence = Evidence()
        self.issuers = IssuerIndex()
        self.max_staleness = max_staleness
        self._clock = clock
        self._batcher: Batcher[CertificateKey, LookedUp] = Batcher(fetch)

    def evidence_time(self, entry: Entry) -> float:
        """When what the entry says was last known to be true (boot clock)."""
        return max(entry.looked_up_at, self.evidence.proof) if entry.covered else entry.looked_up_at

    def fresh(self, entry: Entry) -> bool:
        """Whether an answer made from the entry may be written now (G3)."""
        # `evidence_time`, spelled out: this is asked twice for each answer.
        evidence = entry.looked_up_at
        if entry.covered and self.evidence.proof > evidence:
            evidence = self.evidence.proof
        return self._clock() - evidence < self.max_staleness

    def held(self, key: CertificateKey) -> Entry | None:
        """What is known of a certificate, if that is fresh."""
        entry = self.cache.get(key)
        return entry if entry is not None and self.fresh(entry) else None

    async def look_up(self, key: CertificateKey) -> Entry:
        """The status of a certificate, looked up.

        Raises StatusUnavailable: it cannot be had, or not fresh enough.
        """
        for _ in range(_ATTEMPTS):
            try:
                found = await self._batcher.look_up(key)
            except TooManyWaiting:
                raise StatusUnavailable("too many look-ups are waiting") from None
            entry = self._admit(found)
            if entry is not None and self.fresh(entry):
                return entry
        raise StatusUnavailable("look-ups are overtaken by changes, or too slow")

    def _admit(self, found: LookedUp) -> Entry | None:
        """Take a look-up in; None if a change has overtaken it, so that it has to be repeated."""
        evidence = self.evidence
        if found.history != evidence.history:
            # No watch yet, or a reset is on its way: good for its own askers, and not for the cache.
            return Entry(found.status, found.sent_at, found.revision, covered=False)
        if not evidence.admits(found.status.key, found.history, found.revision):
            return None
        if not found.status.known:
            return Entry(found.status, found.sent_at, found.revision, covered=False)
        return self.cache.put(found.status, found.sent_at, found.revision)

    def reset(self, history: str, revision: int) -> None:
        """The watch starts over: nothing that is cached can be vouched for."""
        self.cache.clear()
        self.evidence.reset(history, revision)

    def changes(self, changed: Iterable[tuple[CertificateKey, int]], issuers: Sequence[Issuer], through: int) -> None:
        """The watch tells of changes: certificates with the revision of their change, and issuers."""
        for key, revision in changed:
            self.evidence.changed(key, revision)
            self.cache.changed(key, revision)
        if issuers:
            self.issuers.update(issuers)
            for issuer in issuers:
                self.evidence.issuer_changed(issuer.name, issuer.revision)
                self.cache.drop_issuer(issuer.name)
        self.evidence.told_through(through)

    async def close(self) -> None:
        """End the look-ups under way."""
        await self._batcher.close()
