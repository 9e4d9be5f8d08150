"""What a linter has against a certificate, told on what it comes from: the request, or the ca service's own settings.

Whoever asks for a certificate cannot help that the ca service puts addresses into it that no relying party should see.
"""

from __future__ import annotations

import re

from services.errors import FieldViolation, InvalidArgument

_PLACE = re.compile(r"\(in (\w+)(?:\.\w+)*\)\Z")
_OF_SETTINGS = {"authorityInfoAccessSyntax": "ocsp, ca_issuers", "cRLDistributionPoints": "crl_distribution_point"}
"""Where in a certificate the addresses of the gateway are -> the settings of profiles that leave them out."""


def attributed(refused: InvalidArgument) -> InvalidArgument:
    """LINT_FAILED as it came, but on `profile` and with the cure where a finding is about an address of the gateway."""
    first, *others = [_attributed(violation) for violation in refused.violations]
    # The text of the error is that of its first violation, which clients tell once then.
    lead = refused.message.removesuffix(refused.violations[0].description)
    message = lead + first.description
    told = FieldViolation(first.field, first.reason, message)
    return InvalidArgument(refused.reason, message, violations=[told, *others], metadata=refused.metadata)


def _attributed(violation: FieldViolation) -> FieldViolation:
    place = _PLACE.search(violation.description)
    settings = _OF_SETTINGS.get(place[1]) if place else None
    if settings is None:
        return violation
    cure = f"it comes from public_url in [ca]; set that, or have the profile leave it out ({settings})"
    return FieldViolation("profile", violation.reason, f"{violation.description}: {cure}")
