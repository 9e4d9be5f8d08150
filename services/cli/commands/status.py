"""`goodstanding status`: is this certificate in good standing, right now?"""

from __future__ import annotations

from datetime import datetime

import click

from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.once import Once
from services.cli.options import (
    Connection,
    Moment,
    Target,
    connection_options,
    issuer_option,
    json_option,
    target_options,
)


@click.command("status")
@target_options
@issuer_option
@click.option(
    "--at", cls=Once, type=Moment(), help="The status that it had at this past time, such as 2026-02-03T04:05:06Z."
)
@json_option
@connection_options
def command(target: Target, issuer: str, at: datetime | None, as_json: bool, connection: Connection) -> None:
    """Show whether a certificate, named by its SERIAL number (hex) or by --cert FILE, is in good standing.

    Good, revoked and unknown are all answers: the exit status is 0 for each of them.
    """
    if at is not None:
        show_past(target, issuer, at, as_json=as_json, connection=connection)
        return
    request = status_pb2.GetCertificateStatusRequest()
    target.put_into(request.certificate, issuer)
    with connect(connection, "status") as status:
        stub = status_pb2_grpc.CertificateStatusServiceStub(status.channel)
        response = status.call(stub.GetCertificateStatus, request)
    record = output.status_record(response.record)
    as_of = output.when(response, "as_of_time")
    if as_json:
        output.emit({**record, "history": response.history, "as_of_revision": response.revision, "as_of_time": as_of})
        return
    show(record, as_of)


def show_past(target: Target, issuer: str, at: datetime, *, as_json: bool, connection: Connection) -> None:
    """Print the status of a past time."""
    request = status_pb2.GetPastCertificateStatusRequest()
    target.put_into(request.certificate, issuer)
    request.as_of_time.FromDatetime(at)
    with connect(connection, "status") as status:
        stub = status_pb2_grpc.CertificateStatusServiceStub(status.channel)
        response = status.call(stub.GetPastCertificateStatus, request)
    record = output.status_record(response.record)
    as_of = output.when(response, "as_of_time")
    if as_json:
        output.emit({**record, "as_of_time": as_of})
    else:
        show(record, as_of)


def show(record: output.Json, as_of: str | None) -> None:
    """Print a status for a person."""
    revoked = record["revocation"] or {}
    output.details(
        [
            ("Status", record["status"]),
            ("Serial number", record["serial_number"]),
            ("Issuer", record["issuer"]),
            ("Revoked", revoked.get("revocation_time")),
            ("Reason", revoked.get("reason")),
            ("Invalid since", revoked.get("invalidity_time")),
            ("Not after", record["not_after_time"]),
            ("Last change", record["change_time"]),
            ("As of", as_of),
        ]
    )
