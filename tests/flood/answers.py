"""Single answers, looked at closely: status, signature, and the certificate that they were signed with."""

from __future__ import annotations

import http.client
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.flood.place import Place
from tests.flood.questions import request

OCSP_REQUEST = {"Content-Type": "application/ocsp-request"}


class Client:
    """One connection of somebody who checks what he is told."""

    def __init__(self, place: Place) -> None:
        self._names = place.names
        self._issuer = place.issuer
        host, port = place.http.rsplit(":", 1)
        self._connection = http.client.HTTPConnection(host, int(port), timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def raw(self, serial: int) -> bytes:
        """The octets of the answer, in the plain spelling."""
        self._connection.request("POST", "/", request(self._names.cert_id(serial)), OCSP_REQUEST)
        reply = self._connection.getresponse()
        assert reply.status == 200
        return reply.read()

    def status(self, serial: int) -> ocsp.OCSPCertStatus | None:
        """What the answer says, after every check; None for tryLater. Any other error fails."""
        answer = ocsp.load_der_ocsp_response(self.raw(serial))
        if answer.response_status is ocsp.OCSPResponseStatus.TRY_LATER:
            return None
        assert answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        assert answer.serial_number == serial
        self._check_signature(answer)
        return answer.certificate_status

    def _check_signature(self, answer: ocsp.OCSPResponse) -> None:
        (delegate,) = answer.certificates
        delegate.verify_directly_issued_by(self._issuer)
        usage = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert ExtendedKeyUsageOID.OCSP_SIGNING in usage
        key, algorithm = delegate.public_key(), answer.signature_hash_algorithm
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert algorithm is not None
        key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
