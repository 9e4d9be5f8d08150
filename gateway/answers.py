"""One cache: what is known of a certificate, and the answers that are ready for it.

An entry holds the status of one certificate; answers hang on it, one for each spelling of its CertID and each signer.
When the status goes, so do the answers: nothing can outlive what it was made from. The cache never mixes hash
algorithms, issuers or signers (G4): a ready answer is found by the exact bytes of a request that leaves the signer to
us, or by the exact bytes of the CertID and the signer's place.

Eviction is S3-FIFO: new entries wait in a short queue, and only those asked for again get into the long one. Whoever
cycles through a million serial numbers flushes the short queue, and not what is hot. Of those that leave it their names
are remembered for a while: who is asked for again so soon was not given the time to show it. `unknown` is never held,
so a stranger cannot fill the cache with serial numbers of his own making.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gateway.answer import Answer
from gateway.evidence import CertificateKey
from gateway.ocsp.response import ResponseTemplate

# What an entry or a ready answer costs beside its bytes: objects, keys, places in dictionaries. Measured with
# tracemalloc, rounded up.
_ENTRY_COST = 700
_READY_COST = 900
# Spellings kept for a signer, with a nonce and without: four hash algorithms, with and without NULL parameters.
_READY_PER_KIND = 8


@dataclass(frozen=True, slots=True)
class Revocation:
    """When and why (CRLReason; 0 is unspecified). Seconds since 1970."""

    revoked_at: int
    reason: int
    invalidity_at: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What a look-up found: `known` is false for a serial number that was never issued."""

    key: CertificateKey
    known: bool
    revocation: Revocation | None
    changed_at: int
    """Seconds since 1970; 0 if not known."""
    not_after: int
    revision: int
    """The revision of the status itself; 0 if not known."""


@dataclass(slots=True, eq=False)
class Ready:
    """A complete answer for one spelling of the request; or all of one but its nonce."""

    answer: Answer | ResponseTemplate
    """A template for requests with a nonce."""
    request: bytes | None
    """The request that it is for without further ado, up to the nonce's octets where there is one; None where a client
    has to prefer the signer's algorithm."""
    cert_id: bytes
    signer: object
    good_until: int
    """Seconds since 1970: from then on another answer has to be made (a new period, or the signer's end)."""
    entry: Entry
    good_from: int = 0
    """Seconds since 1970; the clock may be set back to before it."""
    slot: int = 0
    """The signer's place among those of the issuer."""
    this_update: int = 0
    """Seconds since 1970; what a template makes is not produced before it."""
    nonce_size: int = 0
    """How many octets of nonce a template is for."""

    @property
    def key(self) -> ReadyKey:
        """What it is found by among the answers of its entry."""
        return self.cert_id, self.slot, self.nonce_size

    @property
    def cost(self) -> int:
        """Memory, estimated."""
        held = len(self.answer.body) if isinstance(self.answer, Answer) else self.answer.size
        return _READY_COST + held + len(self.request or b"") + len(self.cert_id)


ReadyKey = tuple[bytes, int, int]
"""CertID, the signer's place, and the size of the nonce (0: none)."""


@dataclass(slots=True, eq=False)
class Entry:
    """The status of one certificate, and since when we know."""

    status: Status
    looked_up_at: float
    """Boot clock, when the look-up was sent."""
    read_revision: int
    """The revision that the look-up was read at."""
    covered: bool
    """Whether the watch would have told of a change: then its proofs count for this entry too."""
    ready: dict[ReadyKey, Ready] = field(default_factory=dict)
    touched: int = 0
    size: int = _ENTRY_COST


