"""Roots and issuing CAs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID

from services.pki.certificates import Issuer
from services.pki.crls import make_crl
from services.pki.hierarchy import ca_name, limits_to_keep, make_issuing, make_root, path_length_of, renew
from services.pki.issuers import PrivateKey, signature_hash
from services.pki.keys import KEY_KINDS, KeyKind
from services.pki.paths import check_path

from .conftest import NOW, Authority, ca_key_of, key_of, make_csr
from .test_certificates import critical_of, usage_of


def test_the_root(authority: Authority) -> None:
    """Self-signed, without path length, EKU, AIA or CRL, and for signing certificates and CRLs alone (R95 to R100)."""
    root = authority.root
    root.verify_directly_issued_by(root)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, None)
    assert usage_of(root) == {"key_cert_sign", "crl_sign"}
    assert critical_of(root) == {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
    assert {extension.oid for extension in root.extensions} == {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
    assert NOW - root.not_valid_before_utc <= timedelta(days=1)


def test_the_issuing_ca(authority: Authority) -> None:
    """Below the root, pathLen 0, may sign OCSP answers itself, says where the root's CRL and the root are."""
    issuing = authority.issuer.certificate
    issuing.verify_directly_issued_by(authority.root)
    constraints = issuing.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert usage_of(issuing) == {"key_cert_sign", "crl_sign", "digital_signature"}  # R64, R99
    assert critical_of(issuing) == {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
    (point,) = issuing.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert (point.reasons, point.crl_issuer, point.relative_name) == (None, None, None)  # R98
    assert [name.value for name in point.full_name or []] == ["http://ocsp.example.test/ca/root.crl"]
    (access,) = issuing.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert access.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    assert issuing.issuer == authority.root.subject


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_other_kinds_of_keys(kind: KeyKind) -> None:
    """A hierarchy can be on any kind of key: CAs, what they issue, and lists of what they revoked."""
    root = make_root(name="Root", key=key_of(kind), now=NOW)
    issuing = make_issuing(root=root, root_key=key_of(kind), name="Issuing", key=ca_key_of(kind), now=NOW)
    root.verify_directly_issued_by(root)
    issuing.verify_directly_issued_by(root)
    authority = Authority(root, key_of(kind), Issuer(issuing, ca_key_of(kind)))
    leaf = authority.issue(make_csr("a.example", key=key_of(kind)))
    leaf.verify_directly_issued_by(issuing)
    crl = make_crl(authority.issuer, number=1, this_update=NOW, next_update=NOW + timedelta(days=1))
    assert x509.load_der_x509_crl(crl).is_signature_valid(issuing.public_key())  # type: ignore[arg-type]


def test_a_renewal(authority: Authority, openssl: Callable[..., str], tmp_path: Path) -> None:
    """The same name, key and extensions, another serial number and validity; leaves verify with either."""
    old, root = authority.issuer.certificate, Issuer(authority.root, authority.root_key)
    later = NOW + timedelta(days=400)
    new = renew(old, root, now=later)
    assert (new.subject, new.public_key(), new.issuer) == (old.subject, old.public_key(), old.issuer)
    assert list(new.extensions) == list(old.extensions)
    assert new.serial_number != old.serial_number
    lengths = [each.not_valid_after_utc - each.not_valid_before_utc for each in (old, new)]
    assert lengths[0] == lengths[1]
    leaf = authority.issue(make_csr("a.example"))
    for name, certificate in (("root", authority.root), ("leaf", leaf), ("old", old), ("new", new)):
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    for name, moment in (("old", NOW), ("new", later)):
        strict = ["-x509_strict", "-attime", str(int(moment.timestamp())), "-CAfile", "root.pem"]
        assert openssl("verify", *strict, f"{name}.pem") == f"{name}.pem: OK\n"
    leaf.verify_directly_issued_by(new)


def test_a_root_renews_itself_and_nothing_beyond_it(authority: Authority) -> None:
    """A root's renewal may last longer than what it renews; that of a CA below ends with the root (R93)."""
    key = key_of("p384")
    root = make_root(name="Root", key=key, now=NOW, validity=timedelta(days=100))
    renewed = renew(root, Issuer(root, key), now=NOW + timedelta(days=50), validity=timedelta(days=200))
    renewed.verify_directly_issued_by(renewed)
    assert renewed.not_valid_after_utc > root.not_valid_after_utc
    issuing = make_issuing(root=root, root_key=key, name="Issuing", key=key_of("p521"), now=NOW)
    below = renew(issuing, Issuer(root, key), now=NOW, validity=timedelta(days=5000))
    assert below.not_valid_after_utc == root.not_valid_after_utc
    with pytest.raises(ValueError, match="another CA"):
        renew(issuing, Issuer(authority.root, authority.root_key), now=NOW)


def test_path_lengths() -> None:
    """A CA for CAs leaves room for as many as it says, and none below its parent's."""
    key = key_of("p384")
    root = make_root(name="Root", key=key, now=NOW)
    policy = make_issuing(root=root, root_key=key, name="Policy", key=key_of("p521"), now=NOW, path_length=1)
    issuing = make_issuing(root=policy, root_key=key_of("p521"), name="Issuing", key=key_of("p256"), now=NOW)
    check_path(issuing, [policy, root])
    with pytest.raises(ValueError, match="path length"):
        make_issuing(root=policy, root_key=key_of("p521"), name="X", key=key_of("p256"), now=NOW, path_length=1)
    with pytest.raises(ValueError, match="path length"):
        check_path(issuing, [issuing, policy, root])
    late = make_root(name="Late", key=key, now=NOW - timedelta(days=10), validity=timedelta(days=5))
    with pytest.raises(ValueError, match="has ended"):
        check_path(policy, [late])


def with_extensions(
    made: x509.Certificate, signer: PrivateKey, *more: tuple[x509.ExtensionType, bool]
) -> x509.Certificate:
    """A CA certificate with further extensions, each with whether it is critical."""
    builder = (
        x509.CertificateBuilder()
        .issuer_name(made.issuer)
        .subject_name(made.subject)
        .public_key(made.public_key())
        .serial_number(made.serial_number)
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
    )
    for value, critical in [*((each.value, each.critical) for each in made.extensions), *more]:
        builder = builder.add_extension(value, critical=critical)
    return builder.sign(signer, signature_hash(signer))  # type: ignore[arg-type]


def test_what_takes_a_ca_s_place_is_limited_as_that_one_was() -> None:
    """Name constraints, purposes and policies go over to the new certificate; what is the new one's own does not."""
    key = key_of("p384")
    root = make_root(name="Root", key=key, now=NOW)
    made = make_issuing(root=root, root_key=key, name="Old", key=key_of("p521"), now=NOW, path_length=1)
    limits: list[tuple[x509.ExtensionType, bool]] = [
        (x509.NameConstraints([x509.DNSName("example.com")], None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.InhibitAnyPolicy(0), True),
    ]
    old = with_extensions(made, key, *limits)
    new = make_issuing(
        root=root, root_key=key, name="Old", key=key_of("p256"), now=NOW, path_length=path_length_of(old), like=old
    )
    kept = [(extension.value, extension.critical) for extension in limits_to_keep(new)]
    assert kept == limits
    assert path_length_of(new) == 1
    identifiers = [each.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value for each in (old, new)]
    assert identifiers[0] != identifiers[1]
    with pytest.raises(ValueError, match="unlimited"):
        make_issuing(root=old, root_key=key_of("p521"), name="Below", key=key, now=NOW, path_length=None)


def test_an_issuing_ca_doesn_t_outlive_its_root() -> None:
    """Its validity is cut to the root's on both sides (R93)."""
    root = make_root(name="Root", key=key_of("p256"), now=NOW, validity=timedelta(days=10))
    issuing = make_issuing(root=root, root_key=key_of("p256"), name="Issuing", key=key_of("p384"), now=NOW)
    assert issuing.not_valid_after_utc == root.not_valid_after_utc
    assert issuing.not_valid_before_utc == root.not_valid_before_utc


def test_hierarchies_that_cannot_be(authority: Authority) -> None:
    """Another key than the root's, the root's own name, and overlong names are refused."""
    other, issuing = key_of("p384"), key_of("p521")
    with pytest.raises(ValueError, match="private key"):
        make_issuing(root=authority.root, root_key=other, name="Issuing", key=issuing, now=NOW)
    with pytest.raises(ValueError, match="another name"):
        make_issuing(
            root=authority.root, root_key=authority.root_key, name=authority.root.subject, key=issuing, now=NOW
        )
    with pytest.raises(ValueError, match="length"):
        ca_name("a" * 65)


def test_only_cas_are_issuers(authority: Authority) -> None:
    """An end entity's certificate can't be made an issuer, nor a CA's with another key."""
    leaf = authority.issue(make_csr("a.example", key=key_of("p384")))
    with pytest.raises(ValueError, match="not a certificate of a CA"):
        Issuer(leaf, key_of("p384"))
    with pytest.raises(ValueError, match="does not belong"):
        Issuer(authority.root, key_of("p384"))


def test_openssl_agrees(authority: Authority, openssl: Callable[..., str], tmp_path: Path) -> None:
    """`openssl verify -x509_strict` accepts the whole chain for each profile, and its purpose."""
    (tmp_path / "root.pem").write_bytes(authority.root.public_bytes(Encoding.PEM))
    (tmp_path / "issuing.pem").write_bytes(authority.issuer.certificate.public_bytes(Encoding.PEM))
    strict = ["-x509_strict", "-policy_check", "-attime", str(int(NOW.timestamp())), "-CAfile", "root.pem"]
    for profile, purpose in (("server", "sslserver"), ("client", "sslclient"), ("ocsp-responder", "ocsphelper")):
        leaf = authority.issue(make_csr("a.example"), profile)
        (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        shown = openssl("verify", *strict, "-untrusted", "issuing.pem", "-purpose", purpose, "leaf.pem")
        assert shown == "leaf.pem: OK\n"
