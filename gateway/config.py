"""The gateway's settings: the table `[gateway]` of the configuration file, and the environment.

Every setting can be given as `GOODSTANDING_GATEWAY__<NAME>` too, which wins over the file. Paths are relative to the
configuration file. All mistakes are reported at once, each with its name.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.policy import NeverIssued, NoncePolicy, ResponderId, SignedRequests
from gateway.setting_words import told
from gateway.signer_keys import SignerKey
from gateway.validity import Preset, ValidityPolicies, ValidityPolicy


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, settings and what is wrong, one mistake a line."""


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT or [IPV6]:PORT -> host (no brackets) and port. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]]+)):([0-9]{1,5})", address)
    if match is None or int(match[3]) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT, such as 127.0.0.1:2560 or [::1]:2560")
    return match[1] or match[2], int(match[3])


def _host_port(value: str) -> str:
    split_address(value)
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "http" or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{value!r} is not a plain http:// URL (https would need a checked certificate first)")
    return value.rstrip("/")


HostPort = Annotated[str, AfterValidator(_host_port)]
Validity = Annotated[int, Field(ge=60, le=10 * 86400 - 1)]
MaxAge = Annotated[int, Field(ge=0, le=86400)]


class SignerFiles(BaseModel):
    """A key and its certificate: `[[gateway.issuers.NAME.signers]]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: Path
    """PEM; the first certificate counts. A delegated responder certificate, or the issuer's own (direct signing)."""
    key: Path
    """PEM, encrypted or not."""
    passphrase_file: Path | None = None
    """Where the key is encrypted. The alternatives: GOODSTANDING_PASSPHRASE_GATEWAY_<ISSUER> (with _2 for the second
    signer, and so on), the systemd credential gateway-<issuer> (-2), a prompt."""


