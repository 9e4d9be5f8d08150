"""Revocation lists of a running system, in shards, and what other programs make of them (R98, R106 to R113)."""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.conformance.judges.tools import require
from tests.e2e.system import System
from tests.waiting import wait_until

JAVA = Path(__file__).parents[1] / "conformance" / "judges" / "OcspCheck.java"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose certificates name one of two shards."""
    folder = tmp_path_factory.mktemp("sharded")
    system = System(folder, GOODSTANDING_CA__CRL_DISTRIBUTION="sharded", GOODSTANDING_CA__CRL_SHARDS="2").start()
    yield system
    assert system.stop() == 0


def fetch(url: str) -> x509.CertificateRevocationList:
    """A list, from where it is served."""
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert reply.headers["Content-Type"] == "application/pkix-crl"
        return x509.load_der_x509_crl(reply.read())


def point_of(leaf: Path) -> str:
    """The address of the list that a certificate names."""
    certificate = x509.load_pem_x509_certificate(leaf.read_bytes())
    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    return str(point.full_name[0].value)


def has(url: str, leaf: Path) -> bool:
    """Whether the list at that address has the certificate."""
    serial = x509.load_pem_x509_certificate(leaf.read_bytes()).serial_number
    return fetch(url).get_revoked_certificate_by_serial_number(serial) is not None


@pytest.fixture(scope="module")
def leaves(sharded: System) -> dict[str, Path]:
    """A good certificate, a revoked one, and one that was on hold, once all lists say so."""
    found = {name: sharded.issue(f"{name}.lists.example.com") for name in ("good", "revoked", "released")}
    for name, reason in (("revoked", "keyCompromise"), ("released", "certificateHold")):
        sharded.run("goodstanding", "revoke", "--cert", str(found[name]), "--reason", reason)
    for name in ("revoked", "released"):
        for url in (point_of(found[name]), f"{sharded.url}/crl/issuing.crl"):
            wait_until(lambda name=name, url=url: has(url, found[name]), within=15)  # type: ignore[misc]
    sharded.run("goodstanding", "revoke", "--cert", str(found["released"]), "--reason", "removeFromCRL")
    for url in (point_of(found["released"]), f"{sharded.url}/crl/issuing.crl"):
        wait_until(lambda url=url: not has(url, found["released"]), within=15)  # type: ignore[misc]
    return found


def test_shards_and_full_lists_are_served(sharded: System, leaves: dict[str, Path]) -> None:
    """Each shard says its own address, exactly as certificates do; what is not there is not found."""
    for number in (1, 2):
        url = f"{sharded.url}/crl/issuing/{number}.crl"
        idp = fetch(url).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert idp.critical
        assert [name.value for name in idp.value.full_name or ()] == [url]
    assert point_of(leaves["good"]) in {f"{sharded.url}/crl/issuing/{number}.crl" for number in (1, 2)}
    for missing in ("issuing/3", "issuing/0.0", "nobody", "nobody/1"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{sharded.url}/crl/{missing}.crl")


@pytest.mark.parametrize("kind", ["full", "shard"])
def test_openssl_checks_the_whole_path(sharded: System, leaves: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """`openssl verify -crl_check_all -x509_strict` takes the full list as well as the shard."""
    chain = ("-CAfile", str(sharded.data / "ca/root.pem"), "-untrusted", str(sharded.data / "ca/issuing.pem"))
    said = {}
    for name, leaf in leaves.items():
        lists = [f"{sharded.url}/crl/root.crl", point_of(leaf) if kind == "shard" else f"{sharded.url}/crl/issuing.crl"]
        pem = tmp_path / f"{name}.crl"
        pem.write_bytes(b"".join(fetch(url).public_bytes(Encoding.PEM) for url in lists))
        options = ("-x509_strict", "-crl_check_all", "-extended_crl", "-CRLfile", str(pem))
        done = sharded.run("openssl", "verify", *chain, *options, str(leaf), check=False)
        said[name] = done.stdout + done.stderr
    assert said["good"].endswith(": OK\n")
    assert said["released"].endswith(": OK\n")
    assert "certificate revoked" in said["revoked"]


def test_openssl_refuses_the_list_of_another_shard(sharded: System, leaves: dict[str, Path], tmp_path: Path) -> None:
    """A list that says another address than the certificate tells nothing of it (R112)."""
    other = 2 if point_of(leaves["good"]).endswith("/1.crl") else 1
    lists = [f"{sharded.url}/crl/root.crl", f"{sharded.url}/crl/issuing/{other}.crl"]
    pem = tmp_path / "wrong.crl"
    pem.write_bytes(b"".join(fetch(url).public_bytes(Encoding.PEM) for url in lists))
    chain = ("-CAfile", str(sharded.data / "ca/root.pem"), "-untrusted", str(sharded.data / "ca/issuing.pem"))
    options = ("-crl_check_all", "-CRLfile", str(pem))
    done = sharded.run("openssl", "verify", *chain, *options, str(leaves["good"]), check=False)
    assert done.returncode != 0
    assert "different CRL scope" in done.stdout + done.stderr


def test_java_finds_and_checks_the_shard(sharded: System, leaves: dict[str, Path], tmp_path: Path) -> None:
    """Java fetches the list that the certificate names, and validates the path with it."""
    java, javac = require("java"), require("javac")
    subprocess.run([javac, "-d", str(tmp_path), str(JAVA)], check=True, timeout=60)
    lines = [
        "\t".join(
            (
                name,
                "-",
                "PREFER_CRLS,NO_FALLBACK",
                str(sharded.data / "ca/root.pem"),
                f"{leaf},{sharded.data / 'ca/issuing.pem'}",
            )
        )
        for name, leaf in leaves.items()
    ]
    flags = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dcom.sun.security.enableCRLDP=true")
    done = subprocess.run(
        [java, *flags, "-cp", str(tmp_path), "OcspCheck"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    verdicts = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert (verdicts["good"], verdicts["released"]) == ("good", "good")
    assert verdicts["revoked"].startswith("revoked\tKEY_COMPROMISE")


def test_gnutls_verifies_the_lists(sharded: System, leaves: dict[str, Path], tmp_path: Path) -> None:
    """`certtool --verify-crl` finds the signatures right."""
    certtool = require("certtool")
    issuer = shutil.copy(sharded.data / "ca/issuing.pem", tmp_path / "issuing.pem")
    for url in {f"{sharded.url}/crl/issuing.crl", *map(point_of, leaves.values())}:
        (tmp_path / "list.pem").write_bytes(fetch(url).public_bytes(Encoding.PEM))
        command = [
            certtool,
            "--verify-crl",
            "--load-ca-certificate",
            str(issuer),
            "--infile",
            str(tmp_path / "list.pem"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert "Not verified" not in done.stdout + done.stderr
        assert "Verified" in done.stdout + done.stderr


def test_numbers_go_on_after_a_crash(sharded: System, leaves: dict[str, Path]) -> None:
    """A ca process that is killed comes back, and its next list has a higher number and all that was revoked (R108)."""
    url = f"{sharded.url}/crl/issuing.crl"
    before = number_of(fetch(url))
    (ca,) = sharded.processes_of("ca")
    subprocess.run(["kill", "-KILL", str(ca)], check=True)
    revoke = ("goodstanding", "revoke", "--cert", str(leaves["good"]), "--reason", "superseded")
    wait_until(lambda: sharded.run(*revoke, check=False).returncode == 0, within=30)
    wait_until(lambda: has(url, leaves["good"]), within=15)
    assert number_of(fetch(url)) > before
    assert has(url, leaves["revoked"])


def number_of(crl: x509.CertificateRevocationList) -> int:
    """The CRL number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
