"""`goodstanding keys`: public keys that are never certified again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.client import Client, connect
from services.cli.failures import Failed
from services.cli.groups import Group
from services.cli.once import Once
from services.cli.options import READABLE, Connection, connection_options, is_pem, json_option, read

IN_ONE_CALL = 1000
PAGE = 1000
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
# Private keys, which may lie beside a certificate, are none of our business.
_BLOCK = re.compile(rb"-----BEGIN ((?:NEW )?CERTIFICATE(?: REQUEST)?|PUBLIC KEY)-----[^-]*-----END \1-----")
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
    help="The key of a certificate, request or public key, PEM or DER.",
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
    certificate requests and public keys in PEM. What was issued for these keys stays as it is: revoke it.
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
        output.note(f"{blocked} keys {'would be ' if dry_run else ''}blocked; {already} were blocked before")


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
        output.note(f"{unblocked} keys {'would be ' if dry_run else ''}unblocked; {others} were not blocked")


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


def _named(file: Path | None, cert: Path | None, spki_sha256: tuple[str, ...]) -> list[bytes]:
    """The hashes of the keys that the options name. Raises UsageError without any, Failed."""
    hashes = [_given(text) for text in spki_sha256]
    if cert is not None:
        hashes += hashes_in(read(cert), str(cert), may_be_der=True)
    if file is not None:
        hashes += hashes_in(read(file), str(file))
    if not hashes:
        raise click.UsageError("Name keys: a FILE, --cert or --spki-sha256.")
    return hashes


def hashes_in(content: bytes, name: str, *, may_be_der: bool = False) -> list[bytes]:
    """The hashes of the keys in a file. Raises Failed, naming the file and the line."""
    if is_pem(content):
        found = [_hash_of(block[0], name) for block in _BLOCK.finditer(content)]
        if not found:
            raise Failed(f"{name} holds something else than certificates, requests and public keys")
        return found
    if may_be_der:
        return [_hash_of(content, name)]
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise Failed(f"{name} holds neither PEM nor lines of hex") from None
    words = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1))
    return [_hash(word, f"{name}, line {number}") for number, word in words if word]


def _given(text: str) -> bytes:
    """The hash in an option."""
    try:
        return _hash(text, "")
    except Failed:
        hint = "'--spki-sha256'"
        raise click.BadParameter("a SHA-256 has 64 hex digits.", param_hint=hint) from None


def _hash(text: str, place: str) -> bytes:
    plain = text.strip().replace(":", "").lower()
    if not _HASH.fullmatch(plain):
        raise Failed(f"{place}: a key is given by the SHA-256 of its SubjectPublicKeyInfo, 64 hex digits")
    return bytes.fromhex(plain)


def _hash_of(content: bytes, name: str) -> bytes:
    """The hash of the key in a certificate, a request, or a file of its own, as it would stand in a certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as form

    from services.pki.unreadable import UNREADABLE

    loaders = (
        (x509.load_pem_x509_certificate, x509.load_pem_x509_csr)
        if is_pem(content)
        else (x509.load_der_x509_certificate, x509.load_der_x509_csr)
    )
    for load in loaders:
        try:
            key = load(content).public_key()
        except UNREADABLE:
            continue
        return hashlib.sha256(key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)).digest()
    try:
        alone = form.load_pem_public_key(content) if is_pem(content) else form.load_der_public_key(content)
    except UNREADABLE:
        raise Failed(f"{name} holds something else than certificates, requests and public keys") from None
    return hashlib.sha256(alone.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)).digest()
