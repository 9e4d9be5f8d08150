"""`goodstanding keys`: public keys that are never certified again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.client import Client, connect
from services.cli.failures import Failed
from services.cli.groups import Group
from services.cli.key_hashes import hash_of, in_file, of_certificate
from services.cli.once import Once
from services.cli.options import READABLE, Connection, connection_options, json_option, read

IN_ONE_CALL = 1000
PAGE = 1000
SOURCES = {ca_pb2.BLOCKED_KEY_SOURCE_REVOCATION: "revocation", ca_pb2.BLOCKED_KEY_SOURCE_IMPORT: "import"}


@click.group("keys", cls=Group)
def command() -> None:
    """Block public keys, so that none of them is certified again; unblock what was a mistake."""


file_argument = click.argument("file", metavar="[FILE]", type=READABLE, required=False)
cert_option = click.option(
    "--cert",
    cls=Once,
    metavar="FILE",
    type=READABLE,
    help="The key of a certificate, request, public or private key, PEM or DER. A private key is not sent.",
)
hash_option = click.option("--spki-sha256", metavar="HEX", multiple=True, help="A key by its hash. May be repeated.")


@command.command("block")
@file_argument
@cert_option
@hash_option
@click.option("--comment", metavar="TEXT", default="", help="Why, for people.")
@click.option("--dry-run", is_flag=True, help="Say what would be blocked; block nothing.")
@json_option
@connection_options
def block_command(
    file: Path | None,
    cert: Path | None,
    spki_sha256: tuple[str, ...],
    comment: str,
    dry_run: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Block the keys in FILE (-: standard input), of --cert, or of --spki-sha256.

    FILE holds the SHA-256 of a key's SubjectPublicKeyInfo on each line, in hex ("#" begins a comment), or certificates,
    certificate requests, public and private keys in PEM, or both. Of a private key only the hash of its public half is
    sent. With anything else in it, nothing is blocked. What was issued for these keys stays as it is: revoke it.
    """
    hashes = _named(file, cert, spki_sha256)
    blocked = already = 0
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        for begin in range(0, len(hashes), IN_ONE_CALL):
            request = ca_pb2.BlockPublicKeysRequest(
                public_key_sha256=hashes[begin : begin + IN_ONE_CALL], comment=comment, validate_only=dry_run
            )
            response = ca.call(stub.BlockPublicKeys, request, retry="repeat the command: it goes on where this ended")
            blocked += response.blocked_count
            already += response.already_blocked_count
    if as_json:
        output.emit({"blocked_count": blocked, "already_blocked_count": already, "validate_only": dry_run})
    else:
        output.note(
            f"{_keys(blocked)} {'would be ' if dry_run else ''}blocked; {already} {_were(already)} blocked before"
        )


@command.command("unblock")
@file_argument
@cert_option
@hash_option
@click.option("--because", metavar="WHY", required=True, help="Why, for the audit log.")
@click.option("--dry-run", is_flag=True, help="Say what would be unblocked; unblock nothing.")
@json_option
@connection_options
def unblock_command(
    file: Path | None,
    cert: Path | None,
    spki_sha256: tuple[str, ...],
    because: str,
    dry_run: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Take keys off the list that were blocked by mistake: those in FILE, of --cert, or of --spki-sha256.

    Keys are given as for `block`. That of a certificate which is revoked for a compromise stays blocked.
    """
    hashes = _named(file, cert, spki_sha256)
    unblocked = others = 0
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        for begin in range(0, len(hashes), IN_ONE_CALL):
            request = ca_pb2.UnblockPublicKeysRequest(
                public_key_sha256=hashes[begin : begin + IN_ONE_CALL], comment=because, validate_only=dry_run
            )
            response = ca.call(stub.UnblockPublicKeys, request, retry="repeat the command: it goes on where this ended")
            unblocked += response.unblocked_count
            others += response.not_blocked_count
    if as_json:
        output.emit({"unblocked_count": unblocked, "not_blocked_count": others, "validate_only": dry_run})
    else:
        output.note(
            f"{_keys(unblocked)} {'would be ' if dry_run else ''}unblocked; {others} {_were(others)} not blocked"
        )


@command.command("blocked")
@click.option("--spki-sha256", cls=Once, metavar="HEX", default="", help="Only this key.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at the most.")
@json_option
@connection_options
def blocked_command(spki_sha256: str, limit: int, as_json: bool, connection: Connection) -> None:
    """List blocked keys, in the order of their hashes."""
    request = ca_pb2.ListBlockedPublicKeysRequest(page_size=min(limit + 1, PAGE))
    if spki_sha256:
        request.public_key_sha256 = _given(spki_sha256)
    with connect(connection, "ca") as ca:
        found = list(_take(ca, request, limit + 1))
    shown, more = found[:limit], len(found) > limit
    if as_json:
        output.emit({"keys": shown, "more": more})
        return
    columns = ("SHA-256", "SINCE", "BY", "COMMENT")
    rows = ((key["public_key_sha256"], key["block_time"], key["source"], key["comment"]) for key in shown)
    output.table(columns, rows)
    if more:
        output.note(f"There are more than {limit}: see --limit.")


def _take(ca: Client, request: ca_pb2.ListBlockedPublicKeysRequest, limit: int) -> Iterator[output.Json]:
    stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
    while limit > 0:
        page = ca.call(stub.ListBlockedPublicKeys, request)
        yield from (_described(key) for key in page.keys[:limit])
        limit -= len(page.keys)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _described(key: ca_pb2.BlockedPublicKey) -> output.Json:
    return {
        "public_key_sha256": key.public_key_sha256.hex(),
        "source": SOURCES.get(key.source),
        "comment": key.comment,
        "block_time": output.when(key, "block_time"),
        "blocked_by": key.blocked_by,
    }


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count} keys"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _named(file: Path | None, cert: Path | None, spki_sha256: tuple[str, ...]) -> list[bytes]:
    """The hashes of the keys that the options name. Raises UsageError without any, Failed."""
    hashes = [_given(text) for text in spki_sha256]
    if cert is not None:
        hashes += of_certificate(read(cert), str(cert))
    if file is not None:
        hashes += in_file(read(file), str(file))
    if not hashes:
        raise click.UsageError("Name keys: a FILE, --cert or --spki-sha256.")
    return list(dict.fromkeys(hashes))


def _given(text: str) -> bytes:
    """The hash in an option."""
    try:
        return hash_of(text, "")
    except Failed:
        hint = "'--spki-sha256'"
        raise click.BadParameter("a SHA-256 has 64 hex digits.", param_hint=hint) from None
