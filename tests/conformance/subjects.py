"""A certificate that is asked about, and answers that speak of it and are authentic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asn1crypto import x509 as asn1_x509
from cryptography import x509

from tests.conformance.estate import Estate
from tests.conformance.verification import verify
from tests.conformance.wire import Answer, Reply, cert_id, load_certificate


class Subject:
    """A serial number of one issuer. `issuer` is the issuer's certificate, `ca` the same in pyca's terms."""

    def __init__(self, pem: bytes, serial: int) -> None:
        self.issuer: asn1_x509.Certificate = load_certificate(pem)
        self.ca = x509.load_pem_x509_certificate(pem)
        self.serial = serial

    @classmethod
    def of(cls, estate: Estate, issuer: str, certificate: Path) -> Subject:
        """A certificate in PEM, of the issuer of that name."""
        return cls(estate.ca(issuer), load_certificate(certificate).serial_number)

    def cert_id(self, serial: int | None = None, **options: Any) -> bytes:
        """The DER of a CertID: of this certificate, or of another serial number of its issuer."""
        return cert_id(self.issuer, self.serial if serial is None else serial, **options)

    def verified(self, reply: Reply) -> Answer:
        """The answer, which must be successful and authentic."""
        answer = reply.answer
        verify(answer, self.ca)
        return answer


def echoed(answer: Answer) -> list[bytes]:
    """The CertIDs of an answer, octet for octet."""
    return [single["cert_id"].dump() for single in answer.singles]
