"""Keys whose private halves everybody knows are refused at each door of the CA (R102, CVE-2008-0166)."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import ca_pb2
from services.ca.hierarchy import ImportCommand
from services.ca.settings import AuthoritySettings
from services.ca.signing import IssueCommand
from services.ca.signing_maker import Maker
from services.ca.signing_messages import Batch, asked
from services.ca.writer import Writer
from services.clock import to_epoch
from services.db.engine import Database
from services.errors import InvalidArgument
from services.known_keys.lists import read_list
from services.pki.certificates import PrivateKey
from services.pki.hierarchy import make_root
from services.pki.keys import generate_key
from tests.ca.crowd import make_setup
from tests.ca.test_bad_input import call, request_with
from tests.ca.world import START, Ca, Hierarchy, make_actor, make_ca
from tools.debian_weak_keys.generator import MACHINES, Generator, Seed
from tools.debian_weak_keys.keys import CURVES, EXPONENT, ec_scalar, rsa_key

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""Nothing comes to the database."""

_, LE64, _ = MACHINES
ISSUER, ADMIN = make_actor("issuer"), make_actor("admin")


def debians_ec(curve: str) -> ec.EllipticCurvePrivateKey:
    """The private key that process 4711 made on amd64."""
    return ec.derive_private_key(ec_scalar(Generator(LE64, Seed.READ, 4711), curve), CURVES[curve])


def debians_rsa() -> rsa.RSAPrivateKey:
    """The private key that process 115 made on amd64."""
    made = rsa_key(Generator(LE64, Seed.READ, 115))
    d = rsa.rsa_recover_private_exponent(EXPONENT, made.p, made.q)
    return rsa.RSAPrivateNumbers(
        made.p,
        made.q,
        d,
        rsa.rsa_crt_dmp1(d, made.p),
        rsa.rsa_crt_dmq1(d, made.q),
        rsa.rsa_crt_iqmp(made.p, made.q),
        rsa.RSAPublicNumbers(EXPONENT, made.modulus),
    ).private_key()


KEYS: dict[str, PrivateKey] = {"rsa-2048": debians_rsa(), **{curve: debians_ec(curve) for curve in CURVES}}
LISTED = ec.derive_private_key(2008, ec.SECP256R1())
"""No key of Debian's, but one that `listed` has."""


@pytest.fixture
def listed(tmp_path: Path) -> AuthoritySettings:
    """Settings that name a list."""
    path = tmp_path / "known.sha256"
    path.write_text(hashlib.sha256(LISTED.public_key().public_numbers().x.to_bytes(32)).hexdigest())
    return AuthoritySettings(public_url="http://ocsp.example.com", known_keys=(read_list(path),))


@pytest.mark.parametrize("validate_only", [False, True], ids=["issue", "validate_only"])
@pytest.mark.parametrize("kind", KEYS)
def test_debians_keys_are_refused(ca: Ca, kind: str, validate_only: bool) -> None:
    """A certificate request for such a key is refused with the reason and the cure, and nothing is recorded."""
    request = ca_pb2.IssueCertificateRequest(csr_der=request_with(key=KEYS[kind]), validate_only=validate_only)
    before = ca.count("certificates")
    with pytest.raises(InvalidArgument) as refused:
        call(ca, "IssueCertificate", request, "issuer")
    assert [(each.reason, each.field) for each in refused.value.violations] == [("KEY_WEAK", "csr_der")]
    assert "CVE-2008-0166" in refused.value.message
    assert "make a new key" in refused.value.message
    assert ca.count("certificates") == before


def authority_of(key: PrivateKey) -> ImportCommand:
    """A root with that key, to be recorded as an issuer without key."""
    root = make_root(name="Old", key=key, now=START)
    return ImportCommand(name="old", certificates_der=(root.public_bytes(Encoding.DER),))


@pytest.mark.parametrize("kind", KEYS)
def test_no_issuer_has_such_a_key(ca: Ca, kind: str) -> None:
    """A CA whose key is one of Debian's does not come in."""
    with pytest.raises(InvalidArgument, match="CVE-2008-0166") as refused:
        ca.authority.hierarchy.begin_import(authority_of(KEYS[kind]), ADMIN)
    assert refused.value.reason == "KEY_WEAK"


def test_keys_of_a_list_are_refused(
    database: Database, writer: Writer, hierarchy: Hierarchy, listed: AuthoritySettings
) -> None:
    """A key of a list that the configuration names is refused at the same doors; the list is named, not its place."""
    ca = make_ca(database, writer, hierarchy, settings=listed)
    with pytest.raises(InvalidArgument, match=r"says known\.sha256 \(weak_key_lists\)") as refused:
        ca.issue(ISSUER, csr_der=request_with(key=LISTED))
    assert refused.value.reason == "KEY_WEAK"
    with pytest.raises(InvalidArgument, match=r"known\.sha256"):
        ca.authority.hierarchy.begin_import(authority_of(LISTED), ADMIN)
    assert ca.issue(ISSUER).certificate.der


def test_signing_processes_know_the_lists(
    ca: Ca, database: Database, database_url: str, listed: AuthoritySettings, tmp_path: Path
) -> None:
    """A signing process makes no certificate for either kind of key: it leaves the answer to the ca."""
    setup = pickle.loads(pickle.dumps(make_setup(ca, database_url, tmp_path, listed)))
    commands = [IssueCommand(csr_der=request_with(key=key)) for key in (LISTED, KEYS["p256"], generate_key("p256"))]
    wanted = [asked(command, "issuer", has_request_id=False) for command in commands]
    answer = Maker(database, setup).answer(Batch(1, 0, to_epoch(ca.clock()), wanted))
    assert [made is not None for made in answer.made] == [False, False, True]
