"""What may become an issuer here, and by whose hand, beside what its certificates have to be.

Guarantees: issuers stay few and small enough for one message to tell all of them, as every service and every gateway
has them told; and half of that room is there for the role admin, whatever others bring in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.db.records import Actor, IssuerRecord
from services.errors import PermissionDenied, ResourceExhausted

MAX_CERTIFICATE_SIZE = 16 * 1024
"""Octets. CA certificates have one or two thousand, with ML-DSA eight."""

MAX_SUBJECT_SIZE = 1024
"""Octets. Those of a hundred are usual; PostgreSQL indexes subject and public key together up to 2,700."""

MAX_SIZE = 8 * 1024 * 1024
"""Octets that all issuers may take, with their chains: half of a message (`services.rpc.server`)."""

OVERHEAD = 2048
"""Octets that an issuer counts for, beside its certificates."""

MAX_HIDDEN = 200
"""Issuers whose import was not completed, or given up."""


def check_room(
    every: Iterable[IssuerRecord],
    known: IssuerRecord | None,
    signer: IssuerRecord | None,
    fresh: Sequence[x509.Certificate],
    actor: Actor,
) -> None:
    """Whether there is room for more CA certificates: of one that is `known`, or new, and signed by `signer`.

    `every`: all issuers, pending ones too. Raises ResourceExhausted (TOO_MANY_ISSUERS).
    """
    if not fresh:
        return
    certificates = {each.id: each.certificates_der for each in every}
    above = {each.id: each.chain_der for each in every}
    added = tuple(each.public_bytes(Encoding.DER) for each in fresh)
    of = known.id if known else 0  # no issuer has that
    certificates[of] = (*certificates.get(of, ()), *added)
    if known is None:
        above[of] = (*signer.certificates_der[:1], *signer.chain_der) if signer else ()
    # Any of its certificates may come to be the one in the chains of those below.
    longest = {der: max(map(len, ders)) for ders in certificates.values() for der in ders}
    taken = sum(OVERHEAD + sum(map(len, ders)) for ders in certificates.values())
    taken += sum(longest.get(der, len(der)) for chain in above.values() for der in chain)
    if taken > (MAX_SIZE if actor.role == "admin" else MAX_SIZE // 2):
        text = f"there are {len(above)} issuers with this one, and they would take more room than there is for them"
        raise ResourceExhausted("TOO_MANY_ISSUERS", text)


def check_unfinished(hidden: int, actor: Actor) -> None:
    """Whether another import may begin: those that were not completed or given up stay hidden, and every listing minds.

    Half of them are for the role admin. Raises ResourceExhausted (TOO_MANY_ISSUERS).
    """
    if hidden >= (MAX_HIDDEN if actor.role == "admin" else MAX_HIDDEN // 2):
        text = f"{hidden} imports were not completed or given up: complete one, or have an admin bring this issuer in"
        raise ResourceExhausted("TOO_MANY_ISSUERS", text)


def require_right_to_key(record: IssuerRecord, actor: Actor) -> None:
    """Raise PermissionDenied (ROLE_NOT_ALLOWED) where no more than the role importer would have an offline CA issue.

    A key goes with the CA that comes in. To bring that of one which is known, such as the root's, is ImportIssuer's.
    """
    if actor.role == "admin":
        return
    raise PermissionDenied(
        "ROLE_NOT_ALLOWED",
        f"issuer {record.name} is known and offline: only the role admin may bring its key; leave key_reference out",
        metadata={"role": actor.role},
    )
