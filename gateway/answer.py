"""An answer on its way out: the bytes, and what the doors need to know to write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from gateway.ocsp.response import OcspStatus, error_response


@dataclass(slots=True)
class Answer:
    """An OCSP response, ready to be written.

    A door calls `fresh()` in the callback that writes, as late as it can, and writes `Answer.error(TRY_LATER)` in the
    place of an answer that is no longer fresh (G3).
    """

    body: bytes
    etag: bytes = b""
    """Quoted hex SHA-256 of the body (R77); empty where the answer must not be cached."""
    this_update: int = 0
    """Seconds since 1970; also producedAt of a cacheable answer (R75)."""
    next_update: int = 0
    max_age: int = 0
    """The longest that a cache may hold it, in seconds; the headers cut it to the remaining life (R76)."""
    fresh: Callable[[], bool] = lambda: True

    @property
    def cacheable(self) -> bool:
        """Whether HTTP caches may share it: not an error, no nonce, nothing unknown (R71, R80)."""
        return self.etag != b""

    @classmethod
    def error(cls, status: OcspStatus) -> Self:
        """An unsigned OCSP error (RFC 6960, section 4.2.1)."""
        return cls(error_response(status))


class Refusal(Exception):
    """The answer is an OCSP error."""

    def __init__(self, status: OcspStatus) -> None:
        super().__init__(status.name)
        self.status = status
