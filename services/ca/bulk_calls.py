"""The gRPC face of bulk revocation: reads requests, and keeps a call going, a step at a time.

While a step takes long to find (a filter that hardly anything fits), empty responses tell the caller that the call is
alive.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from hashlib import sha256
from typing import TypeVar

from cryptography import x509

from goodstanding.ca.v1 import ca_pb2
from services.ca.bridge import Bridge
from services.ca.bulk import BulkCommand, BulkRun, ItemResult, Outcome
from services.ca.selection import ByFilter, ByKey, Listed, ListedTarget, Selected, Selection
from services.ca.target import ByCertificate, BySerial
from services.ca.turns import Turn
from services.clock import Clock
from services.db.records import CertificateRecord
from services.errors import DomainError, InvalidArgument, ResourceExhausted
from services.pki import der
from services.pki.unreadable import UNREADABLE
from services.rpc import messages, requests
from services.rpc.errors import code_of
from services.rpc.requests import MAX_CERTIFICATE_SIZE

T = TypeVar("T")

MAX_LISTED = 1000
SIGN_OF_LIFE_SECONDS = 3.0
QUEUE_FULL_SECONDS = 0.2
STEPS_OF_ONE = 2
STEPS_OF_ALL = 4
"""In progress, of one caller and of all: each has the database for some ten milliseconds."""

_OUTCOMES = {
    Outcome.REVOKED: ca_pb2.REVOCATION_OUTCOME_REVOKED,
    Outcome.HELD: ca_pb2.REVOCATION_OUTCOME_HELD,
    Outcome.RELEASED: ca_pb2.REVOCATION_OUTCOME_RELEASED,
    Outcome.UNCHANGED: ca_pb2.REVOCATION_OUTCOME_UNCHANGED,
    Outcome.REFUSED: ca_pb2.REVOCATION_OUTCOME_REFUSED,
}


async def carry_out(
    run: BulkRun, bridge: Bridge, readers: Executor, turn: Turn = nullcontext
) -> AsyncGenerator[list[ItemResult]]:
    """The results of one step after the other, each once it is durable; empty ones while nothing can be told.

    Each step waits for a `turn`.
    """
    while True:
        step = asyncio.ensure_future(_step(run, bridge, readers, turn))
        try:
            async for _ in _alive(step):
                yield []
        finally:
            step.cancel()  # nobody waits for it any more, unless it is done
        results = step.result()
        if results is None:
            return
        yield results


async def _step(run: BulkRun, bridge: Bridge, readers: Executor, turn: Turn) -> list[ItemResult] | None:
    """The results of the next step; None at the end."""
    async with turn():
        step = await asyncio.get_running_loop().run_in_executor(readers, run.find)
        if not step:
            return None if step is None else []
        if run.is_dry:
            return await asyncio.get_running_loop().run_in_executor(readers, lambda: run.carry_out(step).result())
        while (results := await _written(run, step, bridge)) is None:
            continue
        return results


async def _written(run: BulkRun, step: list[Selected], bridge: Bridge) -> list[ItemResult] | None:
    """The results; None after a moment where the writer's queue is full: those who want one thing go first."""
    try:
        return await bridge.wait_for(run.carry_out(step))  # in no thread that is busy with requests to issue
    except ResourceExhausted:
        await asyncio.sleep(QUEUE_FULL_SECONDS)
        return None


async def outcomes(
    run: BulkRun, bridge: Bridge, readers: Executor, turn: Turn, *, without: CertificateRecord
) -> Counter[Outcome]:
    """What became of how many certificates; one of them is not counted."""
    tally: Counter[Outcome] = Counter()
    async for results in carry_out(run, bridge, readers, turn):
        tally.update(each.outcome for each in results if each.record is None or each.record.id != without.id)
    return tally


async def _alive(waiting: asyncio.Future[T]) -> AsyncIterator[None]:
    while not (await asyncio.wait([waiting], timeout=SIGN_OF_LIFE_SECONDS))[0]:
        yield None


def read_command(request: ca_pb2.RevokeCertificatesRequest) -> BulkCommand:
    """What is asked for. Raises InvalidArgument."""
    return BulkCommand(
        selection=_selection(request),
        reason=requests.read_reason(request.reason),
        invalidity_at=requests.read_optional_time(request, "invalidity_time"),
        validate_only=request.validate_only,
    )


