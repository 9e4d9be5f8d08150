"""Asks both who know: the status service why a status is what it is, and the gateway how it answers.

Each part says so where the other cannot be reached.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from gateway.ocsp.der import tlv
from gateway.ocsp.matching import KnownIssuer, issuer_hashes
from gateway.ocsp.request import plain_request
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.cli import output
from services.cli.client import connect
from services.cli.explaining.certificates import known_issuer, load_certificate, serial_number
from services.cli.explaining.fetching import fetch
from services.cli.explaining.subject import Kind, Subject
from services.cli.failures import Failed
from services.cli.folder import OPS_ADDRESS, DataFolder, reachable
from services.cli.options import Connection, Target
from services.cli.output import Json
from services.pki.paths import is_signed_by
from services.pki.unreadable import UNREADABLE

_PARTS: Final = {
    **dict.fromkeys(("summary", "advice"), str),
    **dict.fromkeys(("answer", "watch", "policy"), dict),
    **dict.fromkeys(("refusal", "request", "issuer", "signer"), dict | None),
    "certificates": list,
}
"""What an explanation of a gateway has."""
_MAX_ISSUERS: Final = 4
"""For how many issuers a gateway is asked about one serial number."""
_SHA1: Final = bytes.fromhex("30 09 06 05 2b 0e 03 02 1a 05 00")
"""The AlgorithmIdentifier that most clients send."""

_REASON: Final = re.compile(r"\[[A-Z_]+\]")
"""What an error has that a service of ours gave, rather than the connection."""

_CAUSES = {number: name.removeprefix("STATUS_CAUSE_") for name, number in status_pb2.StatusCause.items()}
_FITS = {number: name.removeprefix("ISSUER_FIT_") for name, number in status_pb2.IssuerFit.items()}
_ACTIONS = {
    number: name.removeprefix("STATUS_CHANGE_ACTION_").lower() for name, number in status_pb2.StatusChangeAction.items()
}


@dataclass
class Asked:
    """What the status service said, and the requests that a client would send to the gateway."""

    told: Json
    requests: list[bytes] = field(default_factory=list)


def ask_services(subject: Subject, issuer: str, authority: x509.Certificate | None, connection: Connection) -> Asked:
    """The status service's part."""
    requests = list(_requests(subject, authority))
    question = status_pb2.ExplainCertificateStatusRequest()
    if subject.kind is Kind.REQUEST:
        question.request_der = subject.der
    elif requests and authority is not None and subject.kind is Kind.SERIAL:
        question.request_der = requests[0]
    else:
        Target(subject.serial, subject.der or None).put_into(question.certificate, issuer)
    try:
        with connect(connection, "status") as status:
            stub = status_pb2_grpc.CertificateStatusServiceStub(status.channel)
            response = status.call(stub.ExplainCertificateStatus, question)
    except Failed as error:
        refused = _REASON.search(error.message) is not None
        if not requests:
            requests = list(_from_folder(subject, issuer, connection))
        return Asked({"reached": refused, "error": error.message, "explanations": []}, requests)
    if not requests:
        for each in response.explanations[:_MAX_ISSUERS]:
            if each.HasField("issuer"):
                known = KnownIssuer(each.issuer.name, each.issuer.subject_der, each.issuer.public_key_der)
                requests.append(_request(known, each.record.serial_number))
    return Asked(_described(response), requests)


def _requests(subject: Subject, authority: x509.Certificate | None) -> Iterator[bytes]:
    """The request that was given, or the one that is made with the issuer's certificate that was given."""
    if subject.kind is Kind.REQUEST:
        yield subject.der
    elif authority is not None:
        yield _request(known_issuer("", authority), _serial(subject))


def _serial(subject: Subject) -> str:
    return subject.serial or f"{serial_number(subject.certificate()):x}"


def _request(issuer: KnownIssuer, serial: str) -> bytes:
    """What most clients send: SHA-1, and nothing but the CertID."""
    name_hash, key_hash = issuer_hashes(issuer, "sha1")
    number = int(serial or "0", 16)
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return plain_request(tlv(0x30, _SHA1 + tlv(0x04, name_hash) + tlv(0x04, key_hash) + tlv(0x02, content)))


def _from_folder(subject: Subject, issuer: str, connection: Connection) -> Iterator[bytes]:
    """While the status service is away: the request by the certificates of issuers in the data folder."""
    for name, authority in folder_issuers(connection.data):
        is_named = name == issuer if issuer or subject.kind is Kind.SERIAL else None
        if is_named or (is_named is None and is_signed_by(subject.certificate(), authority)):
            yield _request(known_issuer("", authority), _serial(subject))
            return


def folder_issuers(data: Path) -> list[tuple[str, x509.Certificate]]:
    """The certificates of issuers in a data folder, by name; none where there is no such folder."""
    found = []
    for file in sorted(DataFolder(data).authorities.glob("*.pem"))[:100]:
        try:
            certificates = x509.load_pem_x509_certificates(file.read_bytes())
        except (*UNREADABLE, OSError):
            continue
        if len(certificates) == 1:  # chain.pem has several
            found.append((file.stem, certificates[0]))
    return found


