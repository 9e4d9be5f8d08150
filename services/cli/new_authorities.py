"""Proposals that make an authority: a root, a CA below another, a roll-over, another certificate for the same key.

In this order, so that whatever goes wrong leaves nothing behind that matters: the key of the CA above is opened, before
the plan is shown; the new key is made, and the certificate signed; the key is written down encrypted; the ca service
opens it there, and records. Where it refuses, the files are removed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509

from goodstanding.types.v1 import types_pb2
from services.ca.urls import ca_certificate_url, crl_url
from services.cli import output
from services.cli.authorities import KeyPlace, Office, certificates, chain_of, key_type_of, with_key
from services.cli.consent import Proposal
from services.cli.failures import Failed
from services.cli.init import CRL_VALIDITY
from services.cli.key_types import KEY_TYPES
from services.cli.recording_authorities import active_note, moved_away, reference_of, request, told, unless_recorded
from services.cli.sound_authorities import require_certifiable, require_sound, require_standing
from services.clock import utc_now
from services.pki import hierarchy
from services.pki.crls import make_crl
from services.pki.issuer_limits import require_ca_within
from services.pki.issuers import Issuer, PrivateKey
from services.pki.keys import generate_key


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
        # What the library says of lengths names no attribute.
        lengths = "C has two letters, and CN 1 to 64 bytes" if str(error).startswith("Attribute's length") else ""
        why = (
            lengths
            or str(error)
            or 'write it as "CN=…,O=…,C=…" (RFC 4514), with attributes such as CN, O, OU, L, ST, C and DC'
        )
        raise Failed(f"the subject {wanted!r} cannot be used: {why}") from error


def create_root(office: Office, new: NewAuthority) -> Proposal:
    """Propose a root, which stays offline, with its first revocation list."""
    office.require_free(new.name)

    def act() -> tuple[output.Json, str]:
        now, key = utc_now(), new.make_key()
        root = hierarchy.make_root(name=new.subject, key=key, now=now, validity=timedelta(days=new.days))
        with unless_recorded(office, new.name):
            office.save_key(new.name, key)
            office.save_certificate(new.name, [root])
            recorded = office.record(request(new.name, [root]))
        office.record_crl(new.name, first_crl(root, key))
        return told(recorded.issuer, f"made root {new.name}. {moved_away(office, new.name)}")

    lines = (
        *_key_lines(office, new),
        f"sign the root {new.subject.rfc4514_string()} with it, valid for {new.days} days",
        f"record issuer {new.name} (offline: no service loads its key), and its first revocation list",
    )
    return Proposal(lines, act, (moved_away(office, new.name),))


def first_crl(certificate: x509.Certificate, key: PrivateKey) -> bytes:
    """The list that nobody is on yet, of a CA whose key is kept offline."""
    now = utc_now()
    return make_crl(Issuer(certificate, key), number=1, this_update=now, next_update=now + CRL_VALIDITY)


def create_below(office: Office, new: NewAuthority, parent: types_pb2.Issuer, above: KeyPlace) -> Proposal:
    """Propose a CA below another; a roll-over, if it retires one.

    One whose key is kept offline has its first revocation list made here: what it signs names it.
    """
    office.require_free(new.name)
    for name in new.retires:
        office.issuer(name)
    require_sound(office, parent, f"{parent.name} signs no CA")
    if new.issues:
        require_standing(office, parent, f"{new.name} could issue nothing")
    signing = certificates(parent)[0]
    with _possible(parent.name, new.name):
        hierarchy.require_room(signing, new.subject, new.path_length)
        require_ca_within(chain_of(parent), new.subject, new.path_length)
    signer = with_key(parent, above)

    def act() -> tuple[output.Json, str]:
        key = new.make_key()
        certificate = _sign(office, new, signer, key, parent.name)
        chain = [certificate, *chain_of(parent)]
        reference = reference_of(new.name) if new.issues else ""
        with unless_recorded(office, new.name):
            office.save_key(new.name, key)
            office.save_certificate(new.name, chain)
            recorded = office.record(request(new.name, [certificate], key=reference, retires=new.retires))
        if not new.issues:
            office.record_crl(new.name, first_crl(certificate, key))
        text = f"made {new.name}: {office.files(new.name)[2]}, with those above it in {office.files(new.name)[3]}"
        return told(recorded.issuer, text if new.issues else f"{text}. {moved_away(office, new.name)}")

    state = "(active)" if new.issues else "(offline: no service loads its key), and its first revocation list"
    lines = (
        f"open the key of {parent.name}: {above.file}",
        *_key_lines(office, new),
        f"sign {new.subject.rfc4514_string()} with the key of {parent.name}, "
        f"{_validity(new.days, utc_now() + timedelta(days=new.days), signing, parent.name)}, {_limits(new)}",
        f"record issuer {new.name} {state}",
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


def renew(office: Office, name: str, above: KeyPlace, days: int | None) -> Proposal:
    """Propose another certificate for the key that an issuer has; the one before stays good until it ends."""
    issuer = office.issuer(name)
    require_sound(office, issuer, f"{name} gets no other certificate")
    require_certifiable(office, issuer.public_key_der, f"{name} gets no other certificate")
    parent, old = office.above(issuer), certificates(issuer)[0]
    if issuer.state == types_pb2.ISSUER_STATE_ACTIVE and issuer.chain_der:
        require_standing(office, parent, f"{name} could issue nothing with another certificate")
    signing, own = certificates(parent)[0], _longest(certificates(issuer))
    validity = timedelta(days=days) if days else own
    first, last = hierarchy.renewed_period(old, signing, utc_now(), validity)
    if last < old.not_valid_after_utc:
        raise Failed(
            f"the new certificate would end on {last:%Y-%m-%d}, before the one that it takes the place of "
            f"({old.not_valid_after_utc:%Y-%m-%d}), and all that is issued with it: name more --days"
        )
    signer = with_key(parent, above)

    def act() -> tuple[output.Json, str]:
        try:
            made = hierarchy.renew(old, signer, now=utc_now(), validity=validity)
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


def _key_lines(office: Office, new: NewAuthority) -> tuple[str, ...]:
    key, passphrase, *_ = office.files(new.name)
    article = "a" if new.key_type.startswith("p-") else "an"
    return (f"make {article} {new.key_type} key: {key}, encrypted; its passphrase in {passphrase}",)


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
