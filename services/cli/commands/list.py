"""`goodstanding list`: certificates that fit the filters, page after page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.client import Client, connect
from services.cli.options import Connection, Moment, connection_options, json_option

PAGE = 1000


@click.command("list")
@click.option("--issuer", metavar="NAME", default="", help="Only those of this issuer.")
@click.option("--state", type=click.Choice(list(output.STATES)), help="Only those in this state.")
@click.option("--profile", metavar="NAME", default="", help="Only those of this profile.")
@click.option("--name", metavar="NAME", default="", help="Only those with this common or alternative name, whole.")
@click.option("--expires-from", type=Moment(), help="Only those that expire at this time or later.")
@click.option("--expires-before", type=Moment(), help="Only those that expire before this time.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at the most.")
@json_option
@connection_options
def command(
    issuer: str,
    state: str | None,
    profile: str,
    name: str,
    expires_from: datetime | None,
    expires_before: datetime | None,
    limit: int,
    as_json: bool,
    connection: Connection,
) -> None:
    """List certificates, the latest issued first; those asked for by their expiry, the latest to expire first."""
    request = ca_pb2.ListCertificatesRequest(
        issuer=issuer,
        state=types_pb2.CertificateState.ValueType(output.STATES[state] if state else 0),
        profile=profile,
        name=name,
    )
    if expires_from is not None:
        request.not_after_from_time.FromDatetime(expires_from)
    if expires_before is not None:
        request.not_after_until_time.FromDatetime(expires_before)
    with connect(connection, "ca") as ca:
        found = list(take(ca, request, limit))
    # One more than asked for was fetched, to know whether there are more.
    shown, more = found[:limit], len(found) > limit
    if as_json:
        output.emit({"certificates": shown, "more": more})
        return
    show(shown)
    if more:
        output.note(f"There are more than {limit}: see --limit.")


def take(ca: Client, request: ca_pb2.ListCertificatesRequest, limit: int) -> Iterator[output.Json]:
    """The first certificates and one more, if there are as many, over as many pages as it takes."""
    stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
    left = limit + 1
    request.page_size = min(PAGE, left)
    while left > 0:
        page = ca.call(stub.ListCertificates, request)
        yield from map(output.certificate, page.certificates[:left])
        left -= len(page.certificates)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return


def show(certificates: list[output.Json]) -> None:
    """Print the table."""
    output.table(
        ("SERIAL NUMBER", "STATE", "REASON", "NAMES", "PROFILE", "ISSUER", "ISSUED", "NOT AFTER"),
        (
            (
                value["serial_number"],
                value["state"],
                (value["revocation"] or {}).get("reason"),
                ", ".join(value["subject_alternative_names"]) or value["subject"],
                value["profile"],
                value["issuer"],
                value["issue_time"],
                value["not_after_time"],
            )
            for value in certificates
        ),
    )
