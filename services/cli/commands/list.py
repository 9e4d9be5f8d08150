"""`goodstanding list`: certificates that fit the filters, page after page, printed as they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.client import Client, connect
from services.cli.compromised_issuers import CompromisedIssuers
from services.cli.listing import Column, Format, format_options, show
from services.cli.no_match import hints
from services.cli.once import Once
from services.cli.options import CertificateName, Connection, Moment, Span, Spelt, connection_options
from services.clock import utc_now

PAGE = 1000

COLUMNS = (
    Column("SERIAL NUMBER", lambda value: value["serial_number"]),
    Column("STATE", output.state_words),
    Column("REASON", lambda value: (value["revocation"] or {}).get("reason"), cut=True, spare=3),
    Column("NAMES", lambda value: ", ".join(value["subject_alternative_names"]) or value["subject"], cut=True),
    Column("PROFILE", lambda value: value["profile"], cut=True, spare=2),
    Column("ISSUER", lambda value: value["issuer"], cut=True, spare=4),
    Column("ISSUED", lambda value: value["issue_time"], spare=5),
    Column("NOT AFTER", lambda value: value["not_after_time"], spare=1),
)


@click.command("list")
@click.option("--issuer", cls=Once, metavar="NAME", default="", help="Only those of this issuer.")
@click.option("--state", cls=Once, type=click.Choice(list(output.STATES)), help="Only those in this state.")
@click.option("--reason", cls=Once, type=Spelt(output.REASONS), help="Only those that are revoked for this reason.")
@click.option("--profile", cls=Once, metavar="NAME", default="", help="Only those of this profile.")
@click.option(
    "--name",
    cls=Once,
    metavar="NAME",
    type=CertificateName(),
    default="",
    help="Only those with this common or alternative name, whole.",
)
@click.option(
    "--expiring", cls=Once, metavar="SPAN", type=Span(), help="Valid ones that expire within 30d, 12h …, soonest first."
)
@click.option("--expires-from", cls=Once, type=Moment(), help="Only those that expire at this time or later.")
@click.option("--expires-before", cls=Once, type=Moment(), help="Only those that expire before this time.")
@click.option("--issued-from", cls=Once, type=Moment(), help="Only those that were issued at this time or later.")
@click.option("--issued-before", cls=Once, type=Moment(), help="Only those that were issued before this time.")
@click.option(
    "--serial-prefix", cls=Once, metavar="HEX", default="", help="Only those whose serial number begins with this."
)
@click.option(
    "--public-key",
    cls=Once,
    metavar="SHA256",
    default="",
    help="Only those with this key: the hash of its DER, in hex.",
)
@click.option(
    "--by",
    "--issued-by",
    "identity",
    cls=Once,
    metavar="URI",
    default="",
    help="Only those that this identity asked for.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at the most.")
@click.option("--all", "without_limit", is_flag=True, help="All of them.")
@format_options
@connection_options
def command(
    issuer: str,
    state: str | None,
    reason: str | None,
    profile: str,
    name: str,
    expiring: timedelta | None,
    expires_from: datetime | None,
    expires_before: datetime | None,
    issued_from: datetime | None,
    issued_before: datetime | None,
    serial_prefix: str,
    public_key: str,
    identity: str,
    limit: int,
    without_limit: bool,
    form: Format,
    connection: Connection,
) -> None:
    """List certificates, the latest issued first. Filters combine.

    What is valid in itself may be revoked with its issuer: "valid, issuer compromised" (`issuer_compromised` in JSON).
    """
    request = ca_pb2.ListCertificatesRequest(
        issuer=issuer,
        state=types_pb2.CertificateState.ValueType(output.STATES[state] if state else 0),
        profile=profile,
        name=name,
        serial_number_prefix=serial_prefix,
        public_key_sha256=key_hash(public_key),
        identity=identity,
    )
    if reason is not None:
        request.reason = types_pb2.RevocationReason.ValueType(output.REASONS[reason])
    if expiring is not None:
        if state or expires_from or expires_before:
            raise click.UsageError("--expiring says all that --state, --expires-from and --expires-before would.")
        now = utc_now()
        expires_from, expires_before = now, now + expiring
        request.state = types_pb2.CERTIFICATE_STATE_VALID
        request.order = ca_pb2.CERTIFICATE_ORDER_NOT_AFTER_TIME
    put_times(request, expires_from, expires_before, issued_from, issued_before)
    request.page_size = PAGE if without_limit else min(PAGE, limit + 1)
    with connect(connection, "ca") as ca:
        found = map(CompromisedIssuers(ca).mark, certificates(ca, request))
        first = next(found, None)
        rest = found if first is None else itertools.chain([first], found)
        show(form, "certificates", COLUMNS, rest, None if without_limit else limit)
        if first is None:
            for hint in hints(ca, profile=profile, identity=identity):
                output.note(hint)


def certificates(ca: Client, request: ca_pb2.ListCertificatesRequest) -> Iterator[output.Json]:
    """All certificates that fit, page after page, as they are asked for."""
    stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
    while True:
        page = ca.renewed().call(stub.ListCertificates, request)
        yield from map(output.certificate, page.certificates)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return


def put_times(request: ca_pb2.ListCertificatesRequest, *times: datetime | None) -> None:
    """The ranges that were given: of the expiry, and of the time of issuing."""
    fields = (
        request.not_after_from_time,
        request.not_after_until_time,
        request.issue_from_time,
        request.issue_until_time,
    )
    for field, time in zip(fields, times, strict=True):
        if time is not None:
            field.FromDatetime(time)


def key_hash(text: str) -> bytes:
    """The hash that was given in hex."""
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        raise click.BadParameter("64 hex digits, the SHA-256 of the key's DER.", param_hint="'--public-key'") from None
