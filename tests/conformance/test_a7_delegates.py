"""A7: who signs: the CA itself, or a delegate that this very CA appointed, and nobody else can become one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from goodstanding.ca.v1 import ca_pb2
from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import PROGRAM, Estate
from tests.conformance.hierarchy import make_delegate
from tests.conformance.lint import certificate_findings
from tests.conformance.verification import responder_certificate
from tests.conformance.wire import Answer, Responder
from tests.e2e.client import csr, failure

ENROLLED = ("issuing", "rsa", "solo", "solo-rsa", "rolled", "renamed")
DIRECT = ("direct", "direct-rsa")
OFFLINE = {"root": "issuing", "rsa-root": "rsa"}
"""With an issuer whose certificate they issued."""

Answers = dict[str, tuple[Certified, Answer]]


@pytest.fixture(scope="module")
def answers(responder: Responder, certificates: Certificates) -> Answers:
    """By issuer: what was asked about, and an authentic answer."""
    asked = {name: certificates.issue(f"{name}-delegate.example.com", name) for name in (*ENROLLED, *DIRECT)}
    asked |= {name: certificates.authority(below) for name, below in OFFLINE.items()}
    return {name: (subject, subject.verified(responder.post(subject.request()))) for name, subject in asked.items()}


@pytest.mark.rule("R64", "R67")
@pytest.mark.parametrize("issuer", DIRECT)
def test_the_ca_signs(answers: Answers, issuer: str) -> None:
    """Its certificate allows it to, it is the one that the answer names, and it is not enclosed."""
    subject, answer = answers[issuer]
    assert responder_certificate(answer, subject.ca) == subject.ca
    assert subject.ca.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert isinstance(answer.basic["certs"], core.Void)


@pytest.mark.rule("R64", "R67")
@pytest.mark.parametrize("issuer", [*ENROLLED, *OFFLINE])
def test_a_delegate_signs(answers: Answers, issuer: str) -> None:
    """Its certificate is enclosed, once, and no other is: neither the CA's nor the root's."""
    subject, answer = answers[issuer]
    signer = responder_certificate(answer, subject.ca)
    assert signer != subject.ca
    enclosed = [each.dump() for each in answer.certificates]
    assert enclosed == [signer.public_bytes(Encoding.DER)]


@pytest.mark.rule("R65")
@pytest.mark.parametrize("issuer", [*ENROLLED, *OFFLINE])
def test_the_very_key_appointed_it(answers: Answers, issuer: str) -> None:
    """The key that the question is about signed the delegate's certificate. No other issuer's key did, the one of the
    same name neither.
    """
    subject, answer = answers[issuer]
    signer = responder_certificate(answer, subject.ca)
    signer.verify_directly_issued_by(subject.ca)
    for other, _ in answers.values():
        if other.ca.public_key() != subject.ca.public_key():
            with pytest.raises((InvalidSignature, ValueError, TypeError)):
                signer.verify_directly_issued_by(other.ca)


@pytest.mark.rule("R65")
def test_each_issuer_has_a_delegate_of_its_own(answers: Answers) -> None:
    """The same key never signs for two, even where one was made of the other by rolling or renaming it."""
    keys = {name: answer.data["responder_id"].chosen.native for name, (_, answer) in answers.items()}
    assert len(set(keys.values())) == len(keys)


EXTENSIONS = {
    # critical, and the value in DER; the two identifiers differ
    ExtensionOID.KEY_USAGE: (True, "03020780"),
    ExtensionOID.EXTENDED_KEY_USAGE: (False, "300a06082b06010505070309"),
    ExtensionOID.OCSP_NO_CHECK: (False, "0500"),
}
IDENTIFIERS = {ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.SUBJECT_KEY_IDENTIFIER}


@pytest.mark.rule("R66")
@pytest.mark.parametrize("issuer", ENROLLED)
def test_profile(answers: Answers, issuer: str) -> None:
    """Octet for octet: what it may be used for, that nobody need check it, whose it is; and nothing else."""
    subject, answer = answers[issuer]
    delegate = responder_certificate(answer, subject.ca)
    found = {each.oid: each for each in delegate.extensions}
    assert found.keys() == EXTENSIONS.keys() | IDENTIFIERS
    for oid, (critical, der) in EXTENSIONS.items():
        assert (found[oid].critical, found[oid].value.public_bytes().hex()) == (critical, der), oid
    assert not any(found[oid].critical for oid in IDENTIFIERS)
    key_id = subject.ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert found[ExtensionOID.AUTHORITY_KEY_IDENTIFIER].value == x509.AuthorityKeyIdentifier(key_id, None, None)
    assert delegate.issuer.public_bytes() == subject.ca.subject.public_bytes()
    assert certificate_findings(delegate.public_bytes(Encoding.DER)) == []


@pytest.mark.rule("R66")
@pytest.mark.parametrize("issuer", ENROLLED)
def test_lifetime(answers: Answers, issuer: str) -> None:
    """It lives for three days at the most, because nobody can revoke it, and began a day ago at the most."""
    subject, answer = answers[issuer]
    delegate = responder_certificate(answer, subject.ca)
    now = datetime.now(UTC)
    assert now - timedelta(days=1) <= delegate.not_valid_before_utc <= now < delegate.not_valid_after_utc
    assert delegate.not_valid_after_utc - delegate.not_valid_before_utc <= timedelta(days=3)
    assert delegate.not_valid_after_utc <= subject.ca.not_valid_after_utc


WISHES: dict[str, list[x509.ExtensionType]] = {
    "ocsp-signing": [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])],
    "server-auth-and-ocsp-signing": [
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.OCSP_SIGNING])
    ],
    "any-usage": [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])],
    "nocheck": [x509.OCSPNoCheck()],
    "a-whole-delegate": [
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
        x509.OCSPNoCheck(),
        x509.KeyUsage(True, False, False, False, False, False, False, False, False),
    ],
}
ORDINARY = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@pytest.mark.rule("R69")
@pytest.mark.parametrize("profile", ORDINARY)
@pytest.mark.parametrize("wish", WISHES)
def test_nobody_becomes_a_delegate_by_asking(certificates: Certificates, wish: str, profile: str) -> None:
    """What a certificate request asks for beside key and names is not given."""
    made = csr(f"{wish}.example.com", dns=[f"{wish}.example.com"], extensions=WISHES[wish])
    request = ca_pb2.IssueCertificateRequest(issuer="issuing", csr_der=made, profile=profile)
    certificate = certificates.request_signing(request)
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ORDINARY[profile]]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)


@pytest.mark.rule("R69")
def test_not_even_the_administrator_gets_a_delegate(estate: Estate, certificates: Certificates) -> None:
    """The profile is for the role `responder` alone, which in turn gets no other."""
    request = ca_pb2.IssueCertificateRequest(issuer="issuing", csr_der=csr(), profile="ocsp-responder")
    assert failure(lambda: certificates.request_signing(request)).code == "PERMISSION_DENIED"
    name = "no-server"
    estate.system.run("goodstanding", "credential", "new", "--name", name, "--role", "responder", "--out", name)
    with Certificates.of(estate, estate.folder / name) as responders:
        request = ca_pb2.IssueCertificateRequest(issuer="issuing", csr_der=csr(), profile="server")
        assert failure(lambda: responders.request_signing(request)).code == "PERMISSION_DENIED"


@pytest.mark.rule("R69")
def test_no_leaf_is_a_delegate(answers: Answers) -> None:
    """What was issued to a server does not have the usage that would make it one."""
    for name in (*ENROLLED, *DIRECT):
        leaf = answers[name][0].certificate
        assert (
            ExtendedKeyUsageOID.OCSP_SIGNING not in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        )


UNFIT = {
    "a-ca-without-digital-signature": ("root", "ca/root.pem", "lacks digitalSignature"),
    "a-server": ("solo", "server.pem", "lacks the extended key usage OCSPSigning"),
    "another-key": ("solo", "another.pem", "is not the key of"),
    "an-expired-delegate": ("solo", "expired.pem", "has expired"),
}


@pytest.mark.rule("R64", "R66", "R68")
@pytest.mark.parametrize("case", UNFIT)
def test_unfit_signers_are_refused(estate: Estate, tmp_path: Path, case: str) -> None:
    """Whom clients would not believe does not sign: the gateway says why, and does not start."""
    issuer, name, text = UNFIT[case]
    data = estate.system.data
    if name == "ca/root.pem":
        files = f'certificate = "{data / name}"\nkey = "{data / "ca/root.key"}"\n'
        files += f'passphrase_file = "{data / "secrets/root.passphrase"}"\n'
    else:
        _write_unfit(estate, tmp_path, name)
        files = f'certificate = "{tmp_path / name}"\nkey = "{tmp_path / "key"}"\n'
    tls = {"tls_ca": "ca.pem", "certificate": "gateway.pem", "key": "gateway.key"}
    config = tmp_path / "config.toml"
    lines = [f'{setting} = "{data / "tls" / file}"\n' for setting, file in tls.items()]
    config.write_text("".join(["[gateway]\n", *lines, f"[[gateway.issuers.{issuer}.signers]]\n", files]))
    done = estate.system.run(*PROGRAM, str(config), check=False)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def _write_unfit(estate: Estate, folder: Path, name: str) -> None:
    authority = estate.hierarchy.authorities["solo"]
    now = datetime.now(UTC).replace(microsecond=0)
    day = timedelta(days=1)
    (folder / "key").touch(0o600)
    pair = make_delegate(authority, now - 2 * day, now - day if name == "expired.pem" else now + day)
    if name == "server.pem":
        (folder / name).write_bytes(estate.issue("unfit.example.com", "solo").read_bytes())
        (folder / "key").write_bytes((estate.folder / "unfit.example.com.key").read_bytes())
        return
    (folder / name).write_bytes(pair.certificate.public_bytes(Encoding.PEM))
    key = make_delegate(authority, now, now + day).key if name == "another.pem" else pair.key
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
