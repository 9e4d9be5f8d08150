"""`goodstanding revoke`: ends the good standing of certificates, or restores that of those on hold."""

from __future__ import annotations

import secrets
import sys
from datetime import datetime

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.bulk_requests import Wish
from services.cli.client import connect
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
from services.cli.revoking import (
    ask_about_issuer,
    keeps_earlier_time,
    notes_on_issuer,
    revoke_many,
    told_of_earlier_times,
)
from services.cli.selecting import Selection, selection_options


@click.command("revoke")
@selection_options
@click.option(
    "--reason",
    cls=Once,
    type=Spelt(output.REASONS),
    default="unspecified",
    help="Why (RFC 5280, section 5.3.1). removeFromCRL releases a hold.  [default: unspecified]",
)
@click.option(
    "--invalidity-time", cls=Once, type=Moment(), help="Since when to distrust it, such as 2026-02-03T04:05:06Z."
)
@click.option("--same-key", is_flag=True, help="With keyCompromise: revoke all others with the same key, too.")
@request_id_option
@click.option("--dry-run", is_flag=True, help="Check everything, and record nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before revoking what a key or filters select, or a CA.")
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
    on_terminal = sys.stdin is not None and sys.stdin.isatty()
    asking = on_terminal and not (yes or dry_run)
    if target is not None:
        _revoke_one(connection, target, selection.issuer, wish, same_key=same_key, asking=asking, as_json=as_json)
        return
    if selection.is_open and not (yes or dry_run or on_terminal):
        raise click.UsageError("Nobody can be asked here: see with --dry-run what is meant, and then give --yes.")
    revoke_many(connection, selection, wish, asking=asking, as_json=as_json)


def _revoke_one(
    connection: Connection,
    target: Target,
    issuer: str,
    wish: Wish,
    *,
    same_key: bool,
    asking: bool,
    as_json: bool,
) -> None:
    request = ca_pb2.RevokeCertificateRequest(all_with_same_key=same_key)
    wish.put_into(request)
    target.put_into(request, issuer)
    retry = f"whether it was recorded is not known: repeat with --request-id {request.request_id} to be sure"
    with connect(connection, "ca") as ca:
        if asking:
            ask_about_issuer(ca, request)
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        response = ca.renewed().call(stub.RevokeCertificate, request, retry="" if wish.dry_run else retry)
        notes = notes_on_issuer(ca, response, dry_run=wish.dry_run)
    if keeps_earlier_time(response.certificate, wish):
        notes.append(told_of_earlier_times(1))
    described = output.certificate(response.certificate)
    others = response.others_with_same_key_count
    if as_json:
        more: output.Json = {"others_with_same_key_count": others} if same_key else {}
        more |= {"notes": notes} if notes else {}
        more["unchanged"] = response.unchanged
        output.emit({**described, "request_id": request.request_id, "validate_only": request.validate_only, **more})
        return
    click.echo(output.plain(summary(described, dry_run=wish.dry_run, unchanged=response.unchanged)))
    if same_key:
        click.echo(_others(others, response.others_unchanged_count, dry_run=wish.dry_run))
    for line in notes:
        output.note(line)


def _others(count: int, unchanged: int, *, dry_run: bool) -> str:
    """One line about the others with the same key."""
    done = "they would be revoked, too" if dry_run else "revoked"
    if unchanged:
        done = "revoked already" if unchanged == count else f"{done}; {unchanged} of them were already"
    return f"{count} {'other' if count == 1 else 'others'} with the same key{f': {done}' if count else ''}"


def summary(described: output.Json, *, dry_run: bool, unchanged: bool = False) -> str:
    """One line for a person: the state from now on."""
    name = f"{described['serial_number']} of {described['issuer']}"
    revocation = described["revocation"]
    if unchanged and revocation is not None:
        return f"{name}: already {output.revocation_words(revocation)}{'. Nothing was recorded.' if dry_run else ''}"
    if dry_run:
        return f"{name}: the change is allowed. Nothing was recorded."
    if revocation is None:
        return f"{name}: released, in good standing again"
    return f"{name}: {output.revocation_words(revocation)}"
