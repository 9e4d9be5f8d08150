"""Proposals that bring an authority in: a new root, a CA below another, a roll-over, an import of what there is.

In this order, so that whatever goes wrong leaves nothing behind that matters: the key of the CA above is opened; the
new key is made, and the certificate signed; the key is written down encrypted; the ca service opens it there, and
records. Where it refuses, the files are removed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.ca.urls import ca_certificate_url, crl_url
from services.cli import output
from services.cli.authorities import KeyPlace, Office, certificates, chain_of, key_type_of, with_key
from services.cli.commands.issuers import describe
from services.cli.consent import Proposal
from services.cli.failures import Failed
from services.cli.init import CRL_VALIDITY
from services.cli.key_types import KEY_TYPES
from services.clock import utc_now
from services.pki import der, hierarchy
from services.pki.crls import make_crl
from services.pki.issuers import Issuer, PrivateKey, check_ca_certificate, public_key_of
from services.pki.keys import generate_key
from services.pki.paths import is_self_signed, is_signed_by, same_issuer
from services.pki.unreadable import UNREADABLE


@dataclass(frozen=True)
class NewAuthority:
    """An authority to be made."""

    name: str
    subject: x509.Name
    key_type: str
    days: int
    path_length: int | None = 0
    retires: tuple[str, ...] = field(default=())
    like: x509.Certificate | None = None
    """The CA certificate that it takes the place of."""

    @property
    def issues(self) -> bool:
        """Whether it issues here: one that takes the place of another, or issues for others than CAs.

        The key of one that does not is kept offline.
        """
        return self.like is not None or self.path_length == 0

    def make_key(self) -> PrivateKey:
        """A new key of the wanted kind."""
        return generate_key(KEY_TYPES[self.key_type])


def subject_of(text: str | None, name: str) -> x509.Name:
    """A subject: RFC 4514 text ("CN=…,O=…,C=…"), or a common name, or one made of the issuer's name. Raises Failed."""
    wanted = text or f"{name} CA"
    try:
        return x509.Name.from_rfc4514_string(wanted) if "=" in wanted else hierarchy.ca_name(wanted)
    except ValueError as error:
        raise Failed(f"the subject {wanted!r} cannot be used: {error}") from error


def create_root(office: Office, new: NewAuthority) -> Proposal:
    """Propose a root, which stays offline, with its first revocation list."""
    office.require_free(new.name)

    def act() -> tuple[output.Json, str]:
        now, key = utc_now(), new.make_key()
        root = hierarchy.make_root(name=new.subject, key=key, now=now, validity=timedelta(days=new.days))
        crl = make_crl(Issuer(root, key), number=1, this_update=now, next_update=now + CRL_VALIDITY)
        with unless_recorded(office, new.name):
            office.save_key(new.name, key)
            office.save_certificate(new.name, [root])
            recorded = office.record(request(new.name, [root]))
        office.record_crl(new.name, crl)
        return told(recorded.issuer, f"made root {new.name}. {moved_away(office, new.name)}")

    lines = (
        *_key_lines(office, new),
        f"sign the root {new.subject.rfc4514_string()} with it, valid for {new.days} days",
        f"record issuer {new.name} (offline: no service loads its key), and its first revocation list",
    )
    return Proposal(lines, act, (moved_away(office, new.name),))


def create_below(office: Office, new: NewAuthority, parent: types_pb2.Issuer, above: KeyPlace) -> Proposal:
    """Propose a CA below another; a roll-over, if it retires one."""
    office.require_free(new.name)
    for name in new.retires:
        office.issuer(name)
    signing = certificates(parent)[0]
    with _possible(parent.name, new.name):
        hierarchy.require_room(signing, new.subject, new.path_length)

    def act() -> tuple[output.Json, str]:
        signer, key = with_key(parent, above), new.make_key()
        certificate = _sign(office, new, signer, key, parent.name)
        chain = [certificate, *chain_of(parent)]
        reference = reference_of(new.name) if new.issues else ""
        with unless_recorded(office, new.name):
            office.save_key(new.name, key)
            office.save_certificate(new.name, chain)
            recorded = office.record(request(new.name, [certificate], key=reference, retires=new.retires))
        text = f"made {new.name}: {office.files(new.name)[2]}, with those above it in {office.files(new.name)[3]}"
        return told(recorded.issuer, text if new.issues else f"{text}. {moved_away(office, new.name)}")

    state = "active" if new.issues else "offline: no service loads its key"
    lines = (
        f"open the key of {parent.name}: {above.file}",
        *_key_lines(office, new),
        f"sign {new.subject.rfc4514_string()} with the key of {parent.name}, "
        f"{_validity(new.days, utc_now() + timedelta(days=new.days), signing, parent.name)}, {_limits(new)}",
        f"record issuer {new.name} ({state})",
        *(f"retire {name}: it issues nothing more, and goes on answering for what it issued" for name in new.retires),
    )
    return Proposal(lines, act, active_note(office, new.name if new.issues else None, new.retires))


