"""The kinds of keys as users spell them: the same words as in `gateway.signer_keys` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.pki.keys import KeyKind

KEY_TYPES: Mapping[str, KeyKind] = {
    "p-256": "p256",
    "p-384": "p384",
    "p-521": "p521",
    "rsa-2048": "rsa2048",
    "rsa-3072": "rsa3072",
    "rsa-4096": "rsa4096",
    "ed25519": "ed25519",
    "ml-dsa-44": "mldsa44",
    "ml-dsa-65": "mldsa65",
    "ml-dsa-87": "mldsa87",
}


def is_post_quantum(key_type: str) -> bool:
    """Whether a kind is meant to outlive quantum computers. Its CA wants answers signed with such keys, too."""
    return key_type.startswith("ml-dsa-")
