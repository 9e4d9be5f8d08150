"""Giving up an import that was not completed, as a plan."""

from __future__ import annotations

from cryptography import x509

from goodstanding.ca.v1 import import_pb2, import_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.consent import Proposal
from services.cli.folder import DataFolder
from services.cli.options import Connection


def propose(connection: Connection, name: str) -> Proposal:
    """Propose to give up the import of an issuer. Raises Failed: there is none that is unfinished."""
    planned = _call(connection, name, validate_only=True)
    subject = x509.load_der_x509_certificate(planned.certificate_der).subject.rfc4514_string()
    begun = f"{planned.begin_time.ToDatetime():%Y-%m-%dT%H:%M:%SZ}"
    lines = (
        f"give up the import of issuer {name} ({subject}), which began {begun}: the {planned.certificates_count} "
        "certificates that came in stay hidden for good, as they are now",
        f"free the name {name}, and that subject with its key: another import may have them",
    )

    def act() -> tuple[output.Json, str]:
        done = _call(connection, name, validate_only=False)
        told = {"issuer": name, "subject": subject, "certificates": done.certificates_count}
        return told, f"the import of {name} was given up"

    return Proposal(lines, act, _notes(connection, name))


def _notes(connection: Connection, name: str) -> tuple[str, ...]:
    """What an import that was cut off has left in the data folder: a key is for its owner to remove."""
    folder = DataFolder(connection.data)
    left = [
        str(file)
        for file in (folder.authorities / f"{name}.key", folder.secrets / f"{name}.passphrase")
        if file.exists()
    ]
    if not left:
        return ()
    told = "remove them if the CA has its key elsewhere; until then the name cannot be used with another key"
    return (f"left in the data folder: {' and '.join(left)}; {told}",)


def _call(connection: Connection, name: str, *, validate_only: bool) -> import_pb2.AbandonImportResponse:
    request = import_pb2.AbandonImportRequest(issuer=name, validate_only=validate_only)
    with connect(connection, "ca") as ca:
        stub = import_pb2_grpc.ImportServiceStub(ca.channel)
        return ca.call(stub.AbandonImport, request, retry="the same command again tells whether it was")
