"""What can go wrong in a use case, in terms that a caller can act on.

Every error has a reason: a stable UPPER_SNAKE_CASE word that programs may compare. `services.rpc.errors` maps each
class to one gRPC status code; nothing else converts errors. Texts are shown to callers: they name the thing and the
cure, and never hold secrets, paths or keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with one field of a request.

    `field` is the path of the field in the request message (`csr`, `subject_alternative_names.dns_names[3]`).
    """

    field: str
    reason: str
    description: str


class DomainError(Exception):
    """Base of all errors that callers are told about. Raise one of the subclasses."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        given = tuple(violations)
        self.violations = given or ((FieldViolation(field, reason, message),) if field else ())
        self.metadata = dict(metadata or {})


class InvalidArgument(DomainError):
    """The request is wrong whatever the state of the system."""


class NotFound(DomainError):
    """What the request names does not exist here."""


class FailedPrecondition(DomainError):
    """The system is not in the state that the request needs; repeating it alone does not help."""


class AlreadyExists(DomainError):
    """What the request would create is there already, as something else."""


class PermissionDenied(DomainError):
    """The caller is known, and may not do this."""


class Unauthenticated(DomainError):
    """The caller is not known, or no longer."""


class ResourceExhausted(DomainError):
    """A limit is reached."""


class Unavailable(DomainError):
    """A part that is needed cannot be used now; the same request may succeed later."""
