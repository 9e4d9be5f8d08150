"""Which published revocation list names a certificate, for the answers about it (RFC 6960, section 4.4.2; R62).

Guarantees: a list is named only if it is its issuer's newest as far as is known here, is current, and has the serial
number in it; no answer waits for a list, or fails without one. Lists are fetched in the background, and read in a
thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import structlog
from cryptography import x509
from cryptography.hazmat import asn1

from gateway.answers import AnswerCache
from gateway.evidence import CertificateKey
from gateway.issuers import IssuerIndex
from gateway.knowledge import StatusUnavailable
from gateway.ocsp.response import encode_extension
from gateway.status_source import RevocationList
from gateway.validity import as_time

_CRL_REFERENCE = "1.3.6.1.5.5.7.48.1.3"
# How often the newest lists are asked for, in seconds.
_INTERVAL = 5.0
_UNTIL_ISSUERS = 0.2

_logger = structlog.get_logger(__name__)


@asn1.sequence
class CrlID:
    """CrlID (RFC 6960, section 4.4.2)."""

    crl_url: Annotated[asn1.IA5String | None, asn1.Explicit(0)]
    crl_num: Annotated[int | None, asn1.Explicit(1)]
    crl_time: Annotated[asn1.GeneralizedTime | None, asn1.Explicit(2)]


@dataclass(frozen=True, slots=True)
class _Held:
    """A list, the serial numbers in it, and the extension that names it."""

    crl: RevocationList
    serials: frozenset[int]
    extension: bytes


def _is_current(crl: RevocationList, now: float) -> bool:
    return crl.this_update <= now < crl.next_update


class CrlReferences:
    """The extensions that name revocation lists. `fetch` gives an issuer's newest list; None if it has none.

    `public_url` is where the gateway serves the lists (`gateway.web`); without one, they are named by number and time.
    """

    def __init__(
        self,
        issuers: IssuerIndex,
        fetch: Callable[[str], Awaitable[RevocationList | None]],
        cache: AnswerCache,
        public_url: str | None,
        wall_clock: Callable[[], float],
    ) -> None:
        self._issuers = issuers
        self._fetch = fetch
        self._cache = cache
        self._public_url = public_url
        self._wall_clock = wall_clock
        self._held: dict[str, _Held] = {}

    def extension(self, key: CertificateKey) -> bytes | None:
        """The singleExtension for a revoked certificate; None where no current list has it."""
        held = self._held.get(key.issuer)
        if held is None or not _is_current(held.crl, self._wall_clock()):
            return None
        return held.extension if int.from_bytes(key.serial, "big") in held.serials else None

    async def keep(self) -> None:
        """Refresh every few seconds, until cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception:  # without this task answers would name lists of long ago
                _logger.exception("revocation lists could not be refreshed")
            # Until the status service has told of the issuers there is nothing to ask for.
            await asyncio.sleep(_INTERVAL if len(self._issuers) else _UNTIL_ISSUERS)

    async def refresh(self) -> None:
        """Ask for the newest list of each issuer."""
        for name in [issuer.name for issuer in self._issuers]:
            held = self._held.get(name)
            try:
                crl = await self._fetch(name)
            except StatusUnavailable:
                crl = held.crl if held is not None else None
            if crl is None or not _is_current(crl, self._wall_clock()):
                if held is not None:
                    self._replace(name, None)
            elif held is None or held.crl != crl:
                self._replace(name, await asyncio.to_thread(self._read, name, crl))

    def _replace(self, name: str, held: _Held | None) -> None:
        if held is None:
            del self._held[name]
        else:
            self._held[name] = held
        # Answers that are ready name the list before, or none.
        for entry in self._cache.entries():
            if entry.status.key.issuer == name and entry.status.revocation is not None:
                self._cache.drop(entry.status.key)

    def _read(self, name: str, crl: RevocationList) -> _Held:
        """Takes long for a long list: in a thread."""
        try:
            parsed = x509.load_der_x509_crl(crl.der if isinstance(crl.der, bytes) else crl.der.read())
            serials = frozenset(entry.serial_number for entry in parsed)
            number = _number(parsed)
        except ValueError as error:
            _logger.warning("a revocation list cannot be read", issuer=name, reason=str(error))
            return _Held(crl, frozenset(), b"")
        url = f"{self._public_url.rstrip('/')}/crl/{name}.crl" if self._public_url else ""
        crl_id = CrlID(
            crl_url=asn1.IA5String(url) if url and url.isascii() else None,
            crl_num=number,
            crl_time=asn1.GeneralizedTime(as_time(crl.this_update)),
        )
        return _Held(crl, serials, encode_extension(_CRL_REFERENCE, asn1.encode_der(crl_id)))


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None
