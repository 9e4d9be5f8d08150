"""An independent linter finds nothing wrong with what is signed, in any profile and for every kind of key (R104)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint.bin import lint_cabf_serverauth_cert, lint_crl, lint_pkix_cert, lint_pkix_signer_signee_cert_chain

from services.errors import InvalidArgument
from services.pki.certificates import AuthorityUrls, Issuer, check, prepare, sign
from services.pki.crl_entries import encode_entry
from services.pki.crl_signing import sign_crl
from services.pki.crls import CrlEntry, make_crl
from services.pki.csr import read_csr
from services.pki.hierarchy import make_root, renew
from services.pki.keys import KEY_KINDS, KeyKind
from services.pki.lint import Linter
from services.pki.mtls import make_client_credential, make_server_credential, make_tls_ca
from services.pki.profile_tables import read_profiles
from services.pki.serials import new_serial

from .conftest import NOW, URLS, Authority, key_of, make_authority, make_csr
from .test_csr import ML_DSA
from .test_profile_tables import example

Findings = Callable[..., str]


class _Content(BytesIO):
    """A file that is read already."""

    def __init__(self, path: str) -> None:
        super().__init__(Path(path).read_bytes())
        self.name = path


@pytest.fixture
def findings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Findings:
    """What a linter of pkilint says from severity WARNING on; nothing if all is well."""
    # The linters open files through argparse, and never close them.
    monkeypatch.setattr(argparse, "FileType", lambda mode: _Content)

    def run(lint: ModuleType, *arguments: str) -> str:
        capsys.readouterr()
        lint.main(["lint", "-s", "WARNING", *arguments])
        return capsys.readouterr().out.strip()

    return run


def write(path: Path, certificate: x509.Certificate) -> str:
    """Write it as PEM, and return the path."""
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return str(path)


def _requests() -> dict[tuple[str, str], bytes]:
    # No wildcards and no SPIFFE URIs: RFC 5280 leaves both open, and the linter minds them.
    kinds: tuple[KeyKind, ...] = ("p256", "p384", "p521", "rsa2048", "ed25519", "mldsa44", "mldsa65", "mldsa87")
    found: dict[tuple[str, str], bytes] = {}
    for kind in kinds:
        for profile in ("server", "server-short", "client"):
            found[profile, kind] = make_csr("a.example", key=key_of(kind))
        found["ocsp-responder", kind] = make_csr("", key=key_of(kind))
    for number, make in ML_DSA.items():
        for profile in ("server", "server-short", "client"):
            found[profile, f"ml-dsa-{number}"] = make_csr("a.example", key=make())
    found["server", "no subject"] = make_csr("", [x509.DNSName("a.example"), x509.DNSName("b.example")])
    mail, uri = x509.RFC822Name("a@b.example"), x509.UniformResourceIdentifier("https://other.example/a")
    found["client", "many names"] = make_csr("alice", [mail, uri, x509.DNSName("a.example")])
    return found


REQUESTS = _requests()


@pytest.mark.parametrize(("profile", "which"), list(REQUESTS))
def test_certificates_of_every_profile(
    authority: Authority, tmp_path: Path, findings: Findings, profile: str, which: str
) -> None:
    """RFC 5280 has no objection, neither to the certificate nor to it beside its issuer's."""
    certificate = authority.issue(REQUESTS[profile, which], profile)
    leaf = write(tmp_path / "leaf.pem", certificate)
    assert findings(lint_pkix_cert, leaf) == ""
    issuer = write(tmp_path / "issuer.pem", authority.issuer.certificate)
    assert findings(lint_pkix_signer_signee_cert_chain, issuer, leaf) == ""


def test_a_delegate_fits_the_baseline_requirements(authority: Authority, tmp_path: Path, findings: Findings) -> None:
    """The linter of the baseline requirements takes a delegate as it is (R66)."""
    leaf = write(tmp_path / "leaf.pem", authority.issue(make_csr(""), "ocsp-responder"))
    assert findings(lint_cabf_serverauth_cert, "-t", "OCSP-RESPONDER", leaf) == ""


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_the_baseline_requirements(tmp_path: Path, findings: Findings, kind: KeyKind) -> None:
    """A profile as docs/profiles.md shows it makes certificates that the baseline requirements have no word against."""
    profile = read_profiles(example())[0]["web"]
    profile = replace(profile, min_rsa_bits=2048, key_types=frozenset({"rsa", "p256", "p384"}))
    authority = make_authority("p256")
    urls = AuthorityUrls(ocsp="http://ocsp.example.com", ca_issuers="http://ocsp.example.com/ca/issuing.cer")
    request = read_csr(der=make_csr("www.example.com", key=key_of(kind)))
    draft = prepare(
        profile=profile,
        issuer=authority.issuer,
        request=request,
        serial=new_serial(),
        now=NOW,
        urls=urls,
        trust_domain="goodstanding",
    )
    check(draft, authority.issuer)
    Linter([replace(profile, lint_level="warning")]).check(draft, authority.issuer, "csr_der")
    leaf = write(tmp_path / "leaf.pem", x509.load_der_x509_certificate(sign(draft, authority.issuer)))
    assert findings(lint_cabf_serverauth_cert, "-d", leaf) == ""


