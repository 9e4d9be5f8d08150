"""The built-in profiles. `services.pki.profile_tables` reads those of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.errors import NotFound
from services.pki.profile import OCSP_RESPONDER, Authority, Profile, ProfileInvalid

__all__ = [
    "BUILTIN",
    "CLIENT",
    "DEFAULT_PROFILE",
    "DELEGATE",
    "INTERMEDIATE",
    "OCSP_RESPONDER",
    "SERVER",
    "SERVER_SHORT",
    "Profile",
    "ProfileInvalid",
    "get_profile",
]

DEFAULT_PROFILE = "server"

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
    key_usages=frozenset({"digital_signature", "key_encipherment"}),
)

# R94, R119: it ends before a revocation would have reached everybody, so nobody is told to ask about it. A day less
# than it may, for those who count otherwise.
SERVER_SHORT = Profile(
    name="server-short",
    description="TLS servers that renew every few days, and need no revocation",
    extended_key_usages=(ExtendedKeyUsageOID.SERVER_AUTH,),
    allowed_name_kinds=frozenset({"dns", "ip"}),
    subject_policy="cn-only",
    roles=_ISSUING_ROLES,
    default_validity=timedelta(days=6),
    max_validity=timedelta(days=7),
    key_usages=frozenset({"digital_signature", "key_encipherment"}),
    ocsp=False,
    crl_distribution_point=False,
    no_revocation_available=True,
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

# A CA that somebody else runs, below ours: its key stays where the request was made.
INTERMEDIATE = Profile(
    name="intermediate",
    description="CAs below this one, from a certificate request",
    extended_key_usages=(),
    allowed_name_kinds=frozenset(),
    subject_policy="keep",
    subject_required=frozenset({NameOID.COMMON_NAME}),
    roles=frozenset({"admin"}),
    default_validity=timedelta(days=1826),
    max_validity=timedelta(days=3653),
    min_validity=timedelta(days=1),
    key_usages=frozenset({"digital_signature", "key_cert_sign", "crl_sign"}),
    authority=Authority(path_length=0),
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
    ocsp=False,
    ca_issuers=False,
    crl_distribution_point=False,
    cut_to_issuer=True,
)

BUILTIN: Mapping[str, Profile] = MappingProxyType(
    {profile.name: profile for profile in (SERVER, SERVER_SHORT, CLIENT, INTERMEDIATE, DELEGATE)}
)
"""`server`, `server-short`, `client`, `intermediate` and `ocsp-responder`."""


def get_profile(name: str, profiles: Mapping[str, Profile] = BUILTIN) -> Profile:
    """Find a profile; `server` if `name` is empty. Raises NotFound (PROFILE_UNKNOWN, on `profile`)."""
    profile = profiles.get(name or DEFAULT_PROFILE)
    if profile is None:
        text = f"there is no profile {(name or DEFAULT_PROFILE)[:64]!r}; one of {', '.join(sorted(profiles))}"
        raise NotFound("PROFILE_UNKNOWN", text, field="profile")
    return profile
