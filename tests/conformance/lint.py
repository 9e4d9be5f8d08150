"""pkilint has nothing against any answer that the tests hear, nor against any responder certificate in one.

It runs in process, and takes about 2 ms for an answer and 6 ms for a certificate: every distinct one is linted in full.
Answers are the same to it if they differ in nothing but the octets of the nonce and of the signature: it reads neither.
It checks form, not signatures; those are checked where answers are tested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_der_x509_certificate
from pkilint import finding_filter, loader, pkix
from pkilint.cabf import serverauth
from pkilint.cabf.serverauth import serverauth_constants
from pkilint.pkix import certificate, extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity

ACCEPTED = {
    "cabf.serverauth.ca.country_attribute_absent": "a delegate has the issuer's country; who runs the CA names it",
    "cabf.serverauth.ca.organization_name_attribute_absent": "the same",
}
"""Findings that are no fault of what was linted, and why."""

_DELEGATE = serverauth_constants.CertificateType.OCSP_RESPONDER


def answer_findings(der: bytes) -> list[str]:
    """What RFC 6960 has against an answer."""
    document = loader.RFC6960OCSPResponseDocumentLoader().load_der_document(der, "answer")
    return _worst(_ocsp().validate(document.root))


def certificate_findings(der: bytes, accepted: Collection[str] = ACCEPTED.keys()) -> list[str]:
    """What RFC 5280 has against a certificate, and the baseline requirements against a delegate that our CA made."""
    document = _certificate_document(der)
    found = _worst(_pkix().validate(document.root), accepted)
    if is_our_delegate(der) and _has_baseline_key(der):
        # A document is validated once: validation decodes it further.
        results = _baseline().validate(_certificate_document(der).root)
        filters = serverauth.create_serverauth_finding_filters(_DELEGATE)
        found += _worst(finding_filter.filter_results(filters, results)[0], accepted)
    return found


def is_our_delegate(der: bytes) -> bool:
    """Whether the CA made it: such have the issuer's name with these words in the end. Tests name theirs otherwise."""
    read = x509.Certificate.load(der)
    common_name = read.subject.native.get("common_name") or ""
    return common_name == f"{read.issuer.native.get('common_name')} OCSP responder"


def _has_baseline_key(der: bytes) -> bool:
    """Whether the baseline requirements know such keys: they forbid the others, which an operator has to choose."""
    return isinstance(load_der_x509_certificate(der).public_key(), RSAPublicKey | EllipticCurvePublicKey)


def _certificate_document(der: bytes) -> Any:
    return loader.RFC5280CertificateDocumentLoader().load_der_document(der, "certificate")


def _worst(results: Iterable[Any], accepted: Collection[str] = ()) -> list[str]:
    """Findings of severity warning and above."""
    return [
        f"{found.finding.severity} {found.finding.code} {found.message or ''} at {result.node.path}"
        for result in results
        for found in result.finding_descriptions
        if found.finding.severity <= ValidationFindingSeverity.WARNING and found.finding.code not in accepted
    ]


@cache
def _ocsp() -> Any:
    decoders = [
        ocsp.create_response_decoder(),
        pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
        pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
    ]
    return ocsp.create_pkix_ocsp_response_validator_container(decoders, [])


@cache
def _pkix() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def _baseline() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        serverauth.create_decoding_validators(), serverauth.create_validators(_DELEGATE)
    )


class Linter:
    """Lints what it has not seen yet."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard
        self._next = 0
        self._seen: set[bytes] = set()

    def findings(self) -> list[str]:
        """What is wrong with what was heard since the last time. Each thing is reported once."""
        new, self._next = self._heard[self._next :], len(self._heard)
        found: list[str] = []
        for answer in (each for each in new if self._is_new(without_randomness(each))):
            found += [f"{finding} of {answer.hex()}" for finding in answer_findings(answer)]
            for der in filter(self._is_new, certificates_in(answer)):
                found += [f"{finding} of {der.hex()}" for finding in certificate_findings(der)]
        return found

    def _is_new(self, der: bytes) -> bool:
        key = hashlib.sha256(der).digest()
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def without_randomness(answer: bytes) -> bytes:
    """The answer with zeros in the place of the signature and of the nonce."""
    basic = asn1_ocsp.OCSPResponse.load(answer)["response_bytes"]["response"].parsed
    extensions = basic["tbs_response_data"]["response_extensions"]
    nonces = [each["extn_value"].contents for each in extensions or [] if each["extn_id"].native == "nonce"]
    for octets in (basic["signature"].contents, *nonces):
        if octets.strip(b"\0") and answer.count(octets) == 1:
            answer = answer.replace(octets, bytes(len(octets)))
    return answer


def certificates_in(answer: bytes) -> list[bytes]:
    """The certificates that an answer encloses."""
    response = asn1_ocsp.OCSPResponse.load(answer)["response_bytes"]["response"].parsed
    return [each.dump() for each in response["certs"] or []]
