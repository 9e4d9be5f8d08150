"""Bulk issuing over a stream: results tell which request they are for, and a bad request stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from goodstanding.ca.v1 import ca_pb2
from services.ca import issue_calls
from services.ca.servicer import CertificateAuthorityServicer
from services.ca.signing import IssueCommand
from services.errors import InvalidArgument, ResourceExhausted
from services.pki.names import SubjectAlternativeNames
from services.rpc.identity import Caller, set_caller
from tests.ca.world import START, Ca, call_as, make_actor, make_csr

CSR = make_csr()


def asked(request_id: str = "", **fields: Any) -> ca_pb2.IssueCertificateRequest:
    """A request that is fine, unless fields say otherwise."""
    return ca_pb2.IssueCertificateRequest(**{"csr_der": CSR, "request_id": request_id, **fields})


def issue_many(
    ca: Ca, *messages: Sequence[ca_pb2.IssueCertificateRequest], role: str = "issuer", stay: bool = False
) -> list[ca_pb2.IssuanceResult]:
    """All results of one call, in the order of the requests. `stay`: the sender never ends his side of the call."""
    actor = make_actor(role)
    lasts = START + timedelta(days=90)
    caller = Caller(actor.identity, actor.name, actor.role, actor.fingerprint, lasts, actor.peer, "id")

    async def sent() -> AsyncIterator[ca_pb2.IssueCertificatesRequest]:
        for requests in messages:
            yield ca_pb2.IssueCertificatesRequest(requests=requests)
        if stay:
            await asyncio.Event().wait()

    async def run() -> list[ca_pb2.IssuanceResult]:
        set_caller(caller)
        with ThreadPoolExecutor(2) as pool:
            servicer = CertificateAuthorityServicer(ca.authority, workers=pool, readers=pool, clock=ca.clock)
            context: Any = None
            answers = servicer.IssueCertificates(sent(), context)
            return [each async for answer in answers for each in answer.results]

    return sorted(asyncio.run(run()), key=lambda result: result.index)


def test_many_in_one_call(ca: Ca) -> None:
    """More than are ever in progress at a time: each has a result, and each result a certificate of its own."""
    results = issue_many(ca, *([asked(f"id-{message}-{place}") for place in range(70)] for message in range(3)))
    assert [each.index for each in results] == list(range(210))
    assert len({each.certificate.serial_number for each in results}) == 210
    for each in results[::30]:
        certificate = x509.load_der_x509_certificate(each.certificate.certificate_der)
        certificate.verify_directly_issued_by(ca.hierarchy.issuing)
        assert [x509.load_der_x509_certificate(der) for der in each.chain_der] == [ca.hierarchy.issuing]
    assert ca.count("certificates") == 212


def test_bad_requests_stop_no_other(ca: Ca) -> None:
    """What is wrong with one is in its result: code, reason, field."""
    results = issue_many(
        ca,
        [asked(), asked(csr_der=b"x"), asked(profile="none")],
        [asked(request_id="with space"), ca_pb2.IssueCertificateRequest(), asked(issuer="none"), asked()],
    )
    assert [(each.error.code, each.error.reason, each.error.field) for each in results] == [
        (0, "", ""),
        (3, "CSR_MALFORMED", "csr_der"),
        (5, "PROFILE_UNKNOWN", "profile"),
        (3, "REQUEST_ID_INVALID", "request_id"),
        (3, "CSR_MISSING", "certificate_request"),
        (5, "ISSUER_UNKNOWN", "issuer"),
        (0, "", ""),
    ]
    assert [each.HasField("certificate") for each in results] == [not each.HasField("error") for each in results]
    assert ca.count("certificates") == 4


def test_repeating(ca: Ca) -> None:
    """The same request ids get the same certificates, in one call, in another one, and in IssueCertificate (G6).

    What was issued before is said to be so.
    """
    first = issue_many(ca, [asked("a"), asked("b"), asked("a"), asked("a", profile="client")])
    assert first[0].certificate == first[2].certificate != first[1].certificate
    assert first[3].error.reason == "REQUEST_ID_REUSED"
    again = issue_many(ca, [asked("b"), asked("c"), asked("a")])
    assert [again[0].certificate, again[2].certificate] == [first[1].certificate, first[0].certificate]
    alone = ca.issue(make_actor("issuer", request_id="a"), csr_der=CSR)
    assert alone.certificate.serial.hex() == first[0].certificate.serial_number
    assert [each.replayed for each in (*first[:3], *again)] == [False, False, True, True, False, True]
    assert alone.replayed
    assert ca.count("certificates") == 5


def test_roles_of_profiles(ca: Ca) -> None:
    """A responder gets nothing but responder certificates here either, and nothing is issued to try."""
    results = issue_many(ca, [asked(), asked(validate_only=True)], role="responder")
    assert {each.error.reason for each in results} == {"PROFILE_NOT_ALLOWED"}
    tried = issue_many(ca, [asked(validate_only=True)])
    assert tried[0].certificate.serial_number == ""
    assert ca.count("certificates") == 2


def test_a_message_too_large(ca: Ca) -> None:
    """The whole call fails, and says what to do."""
    with pytest.raises(InvalidArgument, match="at the most") as refused:
        issue_many(ca, [asked()] * 101)
    assert refused.value.reason == "LIST_SIZE_INVALID"


def test_many_calls_of_one_caller(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many streams somebody opens, there is room in the queue for others: nothing is refused, but waits."""
    monkeypatch.setattr(ca.writer, "_max_queue", issue_calls.PORTIONS_OF_ONE * issue_calls.PORTION + 10)

    async def sent() -> AsyncIterator[ca_pb2.IssueCertificatesRequest]:
        yield ca_pb2.IssueCertificatesRequest(requests=[asked()] * 40)

    async def call(servicer: CertificateAuthorityServicer) -> list[ca_pb2.IssuanceResult]:
        context: Any = None
        return [each async for answer in servicer.IssueCertificates(sent(), context) for each in answer.results]

    async def run() -> list[ca_pb2.IssuanceResult]:
        call_as(make_actor("issuer"))
        with ThreadPoolExecutor(2) as pool:
            servicer = CertificateAuthorityServicer(ca.authority, workers=pool, readers=pool, clock=ca.clock)
            return [each for found in await asyncio.gather(*map(call, [servicer] * 10)) for each in found]

    results = asyncio.run(run())
    assert {each.error.reason for each in results} == {""}
    assert len({each.certificate.serial_number for each in results}) == 400


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("in_a_stream", [False, True], ids=["calls", "stream"])
def test_what_takes_long_takes_turns(ca: Ca, monkeypatch: pytest.MonkeyPatch, in_a_stream: bool) -> None:
    """However much one caller wants of the threads that check and sign, others have theirs in between."""
    monkeypatch.setattr(issue_calls, "SLOW_OF_ONE", 2)
    done = []

    async def sent() -> AsyncIterator[ca_pb2.IssueCertificatesRequest]:
        for _ in range(5):
            yield ca_pb2.IssueCertificatesRequest(requests=[asked(validate_only=True)] * 100)

    async def one(servicer: CertificateAuthorityServicer) -> None:
        context: Any = None
        await servicer.IssueCertificate(asked(validate_only=True), context)
        done.append(1)

    async def stream(servicer: CertificateAuthorityServicer) -> None:
        context: Any = None
        async for answer in servicer.IssueCertificates(sent(), context):
            done.extend(each.index for each in answer.results)

    async def run() -> int:
        with ThreadPoolExecutor(1) as pool:
            servicer = CertificateAuthorityServicer(ca.authority, workers=pool, readers=pool, clock=ca.clock)
            call_as(make_actor("issuer"))
            flood = [stream(servicer)] if in_a_stream else [one(servicer) for _ in range(500)]
            tasks = [asyncio.ensure_future(each) for each in flood]
            while not done:
                await asyncio.sleep(0)
            call_as(make_actor("admin"))
            context: Any = None
            await servicer.BlockPublicKeys(ca_pb2.BlockPublicKeysRequest(public_key_sha256=[bytes(32)]), context)
            before = len(done)
            await asyncio.gather(*tasks)
            return before

    assert asyncio.run(run()) < 250
    assert len(done) == 500


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_names_by_the_thousand_take_nobodys_time(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than a certificate holds are refused by their number alone: the authority hears nothing of them."""

    def heard(*_: object) -> None:
        raise AssertionError("the writer's time was taken")

    monkeypatch.setattr(ca.authority, "begin_issue", heard)
    labelled: list[int] = []
    original = SubjectAlternativeNames.labelled

    def counted(names: SubjectAlternativeNames) -> tuple[str, ...]:
        labelled.append(len(names))
        return original(names)

    monkeypatch.setattr(SubjectAlternativeNames, "labelled", counted)
    request = asked("again")
    for kind in ("dns_names", "ip_addresses", "email_addresses", "uris"):
        getattr(request.subject_alternative_names, kind).extend(["x"] * 30_000)
    (result,) = issue_many(ca, [request])
    assert result.error.reason == "TOO_MANY_NAMES"
    assert sum(labelled) <= 40, "what the audit log says of it"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_long_names_are_not_quick(ca: Ca) -> None:
    """What is checked in the writer's thread is small as a whole, and not its certificate request alone."""
    issue_many(ca, [asked()])  # from then on its issuer is known to sign quickly
    command = IssueCommand(csr_der=make_csr(), names=SubjectAlternativeNames(dns=("a.example.com",)))
    assert ca.authority.issues_quickly("", "", command.size)
    long = replace(command, names=SubjectAlternativeNames(uri=("https://example.com/" + "a" * 2000,)))
    assert not ca.authority.issues_quickly("", "", long.size)
    # What a message has is never less than what is counted of it: no call is quick here, and then is not there.
    names = [f"h{number:03}.nl" for number in range(90)]
    many = asked(subject_alternative_names=ca_pb2.SubjectAlternativeNames(dns_names=names))
    counted = replace(command, csr_der=CSR, names=SubjectAlternativeNames(dns=tuple(names)))
    assert counted.size <= many.ByteSize()


def test_silence(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends nothing more, and does not end the call, is not waited for."""
    monkeypatch.setattr(issue_calls, "SILENCE_SECONDS", 0.05)
    with pytest.raises(ResourceExhausted) as refused:
        issue_many(ca, [asked("a")], stay=True)
    assert refused.value.reason == "STREAM_SILENT"
    assert ca.count("certificates") == 3


def test_nothing(ca: Ca) -> None:
    """A call without requests, and a message without any, come to nothing."""
    assert issue_many(ca) == []
    assert [each.index for each in issue_many(ca, [], [asked()])] == [0]
