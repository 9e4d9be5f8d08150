"""Profiles."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.errors import NotFound
from services.pki.profiles import BUILTIN, CLIENT, DELEGATE, SERVER, Profile, get_profile


@pytest.mark.parametrize(
    ("profile", "change"),
    [
        (SERVER, {"extended_key_usages": (ExtendedKeyUsageOID.OCSP_SIGNING,)}),
        (SERVER, {"extended_key_usages": (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.OCSP_SIGNING)}),
        (SERVER, {"extended_key_usages": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}),
        (SERVER, {"extended_key_usages": ()}),
        (SERVER, {"ocsp_nocheck": True}),
        (SERVER, {"name": "ocsp-responder"}),
        (SERVER, {"allowed_name_kinds": frozenset({"dns", "x400"})}),
        (SERVER, {"allowed_name_kinds": frozenset()}),
        (SERVER, {"default_validity": timedelta(days=900)}),
        (SERVER, {"default_validity": timedelta(0)}),
        (DELEGATE, {"extended_key_usages": (ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH)}),
        (DELEGATE, {"allowed_name_kinds": frozenset({"dns"})}),
        (DELEGATE, {"name": "other"}),
    ],
)
def test_contradictions_cannot_be_made(profile: Profile, change: dict[str, Any]) -> None:
    """OCSPSigning belongs to one profile alone, and other contradictions are refused as well (R69)."""
    with pytest.raises(ValueError, match=r"^profile "):
        replace(profile, **change)


def test_the_built_in_profiles() -> None:
    """There are five; only the responder role gets delegates, and nobody else's profile is for it."""
    assert set(BUILTIN) == {"server", "server-short", "client", "intermediate", "ocsp-responder"}
    assert DELEGATE.roles == {"responder"}
    assert not (SERVER.roles | CLIENT.roles) & {"responder", "reader", "revoker"}
    assert DELEGATE.max_validity == timedelta(days=3)


def test_profiles_are_found_by_name() -> None:
    """The default is `server`; another name is PROFILE_UNKNOWN on `profile`."""
    assert get_profile("") is get_profile("server") is SERVER
    with pytest.raises(NotFound) as caught:
        get_profile("root")
    assert (caught.value.reason, caught.value.violations[0].field) == ("PROFILE_UNKNOWN", "profile")
