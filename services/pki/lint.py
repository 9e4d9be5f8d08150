"""An independent linter over exactly what is going to be signed, before it is signed (R104).

The certificate that pkilint sees differs from the one that is issued in nothing but its signature, which a throw-away
key made. pkilint is an optional dependency: only profiles with `lint` need it.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.errors import FieldViolation, InvalidArgument
from services.pki.certificates import Draft, sign_with
from services.pki.issuers import Issuer, PrivateKey
from services.pki.profile import LintLevel, LintRules, Profile

_CURVES: dict[int, ec.EllipticCurve] = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}


class LinterMissing(Exception):
    """A profile wants to be linted, and pkilint is not installed. The text says which, and the cure."""


class Linter:
    """Lints drafts as their profiles say. Safe to use from many threads.

    Make it at the start of a process: what it needs is loaded then. Raises LinterMissing.
    """

    def __init__(self, profiles: Iterable[Profile]) -> None:
        wanted = {profile.name: profile.lint for profile in profiles if profile.lint is not None}
        require_pkilint(wanted)
        # Validators keep state while they run.
        self._lock = threading.Lock()
        self._rules = {rules: _Rules(rules) for rules in set(wanted.values())}

    def check(self, draft: Draft, issuer: Issuer, field: str) -> None:
        """Raises InvalidArgument (LINT_FAILED, on `field`) with what the linter has against the certificate."""
        profile = draft.profile
        if profile.lint is None:
            return
        der = sign_with(_throw_away(issuer), draft, issuer)
        with self._lock:
            found = self._rules[profile.lint].findings(der, profile.lint_level)
        texts = [text for code, text in found if code not in profile.lint_accept]
        if texts:
            violations = [FieldViolation(field, "LINT_FAILED", text) for text in texts]
            text = f"the linter ({profile.lint}) refuses the certificate: {texts[0]}"
            raise InvalidArgument("LINT_FAILED", text, violations=violations)


def require_pkilint(wanted: Mapping[str, LintRules | None]) -> None:
    """Raise LinterMissing where a profile (by name) wants to be linted, and pkilint is not installed."""
    names = [name for name, rules in wanted.items() if rules is not None]
    if names and find_spec("pkilint") is None:
        raise LinterMissing(
            f"[profiles.{names[0]}] lint: pkilint is not installed: pip install 'goodstanding[lint]', or remove lint"
        )


def _throw_away(issuer: Issuer) -> PrivateKey:
    """A key like the issuer's, so that the algorithm of the signature is the same."""
    key = issuer.private_key
    size = key.key_size if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else 0
    return _generated(type(key), size)


@lru_cache(maxsize=16)
def _generated(kind: type[PrivateKey], size: int) -> PrivateKey:
    if issubclass(kind, rsa.RSAPrivateKey):
        return rsa.generate_private_key(65537, size)
    if issubclass(kind, ec.EllipticCurvePrivateKey):
        return ec.generate_private_key(_CURVES[size])
    return kind.generate()  # Ed25519 and ML-DSA


class _Rules:
    """One of pkilint's sets of rules."""

    def __init__(self, rules: LintRules) -> None:
        self._baseline = rules == "cabf-serverauth"
        self._loader = _module("loader").RFC5280CertificateDocumentLoader()
        self._validators: dict[Any, Any] = {}
        self._validator(None if not self._baseline else _constants().CertificateType.DV_FINAL_CERTIFICATE)

    def findings(self, der: bytes, level: LintLevel) -> list[tuple[str, str]]:
        """Code of each finding of that severity or above, and what to say of it: code, text, and where, each once.

        A linter that fails has found something, too.
        """
        try:
            document = self._loader.load_der_document(der, "certificate")
            kind = _serverauth().determine_certificate_type(document) if self._baseline else None
            # A document is validated once: validation decodes it further.
            results = self._validator(kind).validate(document.root)
            if kind is not None:
                filters = _serverauth().create_serverauth_finding_filters(kind)
                results = _module("finding_filter").filter_results(filters, results)[0]
        except Exception as error:  # noqa: BLE001 - a certificate that the linter cannot read is not issued
            return [("linter_failed", f"linter_failed: {type(error).__name__}")]
        severity = _module("validation").ValidationFindingSeverity
        worst = severity.WARNING if level == "warning" else severity.ERROR
        told = [
            (found.finding.code, _told(found.finding.code, found.message or "", result.node.path))
            for result in results
            for found in result.finding_descriptions
            if found.finding.severity <= worst
        ]
        return list(dict.fromkeys(told))

    def _validator(self, kind: Any) -> Any:
        if kind not in self._validators:
            self._validators[kind] = _pkix_validator() if kind is None else _baseline_validator(kind)
        return self._validators[kind]


def _told(code: str, text: str, path: str) -> str:
    """A finding in words. One that is made of several URLs, say, would be the same words for each but for the place."""
    place = path
    for marker in (".tbsCertificate.", ".extnValue."):
        place = place.partition(marker)[2] or place
    return f"{code}: {text} (in {place})" if text else f"{code} (in {place})"


def _pkix_validator() -> Any:
    certificate, name, extension = (_module(f"pkix.{part}") for part in ("certificate", "name", "extension"))
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


def _baseline_validator(kind: Any) -> Any:
    return _module("pkix.certificate").create_pkix_certificate_validator_container(
        _serverauth().create_decoding_validators(), _serverauth().create_validators(kind)
    )


def _serverauth() -> Any:
    return _module("cabf.serverauth")


def _constants() -> Any:
    return _module("cabf.serverauth.serverauth_constants")


def _module(name: str) -> Any:
    return importlib.import_module(f"pkilint.{name}")
