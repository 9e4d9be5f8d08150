"""One request for each kind of answer, for tests of what carries them: HTTP, errors, caching."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.conformance.estate import Estate
from tests.conformance.paths import awkward
from tests.conformance.wire import cert_id, extension, load_certificate, nonce, request

NEVER_ISSUED = 0x0123456789ABCDEF
PRIVATE_EXTENSION = "1.3.6.1.4.1.32473.1"
"""An identifier for documentation (RFC 5612): nobody knows this extension, and it is not critical."""

AUTHORITATIVE = ("good", "revoked", "unknown", "nonce")
ERRORS = ("malformed", "unauthorized")


@dataclass(frozen=True)
class Questions:
    """Requests (DER) about certificates of `issuing`."""

    estate: Estate
    good_certificate: Path
    revoked_certificate: Path

    def about(self, certificate: Path, hash_algorithm: str = "sha1", *extensions: bytes) -> bytes:
        """A request about one certificate."""
        serial = load_certificate(certificate).serial_number
        return self.about_serial(serial, hash_algorithm, *extensions)

    def about_serial(self, serial: int, hash_algorithm: str = "sha1", *extensions: bytes) -> bytes:
        """A request about a serial number."""
        issuer = load_certificate(self.estate.ca("issuing"))
        return request(cert_id(issuer, serial, hash_algorithm=hash_algorithm), extensions=extensions)

    def of(self, kind: str) -> bytes:
        """The request that leads to an answer of that kind: one of AUTHORITATIVE, or of ERRORS."""
        match kind:
            case "good":
                return self.about(self.good_certificate)
            case "revoked":
                return self.about(self.revoked_certificate)
            case "unknown":
                return self.about_serial(NEVER_ISSUED)
            case "nonce":
                return self.about(self.good_certificate, "sha1", nonce(b"sixteen octets.."))
            case "malformed":
                return self.of("good") + b"\0"
            case "unauthorized":
                foreign = load_certificate(self.good_certificate)  # a certificate, though of no CA
                return request(cert_id(foreign, 1))
        raise AssertionError(kind)

    def awkward(self) -> bytes:
        """About the good certificate, and its base64 holds `//`, `++` and `==`."""
        return awkward(lambda octets: self.about(self.good_certificate, "sha1", extension(PRIVATE_EXTENSION, octets)))
