"""Delegated responder certificates for keys that the gateway makes itself (RFC 6960, section 4.2.2.2; R65–R68).

A key is certified by the CA service over gRPC, and never written down. At half life another is made (G5). The old one
signs until the new one is there and valid. Each issuer has one for each kind of key, and each goes its own way.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio

from gateway.channel import ServiceChannel, is_ours
from gateway.clock import wall_time
from gateway.delegation import check_issued_by, end_of
from gateway.issuers import Issuer
from gateway.ocsp.response import ResponseSigner
from gateway.portable import PortableSigner
from gateway.signer_keys import SignerKey, certificate_request
from gateway.signers import Signers
from goodstanding.ca.v1 import ca_pb2
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub

_logger = structlog.get_logger(__name__)

_FIRST_RETRY = 0.2
_LAST_RETRY = 30.0
_LONGEST_SLEEP = 60.0
"""The loop's clock stands still while the machine is suspended; that of certificates does not."""


class EnrolmentError(Exception):
    """The CA service gave no responder certificate, or one that cannot be used."""


class UnusableCertificateError(EnrolmentError):
    """The CA service gave a certificate that nobody could use; the same request would bring the same again."""


class EnrolmentRequest:
    """A key, and the request to certify it as a responder of `issuer`. Making one may take seconds (RSA).

    Send the same one again after a failure: an answer may have been lost, and the CA service counts the certificates
    that it gave. The same request gets the same certificate (G6).
    """

    def __init__(self, issuer: Issuer, kind: SignerKey = SignerKey.P256) -> None:
        self.key = kind.generate()
        self.message = ca_pb2.IssueCertificateRequest(
            issuer=issuer.name,
            csr_der=certificate_request(self.key).public_bytes(Encoding.DER),
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
        check_issued_by(certificate, issuer)
        return PortableSigner(request.key, certificate, by_name=by_name, not_after=end_of(issuer))
    except ValueError as error:
        raise UnusableCertificateError(f"the CA service gave a certificate that cannot be used: {error}") from error


class Enrolment:
    """Keeps signers for every issuer that has its key at the CA, one of each kind: enrols, and renews at half life."""

    def __init__(
        self,
        signers: Signers,
        channel: ServiceChannel,
        *,
        kinds: Sequence[SignerKey] = (SignerKey.P256,),
        by_name: bool = False,
        wall_clock: Callable[[], float] = wall_time,
    ) -> None:
        self._signers = signers
        self._channel = channel
        self._kinds = kinds
        self._by_name = by_name
        self._wall_clock = wall_clock
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._issuers: dict[str, Issuer] = {}
        self._untried: set[tuple[str, int]] = set()

    def follow(self, issuers: list[Issuer]) -> None:
        """Keep signers for those of these issuers that are active, and for no others."""
        active = {issuer.name: issuer for issuer in issuers if issuer.active}
        # A name may come to stand for another key, in another database: what was signed for the first is not for it.
        for name, before in list(self._issuers.items()):
            now = active.get(name)
            if now is None or (now.subject_der, now.public_key_der) != (before.subject_der, before.public_key_der):
                self._leave(name)
        self._issuers = active
        for name in active.keys() - self._tasks.keys():
            slots = range(len(self._kinds))
            self._untried |= {(name, slot) for slot in slots}
            self._tasks[name] = [asyncio.create_task(self._keep(name, slot)) for slot in slots]

    def settled(self, issuer: str) -> bool:
        """Whether every kind of signer has been asked for once, be it in vain."""
        return not any(name == issuer for name, _ in self._untried)

    async def close(self) -> None:
        """Stop renewing."""
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self, name: str) -> None:
        for task in self._tasks.pop(name):
            task.cancel()
        self._signers.remove(name)
        self._untried = {entry for entry in self._untried if entry[0] != name}

    async def _keep(self, name: str, slot: int) -> None:
        kind = self._kinds[slot]
        retry = _FIRST_RETRY
        request: EnrolmentRequest | None = None
        while True:
            while (left := self._seconds_left(name, slot)) > 0:
                await asyncio.sleep(min(left, _LONGEST_SLEEP))
            try:
                if request is None:
                    # In a thread: answers are given meanwhile.
                    request = await asyncio.to_thread(EnrolmentRequest, self._issuers[name], kind)
                signer = await enrol(self._channel, self._issuers[name], request, by_name=self._by_name)
            except Exception as error:  # whatever it is: nobody else would ever renew
                if not isinstance(error, EnrolmentError):
                    _logger.exception("enrolment went wrong")
                if isinstance(error, UnusableCertificateError):
                    request = None
                _logger.warning("enrolment failed", issuer=name, kind=kind.value, reason=str(error))
                self._untried.discard((name, slot))
                await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311  (spreads retries, no secret)
                retry = min(retry * 2, _LAST_RETRY)
                continue
            retry, request = _FIRST_RETRY, None
            await self._begun(name, signer)
            self._signers.install(name, signer, slot)
            self._untried.discard((name, slot))
            serial = signer.certificate.serial_number.to_bytes(20, "big").lstrip(b"\0").hex()
            _logger.info(
                "responder enrolled",
                issuer=name,
                kind=kind.value,
                serial_number=serial,
                not_after=str(signer.not_after),
            )

    def _seconds_left(self, name: str, slot: int) -> float:
        """Seconds until the CA service is to be asked, as far as can be told now."""
        end = self._issuers[name].not_after
        signer = self._signers.current(name, slot)
        if end <= self._wall_clock() or (signer is not None and signer.ends_at >= end):
            # Nobody can speak for an issuer beyond its end, so that another certificate would gain nothing.
            return _LONGEST_SLEEP
        return self._signers.seconds_until_renewal(name, slot)

    async def _begun(self, name: str, signer: ResponseSigner) -> None:
        """Wait for the certificate to be valid: the clock of the CA may be ahead, and the old one still signs (R68)."""
        begin = signer.certificate.not_valid_before_utc.timestamp()
        if (left := begin - self._wall_clock()) > 0:
            _logger.warning("the clock of the CA service is ahead", issuer=name, seconds=round(left))
        while (left := begin - self._wall_clock()) > 0:
            await asyncio.sleep(min(left, 1.0))
