"""`goodstanding count`: how many certificates there are, by issuer, profile and state."""

from __future__ import annotations

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.once import Once
from services.cli.options import Connection, connection_options, json_option

STATES = ("valid", "revoked", "expired")


@click.command("count")
@click.option("--issuer", cls=Once, metavar="NAME", default="", help="Only those of this issuer.")
@json_option
@connection_options
def command(issuer: str, as_json: bool, connection: Connection) -> None:
    """Count certificates by issuer, profile and state. Exact, and as quick with ten million as with ten."""
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        response = ca.call(stub.CountCertificates, ca_pb2.CountCertificatesRequest(issuer=issuer))
    counts: list[output.Json] = [
        {"issuer": each.issuer, "profile": each.profile, **{state: getattr(each, state) for state in STATES}}
        for each in response.counts
    ]
    total = {state: sum(each[state] for each in counts) for state in STATES}
    if as_json:
        output.emit({"counts": counts, "total": total, "as_of_time": output.when(response, "as_of_time")})
        return
    rows = [*counts, {"issuer": "total", "profile": "", **total}]
    output.table([name.upper() for name in ("issuer", "profile", *STATES)], (tuple(row.values()) for row in rows))
