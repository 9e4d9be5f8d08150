"""Authorities whose key somebody else may have: no plan is shown that the ca service would refuse.

What it refuses is in `services.ca.sound_keys`.
"""

from __future__ import annotations

from goodstanding.types.v1 import types_pb2
from services.cli.authorities import Office
from services.cli.failures import Failed


def require_sound(office: Office, issuer: types_pb2.Issuer, what: str) -> None:
    """Raise Failed where the key of an authority, or of one above it, is in other hands. `what` cannot be done then."""
    for each in (issuer, *above(office, issuer)):
        if each.HasField("compromise"):
            raise Failed(
                f"{what}: the key of {each.name} is in other hands; make another CA with a new key, below one that "
                "stands [ISSUER_COMPROMISED]"
            )


def require_standing(office: Office, issuer: types_pb2.Issuer, what: str) -> None:
    """Raise Failed where an authority can issue nothing, since its certificate or one above it is revoked."""
    for each in (issuer, *above(office, issuer)):
        if office.is_revoked(each):
            raise Failed(
                f"{what}: the certificate of {each.name} is revoked or on hold; release the hold, or give it another "
                f"one (`goodstanding ca renew {each.name}`) [ISSUER_REVOKED]"
            )


def require_certifiable(office: Office, public_key_der: bytes, what: str) -> None:
    """Raise Failed where a key is one that is never certified again. `what` cannot be done then."""
    for each in office.issuers.values():
        if each.public_key_der == public_key_der and each.HasField("compromise"):
            raise Failed(
                f"{what}: its key is that of {each.name}, which is in other hands; make another CA with a new key "
                "[ISSUER_COMPROMISED]"
            )
    if office.is_blocked(public_key_der):
        raise Failed(
            f"{what}: its key is blocked, because somebody else may have it (`goodstanding keys blocked`); make "
            "another CA with a new key [KEY_BLOCKED]"
        )


def above(office: Office, issuer: types_pb2.Issuer) -> list[types_pb2.Issuer]:
    """The issuers above one, nearest first."""
    found: list[types_pb2.Issuer] = []
    while issuer.chain_der and len(found) < len(office.issuers):
        issuer = office.above(issuer)
        found.append(issuer)
    return found
