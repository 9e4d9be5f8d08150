"""Who may call what: one table, method by role. A method that is not in it is denied to everybody (G8)."""

from __future__ import annotations

from collections.abc import Mapping

from services.errors import PermissionDenied
from services.pki.mtls import ROLES

_CA = "/goodstanding.ca.v1.CertificateAuthorityService/"
_IMPORT = "/goodstanding.ca.v1.ImportService/"
_AUDIT = "/goodstanding.ca.v1.AuditService/"
_EXPORT = "/goodstanding.ca.v1.ExportService/"
_STATUS = "/goodstanding.status.v1.CertificateStatusService/"

ANY_ROLE = frozenset(ROLES)
_PEOPLE = frozenset({"admin", "issuer", "revoker", "reader"})
_LOOK_UP = _PEOPLE | {"responder"}

METHOD_ROLES: Mapping[str, frozenset[str]] = {
    # Which profiles a role may issue under is up to the profile; see services.pki.profiles.
    _CA + "IssueCertificate": frozenset({"admin", "issuer", "responder"}),
    _CA + "IssueCertificates": frozenset({"admin", "issuer", "responder"}),
    _CA + "RevokeCertificate": frozenset({"admin", "revoker"}),
    _CA + "RevokeCertificates": frozenset({"admin", "revoker"}),
    _CA + "GetCertificate": _PEOPLE,
    _CA + "ListCertificates": _PEOPLE,
    _CA + "ListIssuers": ANY_ROLE,
    _CA + "CountCertificates": _PEOPLE,
    # Who did what from where: nothing that those who issue and revoke need to know of each other.
    _AUDIT + "ListAuditEntries": frozenset({"admin", "reader"}),
    _AUDIT + "ExportAuditEntries": frozenset({"admin", "reader"}),
    _AUDIT + "GetAuditHead": frozenset({"admin", "reader"}),
    # All that was ever issued, with the certificates.
    _EXPORT + "ExportCertificates": frozenset({"admin", "reader"}),
    _CA + "ImportIssuer": frozenset({"admin"}),
    _IMPORT + "ImportCertificates": frozenset({"admin", "importer"}),
    _IMPORT + "AbandonImport": frozenset({"admin", "importer"}),
    _CA + "UpdateIssuer": frozenset({"admin"}),
    _CA + "ImportCertificateRevocationList": frozenset({"admin"}),
    _CA + "BlockPublicKeys": frozenset({"admin", "revoker"}),
    _CA + "UnblockPublicKeys": frozenset({"admin"}),
    _CA + "ListBlockedPublicKeys": _PEOPLE,
    _CA + "ListProfiles": _PEOPLE,
    _STATUS + "GetCertificateStatus": _LOOK_UP,
    _STATUS + "GetPastCertificateStatus": _LOOK_UP,
    _STATUS + "BatchGetCertificateStatus": _LOOK_UP,
    _STATUS + "WatchCertificateStatus": frozenset({"admin", "reader", "responder"}),
    _STATUS + "ListIssuers": ANY_ROLE,
    _STATUS + "GetCertificateRevocationList": _LOOK_UP,
    _STATUS + "FetchCertificateRevocationList": _LOOK_UP,
    # Who changed it, and issuers that were not asked for: for those who may read the audit log.
    _STATUS + "ExplainCertificateStatus": frozenset({"admin", "reader"}),
    # What these tell is public (contract, and whether the service works); a valid credential is needed all the same.
    "/grpc.health.v1.Health/Check": ANY_ROLE,
    "/grpc.health.v1.Health/List": ANY_ROLE,
    "/grpc.health.v1.Health/Watch": ANY_ROLE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ANY_ROLE,
}
"""Full method name -> the roles that may call it."""


def authorize(method: str, role: str) -> None:
    """Let `role` call `method`, or raise PermissionDenied (ROLE_NOT_ALLOWED)."""
    allowed = METHOD_ROLES.get(method, frozenset())
    if role in allowed:
        return
    name = method.rpartition("/")[2]
    wanted = f"it takes one of: {', '.join(sorted(allowed))}" if allowed else "no role may"
    raise PermissionDenied(
        "ROLE_NOT_ALLOWED",
        f"the role {role} may not call {name}; {wanted}",
        metadata={"role": role, "method": method},
    )
