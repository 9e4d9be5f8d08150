"""The keys that sign answers: delegated responder certificates, one for each issuer (RFC 6960, section 4.2.2.2).

The gateway makes its own keys, has them certified by the CA service over gRPC, and never writes one down. At half life
it makes another (G5). The old one signs until the new one is there; after its own end it signs nothing (R68).
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpc import aio

from gateway.channel import ServiceChannel, is_ours
from gateway.issuers import Issuer
from gateway.metrics import signer_changed
from gateway.ocsp.response import ResponseSigner
from goodstanding.ca.v1 import ca_pb2
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub

_logger = structlog.get_logger(__name__)

_FIRST_RETRY = 0.2
_LAST_RETRY = 30.0


class EnrolmentError(Exception):
    """The CA service gave no responder certificate, or one that cannot be used."""


class Signers:
    """The signer for each issuer."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._signers: dict[str, ResponseSigner] = {}

    def current(self, issuer: str) -> ResponseSigner | None:
        """The signer for an issuer; None if there is none."""
        return self._signers.get(issuer)

    def install(self, issuer: str, signer: ResponseSigner) -> None:
        """Sign with this one from now on."""
        self._signers[issuer] = signer
        signer_changed(issuer, signer.not_after.timestamp())

    def remove(self, issuer: str) -> None:
        """Sign no more for an issuer."""
        self._signers.pop(issuer, None)

    def ready_for(self, issuer: str) -> bool:
        """Whether answers can be signed for an issuer now."""
        signer = self._signers.get(issuer)
        return signer is not None and signer.not_after.timestamp() > self._wall_clock()

    def seconds_until_renewal(self, issuer: str) -> float:
        """Seconds until half of the life is over; 0 if there is no signer."""
        signer = self._signers.get(issuer)
        if signer is None:
            return 0.0
        begin, end = signer.certificate.not_valid_before_utc, signer.not_after
        return max(0.0, (begin + (end - begin) / 2).timestamp() - self._wall_clock())


class UnusableCertificateError(EnrolmentError):
    """The CA service gave a certificate that nobody could use; the same request would bring the same again."""


class EnrolmentRequest:
    """A key, and the request to certify it as a responder of `issuer`.

    Send the same one again after a failure: an answer may have been lost, and the CA service counts the certificates
    that it gave. The same request gets the same certificate (G6).
    """

    def __init__(self, issuer: Issuer) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        # The CA sets every name (R66); the request only proves that the key is ours.
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self.key, hashes.SHA256())
        self.message = ca_pb2.IssueCertificateRequest(
            issuer=issuer.name,
            csr_der=csr.public_bytes(Encoding.DER),
            profile="ocsp-responder",
            request_id=str(uuid.uuid4()),
        )


async def enrol(
    channel: ServiceChannel, issuer: Issuer, request: EnrolmentRequest | None = None, *, by_name: bool = False
) -> ResponseSigner:
    """Have a key certified as a responder of `issuer`; a new one, unless a request is given.

    `by_name`: answers name the responder by its subject (R55).

    Raises EnrolmentError: see there.
    """
    request = request or EnrolmentRequest(issuer)
    try:
        reply = await CertificateAuthorityServiceStub(channel.current).IssueCertificate(request.message, timeout=10)
    except aio.AioRpcError as error:
        raise EnrolmentError(f"{error.code().name}: {error.details()}") from error
    except asyncio.CancelledError:
        if is_ours():
            raise
        raise EnrolmentError("the connection was closed during the call") from None
    try:
        certificate = x509.load_der_x509_certificate(reply.certificate.certificate_der)
        _check_issued_by(certificate, issuer)
        return ResponseSigner(request.key, certificate, by_name=by_name)
    except ValueError as error:
        raise UnusableCertificateError(f"the CA service gave a certificate that cannot be used: {error}") from error


def _check_issued_by(certificate: x509.Certificate, issuer: Issuer) -> None:
    """A delegate must be signed by the very key that it answers for (R65); clients would reject any other."""
    for der in issuer.certificates_der:
        authority = x509.load_der_x509_certificate(der)
        if (
            authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            != issuer.public_key_der
        ):
            continue
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, TypeError) as error:
            raise ValueError("it is not signed by the issuer") from error
        return
    raise ValueError("the issuer has no certificate for its own key")


class Enrolment:
    """Keeps a signer for every active issuer: enrols, and renews at half life."""

    def __init__(self, signers: Signers, channel: ServiceChannel, *, by_name: bool = False) -> None:
        self._signers = signers
        self._channel = channel
        self._by_name = by_name
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._keys: dict[str, tuple[bytes, bytes]] = {}

    def follow(self, issuers: list[Issuer]) -> None:
        """Keep signers for these issuers, and for no others."""
        active = {issuer.name: issuer for issuer in issuers if issuer.active}
        # A name may come to stand for another key, in another database: what was signed for the first is not for it.
        keys = {name: (issuer.subject_der, issuer.public_key_der) for name, issuer in active.items()}
        for name in [name for name, key in self._keys.items() if keys.get(name) != key]:
            self._tasks.pop(name).cancel()
            self._signers.remove(name)
        for name, issuer in active.items():
            if name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._keep(issuer))
        self._keys = keys

    async def close(self) -> None:
        """Stop renewing."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _keep(self, issuer: Issuer) -> None:
        retry = _FIRST_RETRY
        request: EnrolmentRequest | None = None
        while True:
            # In small steps: the loop's clock stands still while the machine is suspended, the certificate's does not.
            while (left := self._signers.seconds_until_renewal(issuer.name)) > 0:
                await asyncio.sleep(min(left, 60))
            request = request or EnrolmentRequest(issuer)
            try:
                signer = await enrol(self._channel, issuer, request, by_name=self._by_name)
            except Exception as error:  # whatever it is: nobody else would ever renew
                if not isinstance(error, EnrolmentError):
                    _logger.exception("enrolment went wrong")
                if isinstance(error, UnusableCertificateError):
                    request = None
                _logger.warning("enrolment failed", issuer=issuer.name, reason=str(error))
                await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311  (spreads retries, no secret)
                retry = min(retry * 2, _LAST_RETRY)
                continue
            retry, request = _FIRST_RETRY, None
            self._signers.install(issuer.name, signer)
            serial = signer.certificate.serial_number.to_bytes(20, "big").lstrip(b"\0").hex()
            _logger.info(
                "responder enrolled", issuer=issuer.name, serial_number=serial, not_after=str(signer.not_after)
            )