def response(results: Sequence[ItemResult], clock: Clock) -> ca_pb2.RevokeCertificatesResponse:
    """The results of a step."""
    now = clock()
    return ca_pb2.RevokeCertificatesResponse(
        results=[
            ca_pb2.RevocationResult(
                index=each.index,
                certificate=messages.certificate_message(each.record, now, with_der=False) if each.record else None,
                earlier_revocation=messages.revocation_message(each.earlier) if each.earlier else None,
                outcome=_OUTCOMES[each.outcome],
                error=_error(each.error) if each.error else None,
            )
            for each in results
        ]
    )


def _error(error: DomainError) -> ca_pb2.RevocationError:
    return ca_pb2.RevocationError(code=code_of(error).value[0], reason=error.reason, message=error.message)


def _selection(request: ca_pb2.RevokeCertificatesRequest) -> Selection:
    match request.WhichOneof("selection"):
        case "certificates":
            return _listed(request.certificates)
        case "public_key":
            return ByKey(_key_sha256(request.public_key))
        case "filter":
            return _filter(request.filter)
    raise InvalidArgument(
        "SELECTION_MISSING", "say which certificates: a list, a public key or a filter", field="selection"
    )


def _listed(given: ca_pb2.ListedCertificates) -> Listed:
    if not 1 <= len(given.certificates) <= MAX_LISTED:
        raise InvalidArgument(
            "LIST_SIZE_INVALID",
            f"{len(given.certificates)} certificates; list 1 to {MAX_LISTED} in one call",
            field="certificates.certificates",
        )
    return Listed([_listed_target(each) for each in given.certificates])


def _listed_target(given: ca_pb2.ListedCertificate) -> ListedTarget:
    """What is wrong with one is told in its result."""
    reason: int | None = given.reason if given.HasField("reason") else None
    try:
        if reason is not None:
            requests.read_reason(reason)
        match given.WhichOneof("target"):
            case "certificate_der":
                return ListedTarget(ByCertificate(given.certificate_der), reason)
            case "issuer_and_serial_number":
                named = given.issuer_and_serial_number
                return ListedTarget(BySerial.parse(named.serial_number, named.issuer), reason)
        raise InvalidArgument("TARGET_MISSING", "name a certificate: its serial number, or itself")
    except DomainError as error:
        return ListedTarget(error, reason)


def _key_sha256(given: ca_pb2.PublicKeySelection) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo. Raises InvalidArgument (PUBLIC_KEY_INVALID)."""
    kind = given.WhichOneof("key")
    if kind == "public_key_sha256":
        if len(given.public_key_sha256) != 32:
            raise _key_invalid("public_key_sha256", "a SHA-256 has 32 octets")
        return given.public_key_sha256
    if kind is None:
        raise _key_invalid("key", "give a public key, or a certificate or certificate request with it")
    found = _public_key(kind, getattr(given, kind))
    return sha256(found).digest()


def _public_key(kind: str, content: bytes) -> bytes:
    readers: dict[str, Callable[[bytes], bytes]] = {
        "public_key_der": lambda given: given if der.key_algorithm(given) else b"",
        "certificate_der": lambda given: der.public_key_der(x509.load_der_x509_certificate(given)),
        "csr_der": lambda given: der.request_parts(given).public_key_der,
    }
    if len(content) > MAX_CERTIFICATE_SIZE:
        raise _key_invalid(kind, f"larger than {MAX_CERTIFICATE_SIZE} octets")
    try:
        return readers[kind](content)
    except UNREADABLE:
        raise _key_invalid(kind, f"this is no {kind.removesuffix('_der').replace('_', ' ')} in DER") from None


def _key_invalid(field: str, text: str) -> InvalidArgument:
    return InvalidArgument("PUBLIC_KEY_INVALID", text, field=f"public_key.{field}")


def _filter(given: ca_pb2.CertificateFilter) -> ByFilter:
    for field in ("issuer", "profile", "name", "issued_by"):
        if "\0" in getattr(given, field):  # PostgreSQL cannot even be asked for it
            raise InvalidArgument("NAME_INVALID", "no name holds a NUL", field=f"filter.{field}")
    return ByFilter(
        issuer=given.issuer,
        profile=given.profile,
        name=given.name,
        identity=given.issued_by,
        state=requests.read_state(given.state),
        issued_from=requests.read_optional_time(given, "issue_from_time"),
        issued_until=requests.read_optional_time(given, "issue_until_time"),
        not_after_from=requests.read_optional_time(given, "not_after_from_time"),
        not_after_until=requests.read_optional_time(given, "not_after_until_time"),
    )
