"""How results are printed: JSON with the contract's field names for programs, tables for people.

Enum values are short ("revoked", "keyCompromise"), times are RFC 3339 in UTC, and what does not apply is null. Text
that comes from certificates never reaches a terminal unescaped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from services.cli.plain import plain as plain
from services.pki.reasons import NAMES

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from goodstanding.status.v1 import status_pb2
    from goodstanding.types.v1 import types_pb2

Json = dict[str, Any]

REASONS = {name: int(reason) for reason, name in NAMES.items()}
REASON_NAMES = {number: name for name, number in REASONS.items()}
STATES = {"valid": 1, "revoked": 2, "expired": 3}
STATE_NAMES = {number: name for name, number in STATES.items()}
STATUS_NAMES = {1: "good", 2: "revoked", 3: "unknown"}
ISSUER_STATE_NAMES = {1: "active", 2: "offline", 3: "retired"}


def emit(value: Any) -> None:
    """Print JSON, with escapes for what `plain` escapes: a terminal may be what reads it."""
    click.echo(escaped(json.dumps(value, indent=2, ensure_ascii=False)))


def escaped(text: str) -> str:
    """JSON with JSON's escapes for whatever is not printable."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def emit_line(value: Any) -> None:
    """Print JSON on one line: one of many, for programs that read them one by one."""
    text = json.dumps(value, ensure_ascii=False)
    click.echo("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))


def note(text: str) -> None:
    """Tell a person something that is not the result."""
    click.echo(plain(text), err=True)


_SHORT = 20
"""As wide as a time."""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; as wide as it needs to be unless a terminal sets its width. Dates and short words stay whole."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[plain("" if cell is None else str(cell)) for cell in row] for row in rows]
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(columns):
        widest = max([len(title), *(len(row[place]) for row in cells)])
        shown.add_column(title, no_wrap=widest <= _SHORT)
    for row in cells:
        shown.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(shown)


def details(rows: Iterable[tuple[str, object]]) -> None:
    """Print one thing: a line for each property that has a value."""
    present = [(name, plain(str(value))) for name, value in rows if value not in (None, "")]
    width = max((len(name) for name, _ in present), default=0)
    for name, value in present:
        click.echo(f"{name:<{width}}  {value}")


def when(holder: Any, field: str) -> str | None:
    """A timestamp field of a message in RFC 3339, or None where it is absent."""
    if not holder.HasField(field):
        return None
    stamp: Timestamp = getattr(holder, field)
    return stamp.ToJsonString()


def revocation(holder: types_pb2.Certificate | status_pb2.StatusRecord) -> Json | None:
    """The revocation in a message, if there is one."""
    if not holder.HasField("revocation"):
        return None
    return describe_revocation(holder.revocation)


def describe_revocation(value: types_pb2.Revocation) -> Json:
    """A revocation as JSON."""
    return {
        "revocation_time": when(value, "revocation_time"),
        "reason": REASON_NAMES.get(value.reason, str(value.reason)),
        "invalidity_time": when(value, "invalidity_time"),
    }


def revocation_words(value: Json) -> str:
    """A revocation in words: since when, why, and since when to distrust it."""
    word = "on hold" if value["reason"] == "certificateHold" else "revoked"
    invalid = f", not to be trusted since {value['invalidity_time']}" if value["invalidity_time"] else ""
    return f"{word} since {value['revocation_time']}{invalid}, reason {value['reason']}"


def certificate(value: types_pb2.Certificate) -> Json:
    """A certificate as JSON, without its content."""
    return {
        "issuer": value.issuer,
        "serial_number": value.serial_number or None,
        "subject": value.subject,
        "subject_alternative_names": list(value.subject_alternative_names),
        "profile": value.profile,
        "not_before_time": when(value, "not_before_time"),
        "not_after_time": when(value, "not_after_time"),
        "issue_time": when(value, "issue_time"),
        "state": STATE_NAMES.get(value.state, str(value.state)),
        "revocation": revocation(value),
        "issued_by": actor(value.issued_by) if value.HasField("issued_by") else None,
        "revision": value.revision,
    }


def state_words(value: Json) -> str:
    """The state of a certificate, for people: that of its own, and that its issuer revokes it all the same."""
    by_issuer = value["state"] == "valid" and value.get("issuer_compromised")
    return "valid, issuer compromised" if by_issuer else str(value["state"])


def actor(value: types_pb2.Actor) -> Json:
    """Who did something, as JSON."""
    return {
        "identity": value.identity,
        "role": value.role,
        "credential_fingerprint": value.credential_fingerprint,
        "peer": value.peer,
        "request_id": value.request_id,
    }


def status_record(value: status_pb2.StatusRecord) -> Json:
    """A status as JSON. A number that this program does not know is an error, and never good."""
    return {
        "status": STATUS_NAMES.get(value.status, f"error: unknown status {value.status}"),
        "issuer": value.issuer or None,
        "serial_number": value.serial_number,
        "not_after_time": when(value, "not_after_time"),
        "revocation": revocation(value),
        "change_time": when(value, "change_time"),
        "revision": value.revision,
    }


def certificate_lines(value: Json) -> list[tuple[str, object]]:
    """What a person is shown of a certificate."""
    revoked = value["revocation"] or {}
    issued_by = value["issued_by"] or {}
    return [
        ("Serial number", value["serial_number"]),
        ("Issuer", value["issuer"]),
        ("Subject", value["subject"]),
        ("Names", ", ".join(value["subject_alternative_names"])),
        ("Profile", value["profile"]),
        ("Not before", value["not_before_time"]),
        ("Not after", value["not_after_time"]),
        ("State", state_words(value)),
        ("Revoked", revoked.get("revocation_time")),
        ("Reason", revoked.get("reason")),
        ("Invalid since", revoked.get("invalidity_time")),
        ("Issued", value["issue_time"]),
        ("Issued by", issued_by.get("identity")),
        ("Request id", issued_by.get("request_id")),
    ]
