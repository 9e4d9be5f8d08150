"""`goodstanding get`: one certificate as recorded, with its state and who asked for it."""

from __future__ import annotations

from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.compromised_issuers import CompromisedIssuers
from services.cli.failures import Failed
from services.cli.options import (
    WRITABLE,
    Connection,
    Target,
    connection_options,
    is_pem,
    issuer_option,
    json_option,
    target_options,
)


@click.command("get")
@target_options
@issuer_option
@click.option("--out", metavar="FILE", type=WRITABLE, help="Write the certificate here, in PEM.")
@json_option
@connection_options
def command(target: Target, issuer: str, out: Path | None, as_json: bool, connection: Connection) -> None:
    """Show a certificate, named by its SERIAL number (hex) or by --cert FILE, with its state and history."""
    request = ca_pb2.GetCertificateRequest()
    request.issuer_and_serial_number.issuer = issuer
    request.issuer_and_serial_number.serial_number = target.serial
    given = load(target.certificate) if target.certificate is not None else None
    if given is not None:
        request.issuer_and_serial_number.serial_number = f"{given.serial_number:x}"
    with connect(connection, "ca") as ca:
        response = ca.call(ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel).GetCertificate, request)
        described = CompromisedIssuers(ca).mark(output.certificate(response.certificate))
    if given is not None:
        require_same(given, response.certificate.certificate_der)
    if out is not None:
        write(out, response.certificate_pem)
    if as_json:
        output.emit({**described, "certificate_pem": response.certificate_pem or None})
        return
    output.details(output.certificate_lines(described))
    if out is None and response.certificate_pem:
        click.echo("\n" + response.certificate_pem, nl=False)


def load(content: bytes) -> x509.Certificate:
    """The certificate that was read."""
    return x509.load_pem_x509_certificate(content) if is_pem(content) else x509.load_der_x509_certificate(content)


def require_same(given: x509.Certificate, recorded: bytes) -> None:
    """Refuse to describe a certificate that only shares its serial number with the one given."""
    if recorded and given.public_bytes(Encoding.DER) != recorded:
        raise Failed("the certificate that was issued with this serial number is another one")


def write(out: Path, pem: str) -> None:
    """Write the certificate, if there is one: of an imported certificate only the status may be known."""
    if not pem:
        raise Failed("only the status of this certificate is known, not its content")
    out.write_text(pem)
