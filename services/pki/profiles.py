"""Profiles: what kinds of certificates there are, as data.

Only `ocsp-responder` can carry OCSPSigning: a certificate with that usage may speak for the CA (R69). A profile that
contradicts itself cannot be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.errors import NotFound

OCSP_RESPONDER = "ocsp-responder"
DEFAULT_PROFILE = "server"
NAME_KINDS = frozenset({"dns", "ip", "email", "uri"})

SubjectPolicy = Literal["cn-only", "keep", "ca-sets"]

# Purposes that would let a leaf act as something that no profile here is for (R69, R100).
_FORBIDDEN = frozenset({ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.TIME_STAMPING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of certificate. Raises ValueError when it is made with settings that contradict each other."""

    name: str
    description: str
    extended_key_usages: tuple[x509.ObjectIdentifier, ...]
    allowed_name_kinds: frozenset[str]
    """Out of `dns`, `ip`, `email`, `uri`. Empty: no subject alternative names."""
    subject_policy: SubjectPolicy
    """`cn-only`: a common name that is among the names, or nothing. `keep`: the request's, checked. `ca-sets`: the CA
    sets it, and no name is taken from the request."""
    roles: frozenset[str]
    """Roles that may ask for it."""
    default_validity: timedelta
    max_validity: timedelta
    min_validity: timedelta = timedelta(seconds=1)
    key_encipherment: bool = False
    """Whether RSA keys get keyEncipherment beside digitalSignature; EC keys never do (R99)."""
    basic_constraints: bool = True
    """Whether cA=FALSE is said or left out."""
    ocsp_nocheck: bool = False
    aia: bool = True
    """Whether it says where to ask for its status and for its issuer."""
    cut_to_issuer: bool = False
    """Whether a validity beyond the issuer's is cut rather than refused (R93)."""

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        usages = set(self.extended_key_usages)
        if not usages or usages & _FORBIDDEN:
            raise ValueError(f"profile {self.name}: needs extended key usages, and none that allow too much")
        delegates = ExtendedKeyUsageOID.OCSP_SIGNING in usages
        if delegates != (self.name == OCSP_RESPONDER) or (delegates and len(usages) > 1):
            raise ValueError(f"profile {self.name}: OCSPSigning is for {OCSP_RESPONDER} alone, on its own")
        if self.ocsp_nocheck and not delegates:
            raise ValueError(f"profile {self.name}: nocheck is for {OCSP_RESPONDER}")
        if not self.allowed_name_kinds <= NAME_KINDS:
            raise ValueError(f"profile {self.name}: name kinds are out of {', '.join(sorted(NAME_KINDS))}")
        if bool(self.allowed_name_kinds) == (self.subject_policy == "ca-sets"):
            raise ValueError(f"profile {self.name}: either the CA sets the names, or kinds of names are allowed")
        if not timedelta(0) < self.min_validity <= self.default_validity <= self.max_validity:
            raise ValueError(f"profile {self.name}: the default validity must lie between the least and the most")


_ISSUING_ROLES = frozenset({"admin", "issuer"})

SERVER = Profile(
    name="server",
    description="TLS servers",
    extended_key_usages=(ExtendedKeyUsageOID.SERVER_AUTH,),
    allowed_name_kinds=frozenset({"dns", "ip"}),
    subject_policy="cn-only",
    roles=_ISSUING_ROLES,
    default_validity=timedelta(days=90),
    max_validity=timedelta(days=825),
    key_encipherment=True,
)

CLIENT = Profile(
    name="client",
    description="TLS clients: people and programs",
    extended_key_usages=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    allowed_name_kinds=frozenset({"dns", "email", "uri"}),
    subject_policy="keep",
    roles=_ISSUING_ROLES,
    default_validity=timedelta(days=90),
    max_validity=timedelta(days=825),
)

# R66. Nobody can revoke it (nocheck), so it lives three days; it has no AIA, because nobody is to ask about it.
DELEGATE = Profile(
    name=OCSP_RESPONDER,
    description="Signers of OCSP answers in the name of the issuer",
    extended_key_usages=(ExtendedKeyUsageOID.OCSP_SIGNING,),
    allowed_name_kinds=frozenset(),
    subject_policy="ca-sets",
    roles=frozenset({"responder"}),
    default_validity=timedelta(days=3),
    max_validity=timedelta(days=3),
    # The CA counts those that live: any shorter, and a stolen credential could fill the database with dead ones.
    min_validity=timedelta(hours=1),
    basic_constraints=False,
    ocsp_nocheck=True,
    aia=False,
    cut_to_issuer=True,
)

BUILTIN: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in (SERVER, CLIENT, DELEGATE)})
"""`server`, `client` and `ocsp-responder`."""


def get_profile(name: str, profiles: Mapping[str, Profile] = BUILTIN) -> Profile:
    """Find a profile; `server` if `name` is empty. Raises NotFound (PROFILE_UNKNOWN, on `profile`)."""
    profile = profiles.get(name or DEFAULT_PROFILE)
    if profile is None:
        raise NotFound("PROFILE_UNKNOWN", f"no such profile; one of {', '.join(sorted(profiles))}", field="profile")
    return profile
