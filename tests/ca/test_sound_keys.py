"""CA keys that somebody else may have: no further certificate for them, and nothing is issued with them (R103)."""

from __future__ import annotations

import itertools
from functools import partial
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.authority import CertificateAuthority
from services.ca.blocked_keys import BlockCommand
from services.ca.hierarchy import ImportCommand
from services.ca.keystore import HeldKeys
from services.ca.revoke import RevokeCommand
from services.ca.settings import AuthoritySettings
from services.ca.target import ByCertificate
from services.ca.writer import Writer
from services.db.engine import Database
from services.db.records import Actor, IssuerState
from services.errors import DomainError
from services.pki.certificates import Issuer
from services.pki.hierarchy import make_issuing, renew
from services.pki.issuers import PrivateKey, public_key_of
from services.pki.keys import generate_key
from services.pki.names import SubjectAlternativeNames
from services.pki.reasons import Reason
from tests.ca.test_hierarchy import ADMIN, ROOT_KEY, SECOND_KEY, Cupboard, below_root, bring_in, by_name, in_one_batch
from tests.ca.test_hierarchy import hierarchy as make_hierarchy
from tests.ca.world import Ca, Hierarchy, ManualClock, make_ca, make_csr

POLICY_KEY = generate_key()
hierarchy = make_hierarchy


@pytest.fixture
def ca(database: Database, writer: Writer, hierarchy: Hierarchy, clock: ManualClock) -> Ca:
    """A certificate authority that can open the key of "second", too."""
    make_ca(database, writer, hierarchy, clock)
    keys = HeldKeys({}, Cupboard(issuing=hierarchy.issuing_key, second=SECOND_KEY))
    settings = AuthoritySettings(public_url="http://ocsp.example.com")
    return Ca(CertificateAuthority(database, writer, keys, settings, clock=clock), database, clock, hierarchy, writer)


def compromise(ca: Ca, certificate: x509.Certificate, reason: int = Reason.KEY_COMPROMISE) -> None:
    """Revoke a CA certificate."""
    target = ByCertificate(certificate.public_bytes(Encoding.DER))
    ca.authority.revoke(RevokeCommand(target=target, reason=reason), ADMIN)


def block(ca: Ca, key: PrivateKey) -> None:
    """Name a key as one that is never certified again."""
    ca.authority.blocking.begin(BlockCommand(hashes=(sha256(public_key_of(key)).digest(),)), ADMIN).result(10)


def renewed(ca: Ca, certificate: x509.Certificate) -> x509.Certificate:
    """Another certificate for the key that a CA below the root has."""
    return renew(certificate, Issuer(ca.hierarchy.root, ROOT_KEY), now=ca.clock())


def refusal(ca: Ca, *found: x509.Certificate, **more: object) -> str:
    """Why it does not come in, as the dry run has it, too."""
    reasons = set()
    for dry in (True, False):
        with pytest.raises(DomainError) as refused:
            bring_in(ca, ADMIN, *found, **{"validate_only": dry, **more})
        reasons.add(refused.value.reason)
    assert len(reasons) == 1
    return reasons.pop()


def refused_update(ca: Ca, name: str) -> str:
    """Why it does not issue again."""
    with pytest.raises(DomainError) as refused:
        ca.authority.hierarchy.begin_update(name, IssuerState.ACTIVE, ADMIN).result(10)
    return refused.value.reason


def test_a_compromised_key_is_not_certified_again(ca: Ca) -> None:
    """Neither by a renewal nor under another name; what is recorded can be repeated, and history comes in."""
    first = below_root(ca)
    bring_in(ca, ADMIN, first)
    compromise(ca, first)
    assert refusal(ca, renewed(ca, first)) == "ISSUER_COMPROMISED"
    assert refusal(ca, renewed(ca, first), key_ref=None) == "ISSUER_COMPROMISED"
    assert bring_in(ca, ADMIN, first).added == 0
    twin = below_root(ca, name="Twin")
    assert refusal(ca, twin, name="twin") == "ISSUER_COMPROMISED"
    bring_in(ca, ADMIN, twin, name="twin", retired=True)
    assert by_name(ca)["twin"].compromise is not None


def test_a_compromised_issuer_does_not_become_active(ca: Ca) -> None:
    """It says so also where it has never been anything else; retiring it is possible at any time."""
    first = below_root(ca)
    bring_in(ca, ADMIN, first)
    compromise(ca, first)
    assert refused_update(ca, "second") == "ISSUER_COMPROMISED"
    for state in (IssuerState.RETIRED, IssuerState.OFFLINE):
        ca.authority.hierarchy.begin_update("second", state, ADMIN).result(10)
        assert refused_update(ca, "second") == (
            "ISSUER_OFFLINE" if state is IssuerState.OFFLINE else "ISSUER_COMPROMISED"
        )
    assert refusal(ca, first) == "ISSUER_COMPROMISED"
    bring_in(ca, ADMIN, first, retired=True)
    assert by_name(ca)["second"].state is IssuerState.RETIRED


