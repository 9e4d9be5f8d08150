"""Profiles as messages, for those who issue and do not see the configuration."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.duration_pb2 import Duration

from goodstanding.ca.v1 import ca_pb2
from services.pki.profile import KEY_TYPES, Profile
from services.pki.profile_text import toml_of
from services.pki.validity import longest_validity


def profile_message(profile: Profile, now: datetime) -> ca_pb2.Profile:
    """A profile as it is at `now`: the longest validity depends on the day (R92)."""
    longest = longest_validity(profile, now)
    return ca_pb2.Profile(
        name=profile.name,
        description=profile.description,
        roles=sorted(profile.roles),
        key_types=[kind for kind in KEY_TYPES if kind in profile.key_types],
        name_kinds=sorted(profile.allowed_name_kinds),
        default_validity=Duration(seconds=int(min(profile.default_validity, longest).total_seconds())),
        max_validity=Duration(seconds=int(longest.total_seconds())),
        certificate_authority=profile.authority is not None,
        settings_toml=toml_of(profile),
    )
