"""What a signing process does: it checks and signs for the ca when there is a crowd.

It reads the database and opens the keys itself, as the ca does, and records nothing. It makes what can be made without
a question; whatever else there is to say about a request (an error, a retry, a key that is not there) is the ca's.
"""

from __future__ import annotations

import os
import pickle
import socket
from functools import partial

import structlog

from services.ca.crl_points import CrlPoints
from services.ca.issuers import IssuerDirectory
from services.ca.keystore import load_keys
from services.ca.signing import Signing, payload_of
from services.ca.signing_messages import LENGTH, Answer, Asked, Batch, Made, Ready, Setup, command_of, frame
from services.clock import from_epoch
from services.config import ConfigError
from services.db import issuers
from services.db.engine import Database
from services.db.records import IssuerRecord
from services.errors import DomainError, Unavailable
from services.logs import configure_logging
from services.passphrases import issuer_passphrase
from services.pki.profiles import BUILTIN
from services.processes import spare_the_collector


class Maker:
    """Makes the certificates of batches."""

    def __init__(self, db: Database, setup: Setup) -> None:
        """Raises ConfigError and DomainError where the keys cannot be opened without asking anybody."""
        with db.read() as conn:
            records = issuers.list_issuers(conn)
        keys = load_keys(records, setup.base, partial(issuer_passphrase, setup, ask=False))
        settings = setup.settings
        # Those that are built in are the same objects everywhere here, which saves comparing them.
        profiles = {name: BUILTIN[name] if BUILTIN.get(name) == each else each for name, each in setup.profiles.items()}
        self._directory = IssuerDirectory(db, keys, settings.public_url)
        points = CrlPoints(db, settings.public_url, settings.crl_distribution, settings.crl_shards)
        self._signing = Signing(self._directory, points, profiles, settings, lambda: self._now)
        self._now = from_epoch(0)
        self._forgotten = 0
        self._told: dict[int, IssuerRecord] = {}

    def answer(self, batch: Batch) -> Answer:
        """Make a batch. One that cannot be made harms no other."""
        if batch.forgotten != self._forgotten:
            self._directory.forget()
            self._forgotten = batch.forgotten
        self._now = from_epoch(batch.now)
        news: list[IssuerRecord] = []
        return Answer(batch.number, news, [self._try(asked, news) for asked in batch.asked])

    def _try(self, asked: Asked, news: list[IssuerRecord]) -> Made | None:
        try:
            return self._make(asked, news)
        except BaseException:  # noqa: BLE001 - the ca meets it as well, and tells the caller (a panic is no Exception)
            return None

    def _make(self, asked: Asked, news: list[IssuerRecord]) -> Made:
        command, role, has_request_id = command_of(asked), asked[-2], asked[-1]
        profile, request = self._signing.read(command, role)
        payload = payload_of(command, profile, request) if has_request_id else b""
        place = self._signing.place(command, profile, request)
        draft = self._signing.draft(command, profile, request, place)
        der = place.sign(draft)
        issuer = place.issuer.record
        if self._told.get(issuer.id) is not issuer:
            self._told[issuer.id] = issuer
            news.append(issuer)
        return (
            issuer.id,
            draft.serial,
            der,
            draft.subject_text,
            draft.common_name,
            draft.sans.labelled(),
            profile.name,
            draft.public_key_sha256,
            int(draft.not_before.timestamp()),
            int(draft.not_after.timestamp()),
            int(place.now.timestamp()),
            place.point.shard,
            payload,
            request.field,
        )


def work(line: socket.socket) -> None:
    """Answer batches until the ca hangs up."""
    setup = _hear(line)
    if not isinstance(setup, Setup):
        return
    try:
        db = Database.open(setup.database_url, read_only=True)
        maker = Maker(db, setup)
    except (ConfigError, DomainError) as error:
        line.sendall(frame(Ready(str(error), lasting=not isinstance(error, Unavailable))))
        return
    spare_the_collector()
    line.sendall(frame(Ready()))
    while isinstance(batch := _hear(line), Batch):
        line.sendall(frame(maker.answer(batch)))


def _hear(line: socket.socket) -> object:
    """The next message; None when the ca has hung up."""
    length = _read(line, LENGTH)
    content = _read(line, int.from_bytes(length)) if length else None
    return pickle.loads(content) if content else None  # noqa: S301 - nobody but the ca has the other end


def _read(line: socket.socket, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        part = line.recv(size - len(content))
        if not part:
            return None
        content += part
    return bytes(content)


def serve(descriptor: int) -> None:
    """Work for the ca behind that socket until it hangs up."""
    configure_logging("ca", grpc=False)
    structlog.contextvars.bind_contextvars(signing_pid=os.getpid())
    with socket.socket(fileno=descriptor) as line:
        line.set_inheritable(False)
        try:
            work(line)
        except (BrokenPipeError, ConnectionResetError):
            return  # it has hung up while we answered
