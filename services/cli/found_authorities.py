"""Proposals that take in an authority that somebody has: its certificate, those above it, and perhaps its key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.authorities import KeyPlace, Office, certificates, chain_of, state_of
from services.cli.consent import Proposal
from services.cli.failures import Failed
from services.cli.recording_authorities import (
    active_note,
    might_be_recorded,
    reference_of,
    request,
    told,
    unless_recorded,
)
from services.cli.sound_authorities import require_certifiable, require_sound
from services.pki import der
from services.pki.issuers import PrivateKey, check_ca_certificate, public_key_of
from services.pki.paths import is_self_signed, is_signed_by, same_issuer
from services.pki.unreadable import UNREADABLE

_HISTORY_NOTE = (
    "if it has issued before: nothing is known of that here, and its revocation lists begin with number 1; "
    "`goodstanding import` instead of this brings its certificates in as well, and goes on with its numbers"
)


@dataclass(frozen=True)
class Found:
    """An authority that somebody has: certificate, those above it, and its key if it is to issue here."""

    name: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()
    key: KeyPlace | None = None
    retired: bool = False
    retires: tuple[str, ...] = ()


def import_authority(office: Office, found: Found) -> Proposal:
    """Propose to take an authority in. What is known is not imported twice. Raises Failed where it does not verify."""
    known = office.known(found.certificate)
    name = known.name if known else found.name
    above = above_to_import(office, found)
    check_chain(found, above, office)
    fresh = known is None or found.certificate.public_bytes(Encoding.DER) not in known.certificates_der
    with_its_key = found.key is not None and (known is None or known.state == types_pb2.ISSUER_STATE_OFFLINE)
    if known is None and not _in_place(office, found):
        office.require_free(name)
    lines = [f"record issuer {each} (offline): {of.subject.rfc4514_string()}" for each, of in above]
    if found.key is not None and with_its_key and not _in_place(office, found):
        lines += [
            f"open the key {found.key.file}, which has to be that of the certificate",
            f"encrypt it anew: {office.files(name)[0]}, its passphrase in {office.files(name)[1]}",
        ]
    state = "offline" if not with_its_key else "retired" if found.retired else "active"
    key = _open(found) if found.key is not None and with_its_key else None
    _require_acceptable(office, found, above, activates=state == "active", is_certified=known is not None and fresh)
    subject = found.certificate.subject.rfc4514_string()
    if known is None:
        lines.append(f"record issuer {name} ({state}): {subject}")
    elif fresh:
        lines.append(f"add the certificate to issuer {name}, which is known by its subject and key; it is preferred")
    elif with_its_key:
        lines.append(f"give issuer {name}, which is known, its key: it is {state} then")
    lines += [f"retire {each}" for each in found.retires]

    def act() -> tuple[output.Json, str]:
        for each, certificate in above:
            office.record(request(each, [certificate]))
        place = _in_place(office, found)
        with unless_recorded(office, name, keep=known is not None or place):
            if key is not None and not place:
                office.save_key(name, key)
            recorded = office.record(
                request(
                    name,
                    [found.certificate],
                    key=reference_of(name) if key is not None else "",
                    retires=found.retires,
                    retired=found.retired and key is not None,
                )
            )
        office.save_certificate(name, chain_of(recorded.issuer))
        return told(recorded.issuer, f"issuer {name} is {state_of(recorded.issuer)}")

    if not lines:
        return Proposal((f"nothing: issuer {name} is known already, with this certificate",), lambda: _nothing(known))
    notes = active_note(office, name if state == "active" else None, found.retires)
    if known is not None and fresh:
        notes += _shorter_note(found.certificate, certificates(known)[0])
    if known is None and key is not None and not _in_place(office, found):
        notes += (_HISTORY_NOTE,)
    return Proposal(tuple(lines), act, notes)


def _require_acceptable(
    office: Office,
    found: Found,
    above: Sequence[tuple[str, x509.Certificate]],
    *,
    activates: bool,
    is_certified: bool,
) -> None:
    """Raise Failed for what the ca service would refuse."""
    name = found.certificate.subject.rfc4514_string()
    if activates:
        what = f"{name} cannot come in to issue, but only without --key or with --retired"
        require_certifiable(office, der.public_key_der(found.certificate), what)
        for issuer in office.issuers.values():
            if any(is_signed_by(found.certificate, each) for each in certificates(issuer)):
                require_sound(office, issuer, what)
    elif is_certified:
        require_certifiable(office, der.public_key_der(found.certificate), f"{name} gets no other certificate")
    for each, certificate in (*above, (found.name, found.certificate)):
        might_be_recorded(office, each, certificate, above_is_new=bool(above))


def _shorter_note(new: x509.Certificate, old: x509.Certificate) -> tuple[str, ...]:
    """That what is issued from then on ends earlier than it might, if so."""
    ends = [each.not_valid_after_utc for each in (new, old)]
    if ends[0] >= ends[1]:
        return ()
    return (f"it ends on {ends[0]:%Y-%m-%d}, and the one that is preferred so far on {ends[1]:%Y-%m-%d}",)


def _open(found: Found) -> PrivateKey:
    """The key to import. Raises Failed where it is not that of the certificate."""
    assert found.key is not None
    key = found.key.open()
    if public_key_of(key) != der.public_key_der(found.certificate):
        subject = found.certificate.subject.rfc4514_string()
        raise Failed(f"{found.key.file} is not the key of the certificate {subject}")
    return key


def _nothing(known: types_pb2.Issuer | None) -> tuple[output.Json, str]:
    assert known is not None
    return told(known, f"issuer {known.name} is known already")


def _in_place(office: Office, found: Found) -> bool:
    """Whether the key is where the ca service looks for it, with its passphrase: from a run that was cut off."""
    key, passphrase, *_ = office.files(found.name)
    return found.key is not None and passphrase.is_file() and found.key.file.resolve() == key.resolve()


def above_to_import(office: Office, found: Found) -> list[tuple[str, x509.Certificate]]:
    """The CA certificates above that are not known yet, the top one first, with names for them. Raises Failed."""
    for certificate in found.chain:
        require_authority(certificate)
    fresh = [
        certificate
        for certificate in found.chain
        if not same_issuer(certificate, found.certificate) and office.known(certificate) is None
    ]
    ordered: list[x509.Certificate] = []
    while fresh:
        tops = [each for each in fresh if not any(is_signed_by(each, other) for other in fresh if other is not each)]
        if not tops:
            raise Failed("the chain goes round in a circle")
        ordered += tops
        fresh = [each for each in fresh if each not in tops]
    names: list[str] = [*office.issuers, found.name]
    pairs = []
    for certificate in ordered:
        names.append(name_for(certificate, names))
        pairs.append((names[-1], certificate))
    return pairs


def require_authority(certificate: x509.Certificate) -> None:
    """Raise Failed for what the ca service would refuse as the certificate of an issuer."""
    try:
        check_ca_certificate(certificate)
        der.public_key_der(certificate)
    except UNREADABLE as error:
        raise Failed(f"{_name_of(certificate)} cannot be an issuer: {error}") from error


def _name_of(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string() or "a certificate without a subject"
    except ValueError:
        return "a certificate whose subject cannot be read"


def check_chain(found: Found, above: Sequence[tuple[str, x509.Certificate]], office: Office) -> None:
    """Raise Failed where something above is missing."""
    authorities = [certificate for _, certificate in above]
    authorities += [each for issuer in office.issuers.values() for each in certificates(issuer)]
    for certificate in (found.certificate, *(each for _, each in above)):
        if not is_self_signed(certificate) and not any(is_signed_by(certificate, each) for each in authorities):
            raise Failed(
                f"nothing here signed {certificate.subject.rfc4514_string()}: give the CA certificates above it, up to "
                f"the root, with --chain (the next one is {certificate.issuer.rfc4514_string()})"
            )


def name_for(certificate: x509.Certificate, taken: Sequence[str]) -> str:
    """A name for an issuer, made of its common name, that is not taken."""
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    text = str(found[0].value).lower() if found else "ca"
    base = "-".join(filter(None, "".join(c if c.isascii() and c.isalnum() else " " for c in text).split()))[:50] or "ca"
    return next(name for name in _numbered(base) if name not in taken)


def _numbered(base: str) -> Iterator[str]:
    yield base
    number = 2
    while True:
        yield f"{base}-{number}"
        number += 1


def read_certificates(file: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, or the one in a DER file. Raises Failed."""
    content = file.read_bytes()
    try:
        if b"-----BEGIN " in content:
            return x509.load_pem_x509_certificates(content)
        return [x509.load_der_x509_certificate(content)]
    except UNREADABLE as error:
        raise Failed(f"{file} holds no certificate, neither in PEM nor in DER") from error
