"""Verifies an OCSP response as a client does (RFC 6960, section 3.2), step by step, and says what each step came to.

Steps: the signature; who made it, and whether the issuer lets him (4.2.2.2); the CertIDs; the times; what was asked.
Nothing is fetched: what the responder's certificate refers to is not followed. Pure but for what it is given: no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from gateway.ocsp.matching import PHRASES, issuer_hashes, near_misses
from gateway.ocsp.reading import ReadBasic, ReadCertID, ReadExtension, ReadSingle
from gateway.ocsp.request import NONCE, OcspRequest
from services.cli.explaining.certificates import (
    UNREADABLE,
    key_hash,
    known_issuer,
    load_certificate,
    public_key_der,
    serial_number,
)
from services.cli.explaining.signatures import ALGORITHMS, algorithm_name, verifies
from services.cli.output import plain
from services.clock import rfc3339

SKEW: Final = timedelta(minutes=5)
"""How far clocks may be apart: what OpenSSL allows, too."""
HASHES: Final = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "1.2.840.113549.2.5": "md5",
}
_MAX_CERTIFICATES: Final = 16
_MAX_SINGLES: Final = 100


class Outcome(StrEnum):
    """What a check came to."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    NOT_CHECKED = "not-checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a client looks at."""

    name: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Given:
    """What an answer is checked against."""

    now: datetime
    issuers: Sequence[tuple[str, x509.Certificate]] = ()
    """CA certificates that may be the issuer's, each with a name for people."""
    certificate: x509.Certificate | None = None
    """What the answer should be about."""
    request: OcspRequest | None = None
    """What was asked."""
    is_named: bool = True
    """Whether somebody said that the issuer is among `issuers`; they are merely those that are known otherwise."""


@dataclass
class Verification:
    """All checks of an answer, and who made it."""

    checks: list[Check] = field(default_factory=list)
    signer: x509.Certificate | None = None
    issuer: tuple[str, x509.Certificate] | None = None
    delegated: bool = False

    @property
    def outcome(self) -> Outcome:
        """Failed if anything did; not checked if anything that counts was not."""
        found = {check.outcome for check in self.checks}
        for outcome in (Outcome.FAILED, Outcome.NOT_CHECKED, Outcome.WARNING):
            if outcome in found:
                return outcome
        return Outcome.PASSED

    def add(self, name: str, outcome: Outcome, text: str) -> None:
        """Note a check."""
        self.checks.append(Check(name, outcome, text))


def verify(basic: ReadBasic, given: Given) -> Verification:
    """Check an answer."""
    found = Verification()
    enclosed = list(_enclosed(basic, found))
    found.issuer = _issuer(basic, given, found)
    _check_signature(basic, given, enclosed, found)
    _check_authority(basic, given, found)
    if len(basic.singles) > _MAX_SINGLES:
        text = f"only the first {_MAX_SINGLES} of {len(basic.singles)} certificates were looked at"
        found.add("times", Outcome.NOT_CHECKED, text)
    for index, single in enumerate(basic.singles[:_MAX_SINGLES]):
        place = f"responses[{index}]: " if len(basic.singles) > 1 else ""
        _check_times(single, basic, given.now, place, found)
    _check_production(basic, given.now, found)
    if given.certificate is not None:
        _check_certificate(basic, given.certificate, found)
    if given.request is not None:
        _check_request(basic, given.request, found)
    return found


def _enclosed(basic: ReadBasic, found: Verification) -> Iterator[x509.Certificate]:
    for index, each in enumerate(basic.certificates[:_MAX_CERTIFICATES]):
        try:
            certificate = load_certificate(each)
        except ValueError as error:
            found.add("enclosed certificates", Outcome.WARNING, f"certs[{index}] cannot be read: {error}")
        else:
            yield certificate


def matches(cert_id: ReadCertID, certificate: x509.Certificate) -> bool:
    """Whether a CertID means this issuer."""
    algorithm = HASHES.get(cert_id.hash_algorithm.oid)
    if algorithm is None:
        return False
    try:
        hashed = issuer_hashes(known_issuer("", certificate), algorithm)
    except UNREADABLE:
        return False
    return hashed == (cert_id.issuer_name_hash, cert_id.issuer_key_hash)


def _issuer(basic: ReadBasic, given: Given, found: Verification) -> tuple[str, x509.Certificate] | None:
    """The issuer that all CertIDs mean, among those that are given."""
    if not given.issuers:
        found.add("issuer", Outcome.NOT_CHECKED, "no issuer's certificate is known: give it with --issuer FILE")
        return None
    if not basic.singles:
        found.add("issuer", Outcome.FAILED, "the answer is about no certificate at all")
        return None
    for name, certificate in given.issuers:
        if all(matches(single.cert_id, certificate) for single in basic.singles):
            found.add("issuer", Outcome.PASSED, f"the CertID has both hashes of {name}")
            return name, certificate
    text = _misses(basic.singles[0].cert_id, given)
    if given.is_named:
        found.add("issuer", Outcome.FAILED, text)
    else:
        found.add("issuer", Outcome.NOT_CHECKED, f"{text}; give the issuer's certificate with --issuer FILE")
    return None


