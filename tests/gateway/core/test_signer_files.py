"""Signers from files: what signs, and what is refused because clients would refuse it (R64–R67)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from asn1crypto import ocsp as asn1
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.ocsp.response import ResponseSigner, SingleResponse
from gateway.passphrases import PassphraseError
from gateway.signer_files import UnusableSigner, has_nocheck, load_pair, signer_of
from gateway.signer_keys import SignerKey
from tests.gateway.core.files import BEGIN, DAY, PASSPHRASE, Authority, Files, key_usage
from tests.gateway.core.world import issuer_of

CERT_ID = bytes.fromhex("301d300906052b0e03021a0500") + b"\x04\x02nn\x04\x02kk\x02\x01\x07"


@pytest.fixture(scope="module")
def ca() -> Authority:
    """The issuer."""
    return Authority()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Nothing is written yet."""
    return Files(tmp_path)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key of the usual kind."""
    return ec.generate_private_key(ec.SECP256R1())


def signer(files: Files, ca: Authority, *, by_name: bool = False) -> ResponseSigner:
    """The signer that the files make for the CA."""
    pair = load_pair(files.paths, BEGIN, lambda: PASSPHRASE)
    return signer_of(pair, issuer_of("issuing", ca.certificate), by_name=by_name)


def answer(signer: ResponseSigner) -> asn1.BasicOCSPResponse:
    """What it signs, read by an independent decoder."""
    single = SingleResponse(CERT_ID, "good", BEGIN, BEGIN + DAY)
    return asn1.OCSPResponse.load(signer.sign([single], BEGIN)).basic_ocsp_response


@pytest.mark.parametrize("kind", list(SignerKey), ids=str)
def test_delegates_of_all_kinds(kind: SignerKey, ca: Authority, files: Files) -> None:
    """R63: a responder certificate for each kind of key that we can make ourselves."""
    key = kind.generate()
    certificate = ca.certify(key)
    files.write(certificate, key)
    basic = answer(signer(files, ca))
    assert [each.dump() for each in basic["certs"]] == [certificate.public_bytes(Encoding.DER)]


@pytest.mark.parametrize(
    ("kind", "traditional"),
    [(SignerKey.P256, False), (SignerKey.P256, True), (SignerKey.RSA2048, True), (SignerKey.ML_DSA_65, False)],
    ids=["P-256, PKCS 8", "P-256, traditional", "RSA, traditional", "ML-DSA-65, PKCS 8"],
)
def test_encrypted_keys(kind: SignerKey, traditional: bool, ca: Authority, files: Files) -> None:
    """Both forms of encryption in PEM are read."""
    key = kind.generate()
    files.write(ca.certify(key), key, encrypted=True, traditional=traditional)
    assert signer(files, ca).certificate.public_key() == key.public_key()


@pytest.mark.parametrize("usage", [None, key_usage(ca=True)], ids=["no key usage", "with digitalSignature"])
@pytest.mark.parametrize("by_name", [False, True], ids=["by key", "by name"])
def test_direct_signing(usage: x509.KeyUsage | None, by_name: bool, ca: Authority, files: Files) -> None:
    """R64, R67: the CA signs by itself: its certificate is not enclosed, and it is who answers."""
    files.write(ca.certify_itself(usage), ca.key)
    direct = signer(files, ca, by_name=by_name)
    basic = answer(direct)
    assert direct.direct
    assert basic["certs"].native is None
    responder = basic["tbs_response_data"]["responder_id"]
    key_hash = x509.SubjectKeyIdentifier.from_public_key(ca.certificate.public_key()).digest
    assert responder.native == ({"common_name": "issuing"} if by_name else key_hash)


def test_a_delegate_without_nocheck_is_accepted(ca: Authority, files: Files) -> None:
    """RFC 6960 leaves it open: clients may ask for its status elsewhere."""
    key = new_key()
    files.write(ca.certify(key, nocheck=False), key)
    assert not has_nocheck(signer(files, ca).certificate)


@pytest.mark.parametrize("direct", [False, True], ids=["delegate", "direct"])
def test_nobody_signs_beyond_the_end_of_the_issuer(direct: bool, files: Files) -> None:
    """The end of a signer is its certificate's or the issuer's, whichever comes first."""
    ca = Authority()
    later, ca.certificate = ca.certify_itself(end=BEGIN + 9 * DAY), ca.certify_itself(end=BEGIN + DAY)
    key: CertificateIssuerPrivateKeyTypes = ca.key if direct else new_key()
    files.write(later if direct else ca.certify(key), key)
    assert signer(files, ca).not_after == BEGIN + DAY


def test_a_delegate_of_an_ml_dsa_issuer(files: Files) -> None:
    """The issuer's key may be post-quantum, too."""
    ca, key = Authority(key=SignerKey.ML_DSA_65.generate()), new_key()
    files.write(ca.certify(key), key)
    assert not signer(files, ca).direct


