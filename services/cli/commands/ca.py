"""`goodstanding ca`: the hierarchy. Runs on the CA's host as its user; keys are opened here, and never sent.

Every command shows its plan first.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path

import click
from cryptography import x509

from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.authorities import KeyPlace, Office, certificates, key_type_of, state_of, with_key
from services.cli.commands.issuers import describe
from services.cli.commands.issuers import state as words_of_state
from services.cli.consent import Consent, Proposal, consent_options
from services.cli.failures import Failed
from services.cli.found_authorities import Found, import_authority, name_for, read_certificates, require_authority
from services.cli.groups import Group
from services.cli.init import CRL_VALIDITY
from services.cli.key_types import KEY_TYPES
from services.cli.new_authorities import NewAuthority, create_below, create_root, roll_over, subject_of
from services.cli.new_authorities import renew as propose_renewal
from services.cli.options import FILE, Connection, Spelt, connection_options, json_option, key_type_option
from services.cli.recording_authorities import told
from services.cli.sound_authorities import require_certifiable, require_sound, require_standing
from services.clock import utc_now
from services.pki.crls import CrlEntry, make_crl
from services.pki.hierarchy import ISSUING_VALIDITY, ROOT_VALIDITY
from services.pki.serials import format_serial, serial_from_int

name_option = click.option("--name", metavar="NAME", required=True, help="How the issuer is called here.")
subject_option = click.option(
    "--subject", metavar="NAME", help='Its subject: "CN=…,O=…,C=…", or a common name.  [default: made of its name]'
)
PARENT_KEY = "--parent-key"
parent_key_option = click.option(
    PARENT_KEY, metavar="FILE", type=FILE, help="The key of the CA above.  [default: ca/PARENT.key in --data]"
)
passphrase_option = click.option(
    "--passphrase-file", metavar="FILE", type=FILE, help="The passphrase of that key.  [default: environment, prompt]"
)
DAYS = click.IntRange(1, 36500)


@click.group("ca", cls=Group)
def command() -> None:
    """Make, import, renew, roll over and retire the authorities. Each command shows its plan first.

    For the CA's host, as the user that the ca service runs as, while it runs: keys are files of the data folder, and
    the service records what was made.
    """


@command.command("list")
@json_option
@connection_options
def list_command(as_json: bool, connection: Connection) -> None:
    """List the authorities: what is above each, its key, and until when."""
    office = Office(connection)
    found = list(office.issuers.values())
    if as_json:
        output.emit({"issuers": [{**describe(each), "parent": parent_name(office, each)} for each in found]})
        return
    output.table(
        ("NAME", "STATE", "BELOW", "KEY", "NOT AFTER", "SERIAL NUMBER", "SUBJECT"),
        (
            (
                each.name,
                words_of_state(describe(each)),
                parent_name(office, each),
                key_type_of(certificate.public_key()),
                f"{certificate.not_valid_after_utc:%Y-%m-%d}",
                format_serial(serial_from_int(certificate.serial_number))
                + (" (preferred)" if place == 0 and len(each.certificates_der) > 1 else ""),
                certificate.subject.rfc4514_string(),
            )
            for each in found
            for place, certificate in enumerate(certificates(each))
        ),
    )


@command.command("create-root")
@name_option
@subject_option
@key_type_option
@click.option("--days", type=DAYS, default=ROOT_VALIDITY.days, show_default=True, help="How long it is valid.")
@consent_options
@connection_options
def root_command(
    name: str, subject: str | None, key_type: str, days: int, consent: Consent, connection: Connection
) -> None:
    """Make another root. Its key is for you to keep: no service loads it."""
    new = NewAuthority(name, subject_of(subject, name), key_type, days)
    consent.carry_out(create_root(Office(connection), new))


@command.command("create-intermediate")
@click.option("--parent", metavar="NAME", required=True, help="The CA above, such as root.")
@name_option
@subject_option
@key_type_option
@click.option("--days", type=DAYS, default=ISSUING_VALIDITY.days, show_default=True, help="How long it is valid.")
@click.option(
    "--path-length",
    type=click.IntRange(0, 8),
    default=0,
    show_default=True,
    help="How many CAs may stand below it. With 0 it issues certificates; otherwise its key is kept offline.",
)
@click.option("--retire", metavar="NAME", multiple=True, help="An issuer that retires at the same moment.")
@parent_key_option
@passphrase_option
@consent_options
@connection_options
def intermediate_command(
    parent: str,
    name: str,
    subject: str | None,
    key_type: str,
    days: int,
    path_length: int,
    retire: tuple[str, ...],
    parent_key: Path | None,
    passphrase_file: Path | None,
    consent: Consent,
    connection: Connection,
) -> None:
    """Make a CA below another, whose key is opened for that."""
    office = Office(connection)
    new = NewAuthority(name, subject_of(subject, name), key_type, days, path_length, retire)
    above = office.issuer(parent)
    consent.carry_out(create_below(office, new, above, office.place(parent, parent_key, passphrase_file, PARENT_KEY)))


@command.command("import")
@click.option("--cert", metavar="FILE", type=FILE, required=True, help="The CA certificate (PEM or DER).")
@click.option("--key", metavar="FILE", type=FILE, help="Its private key (PEM). Without it the issuer is offline.")
@click.option("--chain", metavar="FILE", type=FILE, help="The CA certificates above it, up to the root (PEM).")
@click.option("--name", metavar="NAME", help="How the issuer is called here.  [default: made of its common name]")
@click.option("--retired", is_flag=True, help="It has issued, and shall do no more than answer for that.")
@click.option("--retire", metavar="NAME", multiple=True, help="An issuer that retires at the same moment.")
@passphrase_option
@consent_options
@connection_options
def import_command(
    cert: Path,
    key: Path | None,
    chain: Path | None,
    name: str | None,
    retired: bool,
    retire: tuple[str, ...],
    passphrase_file: Path | None,
    consent: Consent,
    connection: Connection,
) -> None:
    """Take an existing CA in, with its key or without. What is known already is not imported twice."""
    if retired and key is None:
        raise click.UsageError("--retired is for an issuer whose --key is imported; without it, it is offline.")
    office = Office(connection)
    first, *others = read_certificates(cert)
    require_authority(first)
    known = office.known(first)
    called = known.name if known else name or name_for(first, list(office.issuers))
    place = KeyPlace(called, key, passphrase_file or own_passphrase(office, called, key)) if key else None
    above = (*others, *(read_certificates(chain) if chain else ()))
    consent.carry_out(import_authority(office, Found(called, first, above, place, retired, retire)))


@command.command("renew")
@click.argument("name")
@click.option("--days", type=DAYS, help="How long it is valid.  [default: as long as the longest of its certificates]")
@parent_key_option
@passphrase_option
@consent_options
@connection_options
def renew_command(
    name: str,
    days: int | None,
    parent_key: Path | None,
    passphrase_file: Path | None,
    consent: Consent,
    connection: Connection,
) -> None:
    """Give an authority another certificate for the key that it has, signed by the CA above."""
    office = Office(connection)
    above = office.above(office.issuer(name)).name
    consent.carry_out(propose_renewal(office, name, office.place(above, parent_key, passphrase_file, PARENT_KEY), days))


@command.command("rollover")
@click.argument("name")
@click.option("--new-name", metavar="NAME", required=True, help="How the issuer with the new key is called.")
@click.option("--subject", metavar="NAME", help="Its subject.  [default: that of the old one]")
@click.option(
    "--key-type", metavar="KIND", type=Spelt(KEY_TYPES), help="The kind of the new key.  [default: that of the old one]"
)
@click.option("--days", type=DAYS, default=ISSUING_VALIDITY.days, show_default=True, help="How long it is valid.")
@parent_key_option
@passphrase_option
@consent_options
@connection_options
def rollover_command(
    name: str,
    new_name: str,
    subject: str | None,
    key_type: str | None,
    days: int,
    parent_key: Path | None,
    passphrase_file: Path | None,
    consent: Consent,
    connection: Connection,
) -> None:
    """Have an issuer with a new key take over. The old one retires, and goes on answering for what it issued."""
    office = Office(connection)
    old = office.issuer(name)
    before = certificates(old)[0]
    kind = key_type or key_type_of(before.public_key())
    if kind not in KEY_TYPES:
        raise Failed(f"name a kind of key with --key-type: {name} has {kind}, which is not made here")
    wanted = subject_of(subject, new_name) if subject else before.subject
    new = NewAuthority(new_name, wanted, kind, days, retires=(name,))
    above = office.place(office.above(old).name, parent_key, passphrase_file, PARENT_KEY)
    consent.carry_out(roll_over(office, old, new, above))


@command.command("retire")
@click.argument("name")
@click.option("--offline", is_flag=True, help="Of a retired one: give it up, so that its key can be taken away.")
@consent_options
@connection_options
def retire_command(name: str, offline: bool, consent: Consent, connection: Connection) -> None:
    """Have an issuer issue nothing more. It goes on answering for what it issued."""
    if offline:
        line = f"take {name} offline: it answers no more for what it issued, which should be over; keep its key, or not"
        change_state(name, types_pb2.ISSUER_STATE_OFFLINE, line, consent, connection)
        return
    line = f"retire {name}: it issues nothing more, and goes on answering for what it issued"
    change_state(name, types_pb2.ISSUER_STATE_RETIRED, line, consent, connection)


@command.command("activate")
@click.argument("name")
@consent_options
@connection_options
def activate_command(name: str, consent: Consent, connection: Connection) -> None:
    """Have a retired issuer issue again."""
    change_state(name, types_pb2.ISSUER_STATE_ACTIVE, f"have {name} issue again", consent, connection)


@command.command("crl")
@click.argument("name")
@click.option("--days", type=DAYS, default=CRL_VALIDITY.days, show_default=True, help="Until the next one is due.")
@click.option("--key", metavar="FILE", type=FILE, help="The key of the issuer.  [default: ca/NAME.key in --data]")
@passphrase_option
@consent_options
@connection_options
def crl_command(
    name: str, days: int, key: Path | None, passphrase_file: Path | None, consent: Consent, connection: Connection
) -> None:
    """Make a new revocation list of an issuer whose key is kept offline."""
    office = Office(connection)
    issuer = office.issuer(name)
    if issuer.state != types_pb2.ISSUER_STATE_OFFLINE:
        raise Failed(f"the ca service holds the key of {name}, and sees to its revocation lists itself")
    place = office.place(name, key, passphrase_file, "--key")
    signer = with_key(issuer, place)

    def act() -> tuple[output.Json, str]:
        now = utc_now()
        # The number first: a list that somebody else makes meanwhile is refused one of the two.
        first, entries = next_number(office, name), [entry(each) for each in office.revoked(name)]

        def sign(number: int) -> bytes:
            return make_crl(signer, entries, number=number, this_update=now, next_update=now + timedelta(days=days))

        number = office.record_numbered_crl(name, sign, first)
        return {
            "number": number,
            "entries": len(entries),
        }, f"revocation list {number} of {name}: {len(entries)} entries"

    lines = (
        f"open the key of {name}: {place.file}",
        f"sign a list of all its revoked certificates with the next number, due again in {days} days",
        "record it; gateways serve it within seconds",
    )
    consent.carry_out(Proposal(lines, act))


def change_state(
    name: str, state: types_pb2.IssuerState.ValueType, line: str, consent: Consent, connection: Connection
) -> None:
    """Propose to retire an issuer or to make it active."""
    office = Office(connection)
    issuer = office.issuer(name)
    if issuer.state == types_pb2.ISSUER_STATE_OFFLINE:
        raise Failed(f"the key of {name} is kept offline: it neither issues here nor retires")
    if state == types_pb2.ISSUER_STATE_OFFLINE and issuer.state == types_pb2.ISSUER_STATE_ACTIVE:
        raise Failed(f"{name} issues here: retire it first (`goodstanding ca retire {name}`)")
    if state == types_pb2.ISSUER_STATE_ACTIVE:
        require_sound(office, issuer, f"{name} issues nothing")
        require_standing(office, issuer, f"{name} issues nothing")
        if issuer.state != types_pb2.ISSUER_STATE_ACTIVE:
            require_certifiable(office, issuer.public_key_der, f"{name} issues nothing")
    others = {each.name for each in office.issuers.values() if each.state == types_pb2.ISSUER_STATE_ACTIVE} - {name}
    notes: tuple[str, ...] = ()
    if state != types_pb2.ISSUER_STATE_ACTIVE and not others:
        notes = ("no issuer is active then: nothing can be issued",)
    elif state == types_pb2.ISSUER_STATE_ACTIVE and others:
        notes = (f"{', '.join(sorted({*others, name}))} are active then: `goodstanding issue` needs --issuer",)
    if state == types_pb2.ISSUER_STATE_OFFLINE and (left := office.valid(name)):
        notes += (f"{left} of what it issued {'is' if left == 1 else 'are'} still valid: nobody answers for that then",)

    def act() -> tuple[output.Json, str]:
        changed = office.update(name, state)
        return told(changed, f"{name} is {state_of(changed)}")

    consent.carry_out(Proposal((line,), act, notes))


def parent_name(office: Office, issuer: types_pb2.Issuer) -> str:
    """The name of the issuer above; nothing for a root."""
    return office.above(issuer).name if issuer.chain_der else ""


def own_passphrase(office: Office, name: str, key: Path) -> Path | None:
    """The passphrase file that belongs to a key in its place: that of a run which was cut off."""
    place, passphrase, *_ = office.files(name)
    return passphrase if key.resolve() == place.resolve() and passphrase.is_file() else None


def next_number(office: Office, name: str) -> int:
    """The number of the next list."""
    latest = office.latest_crl(name)
    return 1 if latest is None else latest.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1


def entry(certificate: types_pb2.Certificate) -> CrlEntry:
    """A revoked certificate as it stands in a list."""
    revocation = certificate.revocation
    invalidity = revocation.invalidity_time.ToDatetime(UTC) if revocation.HasField("invalidity_time") else None
    return CrlEntry(
        bytes.fromhex(certificate.serial_number),
        revocation.revocation_time.ToDatetime(UTC),
        revocation.reason,
        invalidity,
    )
