"""How fresh the gateway's knowledge is, and which look-ups may join it.

This is the gateway's half of the freshness protocol (G3, docs/freshness.md), without any I/O: it is
told what was sent and received, and by which clock.

* All times are those of the boot clock, in seconds. Only times at which something was *sent* count, so that no delay
  on the way can make knowledge look fresher than it is.
* `applied` is the revision up to which every change was told. A look-up at revision r joins only if no change in
  (r, applied] names its certificate: what came late must not undo what is known.
* A lost stream stops `proof`; nothing else has to happen for answers to run out of evidence.
* There is no way back, neither to a history that was left nor within one: who offers it is behind, such as a replica
  that lags, and what it calls good may have been revoked before the eyes of this gateway.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple


class CertificateKey(NamedTuple):
    """A certificate: the name of its issuer, and its serial number (big-endian, without leading zeros)."""

    issuer: str
    serial: bytes


class Evidence:
    """The state of the watch: which history, up to which revision, and proven when."""

    def __init__(self, remembered_changes: int = 65_536) -> None:
        self.history = ""
        """The history being followed; empty before the first reset."""
        self.applied = 0
        self.proof = float("-inf")
        """When the latest answered ping was sent."""
        self._pings: OrderedDict[int, float] = OrderedDict()
        self._changes: OrderedDict[CertificateKey, int] = OrderedDict()
        self._issuer_changes: dict[str, int] = {}
        self._forgotten = 0
        self._remembered = remembered_changes
        self._left: set[str] = set()

    def connected(self) -> None:
        """A new stream begins: pings sent on the old one will never be answered."""
        self._pings.clear()

    def may_follow(self, history: str, revision: int) -> bool:
        """Whether `revision` of `history` is no step back from what was seen.

        A restored database is one once the CA service has started on it, which gives it a new history.
        """
        return revision >= self.applied if history == self.history else history not in self._left

    def reset(self, history: str, revision: int) -> None:
        """Follow `history` from `revision` on. All that is cached must be dropped with it."""
        if history != self.history:
            self._left.add(self.history)
        self.history = history
        self.applied = revision
        self.proof = float("-inf")
        self._pings.clear()
        self._changes.clear()
        self._issuer_changes.clear()
        self._forgotten = revision

    def ping_sent(self, ping: int, now: float) -> None:
        """A ping left at `now`. Take the time before sending."""
        self._pings[ping] = now

    def changed(self, key: CertificateKey, revision: int) -> None:
        """The status of a certificate changed at `revision`."""
        self._changes[key] = revision
        self._changes.move_to_end(key)
        if len(self._changes) > self._remembered:
            _, self._forgotten = self._changes.popitem(last=False)

    def issuer_changed(self, name: str, revision: int) -> None:
        """An issuer changed at `revision`, and with it all of its certificates."""
        self._issuer_changes[name] = revision

    def told_through(self, revision: int) -> None:
        """All changes up to `revision` were told."""
        self.applied = max(self.applied, revision)

    def pong(self, ping: int, revision: int) -> None:
        """A ping was answered, and with it all that were sent before it.

        An unknown id proves nothing; it comes from a stream that is gone, or from a peer that is wrong.
        """
        sent = self._pings.get(ping)
        if sent is None:
            return
        while next(iter(self._pings)) != ping:
            self._pings.popitem(last=False)
        del self._pings[ping]
        self.told_through(revision)
        self.proof = max(self.proof, sent)

    def admits(self, key: CertificateKey, history: str, revision: int) -> bool:
        """Whether a look-up of `key` that was read at `revision` of `history` still holds as of `applied`."""
        if history != self.history or revision < self._forgotten:
            return False
        return max(self._changes.get(key, 0), self._issuer_changes.get(key.issuer, 0)) <= revision
