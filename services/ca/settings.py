"""What the certificate authority needs to be told, apart from its database and its keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.known_keys.lists import KeyList


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySettings:
    """Settings of the use cases. `public_url` is where relying parties reach the gateway; it goes into certificates."""

    public_url: str
    max_live_delegates: int = 3
    reasons: Literal["rfc5280", "baseline"] = "rfc5280"
    trust_domain: str = "goodstanding"
    crl_distribution: Literal["none", "full", "sharded"] = "none"
    """Which revocation list certificates name: none, their issuer's full one, or one of `crl_shards`."""
    crl_shards: int = 16
    known_keys: tuple[KeyList, ...] = ()
    """Lists of keys that are refused, beside those that come along."""
