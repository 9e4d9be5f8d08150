"""What all proposals that bring an authority in end with: the ca service records it, or its files are removed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.authorities import Office
from services.cli.commands.issuers import describe
from services.cli.failures import Failed
from services.rpc.client import reason_of


def request(
    name: str,
    found: Sequence[x509.Certificate],
    *,
    key: str = "",
    retires: Sequence[str] = (),
    retired: bool = False,
) -> ca_pb2.ImportIssuerRequest:
    """The request to record an issuer."""
    encoded = [certificate.public_bytes(Encoding.DER) for certificate in found]
    return ca_pb2.ImportIssuerRequest(
        name=name, certificates_der=encoded, key_reference=key, retired_issuers=retires, retired=retired
    )


def might_be_recorded(office: Office, name: str, certificate: x509.Certificate, *, above_is_new: bool) -> None:
    """Ask the ca service whether it would record a certificate of an issuer. Raises Failed where it would not.

    `above_is_new`: others come in before it, and may be what signed it.
    """
    asked = request(name, [certificate])
    asked.validate_only = True
    try:
        office.record(asked)
    except Failed as error:
        if not above_is_new or reason_of(error.__cause__) != "ISSUER_CHAIN_INCOMPLETE":
            raise


def reference_of(name: str) -> str:
    """What the ca service is told about where a key is."""
    return f"file:ca/{name}.key"


def told(issuer: types_pb2.Issuer, text: str) -> tuple[output.Json, str]:
    """The result of a proposal."""
    return {"issuer": describe(issuer)}, text


def moved_away(office: Office, name: str) -> str:
    """What to do about the key of an offline authority."""
    key, passphrase, *_ = office.files(name)
    return f"Move {key} and {passphrase} to two safe places: no service needs them."


@contextmanager
def unless_recorded(office: Office, name: str, *, keep: bool = False) -> Iterator[None]:
    """Remove the files that were made for an authority which then was not recorded, as far as that is certain."""
    try:
        yield
    except BaseException as error:
        if keep:
            raise
        try:
            recorded = name in office.fetch()
        except Failed:
            files = ", ".join(str(file) for file in office.files(name)[:3])
            raise Failed(
                f"{error}; whether {name} was recorded cannot be told now: {files} are kept. "
                "`goodstanding ca import` with them completes it"
            ) from error
        if not recorded:
            for file in office.files(name):
                file.unlink(missing_ok=True)
        raise


def active_note(office: Office, name: str | None, retires: Sequence[str]) -> tuple[str, ...]:
    """That `issue` will have to name an issuer, if so."""
    active = {each.name for each in office.issuers.values() if each.state == types_pb2.ISSUER_STATE_ACTIVE}
    after = (active | ({name} if name else set())) - set(retires)
    if len(after) < 2 or after == active:
        return ()
    return (f"{', '.join(sorted(after))} are active then: `goodstanding issue` needs --issuer",)
