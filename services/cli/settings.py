"""The configuration of a data folder, checked by those who read it: the services' part and the gateway's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.config import ConfigError as GatewayConfigError
from gateway.config import GatewayTable
from gateway.config import load as load_gateway
from services.ca.keystore import key_file
from services.cli.failures import Failed, lines_of, mistakes
from services.config import ConfigError, Settings, load_settings
from services.db.engine import Database
from services.db.issuers import list_issuers
from services.db.records import IssuerState
from services.db.schema import check_current
from services.profile_files import FileUnreadable, read_toml


@dataclass(frozen=True)
class Configuration:
    """Both parts of the configuration."""

    services: Settings
    gateway: GatewayTable


@contextmanager
def readable() -> Iterator[None]:
    """Turn mistakes in the configuration into a line for each."""
    try:
        yield
    except (ConfigError, GatewayConfigError) as error:
        raise Failed(mistakes(lines_of(error))) from error


def load(config: Path) -> Configuration:
    """The whole configuration. Raises Failed with everything that is wrong with it, in either part."""
    wrong: list[str] = []
    services = gateway = None
    try:
        services = load_settings(config)
    except ConfigError as error:
        wrong += lines_of(error)
    try:
        gateway = load_gateway(config).gateway
    except GatewayConfigError as error:
        if not _is_unreadable(config):  # which has been said
            wrong += lines_of(error)
    if services is None or gateway is None:
        raise Failed(mistakes(wrong))
    return Configuration(services, gateway)


def _is_unreadable(config: Path) -> bool:
    try:
        read_toml(config)
    except FileUnreadable:
        return True
    return False


def check_delegate_limit(configuration: Configuration) -> None:
    """Raise Failed where the gateway would want more responder certificates than the CA gives it.

    For each kind of key two at a renewal, and one from before a restart.
    """
    kinds, limit = len(configuration.gateway.signer_keys), configuration.services.ca.max_live_delegates
    if kinds > 1 and limit < 3 * kinds:
        raise Failed(
            f"signer_keys in [gateway] names {kinds} kinds of keys, which take up to {3 * kinds} responder "
            f"certificates, but max_live_delegates in [ca] is {limit}: set max_live_delegates = {3 * kinds}, or name "
            "fewer signer_keys"
        )


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database that the configuration names, if its schema is this version's.

    Raises FailedPrecondition or Unavailable, saying what to do.
    """
    db = Database.open(settings.database.url)
    try:
        check_current(db)
        yield db
    finally:
        db.close()


def check_database(settings: Settings) -> None:
    """Raise unless the database is there, can be read, and has this version's schema, and an issuer can sign."""
    with open_database(settings) as db, db.read() as conn:
        issuers = [issuer for issuer in list_issuers(conn) if issuer.state is IssuerState.ACTIVE and issuer.key_ref]
    files = [key_file(str(issuer.key_ref), settings.base) for issuer in issuers]
    if files and not any(file.exists() for file in files):
        # ca would start, to revoke at least; but without a signer no gateway ever gets ready.
        raise Failed(f"{files[0]} is missing: bring the issuing key back from a backup")
