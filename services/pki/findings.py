"""All that is wrong with a request at once, rather than one mistake with each attempt."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from services.errors import DomainError, FailedPrecondition, InvalidArgument, NotFound

_E = TypeVar("_E", bound=DomainError)


class Findings:
    """Runs checks that do not depend on each other, and raises in the end what all of them found.

    Each check stands in a `with` of its own, and may use nothing that an earlier one left unset. Only InvalidArgument
    is kept: everything else is no finding about the request, and is raised at once.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[InvalidArgument] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, InvalidArgument):
            return False
        self._found.append(error)
        return True

    def __bool__(self) -> bool:
        """Whether anything was found."""
        return bool(self._found)

    def error(self) -> InvalidArgument:
        """Every finding as a violation of one error, with reason and text of the first. There must be one."""
        return _as_one(self._found, InvalidArgument)

    def settle(self) -> None:
        """Raise what was found, if anything was."""
        if self._found:
            raise self.error()


class Objections:
    """As `Findings`, and about what a request names, too: NotFound and FailedPrecondition are kept as well."""

    __slots__ = ("_found",)

    _KEPT = (NotFound, FailedPrecondition, InvalidArgument)

    def __init__(self) -> None:
        self._found: list[DomainError] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, self._KEPT):
            return False
        self._found.append(error)
        return True

    def __bool__(self) -> bool:
        """Whether anything was found."""
        return bool(self._found)

    def error(self) -> DomainError:
        """As that of `Findings`, and of the class of the first. There must be one."""
        first = self._found[0]
        return _as_one(self._found, next(kind for kind in self._KEPT if isinstance(first, kind)))


def _as_one(found: Sequence[_E], kind: type[_E]) -> _E:
    first = found[0]
    if len(found) == 1:
        return first
    violations = list(dict.fromkeys(violation for error in found for violation in error.violations))
    return kind(first.reason, first.message, violations=violations, metadata=first.metadata)
