"""The issuers as the use cases see them: found by name, and ready to sign.

Issuers hardly ever change, and every call needs one, so what was read is used for up to a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from cryptography import x509

from services.ca.keystore import KeyStore
from services.ca.urls import authority_urls
from services.db import issuers
from services.db.engine import Database
from services.db.records import IssuerRecord, IssuerState
from services.errors import FailedPrecondition, NotFound
from services.pki.certificates import AuthorityUrls, Issuer
from services.pki.profiles import OCSP_RESPONDER

MAX_AGE = 1.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class SigningIssuer:
    """An issuer with its key, and what goes into and along with the certificates that it signs."""

    record: IssuerRecord
    signer: Issuer
    urls: AuthorityUrls


class IssuerDirectory:
    """Finds issuers. Safe to use from many threads."""

    def __init__(
        self, db: Database, keys: KeyStore, public_url: str, *, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._keys = keys
        self._public_url = public_url
        self._ticks = ticks
        self._lock = threading.Lock()
        self._records: tuple[IssuerRecord, ...] = ()
        self._read_at = float("-inf")
        self._signing: dict[int, SigningIssuer] = {}
        self.forgotten = 0
        """How often `forget` was called."""

    def all(self) -> tuple[IssuerRecord, ...]:
        """All issuers, at most a second old."""
        with self._lock:
            if self._ticks() - self._read_at >= MAX_AGE:
                read_at = self._ticks()
                self._records = self._read()
                self._read_at = read_at
            return self._records

    def _fresh(self) -> Iterator[IssuerRecord]:
        """Read again, but only when somebody asks for the first of them."""
        yield from self._read()

    def _read(self) -> tuple[IssuerRecord, ...]:
        with self._db.read() as conn:
            return tuple(issuers.list_issuers(conn))

    def named(self, name: str, field: str = "issuer") -> IssuerRecord:
        """The issuer of that name. Raises NotFound (ISSUER_UNKNOWN, on `field`)."""
        for record in self.all():
            if record.name == name:
                return record
        raise NotFound(
            "ISSUER_UNKNOWN",
            f"there is no issuer {name[:64]!r}; ListIssuers, or `goodstanding issuers`, tells which there are",
            field=field,
        )

    def by_id(self, issuer_id: int) -> IssuerRecord:
        """The issuer of a recorded certificate."""
        for record in chain(self.all(), self._fresh()):
            if record.id == issuer_id:
                return record
        raise RuntimeError(f"a certificate names issuer {issuer_id}, which is gone")

    def forget(self) -> None:
        """An issuer has changed: whoever asks from now on sees it."""
        with self._lock:
            self._read_at = float("-inf")
            self.forgotten += 1

    def named_or_active(self, name: str, now: datetime) -> IssuerRecord:
        """The issuer of that name, or the only active one if `name` is empty.

        Raises NotFound ISSUER_UNKNOWN; FailedPrecondition ISSUER_NOT_ACTIVE, ISSUER_AMBIGUOUS.
        """
        return self.named(name) if name else self._only_active(now)

    def for_issuing(self, name: str, now: datetime, profile: str = "") -> SigningIssuer:
        """The issuer of that name, or the only active one if `name` is empty, with its key.

        Raises NotFound ISSUER_UNKNOWN; FailedPrecondition ISSUER_NOT_ACTIVE, ISSUER_AMBIGUOUS, ISSUER_EXPIRED, and as
        `require_standing`; Unavailable KEY_UNAVAILABLE.
        """
        record = self.named_or_active(name, now)
        require_issuing(record, profile)
        signing = self.with_key(record)
        if now > signing.signer.not_after:
            raise FailedPrecondition(
                "ISSUER_EXPIRED", f"the certificate of issuer {record.name} has expired", field="issuer"
            )
        return signing

    def with_key(self, record: IssuerRecord) -> SigningIssuer:
        """That issuer, ready to sign. Raises Unavailable (KEY_UNAVAILABLE)."""
        known = self._signing.get(record.id)
        if known is None or known.record != record:
            self._signing.pop(record.id, None)  # it holds a key that may be ours no longer
            key = self._keys.signer(record)
            path = map(x509.load_der_x509_certificate, (record.certificates_der[0], *record.chain_der))
            certificate, *above = path
            signer = Issuer(certificate, key, tuple(above))
            known = SigningIssuer(record, signer, authority_urls(self._public_url, record.name))
            self._signing[record.id] = known
        return known

    def signs_quickly(self, name: str) -> bool:
        """Whether every issuer that may be meant has signed before, with a key that takes no time for it."""
        known = tuple(self._signing.values())
        meant = [each for each in known if each.record.name == name] if name else known
        return bool(meant) and all(each.signer.is_quick for each in meant)

    def _only_active(self, now: datetime) -> IssuerRecord:
        active = [record for record in self.all() if record.state is IssuerState.ACTIVE]
        if not active:
            raise FailedPrecondition(
                "ISSUER_NOT_ACTIVE", "no issuer is active here: see `goodstanding ca list`", field="issuer"
            )
        if len(active) > 1:
            active = [record for record in active if _stands(record)] or active
        if len(active) > 1:
            active = [record for record in active if now <= _not_after(record)] or active
        if len(active) > 1:
            names = ", ".join(record.name for record in active)
            raise FailedPrecondition("ISSUER_AMBIGUOUS", f"several issuers fit; name one of {names}", field="issuer")
        return active[0]


_NOT_ISSUING = {
    IssuerState.RETIRED: ("retired", "have it issue again (`goodstanding ca activate`)"),
    IssuerState.OFFLINE: ("offline, without its key", "bring that (`goodstanding ca import --key`)"),
}


def require_issuing(issuer: IssuerRecord, profile: str) -> None:
    """Raises FailedPrecondition (ISSUER_NOT_ACTIVE, and as `require_standing`) where nothing is issued (any more).

    A retired issuer goes on with the certificates of its responders: who else could answer for what it issued?
    """
    answering = issuer.state is IssuerState.RETIRED and profile == OCSP_RESPONDER
    if issuer.state is not IssuerState.ACTIVE and not answering:
        why, cure = _NOT_ISSUING.get(issuer.state, ("not there yet", "complete its import"))
        text = f"issuer {issuer.name} issues nothing here: it is {why}; name an active one, or {cure}"
        raise FailedPrecondition("ISSUER_NOT_ACTIVE", text, field="issuer")
    require_standing(issuer, profile)


def require_standing(issuer: IssuerRecord, profile: str) -> None:
    """Raises FailedPrecondition (ISSUER_COMPROMISED, ISSUER_REVOKED) where nobody should trust what is issued now.

    Certificates of responders are issued all the same: somebody has to sign what becomes of the others.
    """
    if profile == OCSP_RESPONDER or _stands(issuer):
        return
    if issuer.compromise is not None:
        raise FailedPrecondition(
            "ISSUER_COMPROMISED", f"the key of issuer {issuer.name} is in other hands", field="issuer"
        )
    raise FailedPrecondition(
        "ISSUER_REVOKED", f"the certificate of issuer {issuer.name}, or of one above it, is revoked", field="issuer"
    )


def _stands(issuer: IssuerRecord) -> bool:
    return issuer.compromise is None and not issuer.revoked


def chain_below_root(issuer: IssuerRecord) -> tuple[bytes, ...]:
    """The CA certificates that a server sends along: the issuer's first, the root left out."""
    return (issuer.certificates_der[0], *issuer.chain_der)[:-1]


def _not_after(record: IssuerRecord) -> datetime:
    return x509.load_der_x509_certificate(record.certificates_der[0]).not_valid_after_utc