Write = Callable[[Authority, Files], None]


def _good(ca: Authority, files: Files) -> None:
    key = new_key()
    files.write(ca.certify(key), key)


def _certified(**options: object) -> Write:
    def write(ca: Authority, files: Files) -> None:
        key = new_key()
        files.write(ca.certify(key, **options), key)  # type: ignore[arg-type]

    return write


def _then(certificate: bytes | None = None, key: bytes | None = None) -> Write:
    def write(ca: Authority, files: Files) -> None:
        _good(ca, files)
        for path, content in ((files.paths.certificate, certificate), (files.paths.key, key)):
            if content is not None:
                path.write_bytes(content)

    return write


def _without(name: str) -> Write:
    def write(ca: Authority, files: Files) -> None:
        _good(ca, files)
        getattr(files.paths, name).unlink()

    return write


def _with_key(make: Callable[[], CertificateIssuerPrivateKeyTypes]) -> Write:
    def write(ca: Authority, files: Files) -> None:
        key = make()
        files.write(ca.certify(key), key)

    return write


def _of_another_key(ca: Authority, files: Files) -> None:
    files.write(ca.certify(new_key()), new_key())


def _direct_without_digital_signature(ca: Authority, files: Files) -> None:
    files.write(ca.certify_itself(key_usage(digital_signature=False, ca=True)), ca.key)


def _direct_of_another(_: Authority, files: Files) -> None:
    other = Authority()
    files.write(other.certificate, other.key)


def _delegate_of_another(_: Authority, files: Files) -> None:
    key = new_key()
    files.write(Authority().certify(key), key)


def _same_key_under_another_name(ca: Authority, files: Files) -> None:
    files.write(Authority("other", key=ca.key).certificate, ca.key)


