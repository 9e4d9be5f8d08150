"""`goodstanding explain`: why is an answer what it is, and what is to be done about it?"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click
from cryptography import x509

from gateway.ocsp.reading import ReadResponse
from gateway.ocsp.request import MalformedRequest, OcspRequest, parse_request
from services.cli import output
from services.cli.client import TIME_LIMIT
from services.cli.explaining.answers import explain_answer, read_answer
from services.cli.explaining.asking import ask_gateway, ask_services, known_issuers
from services.cli.explaining.fetching import Reply, fetch
from services.cli.explaining.subject import Kind, Subject, find, is_file, of_file, recognise
from services.cli.explaining.telling import tell_answer, tell_status
from services.cli.explaining.verification import Given
from services.cli.failures import Failed
from services.cli.folder import DataFolder
from services.cli.once import Once
from services.cli.options import (
    READABLE,
    Connection,
    HostPort,
    Moment,
    Spelt,
    connection_options,
    json_option,
)
from services.cli.output import Json
from services.clock import utc_now

_KINDS = {"certificate": Kind.CERTIFICATE, "request": Kind.REQUEST, "response": Kind.RESPONSE}
_GATEWAY_WITHIN = 7.0
"""Seconds: what a gateway waits for its workers, and some more."""
_BETTER_HERE = frozenset({"issuer-not-ours", "never-issued"})
"""Refusals of the gateway about which the status service knows more."""


@click.command("explain")
@click.argument("what", metavar="SERIAL|FILE|URL|BASE64", required=False)
@click.option(
    "--cert", cls=Once, metavar="FILE", type=READABLE, help="The certificate to explain, or that an answer is about."
)
@click.option(
    "--issuer", cls=Once, metavar="NAME|FILE", default="", help="The issuer: its name here, or its certificate."
)
@click.option("--request", "request_file", metavar="FILE", type=READABLE, help="The request that an answer is to.")
@click.option("--fetch", "fetches", is_flag=True, help="GET the URL too, and explain the answer.")
@click.option("--as", "kind", type=Spelt(_KINDS), help="What it is, where that is not plain.")
@click.option("--at", type=Moment(), help="Verify an answer as of this time.  [default: now]")
@click.option("--ops-address", metavar="HOST:PORT", type=HostPort(), help="The gateway's operator address.")
@json_option
@connection_options
def command(
    what: str | None,
    cert: Path | None,
    issuer: str,
    request_file: Path | None,
    fetches: bool,
    kind: str | None,
    at: datetime | None,
    ops_address: str | None,
    as_json: bool,
    connection: Connection,
) -> None:
    """Say why an OCSP answer is what it is, and what to do about it.

    Of a serial number (hex), a certificate or an OCSP request (DER, PEM or base64 in a file, or the URL of a GET), the
    running services tell: which issuer was matched and how, the record and its history, whether the gateway answers
    from its cache, with which signer, until when, or why not at all.

    An OCSP response, of any CA, is decoded, verified and explained: from a file, or fetched from a URL.
    """
    if what is not None and not what.strip():
        raise click.UsageError("What to explain is empty; is a variable of the shell not set?")
    if what is None and cert is None:
        raise click.UsageError("Give a serial number, a file, a URL or base64; or --cert FILE.")
    subject = _subject(what, cert, _KINDS[kind] if kind else None)
    if fetches and not subject.url:
        raise click.UsageError("--fetch needs the URL of a GET request.")
    if subject.kind is not Kind.RESPONSE and not fetches and (request_file or at or (what and cert)):
        raise click.UsageError(f"--request, --at and a second certificate are for answers, not a {subject.kind}.")
    authority, name = named = _issuer(issuer)
    answer = None
    if subject.kind is Kind.RESPONSE or fetches:
        answer = _answer(subject, _given(cert if what else None, request_file, named, at, connection))
    if answer is not None and subject.kind is Kind.RESPONSE:
        output.emit(answer) if as_json else tell_answer(answer)
        return
    told = _status(subject, name, authority, ops_address, connection, required=answer is None)
    if as_json:
        output.emit({**told, "fetched": answer})
        return
    tell_status(told)
    if answer is not None:
        click.echo()
        tell_answer(answer)


def _subject(what: str | None, cert: Path | None, kind: Kind | None) -> Subject:
    if cert is not None and what is None:
        return of_file(str(cert), Kind.CERTIFICATE)
    return find(what or "", kind)


def _issuer(given: str) -> tuple[x509.Certificate | None, str]:
    """The issuer's certificate, where a file was given; its name otherwise. Raises Failed."""
    if is_file(given):
        return of_file(given, Kind.CERTIFICATE).certificate(), ""
    if "/" in given or given.lower().endswith((".pem", ".crt", ".cer", ".der")):
        raise Failed(f"{given}: no such file (--issuer takes the name of an issuer, or the file of its certificate)")
    return None, given


