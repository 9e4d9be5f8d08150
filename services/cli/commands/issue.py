"""`goodstanding issue`: certificate request in, certificate out."""

from __future__ import annotations

import errno
import os
import secrets
from datetime import timedelta
from pathlib import Path

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.failures import Failed
from services.cli.once import Once
from services.cli.options import (
    ANYWHERE,
    READABLE_OR_FOLDER,
    Connection,
    connection_options,
    is_pem,
    issuer_option,
    json_option,
    read,
    request_id_option,
)
from services.rpc.client import fields_of

KINDS = {"DNS": "dns_names", "IP": "ip_addresses", "EMAIL": "email_addresses", "URI": "uris"}


@click.command("issue")
@click.argument("csrs", metavar="CSR...", type=READABLE_OR_FOLDER, nargs=-1, required=True)
@issuer_option
@click.option(
    "--profile", cls=Once, metavar="NAME", default="server", help="What the certificate is for.  [default: server]"
)
@click.option("--days", type=click.IntRange(1, 36500), help="How long it is valid; the profile's default otherwise.")
@click.option(
    "--san",
    "sans",
    metavar="KIND:NAME",
    multiple=True,
    help="DNS:, IP:, email: or URI: and a name, in the place of the names in the request. May be repeated.",
)
@click.option("--out", metavar="FILE", type=ANYWHERE, help="Write the certificate here, not to standard output.")
@click.option(
    "--many",
    is_flag=True,
    help="For each CSR, and each in a folder (.csr, .req, .p10), write NAME.crt beside it or in the folder --out.",
)
@click.option("--chain", is_flag=True, help="Append the CA certificates above it, without the root.")
@request_id_option
@click.option("--dry-run", is_flag=True, help="Check everything; issue and record nothing.")
@json_option
@connection_options
def command(
    csrs: tuple[Path, ...],
    issuer: str,
    profile: str,
    days: int | None,
    sans: tuple[str, ...],
    out: Path | None,
    many: bool,
    chain: bool,
    request_id: str,
    dry_run: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Issue a certificate for the certificate request in the file CSR (PKCS #10, PEM or DER; -: standard input).

    The certificate goes to standard output in PEM, a summary to standard error. With --many there may be any number of
    files and folders; what has its NAME.crt already is left alone, so that the same command again does the rest.
    For seven days it hands out once more what it has issued for the same files: another --request-id gets new ones.
    """
    require_one(csrs, out, many=many)
    request = ca_pb2.IssueCertificateRequest(
        issuer=issuer,
        profile=profile,
        subject_alternative_names=names(sans),
        request_id=request_id,
        validate_only=dry_run,
    )
    if days is not None:
        request.validity.FromTimedelta(timedelta(days=days))
    if many:
        from services.cli.issue_many import issue_many, plan

        issue_many(plan(csrs, out), request, connection, with_chain=chain, as_json=as_json)
        return
    request.request_id = request_id or secrets.token_hex(16)
    put_csr(request, read(csrs[0]))
    if out is not None:
        require_writable(out)
    retry = f"whether it was issued is not known: repeat with --request-id {request.request_id} to be told"
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        try:
            response = ca.call(stub.IssueCertificate, request, retry="" if dry_run else retry)
        except Failed as failed:
            if any(field.startswith("csr_") for field in fields_of(failed.__cause__)):
                raise Failed(f"{csrs[0]}: {failed.message}") from failed
            raise
    show(response, request, out=out, chain=chain, as_json=as_json)


def require_one(csrs: tuple[Path, ...], out: Path | None, *, many: bool) -> None:
    """Refuse, without --many, what only it can do; and with it, what it cannot."""
    if many and any(str(csr) == "-" for csr in csrs):
        raise click.UsageError("--many takes files and folders, not standard input.")
    if not many and (len(csrs) > 1 or csrs[0].is_dir()):
        raise click.UsageError("several requests, or a folder of them, need --many.")
    if not many and out is not None and out.is_dir():
        raise click.BadParameter(f"{str(out)!r} is a directory; name a file.", param_hint="'--out'")


def put_csr(request: ca_pb2.IssueCertificateRequest, content: bytes) -> None:
    """Put the certificate request into the call as what it is. The service checks it."""
    if is_pem(content):
        request.csr_pem = content.decode("utf-8", errors="replace")
    else:
        request.csr_der = content


def names(sans: tuple[str, ...]) -> ca_pb2.SubjectAlternativeNames | None:
    """The names of `--san`, or None to keep those in the certificate request."""
    if not sans:
        return None
    found = ca_pb2.SubjectAlternativeNames()
    for san in sans:
        kind, colon, name = san.partition(":")
        if colon and not name and kind.upper() in KINDS:
            raise click.BadParameter(
                f"{san!r} has no name behind its kind, as in DNS:test.example.com.", param_hint="'--san'"
            )
        if not colon or kind.upper() not in KINDS:
            raise click.BadParameter(
                f"{san!r} has no kind in front: DNS:, IP:, email: or URI:, as in DNS:test.example.com.",
                param_hint="'--san'",
            )
        getattr(found, KINDS[kind.upper()]).append(name)
    return found


def show(
    response: ca_pb2.IssueCertificateResponse,
    request: ca_pb2.IssueCertificateRequest,
    *,
    out: Path | None,
    chain: bool,
    as_json: bool,
) -> None:
    """Write the certificate where it is wanted, and say what it is."""
    described = output.certificate(response.certificate)
    pem = response.certificate_pem + (response.chain_pem if chain else "")
    unwritten = write(out, pem) if out is not None and pem else None
    try:
        if as_json:
            issued = {"certificate_pem": response.certificate_pem or None, "chain_pem": response.chain_pem}
            asked = {"request_id": request.request_id, "validate_only": request.validate_only}
            output.emit({**described, **asked, **issued})
        elif (out is None or unwritten) and pem:
            click.echo(pem, nl=False)
    except OSError as error:
        if not pem:
            raise
        raise Failed(
            f"the certificate was issued, but cannot be written: {unwritten or error.strerror}; "
            f"`goodstanding get {described['serial_number']} --out FILE` fetches it"
        ) from error
    if unwritten:
        raise Failed(
            f"the certificate was issued, but {out} cannot be written: {unwritten}; it is on standard output instead "
            f"(serial number {described['serial_number']}, request id {request.request_id})"
        )
    if not as_json:
        output.note(summary(described, out, dry_run=request.validate_only))


def require_writable(out: Path) -> None:
    """Raise Failed where the certificate could not be written, before there is one."""
    target = out if out.exists() else out.parent
    try:
        if not os.access(target, os.W_OK):
            target.stat()
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if target != out and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise Failed(f"cannot write {out}: {error.strerror}; nothing was issued") from error


def write(out: Path, pem: str) -> str | None:
    """Write the certificate; why that failed, if it did."""
    try:
        out.write_text(pem)
    except OSError as error:
        return error.strerror or str(error)
    return None


def summary(described: output.Json, out: Path | None, *, dry_run: bool) -> str:
    """One line for a person."""
    what = ", ".join(described["subject_alternative_names"]) or described["subject"]
    until = f"profile {described['profile']}, valid until {described['not_after_time']}"
    if dry_run:
        return f"would be issued by {described['issuer']}: {what}; {until}. Nothing was issued."
    where = f"; written to {out}" if out is not None else ""
    # What an earlier call with this request id issued comes as it stands.
    state = f"; it was issued before, and is {described['state']} now" if described["state"] != "valid" else ""
    return f"issued by {described['issuer']}: {what}; serial number {described['serial_number']}; {until}{where}{state}"