def roll_over(office: Office, old: types_pb2.Issuer, new: NewAuthority, above: KeyPlace) -> Proposal:
    """Propose a new key for the part that an issuer plays, under the same parent."""
    if old.state != types_pb2.ISSUER_STATE_ACTIVE:
        raise Failed(f"{old.name} is not active, so nothing can take over from it: `goodstanding ca create-…` instead")
    if not old.chain_der:
        raise Failed(f"{old.name} is a root: make another with `goodstanding ca create-root`, and CAs below it")
    before = certificates(old)[0]
    like = replace(new, like=before, path_length=hierarchy.path_length_of(before))
    return create_below(office, like, office.above(old), above)


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
    subject = found.certificate.subject.rfc4514_string()
    if known is None:
        lines.append(f"record issuer {name} ({state}): {subject}")
    elif fresh:
        lines.append(f"add the certificate to issuer {name}, which is known by its subject and key; it is preferred")
    elif with_its_key:
        lines.append(f"give issuer {name}, which is known, its key: it is {state} then")
    lines += [f"retire {each}" for each in found.retires]

    def act() -> tuple[output.Json, str]:
        key = _open(found) if found.key is not None and with_its_key else None
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
        return told(recorded.issuer, f"issuer {name} is known here")

    if not lines:
        return Proposal((f"nothing: issuer {name} is known already, with this certificate",), lambda: _nothing(known))
    notes = active_note(office, name if state == "active" else None, found.retires)
    if known is not None and fresh:
        notes += _shorter_note(found.certificate, certificates(known)[0])
    return Proposal(tuple(lines), act, notes)


def renew(office: Office, name: str, above: KeyPlace, days: int | None) -> Proposal:
    """Propose another certificate for the key that an issuer has; the one before stays good until it ends."""
    issuer = office.issuer(name)
    parent, old = office.above(issuer), certificates(issuer)[0]
    signing, own = certificates(parent)[0], _longest(certificates(issuer))
    validity = timedelta(days=days) if days else own
    first, last = hierarchy.renewed_period(old, signing, utc_now(), validity)
    if last < old.not_valid_after_utc:
        raise Failed(
            f"the new certificate would end on {last:%Y-%m-%d}, before the one that it takes the place of "
            f"({old.not_valid_after_utc:%Y-%m-%d}), and all that is issued with it: name more --days"
        )

    def act() -> tuple[output.Json, str]:
        try:
            made = hierarchy.renew(old, with_key(parent, above), now=utc_now(), validity=validity)
        except ValueError as error:
            raise Failed(f"the certificate of {name} cannot be renewed: {error}") from error
        recorded = office.record(request(name, [made]))
        office.save_certificate(name, chain_of(recorded.issuer))
        return told(
            recorded.issuer, f"renewed {name} until {made.not_valid_after_utc:%Y-%m-%d}: {office.files(name)[2]}"
        )

    valid = f"valid until {last:%Y-%m-%d}"
    if last - first < validity:
        valid += f", when that of {parent.name} ends"
    elif not days and own > _longest([old]):
        valid += f", as long as its longest one ({own.days} days)"
    lines = (
        f"open the key of {parent.name}: {above.file}",
        f"sign another certificate for the key of {name} ({key_type_of(old.public_key())}), {valid}",
        f"record it: {name} has {len(issuer.certificates_der) + 1} certificates then, and this one is preferred",
        f"write it to {office.files(name)[2]}, with those above it to {office.files(name)[3]}",
    )
    return Proposal(lines, act)


def _longest(found: Sequence[x509.Certificate]) -> timedelta:
    """How long the longest of them is valid: what a CA was made with, whatever somebody has given it since."""
    return max(each.not_valid_after_utc - each.not_valid_before_utc for each in found)


