"""How `goodstanding revoke` goes about it: who is asked first, what is told, and what is left to do afterwards.

On a terminal a person is asked before more than one certificate is revoked: where a key or filters say which, and where
the certificate is one of an issuer, whose own ones may end with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC

import click

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.cli import bulk, output
from services.cli.bulk_requests import Call, Wish, prepare
from services.cli.client import Client, connect
from services.cli.failures import Failed
from services.cli.no_match import hints
from services.cli.options import Connection
from services.cli.own_certificates import Met, OwnCertificates
from services.cli.selecting import Selection
from services.pki.der import is_ca
from services.pki.reasons import COMPROMISES

_CHANGES = (ca_pb2.REVOCATION_OUTCOME_REVOKED, ca_pb2.REVOCATION_OUTCOME_HELD, ca_pb2.REVOCATION_OUTCOME_RELEASED)


@dataclass
class _Witness:
    """Remembers which results were about certificates of issuers, and how many kept an earlier invalidity time."""

    own: OwnCertificates
    wish: Wish
    met: list[Met] = field(default_factory=list)
    earlier: int = 0

    def see(self, result: ca_pb2.RevocationResult) -> None:
        """Take in a result."""
        self.earlier += result.outcome != ca_pb2.REVOCATION_OUTCOME_REFUSED and keeps_earlier_time(
            result.certificate, self.wish
        )
        if result.outcome in _CHANGES and (met := self.own.find(result.certificate)) is not None:
            self.met.append(met)


def keeps_earlier_time(certificate: types_pb2.Certificate, wish: Wish) -> bool:
    """Whether an earlier time since when to distrust it is recorded than the one given, which then means nothing."""
    recorded = certificate.revocation
    if wish.invalidity_time is None or not recorded.HasField("invalidity_time"):
        return False
    return recorded.invalidity_time.ToDatetime(UTC) < wish.invalidity_time


def told_of_earlier_times(count: int) -> str:
    """A remark about them."""
    what = (
        "An earlier --invalidity-time is" if count == 1 else f"For {count} certificates an earlier --invalidity-time is"
    )
    return f"{what} recorded already: it stays, and the one given was not recorded."


def ask_about_issuer(ca: Client, request: ca_pb2.RevokeCertificateRequest) -> None:
    """Ask a person, if the certificate is one of an issuer. Raises Failed where it cannot be revoked, Abort."""
    own = OwnCertificates(ca)
    if not own.among([_listed(request)]):
        return
    rehearsal = ca_pb2.RevokeCertificateRequest()
    rehearsal.CopyFrom(request)
    rehearsal.validate_only = True
    stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
    response = ca.call(stub.RevokeCertificate, rehearsal)
    met = None if response.unchanged else own.find(response.certificate)
    _ask(own.consequences([met] if met else []))


def _listed(request: ca_pb2.RevokeCertificateRequest) -> ca_pb2.ListedCertificate:
    """The same certificate, as an entry of a list."""
    if request.WhichOneof("target") == "issuer_and_serial_number":
        return ca_pb2.ListedCertificate(issuer_and_serial_number=request.issuer_and_serial_number)
    if request.WhichOneof("target") == "certificate_pem":
        import ssl

        return ca_pb2.ListedCertificate(certificate_der=ssl.PEM_cert_to_DER_cert(request.certificate_pem))
    return ca_pb2.ListedCertificate(certificate_der=request.certificate_der)


def _ask(consequences: list[str]) -> None:
    if not consequences:
        return
    for line in consequences:
        output.note(line)
    click.confirm("Go on?", abort=True, err=True)


def notes_on_issuer(ca: Client, response: ca_pb2.RevokeCertificateResponse, *, dry_run: bool) -> list[str]:
    """What follows, before it is done, or is left to do: nothing, unless the certificate is one of an issuer."""
    certificate = response.certificate
    if not certificate.certificate_der or not is_ca(certificate.certificate_der) or (dry_run and response.unchanged):
        return []
    with suppress(Failed):  # what is done is done
        own = OwnCertificates(ca)
        met = own.find(certificate)
        found = [met] if met else []
        return own.consequences(found) if dry_run else own.reminders(found)
    return []


def revoke_many(connection: Connection, selection: Selection, wish: Wish, *, asking: bool, as_json: bool) -> None:
    """Revoke all that are selected, and tell of each. Raises Failed; Exit, where some were refused."""
    with ExitStack() as stack:
        make_calls, total = prepare(stack, selection, wish)
        ca = stack.enter_context(connect(connection, "ca"))
        own = OwnCertificates(ca)
        if asking and selection.is_open:
            total = _confirm(ca, own, make_calls(), wish)
        elif asking:
            _confirm_issuers(ca, own, make_calls, wish)
        witness = _Witness(own, wish)
        retry = "" if wish.dry_run else "what was told is done: the same command again goes on"
        results = bulk.carry_out(ca, make_calls(), retry, witness.see)
        tally = bulk.show(results, as_json=as_json, dry_run=wish.dry_run, total=total)
        notes = own.consequences(witness.met) if wish.dry_run else own.reminders(witness.met)
        if witness.earlier:
            notes.append(told_of_earlier_times(witness.earlier))
        if not tally:
            notes += hints(ca, profile=selection.filters.get("profile"), identity=selection.filters.get("issued_by"))
    if not tally and selection.key is not None and wish.reason in COMPROMISES:
        notes.append(_not_blocked(selection))
    if as_json:
        sums: output.Json = {"summary": bulk.as_counts(tally), "request_id": wish.request_id or None}
        output.emit_line({**sums, "validate_only": wish.dry_run, **({"notes": notes} if notes else {})})
    else:
        click.echo(bulk.summarise(tally, dry_run=wish.dry_run))
        for line in notes:
            output.note(line)
    if tally[bulk.REFUSED]:
        raise click.exceptions.Exit(1)


def _not_blocked(selection: Selection) -> str:
    """A key is blocked when a certificate with it is revoked for its compromise: here none is."""
    return (
        "No certificate has this key, so that nothing was done. Unless it is blocked already, whoever has it may have "
        f"it certified: `goodstanding keys block --cert {selection.key}` rules that out."
    )


def _confirm(ca: Client, own: OwnCertificates, calls: Iterable[Call], wish: Wish) -> int:
    """See what is meant, and ask whether to go on where it is more than one. Returns how many."""
    tally: Counter[str] = Counter()
    witness = _Witness(own, wish)
    for call in calls:
        call.request.validate_only = True
        tally.update(result["outcome"] for result in bulk.carry_out(ca, [call], see=witness.see))
    consequences = own.consequences(witness.met)
    if tally.total() > 1 or consequences:
        click.echo(bulk.summarise(tally, dry_run=True), err=True)
        for line in consequences:
            output.note(line)
        click.confirm("Go on?", abort=True, err=True)
    return tally.total()


def _confirm_issuers(ca: Client, own: OwnCertificates, make_calls: Callable[[], Iterable[Call]], wish: Wish) -> None:
    """Of certificates that were named one by one, ask about those of issuers alone."""
    witness = _Witness(own, wish)
    for call in make_calls():
        if not (listed := own.among(call.request.certificates.certificates)):
            continue
        request = ca_pb2.RevokeCertificatesRequest(certificates=ca_pb2.ListedCertificates(certificates=listed))
        wish.put_into(request)
        request.validate_only = True
        for _ in bulk.carry_out(ca, [Call(request)], see=witness.see):
            pass
    _ask(own.consequences(witness.met))
