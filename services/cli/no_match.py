"""What to say where no certificate fits: that a filter names something that there is not is the likeliest reason."""

from __future__ import annotations

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli.client import Client
from services.cli.failures import Failed

_MAX_NAMED = 20


def hints(ca: Client, *, profile: str | None, identity: str | None) -> list[str]:
    """Remarks about filters that nothing could fit; none where they are right, or cannot be checked."""
    found = []
    if profile:
        try:
            known = _profiles(ca)
        except Failed:
            known = {profile}
        if profile not in known:
            named = sorted(known)
            more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
            found.append(f"There is no profile {profile}; there are {', '.join(named[:_MAX_NAMED])}{more}.")
    if identity and "://" not in identity:
        found.append(
            f"No caller has the identity {identity}: it is a URI, such as spiffe://goodstanding/issuer/NAME, as "
            "`goodstanding get` shows it behind Issued by."
        )
    return found


def _profiles(ca: Client) -> set[str]:
    """Those of the configuration, and those that certificates have, which may be of before, or of an import."""
    stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
    configured = ca.renewed().call(stub.ListProfiles, ca_pb2.ListProfilesRequest()).profiles
    counts = ca.renewed().call(stub.CountCertificates, ca_pb2.CountCertificatesRequest()).counts
    return {each.name for each in configured} | {each.profile for each in counts}
