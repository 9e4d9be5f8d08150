"""`goodstanding revoke`: ends a certificate's good standing, or restores that of one on hold."""

from __future__ import annotations

import secrets
from datetime import datetime

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.client import connect
from services.cli.options import (
    Connection,
    Moment,
    Spelt,
    Target,
    connection_options,
    issuer_option,
    json_option,
    request_id_option,
    target_options,
)


@click.command("revoke")
@target_options
@issuer_option
@click.option(
    "--reason",
    type=Spelt(output.REASONS),
    default="unspecified",
    show_default=True,
    help="Why (RFC 5280, section 5.3.1). removeFromCRL releases a hold.",
)
@click.option("--invalidity-time", type=Moment(), help="Since when to distrust it, such as 2026-02-03T04:05:06Z.")
@request_id_option
@click.option("--dry-run", is_flag=True, help="Check everything, and record nothing.")
@json_option
@connection_options
def command(
    target: Target,
    issuer: str,
    reason: str,
    invalidity_time: datetime | None,
    request_id: str,
    dry_run: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Revoke a certificate, named by its SERIAL number (hex) or by --cert FILE.

    It is durable, and every OCSP answer says so within a second, once the command has succeeded.
    """
    request = ca_pb2.RevokeCertificateRequest(
        reason=types_pb2.RevocationReason.ValueType(output.REASONS[reason]),
        request_id=request_id or secrets.token_hex(16),
        validate_only=dry_run,
    )
    if invalidity_time is not None:
        request.invalidity_time.FromDatetime(invalidity_time)
    target.put_into(request, issuer)
    retry = f"whether it was recorded is not known: repeat with --request-id {request.request_id} to be sure"
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        response = ca.call(stub.RevokeCertificate, request, retry="" if dry_run else retry)
    described = output.certificate(response.certificate)
    if as_json:
        output.emit({**described, "request_id": request.request_id, "validate_only": request.validate_only})
    else:
        click.echo(output.plain(summary(described, dry_run=dry_run)))


def summary(described: output.Json, *, dry_run: bool) -> str:
    """One line for a person: the state from now on."""
    name = f"{described['serial_number']} of {described['issuer']}"
    if dry_run:
        return f"{name}: the change is allowed. Nothing was recorded."
    revocation = described["revocation"]
    if revocation is None:
        return f"{name}: released, in good standing again"
    word = "on hold" if revocation["reason"] == "certificateHold" else "revoked"
    return f"{name}: {word} since {revocation['revocation_time']}, reason {revocation['reason']}"
