"""Which revocation list a certificate names (R98, R112).

Guarantees: a certificate names at most one list, and keeps it for life; the shard follows from its serial number and
the number of shards on the day it was issued, and is recorded with it, so that there may be more of them later.
"""

from __future__ import annotations

import threading
from typing import Literal, NamedTuple

from services.ca.urls import crl_shard_prefix, crl_url
from services.db import crls
from services.db.engine import Database
from services.db.position import advance
from services.db.records import CrlScope, IssuerRecord

Distribution = Literal["none", "full", "sharded"]


class CrlPoint(NamedTuple):
    """The address of a list, None for none, and its shard, None for the full one."""

    url: str | None = None
    shard: int | None = None


class CrlPoints:
    """The distribution points of certificates. Safe to use from many threads."""

    def __init__(self, db: Database, public_url: str, distribution: Distribution, shards: int) -> None:
        self._db = db
        self._public_url = public_url
        self._distribution = distribution
        self._count = shards
        self._shards: dict[int, list[CrlScope]] = {}
        self._lock = threading.Lock()

    def of(self, issuer: IssuerRecord, serial: bytes, *, is_ca: bool = False) -> CrlPoint:
        """What a new certificate with that serial number names. Raises Unavailable where it could not be recorded.

        Those of CAs always name a list (R98): many who ask about leaves by OCSP know nothing but lists for CAs.
        """
        if self._distribution == "none" and not is_ca:
            return CrlPoint()
        if self._distribution != "sharded":
            return CrlPoint(crl_url(self._public_url, issuer.name))
        shards = self.shards(issuer)
        shard = shards[int.from_bytes(serial[-4:]) % len(shards)]
        return CrlPoint(shard.url, shard.scope)

    def shards(self, issuer: IssuerRecord) -> list[CrlScope]:
        """The shards that new certificates of the issuer are spread over; empty unless there are to be any."""
        if self._distribution != "sharded":
            return []
        with self._lock:
            if issuer.id not in self._shards:
                prefix = crl_shard_prefix(self._public_url, issuer.name)
                self._shards[issuer.id] = self._known(issuer.id, prefix) or self._added(issuer.id, prefix)
            return self._shards[issuer.id]

    def _known(self, issuer_id: int, prefix: str) -> list[CrlScope]:
        """The shards, if all of them are there: to see that, nothing need be written."""
        with self._db.read() as conn:
            found = crls.shards_of(conn, issuer_id, prefix)[: self._count]
        return found if len(found) == self._count else []

    def _added(self, issuer_id: int, prefix: str) -> list[CrlScope]:
        with self._db.write() as conn:
            advance(conn, 1)
            return crls.add_shards(conn, issuer_id, prefix, self._count)
