"""Why this gateway answers a request the way it does, for operators.

Guarantee: an explanation is overheard, not worked out. `Overheard` is the responder itself, with the same knowledge,
signers and policy; it makes the answer by the same code, and only notes what each step came to. So a request that is
explained leaves the traces of one that is asked: what was looked up is held afterwards, and is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256

from gateway.answer import Answer, Refusal, Why
from gateway.answers import Entry
from gateway.clock import Clock
from gateway.explanation_words import advice, summary
from gateway.headers import headers_of
from gateway.issuers import Issuer
from gateway.knowledge import Knowledge, StatusUnavailable
from gateway.ocsp.locating import what_is_wrong
from gateway.ocsp.matching import KnownIssuer, near_misses
from gateway.ocsp.reading import read_response
from gateway.ocsp.request import CertID, MalformedRequest, OcspRequest, PreferredAlgorithm, parse_request
from gateway.ocsp.response import OcspStatus, ResponseSigner
from gateway.policy import AnswerPolicy
from gateway.responder import Made, Question, Responder
from gateway.validity import ValidityPolicies, as_time

Json = dict[str, Any]

_MOST_CERTIFICATES = 1000


@dataclass
class Heard:
    """What was overheard while an answer was made."""

    request: OcspRequest | None = None
    issuer: Issuer | None = None
    slot: int = 0
    signer: ResponseSigner | None = None
    held: frozenset[bytes] = frozenset()
    """Serial numbers whose status was in the cache, and still vouched for."""
    entries: list[Entry] = field(default_factory=list)
    """In the order of the CertIDs."""
    ready: bool = False
    """Whether the whole answer was ready, but for a nonce."""
    error: BaseException | None = None
    refused: bool = False

    @property
    def why(self) -> Why | None:
        """Why it was refused."""
        if isinstance(self.error, Refusal):
            return self.error.why
        if isinstance(self.error, StatusUnavailable):
            return Why.STATUS_UNAVAILABLE
        if self.error is not None:
            return Why.INTERNAL
        return Why.OVERLOADED if self.refused else None

    def detail(self, request_der: bytes) -> str:
        """What there is to say beside: of a request that cannot be read, what is wrong with it and where."""
        if isinstance(self.error, Refusal):
            cause = self.error.__cause__
            if isinstance(cause, MalformedRequest):
                return what_is_wrong(request_der, cause)
            return str(cause) if cause else ""
        return str(self.error) if isinstance(self.error, StatusUnavailable) else ""


class Overheard(Responder):
    """A responder that is overheard while it makes one answer."""

    def __init__(self, responder: Responder) -> None:
        """Everything but the notes is the responder's own."""
        self.__dict__.update(vars(responder))
        self.heard = Heard()

    def _with_nonce(self, request_der: bytes, *, quick: bool) -> Made | None:  # noqa: ARG002
        return None  # the long way comes to the same answer, and tells more

    def _begin(self, request_der: bytes) -> Made | Question:
        self.heard = Heard()
        return super()._begin(request_der)

    def _read(self, request_der: bytes) -> OcspRequest:
        self.heard.request = super()._read(request_der)
        return self.heard.request

    def _issuer(self, cert_ids: Sequence[CertID]) -> Issuer:
        self.heard.issuer = super()._issuer(cert_ids)
        return self.heard.issuer

    def _signer(self, issuer: Issuer, preferred: Sequence[PreferredAlgorithm]) -> tuple[int, ResponseSigner]:
        self.heard.slot, self.heard.signer = chosen = super()._signer(issuer, preferred)
        return chosen

    def _find(self, question: Question) -> None:
        super()._find(question)
        self.heard.held = frozenset(serial for serial in question.entries if serial)

    def _finish(self, question: Question) -> Made:
        entries = self.heard.entries = question.in_order()
        nonce, der = question.request.nonce, question.request.cert_ids[0].der
        before = entries[0].ready.get((der, self.heard.slot, len(nonce) - 2 if nonce else 0))
        self.heard.ready = before is not None and self._composer.usable(before, self.heard.signer)
        return super()._finish(question)

    def _failed(self, error: BaseException, request_der: bytes) -> Answer:
        self.heard.error = error
        return super()._failed(error, request_der)

    def _refused(self, status: OcspStatus) -> Answer:
        self.heard.refused = True
        return super()._refused(status)


