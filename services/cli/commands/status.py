"""`goodstanding status`: is this certificate in good standing, right now?"""

from __future__ import annotations

import click

from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.options import (
    Connection,
    Target,
    connection_options,
    issuer_option,
    json_option,
    target_options,
)


@click.command("status")
@target_options
@issuer_option
@json_option
@connection_options
def command(target: Target, issuer: str, as_json: bool, connection: Connection) -> None:
    """Show whether a certificate, named by its SERIAL number (hex) or by --cert FILE, is in good standing.

    Good, revoked and unknown are all answers: the exit status is 0 for each of them.
    """
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
