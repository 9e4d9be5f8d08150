"""What the services are told at the start: where to listen, and under which URL clients know the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.ca.urls import ca_certificate_url, crl_url
from services.cli.folder import CA_ADDRESS, HTTP_ADDRESS, OPS_ADDRESS, STATUS_ADDRESS, reachable


@dataclass(frozen=True)
class Plan:
    """How a data folder is made. Addresses are HOST:PORT."""

    ca: str = CA_ADDRESS
    status: str = STATUS_ADDRESS
    http: str = HTTP_ADDRESS
    ops: str = OPS_ADDRESS
    public_url: str | None = None
    """Where clients find the gateway; `http` if nothing else is said. It goes into certificates."""
    database_url: str = "sqlite:///goodstanding.db"
    name: str = "goodstanding"
    """What the names of the authorities begin with."""
    server_names: tuple[str, ...] = ()
    """What the gRPC servers answer to, besides this machine's own names."""
    key_type: str = "p-256"
    """The kind of the authorities' keys (`services.cli.options.KEY_TYPES`)."""

    @property
    def url(self) -> str:
        """The URL under which clients find the gateway, without a slash at its end."""
        return (self.public_url or default_url(self.http)).rstrip("/")

    @property
    def root_certificate_url(self) -> str:
        """Where the gateway serves the root's certificate."""
        return ca_certificate_url(self.url, "root")

    @property
    def root_crl_url(self) -> str:
        """Where the gateway serves the root's list of revoked certificates."""
        return crl_url(self.url, "root")

    def database_url_in(self, folder: Path) -> str:
        """The URL of the database while its data folder is at `folder`."""
        scheme, _, path = self.database_url.partition(":///")
        return f"sqlite:///{folder.resolve() / path}" if scheme == "sqlite" else self.database_url


def default_url(http: str) -> str:
    """The URL of a gateway that listens there, as long as nobody chose one."""
    return f"http://{reachable(http)}"


def is_loopback(url: str) -> bool:
    """Whether only this machine can reach a URL."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