def _given(
    cert: Path | None,
    request_file: Path | None,
    issuer: tuple[x509.Certificate | None, str],
    at: datetime | None,
    connection: Connection,
) -> Given:
    """What an answer is checked against. Raises Failed."""
    certificate = of_file(str(cert), Kind.CERTIFICATE).certificate() if cert else None
    request = _request(of_file(str(request_file))) if request_file else None
    authority, name = issuer
    if authority is not None:
        return Given(at or utc_now(), [("the given issuer", authority)], certificate, request)
    known = known_issuers(connection) if DataFolder(connection.data).config.exists() else []
    if name:
        known = [each for each in known if each[0] == name]
        if not known:
            raise Failed(f"{name}: no such file, and no issuer of that name is known")
    issuers = [(f'issuer "{each}"', certificate) for each, certificate in known]
    return Given(at or utc_now(), issuers, certificate, request, is_named=bool(name))


def _request(subject: Subject) -> OcspRequest:
    try:
        return parse_request(subject.der, max_requests=1000)
    except MalformedRequest as error:
        raise Failed(f"{subject.origin} is not an OCSP request: {error}") from error


def _answer(subject: Subject, given: Given) -> Json:
    """Explain an answer, which is fetched where a URL was given."""
    if not subject.url:
        return explain_answer(read_answer(subject.der, subject.origin), subject.origin, given)
    if subject.der and given.request is None:
        with contextlib.suppress(MalformedRequest):  # then the answer should be malformedRequest
            given = replace(given, request=parse_request(subject.der, max_requests=1000))
    reply = fetch(subject.url)
    told = explain_answer(_fetched(reply, subject.url), subject.url, given)
    return {
        **told,
        "http": {
            "status": reply.status,
            "content_type": reply.header("content-type"),
            "cache_control": reply.header("cache-control"),
        },
    }


def _fetched(reply: Reply, url: str) -> ReadResponse:
    """The answer in a reply. Raises Failed."""
    if 300 <= reply.status < 400:
        location = reply.header("location")
        raise Failed(f"{url} redirects to {location}, which most OCSP clients do not follow: give that URL instead")
    try:
        return read_answer(recognise(reply.body, url, Kind.RESPONSE).der, url)
    except Failed as error:
        if reply.status != 200:
            raise Failed(f"{url} answers HTTP {reply.status}, and no OCSP response") from error
        raise


def _status(
    subject: Subject,
    issuer: str,
    authority: x509.Certificate | None,
    ops: str | None,
    connection: Connection,
    *,
    required: bool,
) -> Json:
    """Why our answer is what it is.

    Raises Failed: neither the status service nor the gateway could be asked, though one of them has to be (`required`).
    """
    if subject.kind is Kind.CERTIFICATE:
        subject.certificate()
    begun = time.monotonic()
    asked = ask_services(subject, issuer, authority, connection)
    left = min(_GATEWAY_WITHIN, TIME_LIMIT - (time.monotonic() - begun))
    services, gateway = asked.told, ask_gateway(asked.requests, ops, connection, within=max(2.0, left))
    if required and not services["explanations"] and not gateway["explanations"]:
        raise Failed(f"nothing could be explained. Status service: {services['error']}. Gateway: {gateway['error']}")
    summary, advice = _conclusion(services, gateway)
    return {
        "kind": str(subject.kind),
        "origin": subject.origin,
        "summary": summary,
        "advice": advice,
        "services": services,
        "gateway": gateway,
        "disagreement": _disagreement(services, gateway),
    }


def _conclusion(services: Json, gateway: Json) -> tuple[str, str]:
    """What it comes to, and what to do: in the words of whoever knows more."""
    here = services["explanations"]
    there = gateway["explanations"]
    refusal = there[0]["refusal"] if there else None
    chosen = there[0] if there and (not here or (refusal and refusal["why"] not in _BETTER_HERE)) else None
    if chosen is None and here:
        worst = next((each for each in here if each["advice"] != "Nothing."), here[0])
        return worst["summary"], worst["advice"]
    if chosen is not None:
        return chosen["summary"], chosen["advice"]
    return str(services["error"] or "Nothing was found."), "Check the serial number, and name the issuer with --issuer."


def _disagreement(services: Json, gateway: Json) -> str | None:
    """Where the gateway does not say what the status service says."""
    here = {
        (each["record_by_serial_number"] or each["record"])["serial_number"]: (
            each["record_by_serial_number"] or each["record"]
        )["status"]
        for each in services["explanations"]
    }
    if len(here) < len(services["explanations"]):
        return None  # one serial number of several issuers
    for each in gateway["explanations"]:
        for told in each["certificates"]:
            said = here.get(told["serial_number"])
            if said is not None and said != told["status"]:
                return (
                    f"The two disagree about {told['serial_number']}: the status service says {said}, the gateway "
                    f"{told['status']}. If it stays so for more than a second, see /readyz of the gateway."
                )
    return None