def _misses(cert_id: ReadCertID, given: Given) -> str:
    known = [known_issuer(name, certificate) for name, certificate in given.issuers]
    algorithm = HASHES.get(cert_id.hash_algorithm.oid)
    found = near_misses(algorithm, cert_id.issuer_name_hash, cert_id.issuer_key_hash, known)
    told = "; ".join(PHRASES[each.fit].format(name=each.issuer, hash=each.hash_algorithm) for each in found[:3])
    names = ", ".join(name for name, _ in given.issuers[:5])
    return f"the CertID is not of {names}" + (f": {told}" if told else "")


def _check_signature(basic: ReadBasic, given: Given, enclosed: Sequence[x509.Certificate], found: Verification) -> None:
    """1. Find who made the signature, by the responder's name or key, among what is enclosed and given."""
    candidates = [*enclosed, *(certificate for _, certificate in given.issuers)]
    named = [each for each in candidates if _is_responder(basic, each)]
    try:
        signer = next((each for each in named if _signed(basic, each)), None)
        other = None if signer else next((each for each in candidates if _signed(basic, each)), None)
    except ValueError as error:
        found.add("signature", Outcome.NOT_CHECKED, str(error))
        return
    algorithm = algorithm_name(basic.algorithm.oid)
    found.signer = signer
    if signer is not None:
        weak = ALGORITHMS[basic.algorithm.oid].weak
        found.add("signature", Outcome.PASSED, f"{algorithm}, by {_subject(signer)}")
        if weak:
            found.add("signature algorithm", Outcome.WARNING, f"{algorithm} is too weak; many clients refuse it")
    elif named:
        text = f"it does not verify with the key of {_subject(named[0])}: the answer or its signature was changed"
        found.add("signature", Outcome.FAILED, text)
    elif other is not None:
        text = f"{_subject(other)} made it, but responderID names somebody else"
        found.add("signature", Outcome.FAILED, text)
    elif given.issuers and given.is_named:
        text = "neither an enclosed certificate nor the issuer is the responder that responderID names"
        found.add("signature", Outcome.FAILED, text)
    else:
        text = "the responder's certificate is not enclosed: give the issuer's with --issuer FILE"
        found.add("signature", Outcome.NOT_CHECKED, text)


def _is_responder(basic: ReadBasic, certificate: x509.Certificate) -> bool:
    try:
        if basic.responder_name is not None:
            return certificate.subject.public_bytes() == basic.responder_name
        return key_hash(certificate) == basic.responder_key_hash
    except UNREADABLE:
        return False


def _signed(basic: ReadBasic, certificate: x509.Certificate) -> bool:
    return verifies(certificate, basic.algorithm, basic.signature, basic.tbs)


def _check_authority(basic: ReadBasic, given: Given, found: Verification) -> None:
    """2. Whether the issuer lets the signer answer: it is the issuer, or the issuer says so in its certificate."""
    signer = found.signer
    if signer is None or found.issuer is None:
        if signer is not None:
            text = "whether it may answer depends on the issuer, which is not known"
            found.add("responder", Outcome.NOT_CHECKED, text)
        return
    name, issuer = found.issuer
    if public_key_der(signer) == public_key_der(issuer) and signer.subject == issuer.subject:
        found.add("responder", Outcome.PASSED, f"it is the issuer itself, {name}")
        return
    found.delegated = True
    problems = list(_delegate_problems(signer, issuer, name))
    for problem in problems:
        found.add("responder", Outcome.FAILED, problem)
    if not problems:
        found.add("responder", Outcome.PASSED, f"{name} issued its certificate for signing OCSP answers")
    _check_delegate_life(signer, basic, given.now, found)


def _delegate_problems(signer: x509.Certificate, issuer: x509.Certificate, name: str) -> Iterator[str]:
    try:
        signer.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        yield f"its certificate was not issued by {name}, for which it answers (RFC 6960, section 4.2.2.2)"
    try:
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
            yield "the extended key usage of its certificate lacks OCSPSigning"
    except x509.ExtensionNotFound:
        yield "its certificate has no extended key usage, and needs OCSPSigning"
    except UNREADABLE as error:
        yield f"the extensions of its certificate cannot be read: {error}"
        return
    try:
        if not signer.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            yield "the key usage of its certificate lacks digitalSignature"
    except x509.ExtensionNotFound:
        pass


