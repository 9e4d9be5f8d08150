"""Settings of the ca and status services: one TOML file, overridden by the environment.

`load_settings` either returns settings that are whole and checked, or raises one `ConfigError` that lists everything
that is wrong, each with the file (or environment variable) and the key. Relative paths are relative to the file's
folder, wherever they come from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from services.addresses import parse_address, parse_http_url
from services.mistakes import is_secret_free, shown, told
from services.pki.profile import Profile
from services.pki.profiles import BUILTIN
from services.profile_files import FileUnreadable, configured_profiles, profiles_alone, read_toml

_PREFIX = "GOODSTANDING_"
_OTHER_TABLES = ("gateway",)
_Model = TypeVar("_Model", bound=BaseModel)
_Place: TypeAlias = tuple[str, ...]


class ConfigError(Exception):
    """The configuration cannot be used. The text has one line for each thing that is wrong, and is for an operator."""


def _checked_listen(text: str) -> str:
    parse_address(text)
    return text


def _checked_trust_domain(text: str) -> str:
    # As in `services.pki.mtls`. "a." and "a" are the same host: the name would be protected in one spelling only.
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?", text):
        raise ValueError(
            "must consist of lower-case letters, digits, dots, dashes and underscores, "
            "with a letter or digit at both ends"
        )
    return text


def _checked_database_url(text: str) -> str:
    if not text.startswith(("sqlite:///", "postgresql://")) or text == "sqlite:///":
        raise ValueError("must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return text


Listen = Annotated[str, AfterValidator(_checked_listen)]


class _Section(BaseModel):
    # A misspelt key would otherwise leave its default in force without a word.
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Section):
    """Where the records are: [database]."""

    url: Annotated[str, AfterValidator(_checked_database_url)]
    """sqlite:///PATH (a relative one is relative to the file) or postgresql://USER:PASSWORD@HOST:PORT/DATABASE."""


class CaSettings(_Section):
    """The certificate authority: [ca]."""

    listen: Listen = "127.0.0.1:50051"
    public_url: Annotated[str, AfterValidator(parse_http_url)] = "http://127.0.0.1:2560"
    """The gateway's address as OCSP clients reach it. It goes into certificates. Without a slash at the end."""
    max_live_delegates: int = Field(3, ge=1, le=100)
    """How many live OCSP responder certificates one identity may hold for one issuer: three for each kind of key in
    `gateway.signer_keys`."""
    reasons: Literal["rfc5280", "baseline"] = "rfc5280"
    """The revocation reasons that may be given: all of RFC 5280, or the shorter list of the baseline requirements."""
    crl_distribution: Literal["none", "full", "sharded"] = "full"
    """Which revocation list new certificates name: none, their issuer's full one, or one of its shards."""
    crl_shards: int = Field(16, ge=1, le=4096)
    """Over how many shards new certificates are spread. Certificates of before keep theirs."""
    crl_validity_hours: int = Field(168, ge=2, le=240)
    """How long a revocation list is valid: from thisUpdate to nextUpdate."""
    crl_interval_hours: int = Field(24, ge=1, le=96)
    """A new list is made at least that often, and within seconds of a change. Less than crl_validity_hours."""
    profiles_file: Path | None = None
    """Further [profiles.NAME] tables, beside those of this file (docs/profiles.md)."""
    passphrase_file: Path | None = None
    """The passphrase of every issuer's key that has none of its own in passphrase_files."""
    passphrase_files: dict[str, Path] = {}
    """Issuer name -> file. One that is not named here has its own in secrets/NAME.passphrase, if that is there."""
    weak_key_lists: tuple[Path, ...] = ()
    """Lists of keys that are refused beside those that come along, such as Debian's blacklist.RSA-4096
    (docs/profiles.md)."""
    signing_processes: int = Field(1, ge=0, le=16)
    """How many processes check and sign beside this one while many ask at once; 0: none. They are started when they are
    needed (docs/decisions/signing-process.md)."""
    metrics_listen: Listen | None = None
    """Where to serve /metrics over plain HTTP. Not served unless given."""

    @model_validator(mode="after")
    def _check_crl_hours(self) -> Self:
        if self.crl_interval_hours >= self.crl_validity_hours:
            raise ValueError(
                "crl_interval_hours must be less than crl_validity_hours: a list would end before the next"
            )
        return self


class StatusSettings(_Section):
    """The status service: [status]."""

    listen: Listen = "127.0.0.1:50052"
    poll_interval_ms: int = Field(25, ge=5, le=1000)
    """How often to look for changes. It adds to the time until a revocation is seen everywhere."""
    metrics_listen: Listen | None = None
    """Where to serve /metrics over plain HTTP. Not served unless given."""


class CredentialFiles(_Section):
    """[tls.ca] and [tls.status]: a server's own certificate and key, PEM."""

    certificate: Path
    key: Path


class TlsSettings(_Section):
    """[tls]. The root has the key `root`, because [tls.ca] is the credential of the ca service."""

    root: Path
    """The root of all credentials, PEM. Whoever holds a client certificate of it may connect."""
    trust_domain: Annotated[str, AfterValidator(_checked_trust_domain)] = "goodstanding"
    ca: CredentialFiles | None = None
    status: CredentialFiles | None = None

    def credential(self, service: Literal["ca", "status"]) -> CredentialFiles:
        """The certificate and key of one of the services. Raises ConfigError when the file does not tell."""
        files = self.ca if service == "ca" else self.status
        if files is None:
            raise ConfigError(f"[tls.{service}] certificate and key are missing: the {service} service needs them")
        return files


