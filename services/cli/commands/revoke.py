"""`goodstanding revoke`: ends the good standing of certificates, or restores that of those on hold."""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import bulk, output
from services.cli.bulk_requests import Call, Wish, prepare
from services.cli.client import Client, connect
from services.cli.once import Once
from services.cli.options import (
    Connection,
    Moment,
    Spelt,
    Target,
    connection_options,
    json_option,
    request_id_option,
)
from services.cli.selecting import Selection, selection_options


@click.command("revoke")
@selection_options
@click.option(
    "--reason",
    cls=Once,
    type=Spelt(output.REASONS),
    default="unspecified",
    show_default=True,
    help="Why (RFC 5280, section 5.3.1). removeFromCRL releases a hold.",
)
@click.option(
    "--invalidity-time", cls=Once, type=Moment(), help="Since when to distrust it, such as 2026-02-03T04:05:06Z."
)
@click.option("--same-key", is_flag=True, help="With keyCompromise: revoke all others with the same key, too.")
@request_id_option
@click.option("--dry-run", is_flag=True, help="Check everything, and record nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before revoking what a key or filters select.")
@json_option
@connection_options
def command(
    selection: Selection,
    reason: str,
    invalidity_time: datetime | None,
    same_key: bool,
    request_id: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Revoke a certificate, named by its SERIAL number (hex) or by --cert FILE; or several; or all that are selected by
    --serials FILE, by --key FILE, or by filters, which combine.

    It is durable, and every OCSP answer says so within a second, once the command has succeeded. Where it was
    interrupted, the same command again goes on. With several certificates --json prints one line for each, and the sum.
    """
    target = selection.single()
    if target is not None:
        request_id = request_id or secrets.token_hex(16)
    # For many none is made up: repeated, the command goes on anyway, and memory for each certificate has its price.
    wish = Wish(output.REASONS[reason], invalidity_time, request_id, dry_run)
    if same_key and (target is None or reason != "keyCompromise"):
        raise click.UsageError("--same-key goes with one certificate and --reason keyCompromise; see --key, too.")
    if target is not None:
        _revoke_one(connection, target, selection.issuer, wish, same_key=same_key, as_json=as_json)
        return
    if selection.is_open and not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError("Nobody can be asked here: see with --dry-run what is meant, and then give --yes.")
    _revoke_many(connection, selection, wish, ask=selection.is_open and not (yes or dry_run), as_json=as_json)


def _revoke_one(
    connection: Connection, target: Target, issuer: str, wish: Wish, *, same_key: bool, as_json: bool
) -> None:
    request = ca_pb2.RevokeCertificateRequest(all_with_same_key=same_key)
    wish.put_into(request)
    target.put_into(request, issuer)
    retry = f"whether it was recorded is not known: repeat with --request-id {request.request_id} to be sure"
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        response = ca.call(stub.RevokeCertificate, request, retry="" if wish.dry_run else retry)
    described = output.certificate(response.certificate)
    others = response.others_with_same_key_count
    if as_json:
        more = {"others_with_same_key_count": others} if same_key else {}
        output.emit({**described, "request_id": request.request_id, "validate_only": request.validate_only, **more})
        return
    click.echo(output.plain(summary(described, dry_run=wish.dry_run)))
    if same_key:
        click.echo(f"{others} others with the same key: {'they would be revoked, too' if wish.dry_run else 'revoked'}")


def summary(described: output.Json, *, dry_run: bool) -> str:
    """One line for a person: the state from now on."""
    name = f"{described['serial_number']} of {described['issuer']}"
    if dry_run:
        return f"{name}: the change is allowed. Nothing was recorded."
    revocation = described["revocation"]
    if revocation is None:
        return f"{name}: released, in good standing again"
    return f"{name}: {output.revocation_words(revocation)}"


def _revoke_many(connection: Connection, selection: Selection, wish: Wish, *, ask: bool, as_json: bool) -> None:
    with ExitStack() as stack:
        make_calls, total = prepare(stack, selection, wish)
        ca = stack.enter_context(connect(connection, "ca"))
        if ask:
            total = _confirm(ca, make_calls())
        retry = "" if wish.dry_run else "what was told is done: the same command again goes on"
        results = bulk.carry_out(ca, make_calls(), retry)
        tally = bulk.show(results, as_json=as_json, dry_run=wish.dry_run, total=total)
    if as_json:
        output.emit_line(
            {"summary": bulk.as_counts(tally), "request_id": wish.request_id or None, "validate_only": wish.dry_run}
        )
    else:
        click.echo(bulk.summarise(tally, dry_run=wish.dry_run))
    if tally[bulk.REFUSED]:
        raise click.exceptions.Exit(1)


def _confirm(ca: Client, calls: Iterable[Call]) -> int:
    """See what is meant, and ask whether to go on where it is more than one. Returns how many."""
    tally: Counter[str] = Counter()
    for call in calls:
        call.request.validate_only = True
        tally.update(result["outcome"] for result in bulk.carry_out(ca, [call]))
    if tally.total() > 1:
        click.echo(bulk.summarise(tally, dry_run=True), err=True)
        click.confirm("Go on?", abort=True, err=True)
    return tally.total()
