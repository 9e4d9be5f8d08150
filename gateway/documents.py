"""CA certificates and revocation lists for the public address, as the status service has them.

Guarantees: what is held is bounded, whatever is asked for; many who ask for a list make one call; a list that has ended
is not given out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gateway.issuers import IssuerIndex
from gateway.knowledge import StatusUnavailable
from gateway.status_source import RevocationList, StatusClient

# How long a list is given out before the service is asked for a newer one, in seconds. Where there is none, its octets
# are not sent again.
_HOLD = 2.0
# How long the status service is left alone after it could not answer, in seconds.
_RETRY = 1.0
# How many octets of lists are held, and how many lists; those that nobody has asked for longest go first. Long ones are
# in files, and count as nothing.
_MAX_OCTETS = 64 * 1024 * 1024
_MAX_LISTS = 8192
# How many lists are remembered not to be there.
_MAX_ABSENT = 1024

_logger = structlog.get_logger(__name__)

Key = tuple[str, int]


@dataclass(slots=True)
class _Held:
    crl: RevocationList
    asked_at: float
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def octets(self) -> int:
        return len(self.crl.der) if isinstance(self.crl.der, bytes) else 0


class Documents:
    """What certificates point to beside OCSP: caIssuers and CRL distribution points (RFC 5280, 4.2.2.1, 4.2.1.13)."""

    def __init__(self, issuers: IssuerIndex, client: StatusClient, wall_clock: Callable[[], float]) -> None:
        self._issuers = issuers
        self._client = client
        self._wall_clock = wall_clock
        self._asking = asyncio.Lock()
        self._failed_at = float("-inf")
        self._held: dict[Key, _Held] = {}
        self._octets = 0
        self._absent: dict[Key, float] = {}

    def ca_certificate(self, name: str) -> bytes | None:
        """The DER of an issuer's certificate; None for an unknown issuer."""
        issuer = self._issuers.by_name(name)
        return issuer.certificates_der[0] if issuer is not None and issuer.certificates_der else None

    async def crl(self, name: str, shard: int = 0) -> RevocationList | None:
        """An issuer's revocation list, the full one or that of a shard; None if there is none.

        The last one, while the status service is away. Raises StatusUnavailable: the service is away, and no list is
        held that is still current.
        """
        if self._issuers.by_name(name) is None:
            return None
        key = (name, shard)
        known = self._held.get(key)
        # One look-up at a time for each list, and one for all that are not held: whoever asks for lists by the thousand
        # makes one call, and gets what it brings.
        async with self._asking if known is None else known.asking:
            now = self._wall_clock()
            held = self._held.get(key)
            # A clock that was set back must not make a list stay.
            if held is not None and 0 <= now - held.asked_at < _HOLD:
                return held.crl
            if 0 <= now - self._absent.get(key, float("-inf")) < _HOLD:
                return None
            if not 0 <= now - self._failed_at < _RETRY:
                try:
                    found = await self._client.crl(name, shard, None if held is None else held.crl)
                except StatusUnavailable as error:
                    _logger.warning("status unavailable", reason=str(error))
                    self._failed_at = self._wall_clock()
                else:
                    self._keep(key, found, now)
                    return found
            if held is None or held.crl.next_update <= now:
                raise StatusUnavailable("the revocation list cannot be had now")
            return held.crl

    def _keep(self, key: Key, crl: RevocationList | None, now: float) -> None:
        before = self._held.pop(key, None)
        self._octets -= before.octets if before is not None else 0
        self._absent.pop(key, None)
        if crl is None:
            if len(self._absent) >= _MAX_ABSENT:
                self._absent.clear()
            self._absent[key] = now
            return
        held = _Held(crl, now) if before is None else _Held(crl, now, before.asking)
        self._held[key] = held
        self._octets += held.octets
        while len(self._held) > 1 and (self._octets > _MAX_OCTETS or len(self._held) > _MAX_LISTS):
            self._octets -= self._held.pop(next(iter(self._held))).octets
