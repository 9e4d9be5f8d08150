"""The keys that sign answers: for each issuer one or several, each of another kind, in a fixed order (R64, R68).

The first that is valid signs where a client has no preference; the others sign where a client prefers their algorithm
(R42). They are enrolled (`gateway.enrolment`) or come from files (`gateway.file_signers`); none signs after its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.metrics import signer_changed
from gateway.ocsp.request import PreferredAlgorithm
from gateway.ocsp.response import ResponseSigner


class Signers:
    """The signers of each issuer, by slot: the place in the order of the configuration, from 0 on.

    `least` says how many seconds answers about an issuer have to be valid at least (`ValidityPolicy.minimum`): a signer
    that ends before then is of no use.
    """

    def __init__(self, wall_clock: Callable[[], float], least: Callable[[str], float] = lambda _: 0) -> None:
        self._wall_clock = wall_clock
        self._least = least
        self._slots: dict[str, dict[int, ResponseSigner]] = {}
        self._defaults: dict[str, ResponseSigner] = {}

    def default(self, issuer: str) -> ResponseSigner | None:
        """Who signs for an issuer where a client has no preference; None if nobody does."""
        return self._defaults.get(issuer)

    def current(self, issuer: str, slot: int = 0) -> ResponseSigner | None:
        """The signer in a slot; None if there is none."""
        return self._slots.get(issuer, {}).get(slot)

    def choose(self, issuer: str, preferred: Sequence[PreferredAlgorithm] = ()) -> tuple[int, ResponseSigner] | None:
        """The slot and the signer for a client with these preferences, in its order; None if nobody can sign now."""
        valid = self._valid(issuer)
        if not valid:
            return None
        self._defaults[issuer] = valid[0][1]  # the one before may have come to its end
        for wanted in preferred:
            for slot, signer in valid:
                if signer.makes(wanted):
                    return slot, signer
        return valid[0]

    def install(self, issuer: str, signer: ResponseSigner, slot: int = 0) -> None:
        """Sign with this one from now on."""
        slots = {**self._slots.get(issuer, {}), slot: signer}
        self._slots[issuer] = dict(sorted(slots.items()))
        self._changed(issuer)

    def remove(self, issuer: str, slot: int | None = None) -> None:
        """Sign no more for an issuer, with the signer in one slot or with any."""
        slots = {} if slot is None else dict(self._slots.get(issuer, {}))
        if slot is not None:
            slots.pop(slot, None)
        if slots:
            self._slots[issuer] = slots
            self._changed(issuer)
        else:
            self._slots.pop(issuer, None)
            self._defaults.pop(issuer, None)

    def ready_for(self, issuer: str) -> bool:
        """Whether answers can be signed for an issuer now."""
        return bool(self._valid(issuer))

    def seconds_until_renewal(self, issuer: str, slot: int = 0) -> float:
        """Seconds until half of the life is over; 0 if there is no signer."""
        signer = self.current(issuer, slot)
        if signer is None:
            return 0.0
        begin, end = signer.certificate.not_valid_before_utc, signer.not_after
        return max(0.0, (begin + (end - begin) / 2).timestamp() - self._wall_clock())

    def _valid(self, issuer: str) -> list[tuple[int, ResponseSigner]]:
        until = self._wall_clock() + self._least(issuer)
        return [entry for entry in self._slots.get(issuer, {}).items() if entry[1].ends_at > until]

    def _changed(self, issuer: str) -> None:
        slots = self._slots[issuer]
        valid = self._valid(issuer)
        self._defaults[issuer] = valid[0][1] if valid else next(iter(slots.values()))
        signer_changed(issuer, min(signer.ends_at for signer in slots.values()))
