"""A web server with an issued certificate, and those who reach it: curl, Python and Java; certtool checks the path."""

from __future__ import annotations

import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.judges.servers import nginx
from tests.conformance.judges.tools import require
from tests.e2e.system import System, free_addresses

JAVA = Path(__file__).with_name("Fetch.java")
_SERVER = """\
    server {{
        listen {address} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        return 200 "served\\n";
    }}
"""


@dataclass(frozen=True)
class Site:
    """A web server at localhost, and the roots to trust: its own, and one that has nothing to do with it."""

    port: str
    chain: Path
    root: Path
    folder: Path

    @property
    def url(self) -> str:
        """By the name in its certificate."""
        return f"https://localhost:{self.port}/"


@pytest.fixture(scope="module")
def site(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Nginx with a certificate for localhost, made as the README says."""
    folder = tmp_path_factory.mktemp("site")
    address = free_addresses(1)[0]
    system.issue("localhost")
    chain = folder / "chain.pem"
    system.run("goodstanding", "issue", "localhost.csr", "--out", str(chain), "--chain")
    servers = _SERVER.format(address=address, chain=chain, key=system.folder / "localhost.key")
    with nginx(folder, servers, address):
        yield Site(address.rpartition(":")[2], chain, system.data / "ca/root.pem", folder)


def by_curl(site: Site, root: Path) -> str:
    """What curl gets."""
    command = [require("curl"), "-sS", "--noproxy", "*", "--max-time", "20", "--cacert", str(root), site.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def by_python(site: Site, root: Path) -> str:
    """What Python's ssl gets, as strict as it can be told to be."""
    context = ssl.create_default_context(cafile=str(root))
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(site.url, timeout=20) as page:
        text: str = page.read().decode()
    return text


def by_java(site: Site, root: Path) -> str:
    """What Java gets."""
    subprocess.run([require("javac"), "-d", str(site.folder), str(JAVA)], check=True, timeout=60)
    flags = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    command = [require("java"), *flags, "-cp", str(site.folder), "Fetch", site.url, str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("fetch", [by_curl, by_python, by_java])
def test_clients_reach_the_server(site: Site, fetch: Callable[[Site, Path], str]) -> None:
    """Whoever trusts the root gets the page."""
    assert fetch(site, site.root) == "served\n"


@pytest.mark.parametrize("fetch", [by_curl, by_python, by_java])
def test_clients_that_trust_another_root_do_not(system: System, site: Site, fetch: Callable[[Site, Path], str]) -> None:
    """With the root of the services' own credentials, which is never one of certificates that are issued."""
    with pytest.raises((subprocess.CalledProcessError, OSError)):
        fetch(site, system.data / "tls/ca.pem")


def test_certtool_verifies_the_path(system: System, site: Site) -> None:
    """GnuTLS finds no fault with the certificates from the server's to the root."""
    path = site.folder / "path.pem"
    path.write_text(site.chain.read_text() + site.root.read_text())
    command = [require("certtool"), "--verify", "--load-ca-certificate", str(site.root), "--infile", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert "The certificate is trusted" in done.stdout
