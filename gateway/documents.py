"""CA certificates and revocation lists for the public address, as the status service has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.issuers import IssuerIndex
from gateway.knowledge import StatusUnavailable
from gateway.status_source import RevocationList, StatusClient

# How long a list is given out before it is asked for again, in seconds.
_HOLD = 5.0
# How long the status service is left alone after it could not answer, in seconds.
_RETRY = 1.0

_logger = structlog.get_logger(__name__)


class Documents:
    """What certificates point to beside OCSP: caIssuers and CRL distribution points (RFC 5280, 4.2.2.1, 4.2.1.13)."""

    def __init__(self, issuers: IssuerIndex, client: StatusClient, wall_clock: Callable[[], float]) -> None:
        self._issuers = issuers
        self._client = client
        self._wall_clock = wall_clock
        self._asking = asyncio.Lock()
        self._failed_at = float("-inf")
        self._held: dict[str, tuple[float, RevocationList | None]] = {}

    def ca_certificate(self, name: str) -> bytes | None:
        """The DER of an issuer's certificate; None for an unknown issuer."""
        issuer = self._issuers.by_name(name)
        return issuer.certificates_der[0] if issuer is not None and issuer.certificates_der else None

    async def crl(self, name: str) -> RevocationList | None:
        """An issuer's revocation list; None if there is none. The last one, while the status service is away.

        Raises StatusUnavailable: the service is away, and no list is held that is still current.
        """
        if self._issuers.by_name(name) is None:
            return None
        # One look-up at a time: whoever asks for lists by the thousand makes one call, and gets what it brings.
        async with self._asking:
            now = self._wall_clock()
            asked_at, held = self._held.get(name, (float("-inf"), None))
            # A clock that was set back must not make a list stay.
            if 0 <= now - asked_at < _HOLD:
                return held
            if not 0 <= now - self._failed_at < _RETRY:
                try:
                    held = await self._client.crl(name)
                except StatusUnavailable as error:
                    _logger.warning("status unavailable", reason=str(error))
                    self._failed_at = self._wall_clock()
                else:
                    self._held[name] = (now, held)
                    return held
            if held is None or held.next_update <= now:
                raise StatusUnavailable("the revocation list cannot be had now")
            return held