class AnswerCache:
    """Entries by certificate, bounded in number and bytes."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: dict[CertificateKey, Entry] = {}
        self._by_request: dict[bytes, Ready] = {}
        self._short: OrderedDict[CertificateKey, None] = OrderedDict()
        self._long: OrderedDict[CertificateKey, None] = OrderedDict()
        self._ghosts: OrderedDict[CertificateKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes held, estimated."""
        return self._bytes

    def entries(self) -> list[Entry]:
        """All entries, for the metrics."""
        return list(self._entries.values())

    def by_request(self, request: bytes) -> Ready | None:
        """The ready answer for exactly these request bytes. The caller checks that it may still be given."""
        ready = self._by_request.get(request)
        if ready is not None:
            ready.entry.touched = 1
        return ready

    def get(self, key: CertificateKey) -> Entry | None:
        """What is known of a certificate. The caller checks its evidence."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.touched = 1
        return entry

    def put(self, status: Status, looked_up_at: float, read_revision: int) -> Entry:
        """Hold what a look-up found. The same status again keeps the answers that are ready for it."""
        entry = self._entries.get(status.key)
        if entry is not None and entry.status == status:
            if looked_up_at > entry.looked_up_at:
                entry.looked_up_at = looked_up_at
                entry.read_revision = max(entry.read_revision, read_revision)
            return entry
        self.disprove(status.key)
        entry = Entry(status, looked_up_at, read_revision, covered=True)
        self._entries[status.key] = entry
        queue = self._short
        if status.key in self._ghosts:
            del self._ghosts[status.key]
            queue = self._long
        queue[status.key] = None
        self._bytes += entry.size
        self._evict(status.key)
        return entry

    def add_ready(self, ready: Ready) -> None:
        """Hang a ready answer on its entry, if that is still held."""
        entry = ready.entry
        if self._entries.get(entry.status.key) is not entry:
            return
        key = ready.key
        self._remove_ready(entry, key)
        # By kind, so that clients with preferences or nonces do not push out what the others ask for.
        same_kind = [held for held in entry.ready if held[1] == ready.slot and bool(held[2]) == bool(ready.nonce_size)]
        if len(same_kind) >= _READY_PER_KIND:
            self._remove_ready(entry, same_kind[0])
        entry.ready[key] = ready
        if ready.request is not None:
            self._by_request[ready.request] = ready
        self._account(entry, ready.cost)
        self._evict(entry.status.key)

    def changed(self, key: CertificateKey, revision: int) -> None:
        """The status changed at `revision`: what was read before is wrong by now."""
        entry = self._entries.get(key)
        if entry is not None and entry.read_revision < revision:
            self.disprove(key)

    def disprove(self, key: CertificateKey) -> None:
        """Forget a certificate, and take the evidence from answers that are still under way."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.looked_up_at = float("-inf")
            self.drop(key)

    def drop(self, key: CertificateKey) -> None:
        """Forget a certificate. No change of it will be noticed from now on: only its look-up is evidence still."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._short.pop(key, None)
        self._long.pop(key, None)
        self._bytes -= entry.size
        entry.covered = False
        for ready in entry.ready.values():
            self._forget_request(ready)
        # They hold each other: memory that the limits no longer count would wait for the collector of cycles.
        entry.ready.clear()

    def drop_issuer(self, issuer: str) -> None:
        """Forget everything of one issuer."""
        for key in [key for key in self._entries if key.issuer == issuer]:
            self.disprove(key)

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._entries):
            self.disprove(key)

    def _account(self, entry: Entry, cost: int) -> None:
        entry.size += cost
        self._bytes += cost

    def _remove_ready(self, entry: Entry, key: ReadyKey) -> None:
        ready = entry.ready.pop(key, None)
        if ready is not None:
            self._forget_request(ready)
            self._account(entry, -ready.cost)

    def _forget_request(self, ready: Ready) -> None:
        # Another signer may have taken over since, and its answer stands for the request.
        if ready.request is not None and self._by_request.get(ready.request) is ready:
            del self._by_request[ready.request]

    def _over(self) -> bool:
        return len(self._entries) > self._max_entries or self._bytes > self._max_bytes

    def _evict(self, spare: CertificateKey) -> None:
        # `spare` was just put in: evicting it at once would make a full cache useless for new certificates.
        while self._over() and len(self._entries) > 1:
            is_short_due = self._short and (len(self._short) > len(self._entries) // 10 or not self._long)
            key, _ = (self._short if is_short_due else self._long).popitem(last=False)
            entry = self._entries[key]
            if entry.touched or key == spare:
                entry.touched = 0
                self._long[key] = None
                continue
            self.drop(key)
            if is_short_due:
                self._remember(key)

    def _remember(self, ghost: CertificateKey) -> None:
        """Keep the name of one that is gone: a tenth of what it took, for as many as there are entries."""
        self._ghosts[ghost] = None
        while len(self._ghosts) > len(self._entries):
            self._ghosts.popitem(last=False)
