"""`goodstanding export openssl`: what an issuer has issued, as the folder of an OpenSSL CA.

It is read from the services and written as it comes: memory is the same for ten certificates and for a million. The
private key is not read.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import TYPE_CHECKING

import grpc

from goodstanding.ca.v1 import export_pb2, export_pb2_grpc
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.cli.client import Client, connect
from services.cli.failures import Failed
from services.cli.index_writer import BUFFER, Exported, IndexWriter, part_of, time_of
from services.cli.new_folder import new_folder
from services.cli.options import Connection
from services.openssl_ca.settings import Addresses, configuration
from services.openssl_ca.writing import serial_text

if TYPE_CHECKING:
    from goodstanding.types.v1 import types_pb2

CRL_DAYS = 7
_PEM_LINE = 48


Progress = Callable[[int, int], None]
"""Called with how many certificates are written, and how many there are."""


def export_openssl(connection: Connection, issuer: str, target: Path, progress: Progress) -> Exported:
    """Write the folder. Raises Failed, and leaves nothing then."""
    done = Exported()
    with new_folder(target) as folder, connect(connection, "ca") as ca:
        stub = export_pb2_grpc.ExportServiceStub(ca.channel)
        answers = ca.stream(stub.ExportCertificates, export_pb2.ExportCertificatesRequest(issuer=issuer))
        head = part_of(next(answers, None), "head").head
        done.issuer = head.issuer.name
        now = time_of(head.as_of_time)
        with IndexWriter(folder, now, done) as rows:
            rows.take(answers, lambda: progress(done.count, head.certificate_count))
        _write_chain(folder, head.issuer)
        with connect(connection, "status") as status:
            crl = _write_crl(status, done.issuer, folder, now)
        done.crl = crl is not None
        number = max(int(head.crl_number, 16), crl.number if crl else 0)
        done.next_crl_number = serial_text(number + 1)
        done.next_serial = rows.next_serial()
        _write_rest(folder, target, done, rows.addresses(), _days(crl))
    return done


def _write_chain(folder: Path, issuer: types_pb2.Issuer) -> None:
    """ca.pem, the certificate that was put into chains; chain.pem, it and those above; others.pem, its other ones."""
    pem = [DER_cert_to_PEM_cert(der) for der in issuer.certificates_der]
    (folder / "ca.pem").write_text(pem[0])
    (folder / "chain.pem").write_text(pem[0] + "".join(map(DER_cert_to_PEM_cert, issuer.chain_der)))
    if pem[1:]:
        (folder / "others.pem").write_text("".join(pem[1:]))


def _write_crl(
    status: Client, issuer: str, folder: Path, now: datetime
) -> status_pb2.FetchCertificateRevocationListResponse.Head | None:
    """crl.pem, where there is a list that is not over."""
    stub = status_pb2_grpc.CertificateStatusServiceStub(status.channel)
    request = status_pb2.FetchCertificateRevocationListRequest(issuer=issuer)
    answers = status.stream(stub.FetchCertificateRevocationList, request)
    try:
        first = next(answers)
    except Failed as failed:
        code = getattr(failed.__cause__, "code", None)
        if code is not None and code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    if time_of(first.head.next_update_time) <= now:
        return None
    with (folder / "crl.pem").open("wb", buffering=BUFFER) as file:
        file.write(b"-----BEGIN X509 CRL-----\n")
        for line in _lines(answer.chunk for answer in answers):
            file.write(b64encode(line) + b"\n")
        file.write(b"-----END X509 CRL-----\n")
    return first.head


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The octets of each line of PEM."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        whole = len(rest) - len(rest) % _PEM_LINE
        yield from (rest[place : place + _PEM_LINE] for place in range(0, whole, _PEM_LINE))
        rest = rest[whole:]
    if rest:
        yield rest


def _days(crl: status_pb2.FetchCertificateRevocationListResponse.Head | None) -> int:
    """For how many days revocation lists shall be valid: as the last one was."""
    if crl is None:
        return CRL_DAYS
    return max(1, round((crl.next_update_time.seconds - crl.this_update_time.seconds) / 86400))


def _write_rest(folder: Path, target: Path, done: Exported, named: Addresses, crl_days: int) -> None:
    try:
        settings = configuration(str(target.absolute()), named, crl_days=crl_days)
    except ValueError as error:
        raise Failed(f"{target}: {error}; name another folder") from error
    (folder / "index.txt.attr").write_text("unique_subject = no\n")
    (folder / "serial").write_text(done.next_serial + "\n")
    (folder / "crlnumber").write_text(done.next_crl_number + "\n")
    (folder / "openssl.cnf").write_text(settings)
    (folder / "private").mkdir(mode=0o700)