class Explainer:
    """Explains what a responder answers. `boot_clock` is that of the knowledge, `wall_clock` that of the responder."""

    def __init__(
        self,
        responder: Responder,
        knowledge: Knowledge,
        policy: AnswerPolicy,
        validity: ValidityPolicies,
        boot_clock: Clock,
        wall_clock: Clock,
        *,
        signed_requests: bool = False,
    ) -> None:
        self._responder = responder
        self._knowledge = knowledge
        self._policy = policy
        self._validity = validity
        self._boot_clock = boot_clock
        self._wall_clock = wall_clock
        self._signed_requests = signed_requests

    async def explain(self, request_der: bytes) -> Json:
        """The answer to these octets and how it came about, as JSON values. Never raises for what the octets are."""
        overheard = Overheard(self._responder)
        answer = await overheard.answer(request_der)
        if not answer.fresh():
            answer = Answer.error(OcspStatus.TRY_LATER)
            overheard.heard.error = StatusUnavailable("the evidence ran out while the answer was made")
        heard = overheard.heard
        why = heard.why
        request = heard.request or self._reread(request_der)
        told: Json = {
            "summary": "",
            "advice": "",
            "refusal": None if why is None else {"why": str(why), "detail": heard.detail(request_der)},
            "request": None if request is None else self._request(request, len(request_der)),
            "issuer": None if heard.issuer is None else _issuer(heard.issuer),
            "signer": None if heard.signer is None else _signer(heard.signer, heard.slot),
            "certificates": [self._entry(entry, heard.held) for entry in heard.entries],
            "answer": self._answer(answer, ready=heard.ready),
            "watch": self._watch(),
            "policy": self._settings(heard.issuer),
        }
        told["summary"], told["advice"] = summary(told), advice(told)
        return told

    @staticmethod
    def _reread(request_der: bytes) -> OcspRequest | None:
        """What can be read of a request that was refused, with nothing required of it but its syntax."""
        try:
            return parse_request(request_der, max_requests=_MOST_CERTIFICATES)
        except MalformedRequest:
            return None

    def _request(self, request: OcspRequest, size: int) -> Json:
        return {
            "octets": size,
            "cert_ids": [self._cert_id(cert_id) for cert_id in request.cert_ids],
            "nonce": None if request.nonce is None else request.nonce[2:].hex(),
            "signed": request.signed,
            "preferred_algorithms": len(request.preferred),
        }

    def _cert_id(self, cert_id: CertID) -> Json:
        issuer = self._knowledge.issuers.match(cert_id)
        near = []
        if issuer is None:
            known = [KnownIssuer(each.name, each.subject_der, each.public_key_der) for each in self._knowledge.issuers]
            near = near_misses(cert_id.hash_algorithm, cert_id.issuer_name_hash, cert_id.issuer_key_hash, known)
        return {
            "hash_algorithm": cert_id.hash_algorithm,
            "issuer_name_hash": cert_id.issuer_name_hash.hex(),
            "issuer_key_hash": cert_id.issuer_key_hash.hex(),
            "serial_number": None if cert_id.serial is None else cert_id.serial.hex(),
            "issuer": None if issuer is None else issuer.name,
            "near_misses": [{**miss._asdict(), "fit": str(miss.fit)} for miss in near],
        }

    def _entry(self, entry: Entry, held: frozenset[bytes]) -> Json:
        status, now = entry.status, self._boot_clock()
        looked_up = bool(status.key.serial)
        revocation = status.revocation
        word = "unknown" if not status.known else "good" if revocation is None else "revoked"
        return {
            "serial_number": status.key.serial.hex() or None,
            "status": word,
            "source": "none" if not looked_up else "cache" if status.key.serial in held else "look-up",
            "evidence_age_seconds": _seconds(now - self._knowledge.evidence_time(entry)) if looked_up else None,
            "looked_up_seconds_ago": _seconds(now - entry.looked_up_at) if looked_up else None,
            "watched": entry.covered,
            "read_at_revision": entry.read_revision,
            "revision": status.revision or None,
            "change_time": _time(status.changed_at or None),
            "not_after_time": _time(status.not_after or None),
            "revocation_time": _time(revocation.revoked_at) if revocation else None,
            "reason": revocation.reason if revocation else None,
        }

    def _answer(self, answer: Answer, *, ready: bool) -> Json:
        read = read_response(answer.body)
        headers = {name.decode(): value.decode() for name, value in headers_of(answer, int(self._wall_clock()))}
        basic = read.basic
        return {
            "status": OcspStatus(read.status).name.lower(),
            "ready": ready,
            "der": answer.body.hex(),
            "headers": headers,
            "produced_at": _time(basic.produced_at.timestamp()) if basic else None,
            "certificates": [
                {
                    "status": single.status,
                    "this_update": _time(single.this_update.timestamp()),
                    "next_update": _time(single.next_update.timestamp()) if single.next_update else None,
                }
                for single in (basic.singles if basic else ())
            ],
        }

    def _watch(self) -> Json:
        evidence = self._knowledge.evidence
        age = self._boot_clock() - evidence.proof
        return {
            "history": evidence.history,
            "revision": evidence.applied,
            "proof_age_seconds": None if age == float("inf") else _seconds(age),
            "max_staleness_seconds": self._knowledge.max_staleness,
        }

    def _settings(self, issuer: Issuer | None) -> Json:
        validity = self._validity.of(issuer.name) if issuer else self._validity.general
        return {
            "nonce": str(self._policy.nonce),
            "never_issued": str(self._policy.never_issued),
            "signed_requests": "require" if self._signed_requests else "ignore",
            "validity_seconds": validity.validity,
            "max_age_seconds": validity.max_age,
            "clock_skew_seconds": validity.clock_skew,
        }


def _issuer(issuer: Issuer) -> Json:
    end = issuer.not_after
    return {
        "name": issuer.name,
        "enrols": issuer.active,
        "not_after_time": None if end == float("inf") else _time(end),
        "revision": issuer.revision,
    }


def _signer(signer: ResponseSigner, slot: int) -> Json:
    certificate = signer.certificate
    return {
        "slot": slot,
        "kind": "the issuer itself" if signer.direct else "delegated responder",
        "subject": certificate.subject.rfc4514_string(),
        "serial_number": f"{certificate.serial_number:x}",
        "key_hash": signer.key_hash.hex(),
        "fingerprint_sha256": certificate.fingerprint(SHA256()).hex(),
        "not_before_time": _time(certificate.not_valid_before_utc.timestamp()),
        "not_after_time": _time(signer.ends_at),
    }


def _time(seconds: float | None) -> str | None:
    """Seconds since 1970 as RFC 3339."""
    return None if seconds is None else as_time(int(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(value: float) -> float | None:
    return None if value in (float("inf"), float("-inf")) else round(value, 3)
