"""From the moment when the revoker sees success to the moment when two gateways say `revoked`, both from hot caches."""

from __future__ import annotations

import time
from collections.abc import Sequence

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from benchmarks.issuing import credentials
from benchmarks.load import ask, receive_all
from benchmarks.processes import BenchmarkError, System
from benchmarks.questions import certificate_ids, post
from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2

GIVE_UP = 5.0


def revoke_and_watch(
    system: System, gateways: Sequence[str], issuer: x509.Certificate, serials: Sequence[int]
) -> list[float]:
    """Revoke one certificate after the other; the seconds until the last gateway says so of each.

    Raises BenchmarkError when one does not within `GIVE_UP`.
    """
    with grpc.secure_channel(system.ca, credentials(system)) as channel:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        return [revoke_one(stub, gateways, issuer, serial) for serial in serials]


def revoke_one(
    stub: ca_pb2_grpc.CertificateAuthorityServiceStub, gateways: Sequence[str], issuer: x509.Certificate, serial: int
) -> float:
    """Seconds from the success of the call to the end of the first `revoked` of the gateway that says it last."""
    request = certificate_ids(issuer)(serial).build().public_bytes(Encoding.DER)
    message = post(request, keep_alive=False)
    for address in (*gateways, *gateways):  # the second answer of each comes from its cache
        if status(address, message) is not ocsp.OCSPCertStatus.GOOD:
            raise BenchmarkError(f"certificate {serial:x} is not good before it is revoked")
    which = types_pb2.IssuerAndSerialNumber(issuer="issuing", serial_number=f"{serial:x}")
    stub.RevokeCertificate(
        ca_pb2.RevokeCertificateRequest(
            issuer_and_serial_number=which, reason=types_pb2.REVOCATION_REASON_KEY_COMPROMISE
        ),
        timeout=10,
    )
    revoked, waiting = time.perf_counter(), list(gateways)
    while (waited := time.perf_counter() - revoked) < GIVE_UP:
        waiting = [address for address in waiting if status(address, message) is not ocsp.OCSPCertStatus.REVOKED]
        if not waiting:
            return time.perf_counter() - revoked
    raise BenchmarkError(f"certificate {serial:x} is still not revoked after {waited:.1f} s")


def status(address: str, message: bytes) -> ocsp.OCSPCertStatus | None:
    """What the responder says; None where it is not a successful answer, as while it does not know for sure."""
    with ask(address, lambda _: message) as sock:
        try:
            body = receive_all(sock).partition(b"\r\n\r\n")[2]
        except BenchmarkError:
            return None
    return ocsp.load_der_ocsp_response(body).certificate_status