def known_issuers(connection: Connection) -> list[tuple[str, x509.Certificate]]:
    """The certificates of all issuers here: from the status service, or else from the data folder."""
    try:
        with connect(connection, "status") as status:
            stub = status_pb2_grpc.CertificateStatusServiceStub(status.channel)
            response = status.call(stub.ListIssuers, status_pb2.ListIssuersRequest())
    except Failed:
        return folder_issuers(connection.data)
    return [
        (issuer.name, load_certificate(issuer.certificates_der[0]))
        for issuer in response.issuers
        if issuer.certificates_der
    ]


class _Refused(Failed):
    """The gateway was reached, and refused the request without an explanation."""


def ask_gateway(requests: Iterable[bytes], ops: str | None, connection: Connection, *, within: float) -> Json:
    """The gateway's part, within so many seconds."""
    asked = list(requests)
    if not asked:
        error = "the issuer is not known: name it with --issuer NAME, or give its certificate with --issuer FILE"
        return {"reached": None, "error": error, "explanations": []}
    try:
        address = ops or _ops_address(connection)
        end = time.monotonic() + within
        explanations = [each for der in asked for each in _explained(address, der, end - time.monotonic())]
    except Failed as error:
        return {"reached": isinstance(error, _Refused), "error": error.message, "explanations": []}
    if not explanations:
        return {"reached": False, "error": f"no worker of the gateway at {address} answered", "explanations": []}
    return {"reached": True, "error": None, "address": address, "explanations": explanations}


def _explained(address: str, request: bytes, within: float) -> list[Json]:
    url = f"http://{address}/explain"
    reply = fetch(url, request, "application/ocsp-request", within=max(0.5, within), proxies=False)
    if reply.status == 413:
        raise _Refused(f"the gateway takes no request of {len(request)} octets: it answers HTTP 413, and reads no more")
    try:
        told: Any = json.loads(reply.body) if reply.status == 200 else None
        found = [dict(each) for each in told["explanations"]]
        if not all(isinstance(each[name], kind) for each in found for name, kind in _PARTS.items()):
            raise ValueError("parts are odd")
        return found
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Failed(
            f"http://{address} is no operator address of a gateway that explains (HTTP {reply.status}): check "
            "--ops-address, and that the gateway is of this version"
        ) from None


def _ops_address(connection: Connection) -> str:
    """Where the gateway tells operators: where it runs, or else where the configuration says it listens."""
    folder = DataFolder(connection.data)
    if not folder.config.exists():
        raise Failed(f"{folder.path} is no initialised data folder: name the gateway with --ops-address HOST:PORT")
    running = folder.running()
    return running.ops if running else reachable(str(folder.table("gateway").get("ops", OPS_ADDRESS)))


def _described(response: status_pb2.ExplainCertificateStatusResponse) -> Json:
    return {
        "reached": True,
        "error": None,
        "explanations": [_explanation(each) for each in response.explanations],
        "history": response.history,
        "as_of_revision": response.revision,
        "as_of_time": output.when(response, "as_of_time"),
    }


def _explanation(value: status_pb2.CertificateExplanation) -> Json:
    by_serial = value.HasField("record_by_serial_number")
    return {
        "summary": value.summary,
        "advice": value.advice,
        "cause": _CAUSES.get(value.cause, str(value.cause)),
        "record": output.status_record(value.record),
        "record_by_serial_number": output.status_record(value.record_by_serial_number) if by_serial else None,
        "cert_id": _cert_id(value.cert_id) if value.HasField("cert_id") else None,
        "issuer": _issuer(value) if value.HasField("issuer") else None,
        "candidates": [
            {"issuer": each.issuer, "fit": _FITS.get(each.fit, str(each.fit)), "hash_algorithm": each.hash_algorithm}
            for each in value.candidates
        ],
        "certificate": output.certificate(value.certificate) if value.HasField("certificate") else None,
        "changes": [_change(each) for each in value.changes],
    }


def _cert_id(value: status_pb2.CertID) -> Json:
    return {
        "hash_algorithm": value.hash_algorithm or None,
        "issuer_name_hash": value.issuer_name_hash.hex(),
        "issuer_key_hash": value.issuer_key_hash.hex(),
        "serial_number": value.serial_number or None,
    }


def _issuer(value: status_pb2.CertificateExplanation) -> Json:
    issuer = value.issuer
    return {
        "name": issuer.name,
        "state": output.ISSUER_STATE_NAMES.get(issuer.state, str(issuer.state)),
        "compromise": output.describe_revocation(issuer.compromise) if issuer.HasField("compromise") else None,
        "revision": issuer.revision,
    }


def _change(value: status_pb2.CertificateStatusChange) -> Json:
    return {
        "revision": value.revision,
        "action": _ACTIONS.get(value.action, str(value.action)),
        "change_time": output.when(value, "change_time"),
        "revocation": output.describe_revocation(value.revocation) if value.HasField("revocation") else None,
        "changed_by": output.actor(value.changed_by),
    }
