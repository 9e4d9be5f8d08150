"""`goodstanding up`: everything on one machine.

What takes long to import is imported where it is needed: by then the services have been started, and import theirs.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import click

from services.cli.checks import exposed, exposure_cure, missing_certificates, require_credential
from services.cli.children import Refused
from services.cli.folder import CA_ADDRESS, HTTP_ADDRESS, OPS_ADDRESS, STATUS_ADDRESS, DataFolder, Running, reachable
from services.cli.options import HostPort, HttpUrl, data_option, workers_option
from services.cli.output import note
from services.cli.ports import claim
from services.cli.supervisor import Supervisor, only_one

if TYPE_CHECKING:
    from services.cli.keeper import Keeper
    from services.cli.plan import Plan
    from services.cli.settings import Configuration
    from services.config import Settings

DEFAULTS = {"ca": CA_ADDRESS, "status": STATUS_ADDRESS, "http": HTTP_ADDRESS, "ops": OPS_ADDRESS}
SERVERS: tuple[Literal["ca", "status"], ...] = ("ca", "status")
SIGNERS = re.compile("GOODSTANDING_GATEWAY(__ISSUERS.*)?$", re.IGNORECASE)
"""The settings in the environment that signers from files can be in."""
EVERYWHERE = "/usr/local/bin:/usr/bin:/bin"
"""The folders that are in everybody's PATH."""


@click.command("up")
@data_option
@click.option("--ca", metavar="HOST:PORT", type=HostPort(), help=f"The CA service, gRPC.  [default: {CA_ADDRESS}]")
@click.option(
    "--status", metavar="HOST:PORT", type=HostPort(), help=f"The status service, gRPC.  [default: {STATUS_ADDRESS}]"
)
@click.option(
    "--http", metavar="HOST:PORT", type=HostPort(), help=f"The gateway, for OCSP clients.  [default: {HTTP_ADDRESS}]"
)
@click.option(
    "--ops", metavar="HOST:PORT", type=HostPort(), help=f"The gateway, for operators.  [default: {OPS_ADDRESS}]"
)
@click.option(
    "--public-url", metavar="URL", type=HttpUrl(), help="The gateway as clients know it; goes into certificates."
)
@workers_option
def command(
    data: Path,
    ca: str | None,
    status: str | None,
    http: str | None,
    ops: str | None,
    public_url: str | None,
    workers: int | None,
) -> None:
    """Run ca, status and gateway on this machine, until Ctrl-C or SIGTERM.

    The first start initialises the data folder, and its addresses become the configured ones. Later, addresses given
    here hold for this run only. Port 0 picks a free one. `--workers` always holds for this run only.
    """
    can_be_interrupted()
    os.umask(0o077)
    folder = DataFolder(data)
    given = {"ca": ca, "status": status, "http": http, "ops": ops}
    if not folder.initialised():
        from services.cli.init import initialise
        from services.clock import utc_now

        addresses = claim({name: address or DEFAULTS[name] for name, address in given.items()})
        initialise(folder, plan(addresses, public_url), utc_now())
        note(f"initialised {data}")
        given = {name: addresses[name] for name in given}
    with only_one(folder):
        run(folder, given, public_url, workers)


def can_be_interrupted() -> None:
    """Undo what a shell without job control does to `goodstanding up &`: it starts that with SIGINT ignored."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def plan(addresses: dict[str, str], public_url: str | None) -> Plan:
    """How the first start makes the data folder."""
    from services.cli.plan import Plan

    return Plan(addresses["ca"], addresses["status"], addresses["http"], addresses["ops"], public_url)


def run(folder: DataFolder, given: dict[str, str | None], public_url: str | None, workers: int | None) -> None:
    """Run the services, once all that they need has been checked."""
    supervisor = Supervisor(
        folder,
        lambda: prepare(folder, given, public_url),
        lambda running: announce(folder, running),
        workers,
        typed(folder),
    )
    try:
        asyncio.run(supervisor.run())
    except Refused:
        sys.exit(1)  # the service has said why


def typed(folder: DataFolder) -> dict[str, str]:
    """What has to be typed before the gateway can open its signers' keys, as its environment. Raises Failed."""
    configured = b"signers" in folder.config.read_bytes() or any(map(SIGNERS.match, os.environ))
    if not (configured and sys.stdin is not None and sys.stdin.isatty()):
        return {}  # without importing what it takes to find out more

    from services.cli.signer_passphrases import typed_passphrases

    return typed_passphrases(folder.config)