class Settings(BaseSettings):
    """The whole file. [gateway] belongs to the gateway, and is not read here."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=_PREFIX, env_nested_delimiter="__", validate_default=False
    )

    database: DatabaseSettings
    ca: CaSettings = CaSettings()
    status: StatusSettings = StatusSettings()
    tls: TlsSettings
    base: Path = Path()
    """The folder of the file; not a key of it. key_ref of an issuer is relative to it."""
    _profiles: Mapping[str, Profile] = PrivateAttr(default_factory=lambda: BUILTIN)

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The built-in profiles and those of [profiles.NAME], by name."""
        return self._profiles

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class names the arguments
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; there are no other sources."""
        return env_settings, init_settings


class KeyPlaces(Protocol):
    """Says where keys and their passphrases are."""

    @property
    def base(self) -> Path:
        """The folder of the configuration."""

    @property
    def ca(self) -> CaSettings:
        """[ca]."""


def passphrase_file(places: KeyPlaces, issuer: str) -> Path | None:
    """The file with the passphrase of an issuer's key: the one configured for it, its own, or the one for all."""
    own = places.base / "secrets" / f"{issuer}.passphrase"
    return places.ca.passphrase_files.get(issuer) or (own if own.is_file() else places.ca.passphrase_file)


def load_settings(path: Path) -> Settings:
    """Read `path` (TOML) and the environment (GOODSTANDING_<SECTION>__<KEY>, which wins).

    Raises ConfigError.
    """
    tables = _read_tables(path)
    base = path.resolve().parent
    own = tables.pop("profiles", {})
    settings, problems = _checked(path, tables)
    profiles, found = configured_profiles(path, own, _further_profiles(settings, tables, base))
    if problems or found or settings is None:
        raise ConfigError("\n".join([*(line for _, line in problems), *found]))
    whole = _rebased(settings, base).model_copy(update={"base": base})
    whole._profiles = profiles
    return whole


def profiles_in(path: Path) -> tuple[Mapping[str, Profile], list[str]]:
    """The profiles of one file, built-in ones included, and what the ca service would have against them.

    It may be a configuration, or a file with profiles alone, as `profiles_file` names it. Raises FileUnreadable.
    """
    tables = read_toml(path)
    if not tables.keys() & {*Settings.model_fields, *_OTHER_TABLES}:
        return profiles_alone(path, tables)
    tables = {name: table for name, table in tables.items() if name not in _OTHER_TABLES}
    own = tables.pop("profiles", {})
    settings, problems = _checked(path, tables)
    profiles, found = configured_profiles(path, own, _further_profiles(settings, tables, path.resolve().parent))
    return profiles, [line for place, line in problems if _may_be_about_profiles(place)] + found


def _may_be_about_profiles(place: _Place) -> bool:
    """Whether a mistake is one of `profiles_file`, or a name that may have been meant to be that or [profiles]."""
    match place:
        case (table,):
            return table not in Settings.model_fields
        case ("ca", setting):
            return setting == "profiles_file" or setting not in CaSettings.model_fields
        case _:
            return False


def _further_profiles(settings: Settings | None, tables: Mapping[str, Any], base: Path) -> Path | None:
    """The file of further profiles; where other settings are wrong, as far as the configuration file itself says it."""
    if settings is not None:
        more = settings.ca.profiles_file
    else:
        table = tables.get("ca")
        named = table.get("profiles_file") if isinstance(table, Mapping) else None
        more = Path(named) if isinstance(named, str) else None
    return base / more if more is not None else None


def _checked(path: Path, tables: Mapping[str, Any]) -> tuple[Settings | None, list[tuple[_Place, str]]]:
    """The settings, or what is wrong: where, and the line for the operator."""
    try:
        return Settings(**tables), []
    except ValidationError as error:
        return None, [(tuple(map(str, each["loc"])), _line(path, each)) for each in error.errors()]
    except SettingsError as error:
        return None, [((), f"environment: {error}")]


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        tables = read_toml(path, cure="; make one: goodstanding init")
    except FileUnreadable as error:
        raise ConfigError(str(error)) from None
    return {name: table for name, table in tables.items() if name not in _OTHER_TABLES}


def _line(path: Path, error: Mapping[str, Any]) -> str:
    """One thing that is wrong; with the value where that cannot be a password."""
    location = [str(part) for part in error["loc"]]
    variable = _variable(location)
    place = f"environment variable {variable}" if variable else f"{path}: {_key(location)}"
    message = told(error, Settings)
    return f"{place}: {message}; it is {shown(error['input'])}" if is_secret_free(error) else f"{place}: {message}"


def _key(location: Sequence[str]) -> str:
    if len(location) == 1:
        return f"[{location[0]}]"
    return f"[{'.'.join(location[:-1])}] {location[-1]}"


def _variable(location: Sequence[str]) -> str | None:
    """The environment variable that a value came from, if it came from one."""
    for length in range(len(location), 0, -1):
        wanted = (_PREFIX + "__".join(location[:length])).upper()
        found = [name for name in os.environ if name.upper() == wanted]
        if found:
            return found[0]
    return None


def _rebased(model: _Model, base: Path) -> _Model:
    """The same settings with every path absolute."""
    changes: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            changes[name] = _rebased(value, base)
        elif isinstance(value, Path):
            changes[name] = base / value
        elif isinstance(value, tuple):
            changes[name] = tuple(base / each for each in value)
        elif isinstance(value, dict):
            changes[name] = {key: base / each for key, each in value.items()}
        elif isinstance(value, str) and value.startswith("sqlite:///"):
            changes[name] = "sqlite:///" + str(base / value.removeprefix("sqlite:///"))
    return model.model_copy(update=changes)