def request(
    name: str,
    found: Sequence[x509.Certificate],
    *,
    key: str = "",
    retires: Sequence[str] = (),
    retired: bool = False,
) -> ca_pb2.ImportIssuerRequest:
    """The request to record an issuer."""
    encoded = [certificate.public_bytes(Encoding.DER) for certificate in found]
    return ca_pb2.ImportIssuerRequest(
        name=name, certificates_der=encoded, key_reference=key, retired_issuers=retires, retired=retired
    )


def reference_of(name: str) -> str:
    """What the ca service is told about where a key is."""
    return f"file:ca/{name}.key"


def told(issuer: types_pb2.Issuer, text: str) -> tuple[output.Json, str]:
    """The result of a proposal."""
    return {"issuer": describe(issuer)}, text


def moved_away(office: Office, name: str) -> str:
    """What to do about the key of an offline authority."""
    key, passphrase, *_ = office.files(name)
    return f"Move {key} and {passphrase} to two safe places: no service needs them."


@contextmanager
def unless_recorded(office: Office, name: str, *, keep: bool = False) -> Iterator[None]:
    """Remove the files that were made for an authority which then was not recorded, as far as that is certain."""
    try:
        yield
    except BaseException as error:
        if keep:
            raise
        try:
            recorded = name in office.fetch()
        except Failed:
            files = ", ".join(str(file) for file in office.files(name)[:3])
            raise Failed(
                f"{error}; whether {name} was recorded cannot be told now: {files} are kept. "
                "`goodstanding ca import` with them completes it"
            ) from error
        if not recorded:
            for file in office.files(name):
                file.unlink(missing_ok=True)
        raise


def _key_lines(office: Office, new: NewAuthority) -> tuple[str, ...]:
    key, passphrase, *_ = office.files(new.name)
    return (f"make a {new.key_type} key: {key}, encrypted; its passphrase in {passphrase}",)


def _sign(office: Office, new: NewAuthority, signer: Issuer, key: PrivateKey, parent: str) -> x509.Certificate:
    with _possible(parent, new.name):
        return hierarchy.make_issuing(
            root=signer.certificate,
            root_key=signer.private_key,
            name=new.subject,
            key=key,
            now=utc_now(),
            crl_url=crl_url(office.public_url, parent),
            ca_issuers_url=ca_certificate_url(office.public_url, parent),
            validity=timedelta(days=new.days),
            path_length=new.path_length,
            like=new.like,
        )


@contextmanager
def _possible(parent: str, name: str) -> Iterator[None]:
    """What cannot be, in words. Raises Failed."""
    try:
        yield
    except ValueError as error:
        raise Failed(f"{parent} cannot sign {name}: {error}") from error


def _validity(days: int, end: datetime, parent: x509.Certificate, name: str) -> str:
    last = parent.not_valid_after_utc
    if end > last:
        return f"valid until {last:%Y-%m-%d}, when {name} ends"
    return f"valid for {days} days, until {end:%Y-%m-%d}"


def _limits(new: NewAuthority) -> str:
    """The path length, and what is taken over from the CA whose place it takes."""
    length = "no limit to its path length" if new.path_length is None else f"path length {new.path_length}"
    kept = hierarchy.limits_to_keep(new.like) if new.like is not None else []
    return ", and as before ".join(filter(None, (length, ", ".join(each.oid._name for each in kept))))


def _shorter_note(new: x509.Certificate, old: x509.Certificate) -> tuple[str, ...]:
    """That what is issued from then on ends earlier than it might, if so."""
    ends = [each.not_valid_after_utc for each in (new, old)]
    if ends[0] >= ends[1]:
        return ()
    return (f"it ends on {ends[0]:%Y-%m-%d}, and the one that is preferred so far on {ends[1]:%Y-%m-%d}",)


def active_note(office: Office, name: str | None, retires: Sequence[str]) -> tuple[str, ...]:
    """That `issue` will have to name an issuer, if so."""
    active = {each.name for each in office.issuers.values() if each.state == types_pb2.ISSUER_STATE_ACTIVE}
    after = (active | ({name} if name else set())) - set(retires)
    if len(after) < 2 or after == active:
        return ()
    return (f"{', '.join(sorted(after))} are active then: `goodstanding issue` needs --issuer",)


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