class IssuerTable(BaseModel):
    """What is different for one issuer: `[gateway.issuers.NAME]`. What is not given is as for all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Preset | None = None
    validity: Validity | None = None
    max_age: MaxAge | None = None
    signers: tuple[SignerFiles, ...] = ()
    """Keys and certificates from files, instead of enrolment; the first signs where a client has no preference. An
    issuer may come in later: its pair is read at the start, and signs from the moment that the issuer is known."""


class GatewayTable(BaseModel):
    """The table `[gateway]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    http: HostPort = "127.0.0.1:2560"
    """Where OCSP clients ask."""
    ops: HostPort = "127.0.0.1:2561"
    """Where operators look: health and metrics. Never the public address."""
    public_url: Annotated[str, AfterValidator(_http_url)] | None = None
    """The address of `http` as clients know it; its path is taken off before a GET is read."""
    ca: HostPort = "127.0.0.1:50051"
    """The CA service, asked for responder certificates."""
    status: HostPort = "127.0.0.1:50052"
    """The status service."""
    tls_ca: Path = Path("tls/ca.pem")
    """The root of the gRPC services' own certificates."""
    certificate: Path = Path("tls/gateway.pem")
    key: Path = Path("tls/gateway.key")
    """The gateway's client credential, with the role responder (PEM, unencrypted)."""

    max_staleness: float = Field(1.0, ge=0.1, le=60)
    """Seconds after a revocation after which `good` is never written any more (τ in the documents)."""
    ping_interval: float = Field(0.2, ge=0.02, le=10)
    """Seconds between two proofs of freshness. Much less than max_staleness, or answers fall back to look-ups."""
    preset: Preset = Preset.DEFAULT
    """Which values `validity` and `max_age` have where they are not given: "default"; "baseline" (the baseline
    requirements, whose rules then bind what is given, too); "short" (internal use)."""
    validity: Validity | None = None
    """Seconds from thisUpdate to nextUpdate."""
    max_age: MaxAge | None = None
    """The longest that HTTP caches may hold an answer, in seconds. It adds to max_staleness, for what they serve."""
    clock_skew: int = Field(60, ge=0, le=3600)
    """How far thisUpdate is put back where a period begins, in seconds, for clients whose clock is behind."""

    nonce: NoncePolicy = NoncePolicy.ECHO
    """"echo"; "ignore": answer without it, from the cache; "require": a request without one is malformedRequest."""
    never_issued: NeverIssued = NeverIssued.UNKNOWN
    """What a serial number is that the issuer never gave: "unknown"; "unauthorized"; "extended-revoked" (RFC 6960)."""
    responder_id: ResponderId = ResponderId.KEY
    """How answers name who signed them: "key", or "name" for old clients."""
    archive_cutoff: int | None = Field(None, ge=0, le=100 * 365 * 86400)
    """Seconds for which the status of expired certificates is kept, told in answers about them; nothing by default."""
    invalidity_date: bool = False
    """Whether answers tell the invalidity date of a revocation, where one was recorded."""
    crl_reference: bool = False
    """Whether an answer about a revoked certificate names the published CRL that lists it."""
    signed_requests: SignedRequests = SignedRequests.IGNORE
    """"ignore": signatures on requests are not looked at; "require": a request without one is sigRequired, and one that
    does not verify is unauthorized."""
    request_trust_anchors: Path | None = None
    """PEM: the CA certificates that signers of requests must chain to; needed with signed_requests = "require"."""
    signer_keys: tuple[SignerKey, ...] = Field((SignerKey.P256,), min_length=1)
    """The kinds of keys that the gateway enrols for each issuer. The first signs, the others where a client prefers
    their algorithm. Each takes up to three of the responder certificates that `ca.max_live_delegates` allows."""
    issuers: dict[str, IssuerTable] = {}
    """What is different for single issuers, by name."""

    workers: int = Field(1, ge=1, le=64)
    """Processes that answer. The limits below are for all of them together: each has its share."""
    cache_entries: int = Field(100_000, ge=16)
    """Certificates whose status is held."""
    cache_mib: int = Field(128, ge=1)
    """Memory for statuses and ready answers, in MiB (an estimate, on the safe side)."""
    max_requests: int = Field(100, ge=1, le=1000)
    """Single requests in one OCSP request; one with more is malformedRequest."""
    max_pending: int = Field(4096, ge=1)
    """CertIDs being answered at once; past it, tryLater."""
    max_connections: int = Field(4096, ge=1)
    """Open connections; past it, new ones are closed."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.signed_requests is SignedRequests.REQUIRE) != (self.request_trust_anchors is not None):
            raise ValueError('signed_requests = "require" and request_trust_anchors need each other')
        if len(set(self.signer_keys)) != len(self.signer_keys):
            raise ValueError("signer_keys names a kind of key twice")
        baseline = Preset.BASELINE in {self.preset, *(issuer.preset for issuer in self.issuers.values())}
        if baseline and self.never_issued is NeverIssued.EXTENDED_REVOKED:
            raise ValueError(
                'never_issued = "extended-revoked" answers certificateHold, which the baseline preset forbids (R50)'
            )
        self.validity_policies()
        return self

    def validity_policies(self) -> ValidityPolicies:
        """How long answers are valid, for each issuer. Raises ValueError, naming the issuer."""
        general = ValidityPolicy.of(self.preset, self.validity, self.max_age, self.clock_skew)
        special = {}
        for name, issuer in self.issuers.items():
            # A preset of its own puts the general values aside.
            validity, max_age = (None, None) if issuer.preset else (self.validity, self.max_age)
            try:
                special[name] = ValidityPolicy.of(
                    issuer.preset or self.preset,
                    validity if issuer.validity is None else issuer.validity,
                    max_age if issuer.max_age is None else issuer.max_age,
                    self.clock_skew,
                )
            except ValueError as error:
                raise ValueError(f"issuers.{name}: {error}") from None
        return ValidityPolicies(general, special)


class GatewaySettings(BaseSettings):
    """What the gateway reads of the configuration: its own table, and the name of the file it came from."""

    model_config = SettingsConfigDict(
        env_prefix="GOODSTANDING_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    gateway: GatewayTable = GatewayTable()
    base: Path = Path()
    """Where relative paths begin."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (pydantic calls it by name)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content is given to the constructor."""
        return env_settings, init_settings

    def path(self, relative: Path) -> Path:
        """A path of the configuration, made whole."""
        return self.base / relative


def load(file: Path | None) -> GatewaySettings:
    """The settings from `file` (none: defaults, relative to the working directory) and the environment.

    Raises ConfigError: the file cannot be read, is no TOML, or holds settings that are wrong.
    """
    content: dict[str, Any] = {}
    if file is not None:
        try:
            content = tomllib.loads(file.read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the configuration file {file}: {error}") from error
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{file} is not valid TOML: {error}") from error
    try:
        return GatewaySettings(gateway=content.get("gateway", {}), base=file.parent if file else Path())
    except ValidationError as error:
        wrong = "\n".join(_described(each, file) for each in error.errors())
        raise ConfigError(wrong) from error


def _described(error: ErrorDetails, file: Path | None) -> str:
    """One mistake: where it was made, and what is wrong."""
    setting = ".".join(map(str, error["loc"]))
    variable = "GOODSTANDING_" + setting.upper().replace(".", "__")
    where = f"environment variable {variable}" if variable in os.environ else f"{file or 'the defaults'}: {setting}"
    return f"{where}: {told(error)}"
