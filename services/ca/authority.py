"""The certificate authority's use cases in one place, free of gRPC.

Everything it records is durable when a call returns. It may be called from many threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from services.ca.blocked_keys import Blocking
from services.ca.bulk import BulkRevoking
from services.ca.find import Finding, ListQuery
from services.ca.foreign_crls import ForeignCrls
from services.ca.hierarchy import Hierarchy
from services.ca.imports import Importing
from services.ca.issue import IssueCommand, IssueResult, Issuing
from services.ca.issuers import IssuerDirectory
from services.ca.keystore import KeyStore
from services.ca.revoke import RevokeCommand, Revoked, Revoking
from services.ca.settings import AuthoritySettings
from services.ca.signing_pool import SigningPool
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.clock import Clock, utc_now
from services.db.engine import Database
from services.db.records import Actor, CertificateCount, CertificatePage, CertificateRecord, IssuerRecord
from services.pki.profiles import BUILTIN, Profile


class CertificateAuthority:
    """Issues, revokes and finds certificates.

    `begin_issue` and `begin_revoke` check (and sign) in the calling thread, or in the writer's (`issues_quickly`), and
    return a future of the durable result, so that an event loop need not hold a thread for each caller; `issue` and
    `revoke` wait for it.
    `actor.request_id`, if not empty, makes retries safe (G6). `blocking` blocks public keys.
    """

    def __init__(
        self,
        db: Database,
        writer: Writer,
        keys: KeyStore,
        settings: AuthoritySettings,
        *,
        profiles: Mapping[str, Profile] = BUILTIN,
        clock: Clock = utc_now,
    ) -> None:
        self.profiles = profiles
        self.directory = IssuerDirectory(db, keys, settings.public_url)
        self._issuing = Issuing(db, writer, self.directory, profiles, settings, clock)
        self.crl_points = self._issuing.crl_points
        self._revoking = Revoking(db, writer, self.directory, settings, clock)
        self.bulk = BulkRevoking(db, writer, self.directory, self._revoking, clock)
        self._finding = Finding(db, self.directory, clock)
        self.hierarchy = Hierarchy(db, writer, self.directory, keys, clock, settings.known_keys)
        self.foreign_crls = ForeignCrls(db, writer, self.directory, clock)
        self.blocking = Blocking(db, writer, clock)
        self.importing = Importing(db, writer, self.directory, self.hierarchy, keys, clock)

    def issues_quickly(self, profile: str, issuer: str, size: int) -> bool:
        """Whether `begin_issue` takes no time with a request of that size, so that an event loop may call it."""
        return self._issuing.is_quick(profile, issuer, size)

    def sign_with(self, pool: SigningPool) -> None:
        """Have signing processes make certificates when there is a crowd."""
        self._issuing.pool = pool

    def begin_issue(self, command: IssueCommand, actor: Actor) -> Future[IssueResult]:
        """Check, sign, and queue for recording."""
        return self._issuing.begin(command, actor)

    def issue(self, command: IssueCommand, actor: Actor) -> IssueResult:
        """Issue a certificate."""
        return self._issuing.begin(command, actor).result()

    def begin_revoke(self, command: RevokeCommand, actor: Actor) -> Future[Revoked]:
        """Check, and queue for recording."""
        return self._revoking.begin(command, actor)

    def revoke(self, command: RevokeCommand, actor: Actor) -> CertificateRecord:
        """Revoke, put on hold or release a certificate, and return it as recorded."""
        return self._revoking.begin(command, actor).result().record

    def get(self, target: BySerial) -> CertificateRecord:
        """Find one certificate."""
        return self._finding.get(target)

    def list(self, query: ListQuery) -> CertificatePage:
        """List certificates."""
        return self._finding.list(query)

    def count(self, issuer: str = "") -> Sequence[CertificateCount]:
        """Count certificates, of one issuer or of all."""
        return self._finding.count(issuer)

    def issuers(self) -> tuple[IssuerRecord, ...]:
        """List the issuers."""
        return self._finding.issuers()
