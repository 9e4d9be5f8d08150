"""CA keys that somebody else may have: none gets a further CA certificate, and no issuer with one issues here (R103).

What was so before can still be brought in: an issuer that is offline or retired answers for what it issued
(docs/decisions/compromised-issuers.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from services.ca.issuers import require_standing
from services.db import blocked_keys
from services.db.engine import Connection
from services.db.records import IssuerRecord, IssuerState
from services.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is to be recorded of an issuer, as far as its keys go."""

    name: str
    public_key_der: bytes
    known: IssuerRecord | None
    """The issuer, where it is there already."""
    signer: IssuerRecord | None
    """The issuer above; None for a root."""
    is_certified: bool
    """Whether a CA certificate comes that was not known."""
    is_activated: bool
    """Whether it begins to issue by this."""

    def require_sound(self, conn: Connection, every: Iterable[IssuerRecord], field: str) -> None:
        """Look at the keys as they stand in that transaction, in which `every` issuer was read.

        Raises FailedPrecondition (ISSUER_COMPROMISED, ISSUER_REVOKED), InvalidArgument (KEY_BLOCKED, on `field`).
        """
        if not self.is_activated and (self.known is None or not self.is_certified):
            return
        issuers = {record.id: record for record in every}
        self._require_own(conn, issuers.values(), field)
        issues = self.is_activated or (self.known is not None and self.known.state is IssuerState.ACTIVE)
        if issues and self.signer is not None:
            self._require_signer(issuers[self.signer.id])

    def _require_own(self, conn: Connection, every: Iterable[IssuerRecord], field: str) -> None:
        for record in every:
            if record.public_key_der == self.public_key_der and record.compromise is not None:
                text = f"the key of issuer {record.name} is in other hands: {self._cure}"
                raise FailedPrecondition("ISSUER_COMPROMISED", text, field=field)
        if is_blocked(conn, self.public_key_der):
            text = f"the key of issuer {self.name} is blocked, because somebody else may have it: {self._cure}"
            raise InvalidArgument("KEY_BLOCKED", text, field=field)

    def _require_signer(self, signer: IssuerRecord) -> None:
        if self.known is None:
            cure = "bring it in offline or retired, to answer for what it issued"
        else:
            cure = "make another below a CA that stands (`goodstanding ca create-intermediate`)"
        try:
            require_standing(signer, "")
        except FailedPrecondition as error:
            text = f"{error.message}, so {self.name}, which is below it, can issue nothing: {cure}"
            raise FailedPrecondition(error.reason, text) from error

    @property
    def _cure(self) -> str:
        if self.is_activated:
            return "bring it in offline or retired, to answer for what it issued, and make another CA with a new key"
        return "it is never certified again; make another CA with a new key"


def require_activable(conn: Connection, record: IssuerRecord) -> None:
    """What an issuer needs to issue (again).

    Raises FailedPrecondition (ISSUER_COMPROMISED, ISSUER_REVOKED), InvalidArgument (KEY_BLOCKED).
    """
    require_standing(record, "")
    if record.state is not IssuerState.ACTIVE and is_blocked(conn, record.public_key_der):
        text = (
            f"the key of issuer {record.name} is blocked, because somebody else may have it: make a CA with a new one"
        )
        raise InvalidArgument("KEY_BLOCKED", text, field="name")


def refuse_blocked_meanwhile(conn: Connection, record: IssuerRecord, field: str) -> None:
    """What an import needs at its end to have an issuer issue here. What it has told of the key itself does not count.

    Raises InvalidArgument (KEY_BLOCKED, on `field`).
    """
    blocked = blocked_keys.get_blocked(conn, sha256(record.public_key_der).digest())
    if blocked is not None and blocked.source != "revocation":
        text = f"the key of issuer {record.name} was blocked meanwhile, because somebody else may have it: "
        text += "go on with the import offline or retired, and make another CA with a new key"
        raise InvalidArgument("KEY_BLOCKED", text, field=field)


def is_blocked(conn: Connection, public_key_der: bytes) -> bool:
    """Whether that key is never certified again."""
    return bool(blocked_keys.find_blocked(conn, [sha256(public_key_der).digest()]))
