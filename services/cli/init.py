"""Making a data folder: all of it, or nothing.

Everything is made in a temporary folder beside the data folder, which takes its name at the end. Whatever goes wrong
before, a kill among it, leaves the data folder as it was. (A data folder that is a mount point cannot be renamed:
there, the parts are moved in one by one, and `config.toml`, which makes it a data folder, last.)
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.bootstrap import register_hierarchy
from services.cli import credentials
from services.cli.configuration import configuration_text
from services.cli.credentials import TlsAuthority
from services.cli.failures import Failed, domain_text, os_text
from services.cli.files import make_private_folder, sync_folder, write_file
from services.cli.folder import UNFINISHED, DataFolder
from services.cli.key_types import KEY_TYPES
from services.cli.plan import Plan
from services.db.engine import Database
from services.db.schema import upgrade
from services.errors import DomainError
from services.pki import hierarchy, keys, mtls
from services.pki.certificates import Issuer, PrivateKey
from services.pki.crls import make_crl

CRL_VALIDITY = timedelta(days=365)


@dataclass(frozen=True)
class Authority:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def initialise(folder: DataFolder, plan: Plan, now: datetime) -> None:
    """Make the data folder. Raises Failed where there is one already, or something else is in its place."""
    if folder.initialised():
        raise Failed(f"{folder.path} is initialised already: nothing was changed")
    os.umask(0o077)
    place = DataFolder(folder.path.resolve())
    with named(folder, place), workshop(place) as unfinished:
        fill(unfinished, plan, now)
        sync(unfinished.path)
        hand_over(unfinished, place)


@contextmanager
def named(folder: DataFolder, place: DataFolder) -> Iterator[None]:
    """Tell errors about the temporary folder as what they are to the user: about the data folder that was named."""
    try:
        yield
    except (DomainError, OSError) as error:
        text = domain_text(error) if isinstance(error, DomainError) else os_text(error)
        told = text.replace(str(workplace(place)), str(folder.path))
        if isinstance(error, OSError) and not told.startswith(str(folder.path)):
            told = f"{folder.path}: {told}"
        if told == text:
            raise
        raise Failed(f"cannot make the data folder {told}") from error


@contextmanager
def workshop(folder: DataFolder) -> Iterator[DataFolder]:
    """A temporary folder on the same file system, gone at the end; those of processes that were killed go first."""
    unfinished = workplace(folder)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder, unfinished.parent, unfinished.name.removesuffix(f"{UNFINISHED}{os.getpid()}"))
    make_private_folder(unfinished)
    try:
        yield DataFolder(unfinished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def workplace(folder: DataFolder) -> Path:
    """Where a data folder is made: beside its place, or in it where that is a mount point."""
    name = f"{UNFINISHED}{os.getpid()}"
    return folder.path / name if folder.path.is_mount() else folder.path.with_name(f".{folder.path.name}{name}")


def sweep(folder: DataFolder, parent: Path, prefix: str) -> None:
    """Remove what initialisations that were killed left behind."""
    unfinished = [path for path in parent.glob(f"{prefix}{UNFINISHED}*") if not alive(path.name.rpartition("-")[2])]
    if parent == folder.path and unfinished:
        unfinished = sorted(filter(folder.leftover, parent.iterdir()), key=lambda path: path in unfinished)
    for path in unfinished:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def alive(pid: str) -> bool:
    """Whether a process runs."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def hand_over(unfinished: DataFolder, folder: DataFolder) -> None:
    """Give the finished folder its name. Raises Failed where somebody else was quicker."""
    if unfinished.path.parent == folder.path:
        for path in sorted(unfinished.path.iterdir(), key=lambda path: path == unfinished.config):
            path.rename(folder.path / path.name)
        sync_folder(folder.path)
        return
    try:
        unfinished.path.rename(folder.path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Failed(f"{folder.path} came into being meanwhile: nothing was changed") from error
        raise
    sync_folder(folder.path.parent)


def fill(folder: DataFolder, plan: Plan, now: datetime) -> None:
    """Make everything that is in a data folder."""
    for path in (folder.authorities, folder.tls, folder.secrets):
        make_private_folder(path)
    root, issuing = make_hierarchy(plan, now)
    save_hierarchy(folder, root, issuing)
    tls_ca = make_tls_authority(folder, now)
    made = make_credentials(folder, tls_ca, plan, now)
    register(folder, plan, root, issuing, made, now)
    write_file(folder.config, configuration_text(plan).encode(), private=True)


def make_hierarchy(plan: Plan, now: datetime) -> tuple[Authority, Authority]:
    """The root and the issuing CA below it."""
    kind = KEY_TYPES[plan.key_type]
    root_key, issuing_key = keys.generate_key(kind), keys.generate_key(kind)
    root = hierarchy.make_root(name=f"{plan.name} root CA", key=root_key, now=now)
    issuing = hierarchy.make_issuing(
        root=root,
        root_key=root_key,
        name=f"{plan.name} issuing CA",
        key=issuing_key,
        now=now,
        crl_url=plan.root_crl_url,
        ca_issuers_url=plan.root_certificate_url,
    )
    return Authority(root, root_key), Authority(issuing, issuing_key)


def save_hierarchy(folder: DataFolder, root: Authority, issuing: Authority) -> None:
    """Certificates, encrypted keys, and a passphrase for each key."""
    for name, authority in (("root", root), ("issuing", issuing)):
        write_file(folder.authorities / f"{name}.pem", authority.pem, private=False)
        save_key(folder, folder.authorities / f"{name}.key", name, authority.key)
    write_file(folder.authorities / "chain.pem", issuing.pem + root.pem, private=False)


def save_key(folder: DataFolder, file: Path, name: str, key: PrivateKey) -> None:
    """Write a key, encrypted under a new random passphrase."""
    passphrase = secrets.token_urlsafe(32).encode()
    write_file(folder.secrets / f"{name}.passphrase", passphrase + b"\n", private=True)
    write_file(file, keys.encrypt_key(key, passphrase), private=True)


def make_tls_authority(folder: DataFolder, now: datetime) -> TlsAuthority:
    """The root of the credentials, which has nothing to do with the CA."""
    key = keys.generate_key()
    certificate = mtls.make_tls_ca(key=key, now=now)
    write_file(folder.tls / "ca.pem", certificate.public_bytes(Encoding.PEM), private=False)
    save_key(folder, folder.tls / "ca.key", "tls-ca", key)
    return TlsAuthority(certificate, key)


def make_credentials(
    folder: DataFolder, authority: TlsAuthority, plan: Plan, now: datetime
) -> list[credentials.Credential]:
    """The first credentials: an administrator's, the servers', and a gateway's."""
    admin = authority.client("admin", "admin", now)
    gateway = authority.client(f"{credentials.GATEWAY}-{secrets.token_hex(4)}", "responder", now)
    servers = [authority.server(name, plan.server_names, now) for name in credentials.SERVERS]
    for credential in (admin, *servers):
        credential.write(folder.tls / f"{credential.name}.pem")
    gateway.write(folder.tls / f"{credentials.GATEWAY}.pem")
    return [admin, gateway, *servers]


def register(
    folder: DataFolder,
    plan: Plan,
    root: Authority,
    issuing: Authority,
    made: list[credentials.Credential],
    now: datetime,
) -> None:
    """Make the database, with the authorities, the root's list of revoked certificates (empty) and the credentials."""
    url = plan.database_url_in(folder.path)
    upgrade(url)
    crl = make_crl(Issuer(root.certificate, root.key), number=1, this_update=now, next_update=now + CRL_VALIDITY)
    db = Database.open(url)
    try:
        key_ref = "file:ca/issuing.key"
        register_hierarchy(db, root.certificate, issuing.certificate, key_ref=key_ref, root_crl=crl, now=now)
        for credential in made:
            credentials.record(db, credential, now)
    finally:
        db.close()


def sync(folder: Path) -> None:
    """Make everything in a folder durable, as far as it is not yet."""
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_folder(path)