def test_findings_say_where_they_are(authority: Authority) -> None:
    """Three addresses with the same fault are three findings that can be told apart."""
    profile = read_profiles(example())[0]["web"]
    url = "http://127.0.0.1:2560"
    draft = prepare(
        profile=profile,
        issuer=authority.issuer,
        request=read_csr(der=make_csr("www.example.com")),
        serial=new_serial(),
        now=NOW,
        urls=AuthorityUrls(ocsp=url, ca_issuers=f"{url}/ca/issuing.cer", crl=f"{url}/crl/issuing.crl"),
        trust_domain="goodstanding",
    )
    with pytest.raises(InvalidArgument) as refused:
        Linter([profile]).check(draft, authority.issuer, "csr_der")
    texts = [each.description for each in refused.value.violations]
    places = [text.partition("(in ")[2].partition(".")[0] for text in texts]
    assert places == ["authorityInfoAccessSyntax", "authorityInfoAccessSyntax", "cRLDistributionPoints"]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "ed25519", "mldsa44", "mldsa65", "mldsa87"])
def test_intermediates(tmp_path: Path, findings: Findings, kind: KeyKind) -> None:
    """RFC 5280 has no objection to CAs from requests, name constraints and all."""
    authority = make_authority()
    root = Issuer(authority.root, authority.root_key)
    for name in ("intermediate", "department"):
        draft = prepare(
            profile=read_profiles(example())[0][name],
            issuer=root,
            request=read_csr(der=make_csr("Department CA", key=key_of(kind))),
            serial=new_serial(),
            now=NOW,
            urls=URLS,
            trust_domain="goodstanding",
        )
        check(draft, root)
        path = write(tmp_path / "ca.pem", x509.load_der_x509_certificate(sign(draft, root)))
        assert findings(lint_pkix_cert, path) == ""
        above = write(tmp_path / "root.pem", authority.root)
        assert findings(lint_pkix_signer_signee_cert_chain, above, path) == ""


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_ca_certificates(tmp_path: Path, findings: Findings, kind: KeyKind) -> None:
    """RFC 5280 has no objection to root and issuing CA, nor to a renewal."""
    authority = make_authority(kind)
    root = write(tmp_path / "root.pem", authority.root)
    issuing = write(tmp_path / "issuing.pem", authority.issuer.certificate)
    assert findings(lint_pkix_cert, root) == ""
    assert findings(lint_pkix_cert, issuing) == ""
    assert findings(lint_pkix_signer_signee_cert_chain, root, issuing) == ""
    made = renew(authority.issuer.certificate, Issuer(authority.root, authority.root_key), now=NOW)
    renewed = write(tmp_path / "renewed.pem", made)
    assert findings(lint_pkix_cert, renewed) == ""
    assert findings(lint_pkix_signer_signee_cert_chain, root, renewed) == ""


def test_crls(authority: Authority, tmp_path: Path, findings: Findings) -> None:
    """RFC 5280 has no objection to CRLs, empty and not."""
    issuer = Issuer(authority.root, authority.root_key)
    for entries in ([], [CrlEntry(b"\x01" * 16, NOW, 1, NOW - timedelta(days=1)), CrlEntry(b"\x02" * 16, NOW)]):
        path = tmp_path / "root.crl"
        path.write_bytes(make_crl(issuer, entries, number=1, this_update=NOW, next_update=NOW + timedelta(days=30)))
        options = ["-t", "CRL", "-p", "PKIX", "--document-format", "DER"]
        assert findings(lint_crl, *options, str(path)) == ""


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "ed25519", "mldsa44", "mldsa65", "mldsa87"])
@pytest.mark.parametrize("url", [None, "http://crl.example.com/crl/issuing/3.crl"], ids=["full", "shard"])
@pytest.mark.parametrize("count", [0, 3])
def test_published_crls(tmp_path: Path, findings: Findings, kind: KeyKind, url: str | None, count: int) -> None:
    """RFC 5280 and the baseline requirements have no objection to full lists and shards (R106 to R112)."""
    key = key_of(kind)
    issuer = Issuer(make_root(name="Lists", key=key, now=NOW), key)
    at = int(NOW.timestamp())
    entries = [encode_entry(bytes([n + 1]) * 16, at, reason, None) for n, reason in enumerate((0, 1, 4)[:count])]
    crl = sign_crl(
        issuer, entries, number=7, this_update=NOW, next_update=NOW + timedelta(days=7), distribution_point=url
    )
    path = tmp_path / "list.crl"
    path.write_bytes(crl.der())
    # The baseline requirements know neither Ed25519 nor ML-DSA.
    for rules in ("PKIX", "BR") if kind.startswith(("p", "rsa")) else ("PKIX",):
        assert findings(lint_crl, "-t", "CRL", "-p", rules, "--document-format", "DER", str(path)) == ""


def test_credentials(tmp_path: Path, findings: Findings) -> None:
    """RFC 5280 has no objection to the credentials of the services, beyond names that its linter doesn't know."""
    ca_key, key = key_of("p256"), key_of("p384")
    ca = make_tls_ca(key=ca_key, now=NOW)
    identity = "spiffe://goodstanding/admin/alice"
    for certificate in (
        ca,
        make_server_credential(ca=ca, ca_key=ca_key, key=key, now=NOW),
        make_client_credential(ca=ca, ca_key=ca_key, key=key, now=NOW, identity=identity),
    ):
        said = findings(lint_pkix_cert, write(tmp_path / "one.pem", certificate)).splitlines()
        problems = [line for line in said if "(ERROR)" in line or "(WARNING)" in line or "(FATAL)" in line]
        assert all('"localhost"' in problem or '"spiffe://' in problem for problem in problems), said
        assert bool(problems) is (certificate is not ca)
