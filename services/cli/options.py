"""Options that several commands share, so that they are spelled, explained and checked the same everywhere."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from services.addresses import parse_address, parse_http_url
from services.cli.failures import Failed
from services.cli.key_types import KEY_TYPES
from services.cli.once import Once

if TYPE_CHECKING:
    from goodstanding.ca.v1.ca_pb2 import RevokeCertificateRequest
    from goodstanding.status.v1.status_pb2 import CertificateReference

R = TypeVar("R")

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
READABLE_OR_FOLDER = click.Path(exists=True, allow_dash=True, path_type=Path)
WRITABLE = click.Path(dir_okay=False, path_type=Path)
ANYWHERE = click.Path(path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def data_folder(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    """The data folder: named after the subcommand, or before it, or in the environment, or else the default."""
    before = ctx.find_root().obj
    if isinstance(before, Path) and ctx.get_parameter_source(param.name or "") is not ParameterSource.COMMANDLINE:
        return before
    return value


data_option = click.option(
    "--data",
    metavar="DIR",
    type=FOLDER,
    default=Path("data"),
    envvar="GOODSTANDING_DATA",
    show_default="data, or GOODSTANDING_DATA",
    callback=data_folder,
    help="The data folder.",
)
workers_option = click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, 64),
    help="Processes of the gateway that answer.  [default: gateway.workers of the configuration, or 1]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
issuer_option = click.option(
    "--issuer", cls=Once, metavar="NAME", default="", help="The issuer; needed where several fit."
)
request_id_option = click.option(
    "--request-id",
    cls=Once,
    metavar="ID",
    default="",
    help="Makes a retry safe: the same id and input gets the same result. For one certificate, one is made up "
    "otherwise.",
)


class CertificateName(click.ParamType[str]):
    """A common or alternative name; the kind that tables print in front of it, as in DNS:test.example.com, may stay."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """The name alone."""
        kind, colon, name = str(value).partition(":")
        return name if colon and kind.upper() in ("DNS", "IP", "EMAIL", "URI") else str(value)


class HostPort(click.ParamType[str]):
    """HOST:PORT, with square brackets around an IPv6 address."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value, once it has both parts."""
        try:
            parse_address(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}.", param, ctx)
        return str(value)


class HttpUrl(click.ParamType[str]):
    """A plain http URL: OCSP and CRLs are fetched without TLS, which would need them itself."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The URL, without a slash at its end."""
        try:
            return parse_http_url(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}.", param, ctx)


class Moment(click.ParamType[datetime]):
    """A time such as 2026-02-03T04:05:06Z; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time in UTC, cut to whole seconds."""
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-02-03T04:05:06Z or a date such as 2026-02-03.", param, ctx)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC).replace(microsecond=0)


class Span(click.ParamType[timedelta]):
    """A length of time such as 30d, 12h or 90m."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The length."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,5})([wdhm])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a length of time such as 30d, 12h or 90m.", param, ctx)
        units = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
        return int(found[1]) * units[found[2]]


class Spelt(click.Choice[str]):
    """A choice that is shown as it is spelt, and taken in any case."""

    def __init__(self, choices: Iterable[str]) -> None:
        super().__init__(choices, case_sensitive=False)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """The choices, for the help."""
        return f"[{'|'.join(self.choices)}]"

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:  # noqa: ARG002
        """The choices, for an error."""
        return f"{value!r} is not one of {', '.join(self.choices)}."


key_type_option = click.option(
    "--key-type",
    metavar="KIND",
    type=Spelt(KEY_TYPES),
    default="p-256",
    show_default=True,
    help=f"The kind of key: {', '.join(KEY_TYPES)}.",
)


@dataclass(frozen=True)
class Connection:
    """How to reach the services: a data folder, and what takes the place of its content."""

    data: Path
    ca_address: str | None = None
    status_address: str | None = None
    tls_ca: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


def connection_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command the options of a client, as one argument `connection`."""

    @data_option
    @click.option("--ca-address", metavar="HOST:PORT", type=HostPort(), help="The CA service.")
    @click.option("--status-address", metavar="HOST:PORT", type=HostPort(), help="The status service.")
    @click.option("--tls-ca", metavar="FILE", type=FILE, help="The root of the services' own certificates.")
    @click.option("--cert-file", metavar="FILE", type=FILE, help="Our client certificate.")
    @click.option("--key-file", metavar="FILE", type=FILE, help="The key of our client certificate.")
    @functools.wraps(function)
    def with_connection(
        data: Path,
        ca_address: str | None,
        status_address: str | None,
        tls_ca: Path | None,
        cert_file: Path | None,
        key_file: Path | None,
        **others: Any,
    ) -> R:
        if (cert_file is None) != (key_file is None):
            raise click.UsageError("--cert-file and --key-file belong together.")
        connection = Connection(data, ca_address, status_address, tls_ca, cert_file, key_file)
        return function(connection=connection, **others)

    return with_connection


@dataclass(frozen=True)
class Target:
    """The certificate that a command is about: a serial number, or the certificate itself."""

    serial: str
    certificate: bytes | None

    def put_into(self, message: RevokeCertificateRequest | CertificateReference, issuer: str) -> None:
        """Name the certificate in a message the way the user named it. Only a serial number needs the issuer."""
        if self.certificate is None:
            message.issuer_and_serial_number.issuer = issuer
            message.issuer_and_serial_number.serial_number = self.serial
        elif is_pem(self.certificate):
            message.certificate_pem = self.certificate.decode("utf-8", errors="replace")
        else:
            message.certificate_der = self.certificate


def target_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command `SERIAL | --cert FILE`, as one argument `target`."""

    @click.argument("serial", required=False)
    @click.option(
        "--cert",
        cls=Once,
        metavar="FILE",
        type=READABLE,
        help="The certificate itself, PEM or DER (-: standard input).",
    )
    @functools.wraps(function)
    def with_target(serial: str | None, cert: Path | None, **others: Any) -> R:
        if (serial is None) == (cert is None):
            raise click.UsageError("Give either a serial number (hex) or --cert FILE.")
        if serial is not None and not serial.strip():
            raise click.UsageError("SERIAL is empty; is a variable of the shell not set?")
        return function(target=Target(serial or "", read_certificate(cert) if cert else None), **others)

    return with_target


def read(file: Path) -> bytes:
    """The content of a file, or of standard input for `-`."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    return file.read_bytes()


def read_certificate(file: Path) -> bytes:
    """The certificate in a file, in PEM or DER. Raises Failed, naming the file."""
    from cryptography import x509

    from services.pki.unreadable import UNREADABLE

    content = first_certificate(read(file))
    try:
        x509.load_pem_x509_certificate(content) if is_pem(content) else x509.load_der_x509_certificate(content)
    except UNREADABLE as error:
        name = "standard input" if str(file) == "-" else file
        raise Failed(f"{name} holds no certificate, neither in PEM nor in DER") from error
    return content


def first_certificate(content: bytes) -> bytes:
    """The first certificate of a PEM file, and nothing else: a private key beside it must not leave this machine."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    _, found, rest = content.partition(begin)
    return begin + rest.partition(end)[0] + end + b"\n" if found and end in rest else content


def is_pem(content: bytes) -> bool:
    """Whether the content is PEM (RFC 7468): anything else is taken for DER."""
    return b"-----BEGIN " in content
