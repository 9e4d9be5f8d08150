"""What the ca and a signing process say to each other over a socketpair that nobody else has.

Messages are pickles, each behind its length. The ca says a `Setup`, and then batches, each with a number; the process
says whether it is ready, and then answers the batches in their order. What travels with each certificate is plain
tuples, because making and unmaking objects would cost what the other process saves. No key ever travels.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography import x509

from services.ca.settings import AuthoritySettings
from services.ca.signing import IssueCommand
from services.config import CaSettings
from services.db.records import IssuerRecord
from services.pki.names import SubjectAlternativeNames
from services.pki.profile import Profile

LENGTH = 4
"""Octets in front of a message."""
LONGEST = 64 * 1024 * 1024

copyreg.pickle(x509.ObjectIdentifier, lambda oid: (x509.ObjectIdentifier, (oid.dotted_string,)))

Names: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]

Asked: TypeAlias = tuple[
    bytes | None, str | bytes | None, str, str, Names | None, datetime | None, timedelta | None, str, bool
]
"""A command, the role of who gave it, and whether it has a request id (`asked`)."""

Made: TypeAlias = tuple[
    int, bytes, bytes, str, str | None, tuple[str, ...], str, bytes, int, int, int, int | None, bytes, str
]
"""A certificate: id of the issuer, serial number, DER, subject, common name, names, profile, hash of the key, notBefore
and notAfter and when it was issued (seconds since 1970), shard, hash of what was asked for, field of the request."""


@dataclass(frozen=True)
class Setup:
    """The first message: what a signing process works with. It opens the database and the keys itself."""

    database_url: str
    base: Path
    """The folder of the configuration; `base` and `ca` say where keys and their passphrases are."""
    ca: CaSettings
    settings: AuthoritySettings
    profiles: Mapping[str, Profile]
    """A dictionary. Without those that have a linter, which is too slow for batches."""


class Ready(NamedTuple):
    """The first answer. `problem` says why it cannot work, empty if it can; `lasting`, that trying again is useless."""

    problem: str = ""
    lasting: bool = False


class Batch(NamedTuple):
    """Certificates that are wanted."""

    number: int
    forgotten: int
    """Rises when an issuer has changed: what is known of issuers is older then than what the ca knows."""
    now: int
    """Seconds since 1970."""
    asked: list[Asked]


class Answer(NamedTuple):
    """What became of a batch."""

    number: int
    issuers: list[IssuerRecord]
    """Those that were not told before, as they were when these certificates were made."""
    made: list[Made | None]
    """In the order in which they were asked for. None: the ca has to make it, or to say why it is refused."""


def asked(command: IssueCommand, role: str, *, has_request_id: bool) -> Asked:
    """A command as it travels."""
    names = command.names
    return (
        command.csr_der,
        command.csr_pem,
        command.issuer,
        command.profile,
        None if names is None else (names.dns, names.ip, names.email, names.uri, names.other),
        command.not_after,
        command.validity,
        role,
        has_request_id,
    )


def command_of(asked: Asked) -> IssueCommand:
    """The command that travelled."""
    csr_der, csr_pem, issuer, profile, names, not_after, validity, _, _ = asked
    return IssueCommand(
        csr_der=csr_der,
        csr_pem=csr_pem,
        issuer=issuer,
        profile=profile,
        names=None if names is None else SubjectAlternativeNames(*names),
        not_after=not_after,
        validity=validity,
    )


def frame(message: Setup | Ready | Batch | Answer) -> bytes:
    """A message as it is sent."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(content).to_bytes(LENGTH) + content
