"""Java's PKIXRevocationChecker agrees: by GET and POST, with and without nonce, whoever signs, RSA and EC.

`OcspCheck.java` validates a table of paths. Java takes method and nonce from system properties, so each of the four
combinations is one start of the JVM, with a relay before the gateway that shows what Java really sent.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.conformance.certificates import Certificates
from tests.conformance.estate import Estate
from tests.conformance.judges.nursery import nursery
from tests.conformance.judges.paths import CertificationPath
from tests.conformance.judges.relay import Heard, relay
from tests.conformance.judges.tools import require

SOURCE = Path(__file__).with_name("OcspCheck.java")
PROPERTIES = {
    "get": (),
    "post": ("-Dcom.sun.security.ocsp.useget=false",),
    "get-nonce": ("-Djdk.security.certpath.ocspNonce=true",),
    "post-nonce": ("-Dcom.sun.security.ocsp.useget=false", "-Djdk.security.certpath.ocspNonce=true"),
}
# A client VM that starts quickly, gives up in time, and asks nobody but the responder.
FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dcom.sun.security.ocsp.timeout=15")
HOUR = timedelta(hours=1)
LEAF_ONLY = "NO_FALLBACK,ONLY_END_ENTITY"
WHOLE_PATH = "NO_FALLBACK"
DELEGATED = ("issuing", "rsa", "rolled", "renamed", "solo", "solo-rsa")
DIRECT = ("direct", "direct-rsa")
REASONS = {"issuing": (1, "KEY_COMPROMISE"), "rsa": (0, "UNSPECIFIED"), "rolled": (5, "CESSATION_OF_OPERATION")}
OTHER_REASON = (4, "SUPERSEDED")


@dataclass(frozen=True)
class Verdicts:
    """What Java said in one run, by case, and what it asked."""

    said: Mapping[str, list[str]]
    heard: list[Heard]


@dataclass(frozen=True)
class World:
    """What is asked about: lines for the program, without the responder, and when which certificate was revoked."""

    lines: Mapping[str, str]
    revoked_at: Mapping[str, datetime]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled program."""
    folder = tmp_path_factory.mktemp("java")
    subprocess.run([require("javac"), "-d", str(folder), str(SOURCE)], check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def world(estate: Estate, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A good and a revoked certificate of each issuer, one that it never issued, and one of a foreign CA."""
    folder = tmp_path_factory.mktemp("java-leaves")
    lines: dict[str, str] = {}
    revoked_at: dict[str, datetime] = {}
    with nursery(estate, folder) as grown:
        for issuer in DELEGATED + DIRECT:
            good = CertificationPath.of(estate, issuer, grown.issue(f"java-{issuer}-good", issuer).file)
            revoked = grown.issue(f"java-{issuer}-revoked", issuer, REASONS.get(issuer, OTHER_REASON)[0])
            assert revoked.revocation is not None
            revoked_at[issuer] = revoked.revocation.time
            unrecorded = folder / f"{issuer}-unrecorded.pem"
            unrecorded.write_bytes(_unrecorded(certificates, issuer))
            lines[f"{issuer}-good"] = _line(good)
            lines[f"{issuer}-whole-path"] = _line(good, WHOLE_PATH)
            lines[f"{issuer}-revoked"] = _line(CertificationPath.of(estate, issuer, revoked.file))
            lines[f"{issuer}-unknown"] = _line(CertificationPath.of(estate, issuer, unrecorded))
    lines["foreign"] = _line(_foreign(folder))
    return World(lines, revoked_at)


def _line(path: CertificationPath, options: str = LEAF_ONLY) -> str:
    files = ",".join(map(str, (path.leaf, *path.authorities)))
    return f"{options}\t{path.root}\t{files}"


def _unrecorded(certificates: Certificates, issuer: str) -> bytes:
    now = datetime.now(UTC)
    leaf = certificates.sign(f"java-{issuer}-unknown.example.com", issuer, now - HOUR, now + HOUR)
    return leaf.certificate.public_bytes(Encoding.PEM)


def _foreign(folder: Path) -> CertificationPath:
    """A path that has nothing to do with us."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    root, leaf = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("Foreign", "Leaf"))
    for file, subject, serial in ((folder / "foreign-root.pem", root, 1), (folder / "foreign-leaf.pem", leaf, 2)):
        certificate = (
            x509.CertificateBuilder(root, subject, key.public_key(), serial, now - HOUR, now + HOUR)
            .add_extension(x509.BasicConstraints(ca=serial == 1, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return CertificationPath(folder / "foreign-leaf.pem", (), folder / "foreign-root.pem")


@pytest.fixture(scope="module")
def verdicts(estate: Estate, program: Path, world: World) -> Mapping[str, Verdicts]:
    """What Java said in each run."""
    return {run: _run(estate, program, world, run) for run in PROPERTIES}


def _run(estate: Estate, program: Path, world: World, run: str) -> Verdicts:
    with relay(estate.system.http) as before:
        lines = [f"{name}\t{before.url}\t{line}" for name, line in world.lines.items()]
        lines.append(f"named-by-the-certificate\t-\t{world.lines['issuing-good']}")
        done = subprocess.run(
            [require("java"), *FLAGS, *PROPERTIES[run], "-cp", str(program), "OcspCheck"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers = [line.split("\t") for line in done.stdout.splitlines()]
        return Verdicts({name: verdict for name, *verdict in answers}, before.heard())


each_run = pytest.mark.parametrize("run", PROPERTIES)


@pytest.mark.rule("R43")
@each_run
@pytest.mark.parametrize(
    "issuer",
    [
        *(pytest.param(issuer, marks=pytest.mark.rule("R67")) for issuer in ("issuing", "rsa", "solo", "solo-rsa")),
        *(pytest.param(issuer, marks=pytest.mark.rule("R32", "R65")) for issuer in ("rolled", "renamed")),
        *(pytest.param(issuer, marks=pytest.mark.rule("R64")) for issuer in DIRECT),
    ],
)
def test_good(verdicts: Mapping[str, Verdicts], run: str, issuer: str) -> None:
    """Java takes a path whose certificate is good."""
    assert verdicts[run].said[f"{issuer}-good"] == ["good"]


@pytest.mark.rule("R43", "R47")
@each_run
@pytest.mark.parametrize("issuer", DELEGATED + DIRECT)
def test_revoked(verdicts: Mapping[str, Verdicts], world: World, run: str, issuer: str) -> None:
    """Java refuses a revoked certificate, and reads the reason and the time on record."""
    verdict, reason, time = verdicts[run].said[f"{issuer}-revoked"]
    assert (verdict, reason) == ("revoked", REASONS.get(issuer, OTHER_REASON)[1])
    assert datetime.fromisoformat(time) == world.revoked_at[issuer]


@pytest.mark.rule("R43", "R44")
@each_run
@pytest.mark.parametrize("issuer", DELEGATED + DIRECT)
def test_never_issued(verdicts: Mapping[str, Verdicts], run: str, issuer: str) -> None:
    """What the issuer's key signed, but the CA has no record of, is of unknown status for Java."""
    kind, message = verdicts[run].said[f"{issuer}-unknown"]
    assert kind == "UNDETERMINED_REVOCATION_STATUS"
    assert message == "Certificate's revocation status is unknown"


@pytest.mark.rule("R43", "R64")
@each_run
@pytest.mark.parametrize("issuer", ["issuing", "rsa", "solo", "solo-rsa"])
def test_whole_path(verdicts: Mapping[str, Verdicts], run: str, issuer: str) -> None:
    """With the issuing CA checked as well, for which the root's own responder certificate signs."""
    assert verdicts[run].said[f"{issuer}-whole-path"] == ["good"]


@pytest.mark.rule("R46", "R53")
@each_run
def test_foreign_issuer(verdicts: Mapping[str, Verdicts], run: str) -> None:
    """Java reads the unsigned error about a CA that is not ours."""
    kind, message = verdicts[run].said["foreign"]
    assert (kind, message) == ("UNSPECIFIED", "OCSP response error: UNAUTHORIZED")


@pytest.mark.rule("R8", "R16")
@each_run
def test_the_address_in_the_certificate(verdicts: Mapping[str, Verdicts], run: str) -> None:
    """Without any configuration, Java asks at the address that the certificate names."""
    assert verdicts[run].said["named-by-the-certificate"] == ["good"]


@pytest.mark.parametrize(
    ("run", "method"),
    [
        pytest.param("get", "GET", marks=pytest.mark.rule("R2", "R13")),
        pytest.param("get-nonce", "GET", marks=pytest.mark.rule("R2", "R13")),
        pytest.param("post", "POST", marks=pytest.mark.rule("R1", "R13")),
        pytest.param("post-nonce", "POST", marks=pytest.mark.rule("R1", "R13")),
    ],
)
def test_what_java_sends(verdicts: Mapping[str, Verdicts], run: str, method: str) -> None:
    """The method that was meant, with an Accept header that does not name OCSP."""
    heard = verdicts[run].heard
    assert len(heard) > len(verdicts[run].said)  # whole paths take two
    assert {request.method for request in heard} == {method}
    assert not any("ocsp" in request.headers["accept"] for request in heard)


@pytest.mark.rule("R33")
@each_run
def test_nonces_are_sent(verdicts: Mapping[str, Verdicts], run: str) -> None:
    """Java compares the nonce of the answer with the one it sent: all of its requests carry one, or none does."""
    requests = [ocsp.OCSPRequest.load(each.der, strict=True) for each in verdicts[run].heard]
    assert {each.nonce_value is not None for each in requests} == {run.endswith("nonce")}
