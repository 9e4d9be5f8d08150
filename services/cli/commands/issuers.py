"""`goodstanding issuers`: who issues here, and until when."""

from __future__ import annotations

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.client import connect
from services.cli.options import Connection, connection_options, json_option
from services.clock import rfc3339
from services.pki.serials import format_serial, serial_from_int


@click.command("issuers")
@json_option
@connection_options
def command(as_json: bool, connection: Connection) -> None:
    """List the issuers, with their CA certificates."""
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        response = ca.call(stub.ListIssuers, ca_pb2.ListIssuersRequest())
    found = [describe(issuer) for issuer in response.issuers]
    if as_json:
        output.emit({"issuers": found})
        return
    output.table(
        ("NAME", "STATE", "SUBJECT", "NOT AFTER", "SHA-256 FINGERPRINT"),
        (
            (issuer["name"], state(issuer), ca["subject"], ca["not_after_time"], ca["sha256_fingerprint"])
            for issuer in found
            for ca in issuer["certificates"]
        ),
    )


def describe(issuer: types_pb2.Issuer) -> output.Json:
    """An issuer as JSON."""
    return {
        "name": issuer.name,
        "state": output.ISSUER_STATE_NAMES.get(issuer.state, str(issuer.state)),
        "certificates": [describe_certificate(der) for der in issuer.certificates_der],
        "compromise": output.describe_revocation(issuer.compromise) if issuer.HasField("compromise") else None,
        "revision": issuer.revision,
    }


def state(issuer: output.Json) -> str:
    """Whether it issues, for people."""
    return f"{issuer['state']}, compromised" if issuer["compromise"] else str(issuer["state"])


def describe_certificate(der: bytes) -> output.Json:
    """A CA certificate as JSON."""
    certificate = x509.load_der_x509_certificate(der)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "serial_number": format_serial(serial_from_int(certificate.serial_number)),
        "not_before_time": rfc3339(certificate.not_valid_before_utc),
        "not_after_time": rfc3339(certificate.not_valid_after_utc),
        "sha256_fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }
