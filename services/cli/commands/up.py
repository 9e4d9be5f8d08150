"""`goodstanding up`: everything on one machine."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from services.cli.children import Refused
from services.cli.credentials import load_authority
from services.cli.folder import CA_ADDRESS, HTTP_ADDRESS, OPS_ADDRESS, STATUS_ADDRESS, DataFolder, Running
from services.cli.init import initialise
from services.cli.options import HostPort, HttpUrl, data_option
from services.cli.output import note
from services.cli.plan import Plan, default_url, is_loopback
from services.cli.ports import claim
from services.cli.settings import Configuration, check_database, load
from services.cli.supervisor import Keeper, Supervisor, only_one
from services.clock import utc_now

DEFAULTS = {"ca": CA_ADDRESS, "status": STATUS_ADDRESS, "http": HTTP_ADDRESS, "ops": OPS_ADDRESS}


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
def command(
    data: Path, ca: str | None, status: str | None, http: str | None, ops: str | None, public_url: str | None
) -> None:
    """Run ca, status and gateway on this machine, until Ctrl-C or SIGTERM.

    The first start initialises the data folder, and its addresses become the configured ones. Later, addresses given
    here hold for this run only. Port 0 picks a free one.
    """
    os.umask(0o077)
    folder = DataFolder(data)
    given = {"ca": ca, "status": status, "http": http, "ops": ops}
    if not folder.initialised():
        addresses = claim({name: address or DEFAULTS[name] for name, address in given.items()})
        initialise(folder, plan(addresses, public_url), utc_now())
        note(f"initialised {data}")
        given = {name: addresses[name] for name in given}
    with only_one(folder):
        run(folder, given, public_url)


def plan(addresses: dict[str, str], public_url: str | None) -> Plan:
    """How the first start makes the data folder."""
    return Plan(addresses["ca"], addresses["status"], addresses["http"], addresses["ops"], public_url)


def run(folder: DataFolder, given: dict[str, str | None], public_url: str | None) -> None:
    """Check what the services need, and run them."""
    configuration = load(folder.config)
    authority = load_authority(folder, configuration.services.tls.trust_domain)
    check_database(configuration.services)
    running = resolve(configuration, given, public_url)
    keeper = Keeper(folder, configuration.services, authority, utc_now)
    try:
        asyncio.run(Supervisor(folder, running, keeper, lambda: announce(folder, running)).run())
    except Refused:
        sys.exit(1)  # the service has said why


def resolve(configuration: Configuration, given: dict[str, str | None], public_url: str | None) -> Running:
    """The addresses of this run: from options, or else from the configuration. Raises Failed for one that is taken."""
    services, gateway = configuration.services, configuration.gateway
    configured = {"ca": services.ca.listen, "status": services.status.listen, "http": gateway.http, "ops": gateway.ops}
    addresses = claim({name: given[name] or address for name, address in configured.items()})
    url = public_url or services.ca.public_url
    if public_url is None and url == default_url(configured["http"]):  # nobody chose it: it follows the address
        url = default_url(addresses["http"])
    return Running(os.getpid(), **addresses, public_url=url)


def announce(folder: DataFolder, running: Running) -> None:
    """Say where everything is, what to try next, and that it is ready."""
    if is_loopback(running.public_url):
        note(
            f"warning: certificates will carry {running.public_url}, which only this machine can reach: "
            "see --public-url"
        )
    click.echo(block(folder, running))
    click.echo(
        f"ready  ca {running.ca}  status {running.status}  ocsp {running.public_url}  operator http://{running.ops}"
    )


def block(folder: DataFolder, running: Running) -> str:
    """Addresses, and commands to paste."""
    data = shlex.quote(str(folder.path))
    tool = goodstanding() + (f" --data {data}" if data != "data" else "")
    name, _, rest = tool.partition(" ")
    return f"""
  ca        {running.ca}  (gRPC, mTLS)
  status    {running.status}  (gRPC, mTLS)
  gateway   http://{running.http}  (OCSP, CA certificates, CRLs)
  operator  http://{running.ops}  (/healthz /readyz /metrics)

Next, in another terminal:

  openssl req -new -newkey rsa:2048 -nodes -keyout test.key -subj /CN=test.example.com -out test.csr
  {name} issue test.csr --out test.pem {rest}
  openssl ocsp -CAfile {data}/ca/chain.pem -issuer {data}/ca/issuing.pem -cert test.pem \\
    -url http://{running.http} -resp_text
  {name} revoke --cert test.pem --reason keyCompromise {rest}
""".replace(" \n", "\n")


def goodstanding() -> str:
    """How the user can call this command again."""
    script = Path(sys.argv[0])
    found = shutil.which("goodstanding")
    if script.name != "goodstanding" or (found and Path(found).resolve() == script.resolve()):
        return "goodstanding"
    with_folder = os.path.relpath(script)
    return shlex.quote(with_folder if not with_folder.startswith("..") else str(script))
