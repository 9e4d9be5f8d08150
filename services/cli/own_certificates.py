"""The issuers' own certificates, where one of them is to be revoked: what else ends with it, and who has to be told.

Nothing here decides anything: the service revokes. But whoever is about to end the good standing of thousands of
certificates by naming one is told so first, and afterwards what the ca service cannot do without an offline key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.client import Client
from services.clock import rfc3339
from services.errors import InvalidArgument
from services.pki.profile import OCSP_RESPONDER
from services.pki.reasons import COMPROMISES
from services.pki.serials import format_serial, parse_serial, serial_from_int
from services.pki.unreadable import UNREADABLE


@dataclass(frozen=True)
class Met:
    """A certificate of an issuer, with what became of it or would."""

    issuer: types_pb2.Issuer
    reason: int | None
    """Why it is revoked; None: it is not."""


class OwnCertificates:
    """Those of the issuers as they are now. Raises Failed, as every method does that asks the service."""

    def __init__(self, ca: Client) -> None:
        self._ca = ca
        self._stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        self._issuers: Sequence[types_pb2.Issuer] = ca.call(self._stub.ListIssuers, ca_pb2.ListIssuersRequest()).issuers
        self._holders = {_place(der): issuer for issuer in self._issuers for der in issuer.certificates_der}
        self._holders.pop(_NOWHERE, None)
        self._serials = {serial for serial, _ in self._holders}

    def find(self, certificate: types_pb2.Certificate) -> Met | None:
        """The issuer that this is a certificate of, if it is one."""
        place = certificate.serial_number, output.when(certificate, "not_after_time") or ""
        if (issuer := self._holders.get(place)) is None:
            return None
        return Met(issuer, certificate.revocation.reason if certificate.HasField("revocation") else None)

    def among(self, listed: Iterable[ca_pb2.ListedCertificate]) -> list[ca_pb2.ListedCertificate]:
        """Those of a list that may be certificates of issuers, by their serial numbers."""
        return [each for each in listed if _serial(each) in self._serials]

    def consequences(self, met: Iterable[Met]) -> list[str]:
        """What their revocation comes to, a line for each issuer."""
        return list(dict.fromkeys(self._consequence(each) for each in met if each.reason is not None))

    def _consequence(self, met: Met) -> str:
        holder = met.issuer
        if met.reason not in COMPROMISES:
            return (
                f"It is a certificate of the issuer {holder.name}, which issues nothing unless it has another one. "
                f"What it issued ({self._valid([holder])}) is not revoked with it."
            )
        # Whoever has the key has it under every name.
        same = [each for each in self._issuers if each.public_key_der == holder.public_key_der]
        names = " and ".join(sorted(each.name for each in same))
        own = "" if holder.chain_der else ", its own among them"
        return (
            f"It is a certificate of the issuer {names}. For this reason all that it issued is revoked with it "
            f"({self._valid(same)}{own}), and nothing takes that back.{self._below(same)}"
        )

    def _below(self, issuers: Iterable[types_pb2.Issuer]) -> str:
        """That what the issuers right below have issued is not revoked."""
        own = {der for issuer in issuers for der in issuer.certificates_der}
        below = sorted(each.name for each in self._issuers if each.chain_der and each.chain_der[0] in own)
        if not below:
            return ""
        return (
            f" What {' and '.join(below)} issued, below it, stays as it is unless their certificates are revoked, too."
        )

    def _valid(self, issuers: Iterable[types_pb2.Issuer]) -> str:
        """How many of their certificates are valid, those of responders left out."""
        count = 0
        for issuer in issuers:
            request = ca_pb2.CountCertificatesRequest(issuer=issuer.name)
            counts = self._ca.renewed().call(self._stub.CountCertificates, request).counts
            count += sum(each.valid for each in counts if each.profile != OCSP_RESPONDER)
        return "1 certificate that is valid" if count == 1 else f"{count} certificates that are valid"

    def reminders(self, met: Iterable[Met]) -> list[str]:
        """What is left to do: the lists of issuers above, where the ca service does not hold their keys."""
        above = {issuer.name: issuer for issuer in filter(None, (self._above(each.issuer) for each in met))}
        return [
            f"Who reads revocation lists does not hear of it yet: make the list of {name} with its key, `goodstanding "
            f"ca crl {name}`."
            for name, issuer in above.items()
            if issuer.state == types_pb2.ISSUER_STATE_OFFLINE
        ]

    def _above(self, issuer: types_pb2.Issuer) -> types_pb2.Issuer | None:
        if not issuer.chain_der:
            return None
        return next((each for each in self._issuers if issuer.chain_der[0] in each.certificates_der), None)


_NOWHERE = ("", "")


def _place(der: bytes) -> tuple[str, str]:
    """Serial number and end: other CAs may have given out the same number. What cannot be read keeps nobody waiting."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return format_serial(serial_from_int(certificate.serial_number)), rfc3339(certificate.not_valid_after_utc)
    except (InvalidArgument, *UNREADABLE):
        return _NOWHERE


def _serial(listed: ca_pb2.ListedCertificate) -> str:
    if listed.WhichOneof("target") == "certificate_der":
        return _place(listed.certificate_der)[0]
    try:
        return format_serial(parse_serial(listed.issuer_and_serial_number.serial_number))
    except InvalidArgument:
        return ""  # the service says what is wrong with it
