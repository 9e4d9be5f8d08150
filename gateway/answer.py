"""An answer on its way out: the bytes, and what the doors need to know to write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
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


class Why(StrEnum):
    """Why an answer is an OCSP error; clients are told the error only, operators this too."""

    MALFORMED = "malformed"
    """It cannot be read as an OCSP request, or asks about too many certificates, or its nonce has a wrong length."""
    NONCE_MISSING = "nonce-missing"
    """The policy requires a nonce, and there is none."""
    SIGNATURE_MISSING = "signature-missing"
    """Requests have to be signed, and this one is not."""
    REQUESTOR_NAME_MISSING = "requestor-name-missing"
    """It is signed, and does not say by whom."""
    SIGNER_NOT_TRUSTED = "signer-not-trusted"
    """The signature on it does not verify, or not for anybody who may ask."""
    ISSUERS_NOT_LOADED = "issuers-not-loaded"
    """The status service has told of no issuers yet."""
    ISSUER_NOT_OURS = "issuer-not-ours"
    """No issuer has both hashes."""
    SEVERAL_ISSUERS = "several-issuers"
    """It asks about certificates of several issuers, and nobody may sign for all of them."""
    SIGNER_AWAITED = "signer-awaited"
    """Nobody can sign for the issuer now; a signer is on its way."""
    SIGNER_MISSING = "signer-missing"
    """Nobody can sign for the issuer: it is offline, or has expired."""
    NEVER_ISSUED = "never-issued"
    """The serial number was never issued, and the policy for that is unauthorized."""
    SIGNER_ENDS = "signer-ends"
    """The signer's certificate leaves no time for an answer."""
    CLOCKS_APART = "clocks-apart"
    """The clocks of gateway and database are too far apart for one answer to hold both times."""
    STATUS_UNAVAILABLE = "status-unavailable"
    """The status could not be looked up, or not fresh enough."""
    OVERLOADED = "overloaded"
    """Too much is waiting to be answered."""
    INTERNAL = "internal"
    """A bug; the log tells more."""


class Refusal(Exception):
    """The answer is an OCSP error."""

    def __init__(self, status: OcspStatus, why: Why) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
