"""Steps 1 to 4 of issuing (`services.ca.issue`): from what is asked for to a signed certificate, recorded nowhere yet.

Nothing is written to the database here, so that another process can do it as well
(docs/decisions/signing-process.md). All that is signed has been through `check` (`services.pki.certificates`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from services.ca.crl_points import CrlPoint, CrlPoints
from services.ca.issuers import IssuerDirectory, SigningIssuer
from services.ca.lint_findings import attributed
from services.ca.payload import payload_sha256
from services.ca.settings import AuthoritySettings
from services.clock import Clock
from services.errors import InvalidArgument, PermissionDenied, Unavailable
from services.pki.certificates import AuthorityUrls, Draft, Wishes, check, judge, prepare, sign
from services.pki.csr import CertificateRequest, RequestedNames, RequestRefused, read_csr
from services.pki.findings import Objections
from services.pki.lint import Linter
from services.pki.names import SubjectAlternativeNames
from services.pki.profiles import Profile, get_profile
from services.pki.serials import new_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCommand:
    """What is asked for. Exactly one of `csr_der` and `csr_pem`; at most one of `not_after` and `validity`."""

    csr_der: bytes | None = None
    csr_pem: str | bytes | None = None
    issuer: str = ""
    """Empty: the only active issuer."""
    profile: str = ""
    """Empty: `server`."""
    names: SubjectAlternativeNames | None = None
    """Given: these names, and none from the request."""
    not_after: datetime | None = None
    validity: timedelta | None = None
    validate_only: bool = False

    @property
    def size(self) -> int:
        """Octets, or characters, of the certificate request and the names beside it; no more than the message has."""
        given = self.names or SubjectAlternativeNames()
        names = sum(len(name) for kind in (given.dns, given.ip, given.email, given.uri) for name in kind)
        return len(self.csr_der or self.csr_pem or b"") + names


@dataclass(frozen=True, slots=True)
class Place:
    """Who signs a certificate, and when; its serial number, and the revocation list that it names."""

    issuer: SigningIssuer
    now: datetime
    serial: bytes
    point: CrlPoint

    def sign(self, draft: Draft) -> bytes:
        """Step 4: the certificate (DER)."""
        return sign(draft, self.issuer.signer)


class Signing:
    """Makes certificates. Safe to use from many threads."""

    def __init__(
        self,
        issuers: IssuerDirectory,
        crl_points: CrlPoints,
        profiles: Mapping[str, Profile],
        settings: AuthoritySettings,
        clock: Clock,
        serials: Callable[[], bytes] = new_serial,
    ) -> None:
        """Raises LinterMissing as `Linter` does."""
        self._issuers = issuers
        self._crl_points = crl_points
        self._profiles = profiles
        self._linter = Linter(profiles.values())
        self._settings = settings
        self._clock = clock
        self._serials = serials

    def read(self, command: IssueCommand, role: str) -> tuple[Profile, CertificateRequest]:
        """Steps 1 and 2: the profile and the request of a caller with that role.

        Raises DomainError, with all that is wrong beside what was found first.
        """
        objections = Objections()
        profile = None
        with objections:
            profile = get_profile(command.profile, self._profiles)  # step 1
        if profile is not None:
            _require_role(profile, role)
        request = self._request(command)  # step 2
        if profile is None or isinstance(request, InvalidArgument):
            issuer = None
            # An issuer whose key cannot be used just now is no mistake of the caller's.
            with objections, suppress(Unavailable):
                issuer = self._issuers.for_issuing(command.issuer, self._clock(), profile.name if profile else "")
            self._refuse(command, profile, issuer, request, objections)
        return profile, request

    def _request(self, command: IssueCommand) -> CertificateRequest | InvalidArgument:
        """The request, or what is wrong with it."""
        try:
            return read_csr(der=command.csr_der, pem=command.csr_pem, known_keys=self._settings.known_keys)
        except InvalidArgument as refused:
            return refused

    def place(self, command: IssueCommand, profile: Profile, request: CertificateRequest) -> Place:
        """Step 3 begins: what does not depend on the request. Raises DomainError as `read`."""
        now = self._clock()
        issuer = None
        objections = Objections()
        with objections:
            issuer = self._issuers.for_issuing(command.issuer, now, profile.name)
        if issuer is None:
            self._refuse(command, profile, None, request, objections)
        serial = self._serials()
        return Place(issuer, now, serial, self._point(profile, issuer, serial))

    def _point(self, profile: Profile, issuer: SigningIssuer, serial: bytes) -> CrlPoint:
        if not profile.crl_distribution_point:
            return CrlPoint()
        return self._crl_points.of(issuer.record, serial, is_ca=profile.authority is not None)

    def draft(self, command: IssueCommand, profile: Profile, request: CertificateRequest, place: Place) -> Draft:
        """Step 3: everything about the certificate, checked twice. Raises DomainError."""
        issuer = place.issuer
        draft = prepare(
            profile=profile,
            issuer=issuer.signer,
            request=request,
            serial=place.serial,
            now=place.now,
            urls=AuthorityUrls(issuer.urls.ocsp, issuer.urls.ca_issuers, place.point.url),
            trust_domain=self._settings.trust_domain,
            sans=command.names,
            not_after=command.not_after,
            validity=command.validity,
        )
        check(draft, issuer.signer)
        try:
            self._linter.check(draft, issuer.signer, request.field)
        except InvalidArgument as refused:
            raise attributed(refused) from None
        return draft

    def _refuse(
        self,
        command: IssueCommand,
        profile: Profile | None,
        issuer: SigningIssuer | None,
        request: CertificateRequest | InvalidArgument,
        objections: Objections,
    ) -> NoReturn:
        """Tell what else is wrong, as far as that can be told."""
        asked: RequestedNames | None
        if isinstance(request, InvalidArgument):
            asked = request.names if isinstance(request, RequestRefused) else None
            with objections:
                raise request
        else:
            asked = request
        domain = self._settings.trust_domain
        wishes = Wishes(self._clock(), domain, command.names, command.not_after, command.validity)
        judge(profile, issuer.signer if issuer else None, asked, wishes, objections)
        raise objections.error()


def payload_of(command: IssueCommand, profile: Profile, request: CertificateRequest) -> bytes:
    """The hash of what is asked for, by which a retry is known (G6)."""
    return payload_sha256(
        {
            "csr": request.der,
            "issuer": command.issuer,
            "profile": profile.name,
            "names": None if command.names is None else command.names.labelled(),
            "not_after": command.not_after,
            "validity": command.validity,
        }
    )


def _require_role(profile: Profile, role: str) -> None:
    if role not in profile.roles:
        allowed = ", ".join(sorted(profile.roles))
        raise PermissionDenied(
            "PROFILE_NOT_ALLOWED",
            f"profile {profile.name} is for the roles {allowed}; you are {role}",
            field="profile",
            metadata={"profile": profile.name, "role": role},
        )