def test_a_ca_with_a_blocked_key(ca: Ca) -> None:
    """It issues nothing here; what it issued elsewhere can come in."""
    block(ca, SECOND_KEY)
    assert refusal(ca, below_root(ca)) == "KEY_BLOCKED"
    bring_in(ca, ADMIN, below_root(ca, name="Old"), name="old", key_ref=None)
    bring_in(ca, ADMIN, below_root(ca, name="Older"), name="older", retired=True)
    assert refused_update(ca, "older") == "KEY_BLOCKED"


def test_the_key_of_an_issuer_is_blocked(ca: Ca) -> None:
    """It goes on as it is, and gets no further certificate."""
    first = below_root(ca)
    bring_in(ca, ADMIN, first)
    block(ca, SECOND_KEY)
    assert refusal(ca, renewed(ca, first)) == "KEY_BLOCKED"
    assert bring_in(ca, ADMIN, first).added == 0
    ca.authority.hierarchy.begin_update("second", IssuerState.ACTIVE, ADMIN).result(10)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (Reason.KEY_COMPROMISE, "ISSUER_COMPROMISED"),
        (Reason.CA_COMPROMISE, "ISSUER_COMPROMISED"),
        (Reason.SUPERSEDED, "ISSUER_REVOKED"),
    ],
    ids=["keyCompromise", "cACompromise", "superseded"],
)
def test_below_a_ca_that_is_revoked(ca: Ca, reason: Reason, told: str) -> None:
    """Nothing that could not issue anyhow becomes active or has its certificate renewed."""
    policy = below_root(ca, name="Policy", key=POLICY_KEY, path_length=1)
    bring_in(ca, ADMIN, policy, name="policy", key_ref=None)
    one, other = (
        make_issuing(root=policy, root_key=POLICY_KEY, name="Second", key=SECOND_KEY, now=ca.clock()) for _ in range(2)
    )
    with_new_key = make_issuing(
        root=policy, root_key=POLICY_KEY, name="New", key=ca.hierarchy.issuing_key, now=ca.clock()
    )
    bring_in(ca, ADMIN, one)
    compromise(ca, policy, reason)
    assert refusal(ca, other) == told
    assert refusal(ca, with_new_key, name="new", key_ref="file:ca/issuing.key") == told
    bring_in(ca, ADMIN, with_new_key, name="new", key_ref="file:ca/issuing.key", retired=True)
    assert refused_update(ca, "new") == "ISSUER_REVOKED"


def test_a_compromise_at_the_same_moment(ca: Ca) -> None:
    """A renewal is not recorded in the transaction that tells of the compromise."""
    first = below_root(ca)
    bring_in(ca, ADMIN, first)
    command = ImportCommand(name="second", certificates_der=(renewed(ca, first).public_bytes(Encoding.DER),))
    revoke = RevokeCommand(target=ByCertificate(first.public_bytes(Encoding.DER)), reason=Reason.KEY_COMPROMISE)
    revoking = partial(ca.authority.begin_revoke, revoke, ADMIN)
    _, outcome = in_one_batch(ca, revoking, partial(ca.authority.hierarchy.begin_import, command, ADMIN))
    assert outcome == "ISSUER_COMPROMISED"
    assert len(by_name(ca)["second"].certificates_der) == 1


def test_the_key_of_another_ca_is_no_leafs(ca: Ca, issuer: Actor, responder: Actor) -> None:
    """Revoked for a compromise, such a certificate would block the CA's key. A CA may certify another one's."""
    bring_in(ca, ADMIN, below_root(ca, path_length=1))
    keys = SECOND_KEY, ca.hierarchy.issuing_key
    second, issuing = (make_csr(key=key) for key in keys if isinstance(key, ec.EllipticCurvePrivateKey))
    for actor, profile in ((issuer, "server"), (responder, "ocsp-responder")):
        for csr, asked in itertools.product((second, issuing), ("issuing", "second")):
            for dry in (True, False):
                with pytest.raises(DomainError) as refused:
                    ca.issue(actor, csr_der=csr, issuer=asked, profile=profile, validate_only=dry)
                assert [each.reason for each in refused.value.violations] == ["KEY_NOT_ALLOWED"], (profile, asked, dry)
    ca.issue(ADMIN, csr_der=issuing, issuer="second", profile="intermediate", names=SubjectAlternativeNames())