def prepare(folder: DataFolder, given: dict[str, str | None], public_url: str | None) -> tuple[Running, Keeper]:
    """Check what the services need. Raises Failed."""
    from services.cli.credentials import load_authority
    from services.cli.keeper import Keeper
    from services.cli.settings import check_database, check_delegate_limit, load
    from services.clock import utc_now

    configuration = load(folder.config)
    check_delegate_limit(configuration)
    authority = load_authority(folder, configuration.services.tls.trust_domain)
    check_database(configuration.services)
    check_files(folder, configuration.services)
    running = resolve(configuration, given, public_url)
    return running, Keeper(folder, configuration.services, authority, utc_now)


def check_files(folder: DataFolder, settings: Settings) -> None:
    """Warn of private files that others can read; raise Failed for credentials that are missing."""
    from services.cli.settings import readable

    files = exposed(folder.path)
    if files:
        listed = ", ".join(map(str, files))
        note(f"warning: others than their owner can read private files ({listed}): {exposure_cure(files)}")
    for service in SERVERS:
        with readable():
            credential = settings.tls.credential(service)
        require_credential(credential.certificate, credential.key, folder.path)


def resolve(configuration: Configuration, given: dict[str, str | None], public_url: str | None) -> Running:
    """The addresses of this run: from options, or else from the configuration. Raises Failed for one that is taken."""
    from services.cli.plan import default_url

    services, gateway = configuration.services, configuration.gateway
    configured = {"ca": services.ca.listen, "status": services.status.listen, "http": gateway.http, "ops": gateway.ops}
    addresses = claim({name: given[name] or address for name, address in configured.items()})
    url = public_url or services.ca.public_url
    if public_url is None and url == default_url(configured["http"]):  # nobody chose it: it follows the address
        url = default_url(addresses["http"])
    return Running(os.getpid(), **addresses, public_url=url)


def announce(folder: DataFolder, running: Running) -> None:
    """Say where everything is, what to try next, and that it is ready."""
    from services.cli.plan import is_loopback

    if is_loopback(running.public_url):
        note(
            f"warning: certificates will carry {running.public_url}, which only this machine can reach: "
            "see --public-url"
        )
    # The gateway serves the certificates of CAs below the public URL's path.
    for warning in missing_certificates(folder, f"http://{reachable(running.http)}{urlsplit(running.public_url).path}"):
        note(warning)
    click.echo(block(folder, running))
    click.echo(
        f"ready  ca {running.ca}  status {running.status}  ocsp {running.public_url}  operator http://{running.ops}"
    )


def block(folder: DataFolder, running: Running) -> str:
    """Addresses, and commands to paste into a shell that knows nothing of this one."""
    chain, issuing = (shlex.quote(str(folder.authorities / name)) for name in ("chain.pem", "issuing.pem"))
    tool = shlex.quote(goodstanding())
    data = f" --data {shlex.quote(str(folder.path))}" if str(folder.path) != "data" else ""
    return f"""
  ca        {running.ca}  (gRPC, mTLS)
  status    {running.status}  (gRPC, mTLS)
  gateway   http://{running.http}  (OCSP, CA certificates, CRLs)
  operator  http://{running.ops}  (/healthz /readyz /metrics)

Next, in another terminal:

  cd {shlex.quote(str(Path.cwd()))}
  openssl req -new -newkey rsa:2048 -nodes -keyout test.key -subj /CN=test.example.com -out test.csr
  {tool} issue test.csr --out test.pem{data}
  openssl ocsp -CAfile {chain} -issuer {issuing} -cert test.pem \\
    -url http://{reachable(running.http)} -resp_text
  {tool} revoke --cert test.pem --reason keyCompromise{data}
"""


def goodstanding() -> str:
    """How a shell calls this command whose PATH is nobody's own: neither of a virtual environment, nor of make."""
    script = Path(sys.argv[0])
    if script.name != "goodstanding":  # python -m services.cli
        script = Path(sys.executable).with_name("goodstanding")
    found = shutil.which("goodstanding", path=EVERYWHERE)
    if not script.exists() or (found and Path(found).resolve() == script.resolve()):
        return "goodstanding"
    script, here = script.absolute(), Path.cwd()
    if not script.is_relative_to(here):
        return str(script)
    below = str(script.relative_to(here))
    return below if "/" in below else f"./{below}"