REFUSED: dict[str, tuple[Write, str]] = {
    "no certificate": (_without("certificate"), r"responder\.pem cannot be read: No such file"),
    "no key": (_without("key"), r"responder\.key cannot be read: No such file"),
    "not PEM": (_then(certificate=b"\x30\x00"), r"responder\.pem holds no certificate in PEM"),
    "key not PEM": (_then(key=b"\x30\x00"), r"responder\.key holds no private key in PEM"),
    "damaged key": (
        _then(key=b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        r"responder\.key is damaged, or of an unknown kind",
    ),
    "key of another": (_of_another_key, r"responder\.key is not the key of .*responder\.pem"),
    "expired": (_certified(end=BEGIN), r"responder\.pem has expired at 2027-.*have another"),
    "not yet valid": (_certified(begin=BEGIN + DAY), r"responder\.pem is not valid before 2027-.*clock"),
    "small RSA key": (_with_key(lambda: rsa.generate_private_key(65537, 1024)), r"responder\.key: an RSA key of 1024"),
    "other curve": (_with_key(lambda: ec.generate_private_key(ec.SECP256K1())), r"responder\.key: .*secp256k1"),
    "no extended key usage": (_certified(usages=()), r"responder\.pem is neither .*OCSPSigning: have one"),
    "wrong extended key usage": (_certified(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "neither .*OCSPSigning"),
    "any extended key usage": (
        _certified(usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
        "neither .*OCSPSigning",
    ),
    "no digital signature": (_certified(usage=key_usage(digital_signature=False)), "lacks digitalSignature"),
    "direct, no digital signature": (_direct_without_digital_signature, "lacks digitalSignature.*the CA's own again"),
    "CA of the same name": (_direct_of_another, "neither the certificate of issuing nor a responder .* by issuing"),
    "CA of the same key": (_same_key_under_another_name, "neither the certificate of issuing nor a responder"),
    "delegate of another": (_delegate_of_another, "cannot speak for issuing: it is not signed by the issuer"),
}


@pytest.mark.parametrize(("write", "text"), REFUSED.values(), ids=REFUSED)
def test_what_clients_would_refuse(write: Write, text: str, ca: Authority, files: Files) -> None:
    """R64, R65: each is refused with the name of the file, and what to do."""
    write(ca, files)
    with pytest.raises(UnusableSigner, match=text):
        signer(files, ca)


def test_a_delegate_signed_over_sha1(ca: Authority, files: Files) -> None:
    """A signature that clients do not believe any more makes nobody a delegate."""
    key = new_key()
    certificate = asn1_x509.Certificate.load(ca.certify(key).public_bytes(Encoding.DER))
    certificate["tbs_certificate"]["signature"]["algorithm"] = "sha1_ecdsa"
    certificate["signature_algorithm"]["algorithm"] = "sha1_ecdsa"
    files.write(x509.load_der_x509_certificate(certificate.dump(force=True)), key)
    with pytest.raises(UnusableSigner, match=r"responder\.pem is signed with SHA-1 or MD5"):
        signer(files, ca)


def test_wrong_passphrase(ca: Authority, files: Files) -> None:
    """It is not told apart from a damaged file, and it is not repeated."""
    key = new_key()
    files.write(ca.certify(key), key, encrypted=True)
    with pytest.raises(UnusableSigner, match=r"the passphrase does not open .*responder\.key") as refused:
        load_pair(files.paths, BEGIN, lambda: b"battery staple")
    assert "staple" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_missing_passphrase(ca: Authority, files: Files) -> None:
    """The text of whoever looked for it says where."""
    key = new_key()
    files.write(ca.certify(key), key, encrypted=True)

    def nothing() -> bytes:
        raise PassphraseError("no passphrase: set passphrase_file")

    with pytest.raises(UnusableSigner, match=r"responder\.key: no passphrase: set passphrase_file"):
        load_pair(files.paths, BEGIN, nothing)


@pytest.mark.parametrize(
    ("encrypted", "exposed", "text"),
    [
        (False, "key", r"responder\.key holds a key that is not encrypted, and others .*: chmod o= .*responder\.key"),
        (True, "passphrase_file", r"passphrase holds a passphrase, and others .*: chmod o= .*passphrase"),
        (True, "key", None),
        (True, "certificate", None),
    ],
    ids=["plain key", "passphrase", "encrypted key", "certificate"],
)
@pytest.mark.parametrize("mode", [0o644, 0o602, 0o640, 0o400], ids=oct)
def test_files_that_lie_open(
    encrypted: bool, exposed: str, text: str | None, mode: int, ca: Authority, tmp_path: Path
) -> None:
    """What anybody on the machine could sign with is refused; a group that the operator chose may be let in."""
    files, key = Files(tmp_path, passphrase_file=encrypted), new_key()
    files.write(ca.certify(key), key, encrypted=encrypted)
    getattr(files.paths, exposed).chmod(mode)
    if text is None or mode & 0o007 == 0:
        assert signer(files, ca)
        return
    with pytest.raises(UnusableSigner, match=text):
        signer(files, ca)


def test_files_of_somebody_else(ca: Authority, files: Files) -> None:
    """Whose right is missing is told, because openssl's commands leave keys to root alone."""
    _good(ca, files)
    files.paths.key.chmod(0)
    if (user := os.geteuid()) == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(UnusableSigner, match=rf"does not let in the user of this process \({os.geteuid()}\)"):
            signer(files, ca)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("key_first", [False, True], ids=["certificate first", "key first"])
def test_both_in_one_file(key_first: bool, ca: Authority, files: Files) -> None:
    """As `openssl ocsp -rsigner` takes it without -rkey, with a text before, such as `openssl ca` writes."""
    _good(ca, files)
    parts = [b"Certificate:\n    Data:\n", files.paths.certificate.read_bytes(), files.paths.key.read_bytes()]
    files.put(files.paths.key, b"".join(reversed(parts) if key_first else parts))
    files.paths = replace(files.paths, certificate=files.paths.key)
    assert not signer(files, ca).direct


def test_a_passphrase_for_nothing(ca: Authority, files: Files) -> None:
    """Whoever wrote passphrase_file takes the key for encrypted; one that is not has lain open."""
    _good(ca, files)
    paths = replace(files.paths, passphrase_file=files.paths.key)
    with pytest.raises(UnusableSigner, match=r"responder\.key is not encrypted, although.*openssl pkcs8"):
        load_pair(paths, BEGIN, lambda: PASSPHRASE)
