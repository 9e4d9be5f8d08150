"""A signer that can be handed to another process of the same gateway; its key is never written down."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from gateway.delegation import check_issued_by, public_key_of
from gateway.issuers import Issuer
from gateway.ocsp.response import ResponseSigner


class PortableSigner(ResponseSigner):
    """A signer that knows what it was made from."""

    def __init__(
        self,
        private_key: PrivateKeyTypes,
        certificate: x509.Certificate,
        *,
        by_name: bool = False,
        direct: bool = False,
        not_after: datetime | None = None,
    ) -> None:
        """See `ResponseSigner`."""
        super().__init__(private_key, certificate, by_name=by_name, direct=direct, not_after=not_after)
        self._private_key = private_key
        self._by_name = by_name

    def pack(self) -> dict[str, Any]:
        """All that it is, the key too, as JSON values. For the socket between processes, and for nothing else."""
        key = self._private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return {
            "key": base64.b64encode(key).decode(),
            "certificate": base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode(),
            "by_name": self._by_name,
            "direct": self.direct,
            "not_after": int(self.not_after.timestamp()),
        }

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> PortableSigner:
        """The signer again."""
        return cls(
            load_der_private_key(base64.b64decode(packed["key"]), None),
            x509.load_der_x509_certificate(base64.b64decode(packed["certificate"])),
            by_name=packed["by_name"],
            direct=packed["direct"],
            not_after=datetime.fromtimestamp(packed["not_after"], UTC),
        )


def speaks_for(signer: ResponseSigner, issuer: Issuer) -> bool:
    """Whether a signer is for this very issuer: a name may come to stand for another key (R65)."""
    certificate = signer.certificate
    if signer.direct:
        is_its_key = public_key_of(certificate) == issuer.public_key_der
        return is_its_key and certificate.subject.public_bytes() == issuer.subject_der
    try:
        check_issued_by(certificate, issuer)
    except ValueError:
        return False
    return True
