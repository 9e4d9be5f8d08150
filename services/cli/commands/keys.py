"""`goodstanding keys`: public keys that are never certified again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
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
    Issuers that have one of them are named, with what to do.
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
        found = _issuers_with(ca, hashes)
    if as_json:
        names = [issuer.name for issuer in found]
        counts = {"blocked_count": blocked, "already_blocked_count": already}
        output.emit({**counts, "issuers": names, "validate_only": dry_run})
    else:
        output.note(
            f"{_keys(blocked)} {'would be ' if dry_run else ''}blocked; {already} {_were(already)} blocked before"
        )
        for issuer in found:
            output.note(_what_to_do(issuer))


def _issuers_with(ca: Client, hashes: list[bytes]) -> list[types_pb2.Issuer]:
    """The issuers that have one of these keys, but for those that are known to be compromised."""
    stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
    every = ca.renewed().call(stub.ListIssuers, ca_pb2.ListIssuersRequest()).issuers
    wanted = set(hashes)
    return [
        each
        for each in every
        if hashlib.sha256(each.public_key_der).digest() in wanted and not each.HasField("compromise")
    ]


def _what_to_do(issuer: types_pb2.Issuer) -> str:
    """That blocking takes nothing back which an issuer does."""
    from cryptography import x509

    from services.pki.serials import format_serial, serial_from_int

    serials = (x509.load_der_x509_certificate(each).serial_number for each in issuer.certificates_der)
    serial = format_serial(serial_from_int(next(serials)))
    text = (
        f"Issuer {issuer.name} has one of these keys. Blocking keeps it from getting another certificate, and from "
        f"nothing else. If the key is in other hands, `goodstanding revoke {serial} --reason keyCompromise` revokes "
        "all that it issued"
    )
    if issuer.state == types_pb2.ISSUER_STATE_ACTIVE:
        text += f"; otherwise `goodstanding ca rollover {issuer.name} --new-name …` has one with a new key take over"
    return text


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
