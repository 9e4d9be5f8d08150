"""Refused calls, as the audit log wants them: who was refused what, why, and about which object.

The interceptor tells of every refusal that is a decision: a caller who may not, and a change that was not made. Calls
that only read and find nothing, limits, and failures of our own are none; neither are dry runs, which record nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from services.db.records import Actor
from services.errors import DomainError, PermissionDenied, Unauthenticated, Unavailable
from services.rpc.identity import Caller

_READING = ("Get", "List", "BatchGet", "Watch", "Count", "Export", "Check", "ServerReflection")
_LIMITS = ("TOO_MANY_CALLS", "QUEUE_FULL")


@dataclass(frozen=True, slots=True)
class CallObject:
    """What a call is about. Text in it may be whatever a caller sent."""

    request_id: str = ""
    issuer: str = ""
    serial: bytes = b""
    details: Mapping[str, Any] | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused call. The actor's identity is empty where it was not even known who calls."""

    method: str
    actor: Actor
    reason: str
    about: CallObject


_object: ContextVar[Callable[[], CallObject] | None] = ContextVar("call_object", default=None)


def describe_call(describe: Callable[[], CallObject]) -> None:
    """Say what the current call is about. `describe` is called only if the call is refused."""
    _object.set(describe)


_teller: ContextVar[Callable[[DomainError, str], None] | None] = ContextVar("refusal_teller", default=None)


def set_teller(tell: Callable[[DomainError, str], None]) -> None:
    """Who is told of refusals within the current call; for the interceptor. `tell` takes the error and a method."""
    _teller.set(tell)


def tell_refusal(error: DomainError, method: str, describe: Callable[[], CallObject]) -> None:
    """Tell of one thing that was refused in a call that goes on. `method`: what would have been called for it alone."""
    tell = _teller.get()
    if tell is None:
        return
    described = _object.set(describe)
    try:
        tell(error, method)
    finally:
        _object.reset(described)


def refusal_of(error: DomainError, method: str, caller: Caller | None, peer: str) -> Refusal | None:
    """The refusal that an error stands for; None where it is no decision. `method` is a full name."""
    name = method.rpartition("/")[2]
    describe = _object.get()
    about = describe() if describe is not None else CallObject()
    is_decision = not (isinstance(error, Unavailable) or error.reason in _LIMITS)
    changes = not (name.startswith(_READING) or about.dry_run)
    if not (isinstance(error, Unauthenticated | PermissionDenied) or (is_decision and changes)):
        return None
    actor = caller.actor() if caller is not None else _stranger(error, peer)
    return Refusal(name, replace(actor, request_id=_printable(about.request_id)), error.reason, about)


def _printable(request_id: str) -> str:
    """A request_id that may have been refused for what it holds."""
    return "".join(each if "!" <= each <= "~" else "?" for each in request_id[:128])


def _stranger(error: DomainError, peer: str) -> Actor:
    return Actor("", "", "", error.metadata.get("fingerprint", "")[:64], peer, "")