def _check_delegate_life(signer: x509.Certificate, basic: ReadBasic, now: datetime, found: Verification) -> None:
    begin, end = signer.not_valid_before_utc, signer.not_valid_after_utc
    if now + SKEW < begin or now > end:
        word = "is not valid before" if now < begin else "ended"
        found.add("responder's certificate", Outcome.FAILED, f"it {word} {rfc3339(begin if now < begin else end)}")
    else:
        found.add("responder's certificate", Outcome.PASSED, f"valid from {rfc3339(begin)} to {rfc3339(end)}")
    if any(single.next_update is not None and single.next_update > end for single in basic.singles):
        text = "the answer is valid for longer than the responder's certificate"
        found.add("responder's certificate", Outcome.WARNING, text)
    try:
        signer.extensions.get_extension_for_oid(ExtensionOID.OCSP_NO_CHECK)
    except x509.ExtensionNotFound:
        text = "it lacks id-pkix-ocsp-nocheck: clients may want to know whether it is revoked itself"
        found.add("responder's certificate", Outcome.WARNING, text)
    except UNREADABLE:
        pass  # told already


def _check_times(single: ReadSingle, basic: ReadBasic, now: datetime, place: str, found: Verification) -> None:
    """3. Whether the answer holds now."""

    def add(outcome: Outcome, text: str) -> None:
        found.add("times", outcome, place + text)

    if single.this_update > now + SKEW:
        add(Outcome.FAILED, f"not valid before {rfc3339(single.this_update)} (thisUpdate)")
    elif single.next_update is not None and single.next_update < single.this_update:
        add(Outcome.FAILED, "nextUpdate comes before thisUpdate")
    elif single.next_update is not None and single.next_update < now:
        add(Outcome.FAILED, f"it ended {rfc3339(single.next_update)} (nextUpdate): ask again")
    elif single.next_update is None:
        text = "there is no nextUpdate, and many clients refuse such answers (RFC 9919, section 3.2.4)"
        add(Outcome.WARNING, text)
    elif single.this_update > now:
        add(Outcome.WARNING, "thisUpdate is in the future, by less than five minutes: a clock is wrong")
    else:
        text = f"valid from {rfc3339(single.this_update)} to {rfc3339(single.next_update)}"
        add(Outcome.PASSED, text)
    if single.revocation_time is not None and single.revocation_time > single.this_update:
        add(Outcome.WARNING, "revoked later than thisUpdate")
    if single.this_update > basic.produced_at:
        add(Outcome.WARNING, "producedAt comes before thisUpdate")


def _check_production(basic: ReadBasic, now: datetime, found: Verification) -> None:
    if basic.produced_at > now + SKEW:
        text = f"producedAt is in the future: {rfc3339(basic.produced_at)}"
        found.add("producedAt", Outcome.FAILED, text)


def _check_certificate(basic: ReadBasic, certificate: x509.Certificate, found: Verification) -> None:
    """4. Whether the answer is about the certificate that is given."""
    serial = serial_number(certificate)
    told = [single for single in basic.singles if single.cert_id.serial_number == serial]
    if not told:
        others = ", ".join(f"{single.cert_id.serial_number:x}" for single in basic.singles[:3])
        text = f"the answer is about serial number {others}, and not about {serial:x}"
        found.add("certificate", Outcome.FAILED, text)
        return
    issuer = found.issuer[1] if found.issuer else None
    if issuer is not None and issuer.subject != certificate.issuer:
        text = "the certificate is of another issuer than the one that the answer is for"
        found.add("certificate", Outcome.FAILED, text)
    else:
        found.add("certificate", Outcome.PASSED, f"the answer is about serial number {serial:x}")


def _check_request(basic: ReadBasic, request: OcspRequest, found: Verification) -> None:
    """5. Whether the answer is to what was asked."""
    told = {single.cert_id.der for single in basic.singles}
    missing = [cert_id for cert_id in request.cert_ids if cert_id.der not in told]
    if missing:
        text = f"{len(missing)} of {len(request.cert_ids)} CertIDs do not come back as they were asked"
        found.add("request", Outcome.FAILED, text)
    else:
        found.add("request", Outcome.PASSED, "every CertID comes back as it was asked")
    nonce = _nonce(basic.extensions)
    if request.nonce is None:
        if nonce is not None:
            found.add("nonce", Outcome.WARNING, "the answer has a nonce that the request did not have")
    elif nonce is None:
        text = "the answer has no nonce: it may be one that was made before (clients may take it, or not)"
        found.add("nonce", Outcome.WARNING, text)
    elif nonce != request.nonce:
        found.add("nonce", Outcome.FAILED, "the nonce is another one: this is no answer to that request")
    else:
        found.add("nonce", Outcome.PASSED, "it is the nonce of the request")


def _nonce(extensions: Sequence[ReadExtension]) -> bytes | None:
    return next((each.value for each in extensions if each.oid == NONCE.dotted_string), None)


def _subject(certificate: x509.Certificate) -> str:
    try:
        return plain(certificate.subject.rfc4514_string()) or "a certificate without a name"
    except UNREADABLE:
        return "a certificate whose name cannot be read"
