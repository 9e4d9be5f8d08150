"""nginx staples our answers, and curl and openssl take them; a revoked certificate gets nowhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.estate import Estate
from tests.conformance.judges.nursery import Leaf, nursery
from tests.conformance.judges.paths import CertificationPath
from tests.conformance.judges.relay import Relay, relay
from tests.conformance.judges.servers import Server, nginx
from tests.conformance.judges.tools import require
from tests.conformance.subjects import Subject
from tests.conformance.wire import request
from tests.e2e.system import free_addresses
from tests.waiting import wait_until

ISSUERS = ("issuing", "rsa", "direct", "direct-rsa", "solo", "solo-rsa")
REVOKED, IN_A_FILE, IN_THE_CERTIFICATE = "revoked", "in-a-file", "in-the-certificate"
INVALID_STATUS = 91  # CURLE_SSL_INVALIDCERTSTATUS

_SERVER = """\
    server {{
        listen {address} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_trusted_certificate {trusted};
        ssl_stapling on;
        ssl_stapling_verify on;
        {more}
        return 200 "served\\n";
    }}
"""


@dataclass(frozen=True)
class Site:
    """A virtual server: where it listens, its name, and the root that its certificate comes from."""

    name: str
    address: str
    root: Path

    def curl(self) -> subprocess.CompletedProcess[str]:
        """Fetch from it, with a staple or not at all."""
        host, port = self.address.rsplit(":", 1)
        options = ["--noproxy", "*", "--resolve", f"{self.name}:{port}:{host}", "--max-time", "20"]
        trust = ["--cert-status", "--cacert", str(self.root)]
        command = [require("curl"), "-sS", "-v", *options, *trust, f"https://{self.name}:{port}/"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@dataclass(frozen=True)
class Sites:
    """All virtual servers of one nginx, by name."""

    by_name: Mapping[str, Site]
    server: Server
    relay: Relay

    def __getitem__(self, name: str) -> Site:
        return self.by_name[name]


@pytest.fixture(scope="module")
def sites(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """An nginx with a certificate of each issuer, one that names the responder itself, and two that are revoked."""
    folder = tmp_path_factory.mktemp("stapling")
    with nursery(estate, folder) as grown, relay(estate.system.http) as before:
        responder = f"ssl_stapling_responder {before.url};"
        leaves = {name: (grown.issue(f"stapled-{name}", name), responder) for name in ISSUERS}
        leaves[IN_THE_CERTIFICATE] = grown.issue("stapled-by-itself"), ""
        leaves[REVOKED] = grown.issue("stapled-revoked", reason=4), responder
        leaves[IN_A_FILE] = leaves[REVOKED][0], f"ssl_stapling_file {folder / 'revoked.der'};"
        (folder / "revoked.der").write_bytes(_answer(estate, leaves[REVOKED][0]))
        addresses = dict(zip(leaves, free_addresses(len(leaves)), strict=True))
        blocks = [_block(estate, leaf, addresses[name], more) for name, (leaf, more) in leaves.items()]
        by_name = {name: _site(estate, leaf, addresses[name]) for name, (leaf, _) in leaves.items()}
        with nginx(folder, "".join(blocks), addresses[REVOKED]) as server:
            yield Sites(by_name, server, before)


def _site(estate: Estate, leaf: Leaf, address: str) -> Site:
    return Site(f"{leaf.name}.example.com", address, CertificationPath.of(estate, leaf.issuer, leaf.file).root)


def _block(estate: Estate, leaf: Leaf, address: str, more: str) -> str:
    path = CertificationPath.of(estate, leaf.issuer, leaf.file)
    chain, trusted = leaf.file.with_suffix(".chain"), leaf.file.with_suffix(".trusted")
    # curl looks for the issuer among what the server sends, so a root that issues leaves has to be there, too.
    chain.write_bytes(b"".join(each.read_bytes() for each in (leaf.file, *(path.authorities or [path.root]))))
    trusted.write_bytes(b"".join(each.read_bytes() for each in (*path.authorities, path.root)))
    return _SERVER.format(address=address, chain=chain, key=leaf.key_file, trusted=trusted, more=more)


def _answer(estate: Estate, leaf: Leaf) -> bytes:
    reply = estate.responder.post(request(Subject.of(estate, leaf.issuer, leaf.file).cert_id()))
    assert reply.answer.status == "revoked"
    return reply.body


@pytest.mark.rule("R2", "R8", "R43")
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.rule("R67")) for name in ("issuing", "rsa", "solo", "solo-rsa")),
        *(pytest.param(name, marks=pytest.mark.rule("R64")) for name in ("direct", "direct-rsa")),
        pytest.param(IN_THE_CERTIFICATE, marks=pytest.mark.rule("R16")),
    ],
)
def test_good_is_stapled(sites: Sites, name: str) -> None:
    """The server asks at the first handshake, verifies the answer and staples it from then on; curl verifies it too."""
    said: list[subprocess.CompletedProcess[str]] = []

    def stapled() -> bool:
        said.append(sites[name].curl())
        assert said[-1].returncode == 0 or "No OCSP response received" in said[-1].stderr, said[-1].stderr
        return said[-1].returncode == 0

    wait_until(stapled, within=30)
    assert said[-1].stdout == "served\n"
    assert "SSL certificate status: good (0)" in said[-1].stderr


@pytest.mark.rule("R43")
def test_openssl_reads_the_staple(sites: Sites) -> None:
    """`openssl s_client -status` shows a successful answer that says good."""
    site = sites["issuing"]
    command = ["openssl", "s_client", "-connect", site.address, "-servername", site.name, "-status"]
    trust = ["-CAfile", str(site.root), "-verify_return_error"]
    shown = [""]

    def stapled() -> bool:
        done = subprocess.run([*command, *trust], input="", capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        shown[0] = done.stdout
        return "OCSP response: no response sent" not in shown[0]

    wait_until(stapled, within=30)
    assert "OCSP Response Status: successful (0x0)" in shown[0]
    assert "Cert Status: good" in shown[0]


@pytest.mark.rule("R43", "R47")
def test_revoked_is_not_stapled(sites: Sites) -> None:
    """The server reads that its certificate is revoked and staples nothing, so curl refuses it."""

    def refused() -> bool:
        assert sites[REVOKED].curl().returncode == INVALID_STATUS
        return 'certificate status "revoked" in the OCSP response' in sites.server.log

    wait_until(refused, within=30)


@pytest.mark.rule("R43", "R47")
def test_a_staple_that_says_revoked(sites: Sites) -> None:
    """Where the server insists on stapling it, curl reads reason and status, and refuses."""
    done = sites[IN_A_FILE].curl()
    assert done.returncode == INVALID_STATUS
    assert "SSL certificate revocation reason: superseded (4)" in done.stderr


@pytest.mark.rule("R2", "R12")
def test_what_nginx_sends(sites: Sites) -> None:
    """It asks by GET in HTTP/1.0, without an Accept header or a User-Agent."""

    def asked() -> bool:
        sites["issuing"].curl()
        return bool(sites.relay.heard())

    wait_until(asked, within=30)
    heard = sites.relay.heard()
    assert {(each.method, each.version) for each in heard} == {("GET", "HTTP/1.0")}
    assert not any({"accept", "user-agent"} & each.headers.keys() for each in heard)
