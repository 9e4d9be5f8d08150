"""The gRPC face of the certificate authority: parse, call, convert. What anything means is in the use cases.

Parsing requests, checking and signing take processor time, and reads wait for the database: both happen in threads, so
that the event loop stays free; what is quick to sign goes straight to the thread that writes, or to a signing process.
No thread waits for a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from typing import TypeVar

import grpc

from goodstanding.ca.v1 import ca_pb2
from services.ca import bulk_calls, issue_calls
from services.ca.authority import CertificateAuthority
from services.ca.blocked_keys import BlockCommand
from services.ca.bridge import Bridge
from services.ca.bulk import BulkRun, Outcome
from services.ca.issue import IssueCommand, IssueResult
from services.ca.issuer_servicer import IssuerMethods
from services.ca.list_requests import read_list_query
from services.ca.profile_messages import profile_message
from services.ca.revoke import RevokeCommand, Revoked
from services.ca.target import ByCertificate, BySerial, Target
from services.ca.turns import Turns
from services.clock import Clock, to_epoch, utc_now
from services.db.records import Actor
from services.errors import DomainError, FailedPrecondition
from services.pki.names import MAX_NAMES, SubjectAlternativeNames, refuse_too_many
from services.pki.reasons import NAMES
from services.rpc import messages, paging, requests
from services.rpc.identity import current_caller
from services.rpc.refusals import CallObject, describe_call, tell_refusal

T = TypeVar("T")

REASON_NAMES: Mapping[int, str] = {int(reason): name for reason, name in NAMES.items()}


class CertificateAuthorityServicer(IssuerMethods):
    """Serves goodstanding.ca.v1.CertificateAuthorityService.

    `workers` checks and signs, `readers` reads; two executors, so that a slow listing does not hold up issuing. Slow
    issuing does not hold up revoking, which needs no thread. Make it inside the event loop that serves.
    """

    def __init__(
        self, authority: CertificateAuthority, *, workers: Executor, readers: Executor, clock: Clock = utc_now
    ) -> None:
        self._authority = authority
        self._bridge = Bridge(workers)
        self._turns = Turns(of_one=issue_calls.PORTIONS_OF_ONE, of_all=issue_calls.PORTIONS_OF_ALL)
        self._slow_turns = Turns(of_one=issue_calls.SLOW_OF_ONE, of_all=issue_calls.SLOW_OF_ALL)
        self._bulk_turns = Turns(of_one=bulk_calls.STEPS_OF_ONE, of_all=bulk_calls.STEPS_OF_ALL)
        self._readers = readers
        self._clock = clock

    async def IssueCertificate(
        self,
        request: ca_pb2.IssueCertificateRequest,
        context: grpc.aio.ServicerContext[ca_pb2.IssueCertificateRequest, ca_pb2.IssueCertificateResponse],
    ) -> ca_pb2.IssueCertificateResponse:
        """Issue a certificate."""
        describe_call(lambda: _issue_object(request))
        actor = current_caller().actor(requests.read_request_id(request.request_id))
        command = _issue_command(request)
        result = await self._issue(command, actor)
        return self._issue_response(result)

    async def IssueCertificates(
        self,
        request_iterator: AsyncIterator[ca_pb2.IssueCertificatesRequest],
        context: grpc.aio.ServicerContext[ca_pb2.IssueCertificatesRequest, ca_pb2.IssueCertificatesResponse],
    ) -> AsyncIterator[ca_pb2.IssueCertificatesResponse]:
        """Issue many certificates, and tell of each."""
        caller = current_caller()

        def begin(request: ca_pb2.IssueCertificateRequest) -> Future[IssueResult]:
            actor = caller.actor(requests.read_request_id(request.request_id))
            return self._authority.begin_issue(_issue_command(request), actor)

        turns = partial(self._turns.turn, caller.identity), partial(self._slow_turns.turn, caller.identity)
        sent = issue_calls.carry_out(request_iterator, begin, self._bridge, self._issues_quickly, *turns)
        async for found in sent:
            results = await self._again_after_roll_over(found, begin)
            for result in results:
                if isinstance(result.outcome, DomainError):
                    tell_refusal(result.outcome, "IssueCertificate", partial(_issue_object, result.request))
            yield issue_calls.response(results, self._clock)

    async def RevokeCertificate(
        self,
        request: ca_pb2.RevokeCertificateRequest,
        context: grpc.aio.ServicerContext[ca_pb2.RevokeCertificateRequest, ca_pb2.RevokeCertificateResponse],
    ) -> ca_pb2.RevokeCertificateResponse:
        """Revoke, put on hold or release a certificate."""
        describe_call(lambda: _revoke_object(request))
        actor = current_caller().actor(requests.read_request_id(request.request_id))
        command = _revoke_command(request)
        same_key = await self._read(lambda: self._same_key(command, actor)) if command.all_with_same_key else None
        revoked = await self._revoke(command, actor)
        turn = partial(self._bulk_turns.turn, actor.identity)
        others: Counter[Outcome] = Counter()
        if same_key is not None:
            others = await bulk_calls.outcomes(same_key, self._bridge, self._readers, turn, without=revoked.record)
        return ca_pb2.RevokeCertificateResponse(
            certificate=messages.certificate_message(revoked.record, self._clock()),
            others_with_same_key_count=others.total(),
            unchanged=revoked.unchanged,
            others_unchanged_count=others[Outcome.UNCHANGED],
        )

    async def RevokeCertificates(
        self,
        request: ca_pb2.RevokeCertificatesRequest,
        context: grpc.aio.ServicerContext[ca_pb2.RevokeCertificatesRequest, ca_pb2.RevokeCertificatesResponse],
    ) -> AsyncIterator[ca_pb2.RevokeCertificatesResponse]:
        """Revoke many certificates, and tell of each."""
        describe_call(lambda: _bulk_object(request))
        actor = current_caller().actor(requests.read_request_id(request.request_id))
        command = bulk_calls.read_command(request)
        run = self._authority.bulk.start(command, actor)
        turn = partial(self._bulk_turns.turn, actor.identity)
        async for results in bulk_calls.carry_out(run, self._bridge, self._readers, turn):
            yield bulk_calls.response(results, self._clock)

    async def GetCertificate(
        self,
        request: ca_pb2.GetCertificateRequest,
        context: grpc.aio.ServicerContext[ca_pb2.GetCertificateRequest, ca_pb2.GetCertificateResponse],
    ) -> ca_pb2.GetCertificateResponse:
        """Return one certificate."""
        target = _by_serial(
            requests.read_issuer_and_serial(request.issuer_and_serial_number, "issuer_and_serial_number")
        )
        record = await self._read(lambda: self._authority.get(target))
        return ca_pb2.GetCertificateResponse(
            certificate=messages.certificate_message(record, self._clock()),
            certificate_pem=messages.pem(record.der) if record.der else "",
        )

    async def ListCertificates(
        self,
        request: ca_pb2.ListCertificatesRequest,
        context: grpc.aio.ServicerContext[ca_pb2.ListCertificatesRequest, ca_pb2.ListCertificatesResponse],
    ) -> ca_pb2.ListCertificatesResponse:
        """Return one page of certificates."""
        query, filters = read_list_query(request)
        page = await self._read(lambda: self._authority.list(query))
        now = self._clock()
        cursor = (to_epoch(page.next.at), page.next.id) if page.next else None
        return ca_pb2.ListCertificatesResponse(
            certificates=[messages.certificate_message(record, now, with_der=False) for record in page.certificates],
            next_page_token=paging.encode_token(cursor, filters) if cursor else "",
        )

    async def CountCertificates(
        self,
        request: ca_pb2.CountCertificatesRequest,
        context: grpc.aio.ServicerContext[ca_pb2.CountCertificatesRequest, ca_pb2.CountCertificatesResponse],
    ) -> ca_pb2.CountCertificatesResponse:
        """Count certificates."""
        now, issuer = self._clock(), request.issuer
        counts = await self._read(lambda: self._authority.count(issuer))
        return ca_pb2.CountCertificatesResponse(
            counts=[
                ca_pb2.CertificateCount(
                    issuer=each.issuer_name,
                    profile=each.profile,
                    valid=each.valid,
                    revoked=each.revoked,
                    expired=each.expired,
                )
                for each in counts
            ],
            as_of_time=messages.timestamp(now),
        )

    async def ListIssuers(
        self,
        request: ca_pb2.ListIssuersRequest,
        context: grpc.aio.ServicerContext[ca_pb2.ListIssuersRequest, ca_pb2.ListIssuersResponse],
    ) -> ca_pb2.ListIssuersResponse:
        """Return all issuers."""
        records = await self._read(self._authority.issuers)
        return ca_pb2.ListIssuersResponse(issuers=[messages.issuer_message(record) for record in records])

    async def _issue(self, command: IssueCommand, actor: Actor) -> IssueResult:
        try:
            return await self._begin_issue(command, actor)
        except FailedPrecondition as error:
            if not _met_a_roll_over(error, command.issuer):
                raise
        # Whoever names no issuer does not notice a roll-over: what was signed with the old key is forgotten.
        self._authority.directory.forget()
        return await self._begin_issue(command, actor)

    async def _revoke(self, command: RevokeCommand, actor: Actor) -> Revoked:
        """Straight to the writer: no revocation waits for threads that are busy with requests to issue."""
        if command.validate_only:
            return await self._read(lambda: self._authority.begin_revoke(command, actor).result())
        return await self._bridge.wait_for(self._authority.begin_revoke(command, actor))

    async def _begin_issue(self, command: IssueCommand, actor: Actor) -> IssueResult:
        quick = self._authority.issues_quickly(command.profile, command.issuer, command.size)
        if quick and not command.validate_only:
            return await self._bridge.wait_for(self._authority.begin_issue(command, actor))
        async with self._slow_turns.turn(actor.identity):
            return await self._bridge.run(lambda: self._authority.begin_issue(command, actor))

    async def _again_after_roll_over(
        self, results: list[issue_calls.Result], begin: issue_calls.Begin
    ) -> list[issue_calls.Result]:
        """As `_issue` does it, for those of many that need it."""
        late = [result for result in results if _met_a_roll_over(result.outcome, result.request.issuer)]
        if not late:
            return results
        self._authority.directory.forget()

        async def again(result: issue_calls.Result) -> issue_calls.Result:
            outcome: IssueResult | DomainError
            try:
                issued = await self._bridge.run(partial(begin, result.request))
                outcome = issued
            except DomainError as error:
                outcome = error
            return replace(result, outcome=outcome)

        tried = {result.index: result for result in await asyncio.gather(*map(again, late))}
        return [tried.get(result.index, result) for result in results]

    async def BlockPublicKeys(
        self,
        request: ca_pb2.BlockPublicKeysRequest,
        context: grpc.aio.ServicerContext[ca_pb2.BlockPublicKeysRequest, ca_pb2.BlockPublicKeysResponse],
    ) -> ca_pb2.BlockPublicKeysResponse:
        """Block public keys."""
        describe_call(lambda: _keys_object(request))
        actor = current_caller().actor("")
        command = BlockCommand(
            hashes=tuple(request.public_key_sha256), comment=request.comment, validate_only=request.validate_only
        )
        result = await self._bridge.run(lambda: self._authority.blocking.begin(command, actor))
        return ca_pb2.BlockPublicKeysResponse(
            blocked_count=result.blocked, already_blocked_count=result.already_blocked
        )

    async def UnblockPublicKeys(
        self,
        request: ca_pb2.UnblockPublicKeysRequest,
        context: grpc.aio.ServicerContext[ca_pb2.UnblockPublicKeysRequest, ca_pb2.UnblockPublicKeysResponse],
    ) -> ca_pb2.UnblockPublicKeysResponse:
        """Take public keys off the list."""
        describe_call(lambda: _keys_object(request))
        actor = current_caller().actor("")
        command = BlockCommand(
            hashes=tuple(request.public_key_sha256), comment=request.comment, validate_only=request.validate_only
        )
        result = await self._bridge.run(lambda: self._authority.blocking.begin_unblock(command, actor))
        return ca_pb2.UnblockPublicKeysResponse(unblocked_count=result.unblocked, not_blocked_count=result.not_blocked)

    async def ListProfiles(
        self,
        request: ca_pb2.ListProfilesRequest,
        context: grpc.aio.ServicerContext[ca_pb2.ListProfilesRequest, ca_pb2.ListProfilesResponse],
    ) -> ca_pb2.ListProfilesResponse:
        """Return all profiles."""
        now = self._clock()
        found = self._authority.profiles.values()
        return ca_pb2.ListProfilesResponse(profiles=[profile_message(profile, now) for profile in found])

    async def ListBlockedPublicKeys(
        self,
        request: ca_pb2.ListBlockedPublicKeysRequest,
        context: grpc.aio.ServicerContext[ca_pb2.ListBlockedPublicKeysRequest, ca_pb2.ListBlockedPublicKeysResponse],
    ) -> ca_pb2.ListBlockedPublicKeysResponse:
        """Return one page of blocked public keys, or what is recorded of one."""
        filters = ("blocked", request.public_key_sha256.hex())
        cursor = paging.decode_token(request.page_token, filters, length=4)
        limit = paging.page_size(request.page_size)
        after = struct.pack(">4q", *cursor) if cursor else None
        blocking = self._authority.blocking
        if request.public_key_sha256:
            one = await self._read(lambda: blocking.get(request.public_key_sha256))
            return ca_pb2.ListBlockedPublicKeysResponse(keys=[messages.blocked_key_message(one)] if one else [])
        found = await self._read(lambda: blocking.page(limit + 1, after))
        more = len(found) > limit
        place = struct.unpack(">4q", found[limit - 1].public_key_sha256) if more else ()
        return ca_pb2.ListBlockedPublicKeysResponse(
            keys=[messages.blocked_key_message(key) for key in found[:limit]],
            next_page_token=paging.encode_token(place, filters) if more else "",
        )

    def _issues_quickly(self, request: ca_pb2.IssueCertificateRequest) -> bool:
        # All of the request, and a little more than its certificate request and names are.
        size = request.ByteSize()
        return not request.validate_only and self._authority.issues_quickly(request.profile, request.issuer, size)

    async def _read(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    def _same_key(self, command: RevokeCommand, actor: Actor) -> BulkRun:
        return self._authority.bulk.start_same_key(
            command.target,
            actor,
            reason=command.reason,
            invalidity_at=command.invalidity_at,
            validate_only=command.validate_only,
        )

    def _issue_response(self, result: IssueResult) -> ca_pb2.IssueCertificateResponse:
        der = result.certificate.der
        return ca_pb2.IssueCertificateResponse(
            certificate=messages.certificate_message(result.certificate, self._clock()),
            chain_der=result.chain_der,
            certificate_pem=messages.pem(der) if der else "",
            chain_pem=messages.pem_chain(result.chain_der),
        )


def _met_a_roll_over(outcome: object, issuer: str) -> bool:
    return isinstance(outcome, FailedPrecondition) and outcome.reason == "ISSUER_NOT_ACTIVE" and not issuer


def _issue_object(request: ca_pb2.IssueCertificateRequest) -> CallObject:
    """What the audit log says of a request to issue that was refused."""
    csr = request.csr_der or request.csr_pem.encode()
    asked = {
        "csr_sha256": hashlib.sha256(csr).hexdigest(),
        "names": _names(request.subject_alternative_names, most=10).labelled()[:10],
        "profile": request.profile,
    }
    return CallObject(
        request_id=request.request_id[:128],
        issuer=request.issuer,
        details={name: value for name, value in asked.items() if value},
        dry_run=request.validate_only,
    )


def _revoke_object(request: ca_pb2.RevokeCertificateRequest) -> CallObject:
    """What the audit log says of a revocation that was refused."""
    asked = {"reason": REASON_NAMES[request.reason]} if request.reason in REASON_NAMES else {}
    serial = b""
    with contextlib.suppress(DomainError):
        target = _target(requests.read_revoke_target(request))
        serial = target.serial
        if isinstance(target, ByCertificate):
            asked["certificate_sha256"] = hashlib.sha256(target.der).hexdigest()
    return CallObject(
        request_id=request.request_id[:128],
        issuer=request.issuer_and_serial_number.issuer,
        serial=serial,
        details=asked,
        dry_run=request.validate_only,
    )


def _bulk_object(request: ca_pb2.RevokeCertificatesRequest) -> CallObject:
    """What the audit log says of a bulk revocation that was refused as a whole."""
    asked = {"reason": REASON_NAMES.get(request.reason, ""), "selection": request.WhichOneof("selection") or ""}
    return CallObject(
        request_id=request.request_id[:128],
        issuer=request.filter.issuer,
        details={name: value for name, value in asked.items() if value},
        dry_run=request.validate_only,
    )


def _keys_object(request: ca_pb2.BlockPublicKeysRequest | ca_pb2.UnblockPublicKeysRequest) -> CallObject:
    """What the audit log says of keys that were not blocked, or not unblocked."""
    keys = [key[:32].hex() for key in request.public_key_sha256[:10]]
    details = {"comment": request.comment, "public_keys_sha256": keys}
    return CallObject(details=details, dry_run=request.validate_only)


def _issue_command(request: ca_pb2.IssueCertificateRequest) -> IssueCommand:
    names = request.subject_alternative_names
    # A message has room for half a million of them: nobody else's calls are to wait while they are looked at.
    count = sum(map(len, (names.dns_names, names.ip_addresses, names.email_addresses, names.uris)))
    refuse_too_many(count, "subject_alternative_names")
    csr_der, csr_pem = requests.read_csr(request)
    not_after, validity = requests.read_lifetime(request)
    return IssueCommand(
        csr_der=csr_der,
        csr_pem=csr_pem,
        issuer=request.issuer,
        profile=request.profile,
        names=_names(names) if request.HasField("subject_alternative_names") else None,
        not_after=not_after,
        validity=validity,
        validate_only=request.validate_only,
    )


def _names(given: ca_pb2.SubjectAlternativeNames, *, most: int = MAX_NAMES) -> SubjectAlternativeNames:
    """The first names of each kind."""
    return SubjectAlternativeNames(
        dns=tuple(given.dns_names[:most]),
        ip=tuple(given.ip_addresses[:most]),
        email=tuple(given.email_addresses[:most]),
        uri=tuple(given.uris[:most]),
    )


def _revoke_command(request: ca_pb2.RevokeCertificateRequest) -> RevokeCommand:
    return RevokeCommand(
        target=_target(requests.read_revoke_target(request)),
        reason=requests.read_reason(request.reason),
        invalidity_at=requests.read_optional_time(request, "invalidity_time"),
        validate_only=request.validate_only,
        all_with_same_key=request.all_with_same_key,
    )


def _target(given: requests.CertificateTarget) -> Target:
    if given.certificate_der is not None:
        return ByCertificate(given.certificate_der)
    return _by_serial(given)


def _by_serial(given: requests.CertificateTarget) -> BySerial:
    return BySerial.parse(given.serial_number or "", given.issuer or "")
