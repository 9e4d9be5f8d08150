"""Many certificates at once: asks, shows what comes, and counts. Memory is the same for ten and for a million.

On a terminal there is a bar and whatever was refused; elsewhere a line for each certificate. The last line is the sum.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import listing, output
from services.cli.bulk_requests import Call, Name
from services.cli.client import Client

OUTCOMES: Mapping[int, str] = {
    ca_pb2.REVOCATION_OUTCOME_REVOKED: "revoked",
    ca_pb2.REVOCATION_OUTCOME_HELD: "held",
    ca_pb2.REVOCATION_OUTCOME_RELEASED: "released",
    ca_pb2.REVOCATION_OUTCOME_UNCHANGED: "unchanged",
    ca_pb2.REVOCATION_OUTCOME_REFUSED: "refused",
}
_FOR_PEOPLE = frozenset({"name", "given"})
REFUSED, UNCHANGED = "refused", "unchanged"
_SUMS = {
    "revoked": "revoked",
    "held": "put on hold",
    "released": "released",
    UNCHANGED: "skipped, being so already",
    REFUSED: "refused",
}
_DRY_SUMS = {
    "revoked": "would be revoked",
    "held": "would be put on hold",
    "released": "would be released",
    UNCHANGED: "would be skipped, being so already",
    REFUSED: "would be refused",
}


def carry_out(
    client: Client,
    calls: Iterable[Call],
    retry: str = "",
    see: Callable[[ca_pb2.RevocationResult], object] = lambda _: None,
) -> Iterator[output.Json]:
    """What became of each certificate, in order. `see` gets each result as it is told."""
    stub = ca_pb2_grpc.CertificateAuthorityServiceStub(client.channel)
    for call in calls:
        for response in client.stream(stub.RevokeCertificates, call.request, retry=retry):
            for result in response.results:
                see(result)
                yield describe(result, call.names)


def describe(result: ca_pb2.RevocationResult, names: list[Name]) -> output.Json:
    """A result as JSON. `name` and `given` are what the user called it, for people."""
    found = output.certificate(result.certificate) if result.HasField("certificate") else {}
    refused = result.HasField("error")
    error = {"reason": result.error.reason, "message": result.error.message} if refused else None
    earlier = result.HasField("earlier_revocation")
    return {
        "name": names[result.index].place if names else None,
        "given": names[result.index].serial if names else None,
        "issuer": found.get("issuer"),
        "serial_number": found.get("serial_number"),
        "subject": found.get("subject"),
        "outcome": OUTCOMES.get(result.outcome, f"error: unknown outcome {result.outcome}"),
        "earlier_revocation": output.describe_revocation(result.earlier_revocation) if earlier else None,
        "revocation": found.get("revocation"),
        "error": error,
    }


def show(results: Iterable[output.Json], *, as_json: bool, dry_run: bool, total: int | None) -> Counter[str]:
    """Print them, and return how many of each outcome there were. The sum is up to `summarise`.

    What ends it early is raised, once it was told how far it came.
    """
    tally: Counter[str] = Counter()
    try:
        counted = _counted(results, tally)
        if dry_run and not as_json:
            _table(counted)
            return tally
        with _shower(as_json=as_json, total=total) as show_one:
            for result in counted:
                show_one(result)
    except BaseException:
        if tally:
            output.note(f"It ended early, after: {summarise(tally, dry_run=dry_run)}")
        raise
    return tally


def _counted(results: Iterable[output.Json], tally: Counter[str]) -> Iterator[output.Json]:
    for result in results:
        tally[result["outcome"]] += 1
        yield result


def _table(results: Iterator[output.Json]) -> None:
    first = next(results, None)
    if first is not None:  # of nothing, the sum says enough
        listing.table(_COLUMNS, itertools.chain([first], results))


def summarise(tally: Counter[str], *, dry_run: bool) -> str:
    """The last line."""
    words = _DRY_SUMS if dry_run else _SUMS
    parts = [f"{count} {words.get(outcome, outcome)}" for outcome, count in _in_order(tally)]
    return (", ".join(parts) or "No certificate fits") + ("." if not dry_run else ". Nothing was recorded.")


def as_counts(tally: Counter[str]) -> dict[str, int]:
    """The last line of JSON: every outcome, in one order."""
    return {outcome: tally[outcome] for outcome in (*_SUMS, *sorted(tally.keys() - _SUMS.keys()))}


def _in_order(tally: Counter[str]) -> list[tuple[str, int]]:
    return [(outcome, count) for outcome, count in as_counts(tally).items() if count]


@contextmanager
def _shower(*, as_json: bool, total: int | None) -> Iterator[Callable[[output.Json], None]]:
    if as_json:
        yield lambda result: output.emit_line(
            {name: value for name, value in result.items() if name not in _FOR_PEOPLE}
        )
    elif sys.stdout.isatty() and sys.stderr.isatty():
        with _bar(total) as show_one:
            yield show_one
    else:
        yield _line


def _now(result: output.Json) -> str:
    return _state(result["earlier_revocation"]) if result["serial_number"] else ""


def _then(result: output.Json) -> str:
    if result["outcome"] == REFUSED:
        return f"refused: {result['error']['reason']}"
    return "the same" if result["outcome"] == UNCHANGED else _state(result["revocation"])


_COLUMNS = (
    listing.Column("SERIAL NUMBER", lambda result: result["serial_number"] or result["given"] or result["name"]),
    listing.Column("NOW", _now, spare=2),
    listing.Column("THEN", _then),
    listing.Column("SUBJECT", lambda result: result["subject"], cut=True, spare=1),
)
"""What would happen."""


def _state(revocation: output.Json | None) -> str:
    if revocation is None:
        return "good"
    return "on hold" if revocation["reason"] == "certificateHold" else f"revoked: {revocation['reason']}"


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[output.Json], None]]:
    """A bar, with whatever was refused above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        task = progress.add_task("Revoking", total=total)

        def show_one(result: output.Json) -> None:
            progress.advance(task)
            if result["outcome"] == REFUSED:
                progress.console.print(output.plain(_sentence(result)), markup=False)

        yield show_one


def _line(result: output.Json) -> None:
    click.echo(output.plain(_sentence(result)), err=result["outcome"] == REFUSED)


def _sentence(result: output.Json) -> str:
    found = f"{result['serial_number']} of {result['issuer']}" if result["serial_number"] else ""
    if result["outcome"] == REFUSED:
        given = result["name"] or ""
        name = " ".join(filter(None, ("" if given in found else given, found)))
        return f"{name}: refused: {result['error']['message']} [{result['error']['reason']}]"
    revocation = result["revocation"]
    if revocation is None:
        return f"{found}: released, in good standing again"
    already = "already " if result["outcome"] == UNCHANGED else ""
    return f"{found}: {already}{output.revocation_words(revocation)}"
