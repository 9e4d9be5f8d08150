"""Certificate requests, good and bad."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable
from math import gcd

import pytest
from asn1crypto import algos as asn1_algos
from asn1crypto import csr as asn1_csr
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from services.errors import InvalidArgument
from services.pki import der as parts_of
from services.pki.csr import check_public_key, read_csr
from services.pki.keys import KeyKind
from services.pki.names import SubjectAlternativeNames
from tests.known_keys.published import BADKEYS_EC, Published
from tools.debian_weak_keys.keys import CURVES

from .conftest import common_name, edited_csr, key_of, leaf_key, make_csr, rsa_spki, spki, with_key

ML_DSA: dict[int, Callable[[], CertificateIssuerPrivateKeyTypes]] = {
    44: mldsa.MLDSA44PrivateKey.generate,
    65: mldsa.MLDSA65PrivateKey.generate,
    87: mldsa.MLDSA87PrivateKey.generate,
}
_SMALL = 3 * 5 * 7 * 11 * 13 * 17 * 19 * 23 * 29 * 31


def _modulus(bits: int) -> int:
    """A number that passes for a modulus: odd, of that size, and without the smallest factors."""
    source = random.Random(bits)
    while True:
        number = source.getrandbits(bits) | 1 << (bits - 1) | 1
        if all(number % prime for prime in range(3, 752, 2)):
            return number


def pem_of(der: bytes, label: str = "CERTIFICATE REQUEST") -> str:
    """PEM, with any label."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def refusal(der: bytes) -> InvalidArgument:
    """The error that reading ends in."""
    with pytest.raises(InvalidArgument) as caught:
        read_csr(der=der)
    assert caught.value.violations[0].field == "csr_der"
    return caught.value


@pytest.mark.parametrize("number", [44, 65, 87])
def test_post_quantum_keys(number: int) -> None:
    """ML-DSA is read, and its signature on the request is checked like any other (R114)."""
    key = ML_DSA[number]()
    der = make_csr("a.example", key=key)
    assert read_csr(der=der).public_key_der == spki(key)
    assert refusal(der[:-1] + bytes([der[-1] ^ 1])).reason == "CSR_SIGNATURE_INVALID"


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072", "ed25519"])
def test_keys_of_all_allowed_kinds(kind: KeyKind) -> None:
    """Each kind of key is read, with the names beside it and the key's own bytes."""
    request = read_csr(der=make_csr("a.example", [x509.DNSName("b.example")], key_of(kind)))
    assert request.public_key_der == spki(key_of(kind))
    assert request.sans == SubjectAlternativeNames(dns=("b.example",))
    assert request.subject == common_name("a.example")


@pytest.mark.parametrize("label", ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
def test_pem(label: str) -> None:
    """PEM is read under both labels, with text around it, with either line end, as text and as bytes."""
    der = make_csr()
    pem = f"subject=CN=x\n{pem_of(der, label)}trailing text"
    assert read_csr(pem=pem).der == read_csr(pem=pem.replace("\n", "\r\n").encode()).der == der


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "garbage",
        "ü" * 10,
        "\ud800",
        pem_of(make_csr()).replace("END CERT", "END OTHER"),
        pem_of(make_csr(), "CERTIFICATE"),
        pem_of(b""),
        pem_of(b"garbage"),
        pem_of(make_csr()).replace("M", "", 1),
        pem_of(make_csr() + b"\x00"),
    ],
    ids=[
        "empty",
        "garbage",
        "not ASCII",
        "not Unicode",
        "another end",
        "a certificate",
        "nothing inside",
        "garbage inside",
        "a letter missing",
        "an octet too many",
    ],
)
def test_what_is_not_pem(pem: str) -> None:
    """Broken PEM, and PEM of something else, is CSR_MALFORMED."""
    with pytest.raises(InvalidArgument) as caught:
        read_csr(pem=pem)
    assert caught.value.reason == "CSR_MALFORMED"
    assert caught.value.violations[0].field == "csr_pem"


def test_a_private_key_is_recognised() -> None:
    """Who sends the private key by mistake is told so, and not shown it again."""
    with pytest.raises(InvalidArgument, match="private key") as caught:
        read_csr(pem="-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    assert "c2VjcmV0" not in caught.value.message


@pytest.mark.parametrize("given", [{}, {"der": make_csr(), "pem": pem_of(make_csr())}], ids=["none", "both"])
def test_exactly_one_request(given: dict[str, bytes]) -> None:
    """Neither none nor two requests are an input."""
    with pytest.raises(InvalidArgument) as caught:
        read_csr(**given)  # type: ignore[arg-type]
    assert caught.value.reason == "CSR_MALFORMED"


def test_two_requests_in_one_text() -> None:
    """Nobody is to guess which of them is meant."""
    one = pem_of(make_csr())
    with pytest.raises(InvalidArgument, match="more than one certificate request"):
        read_csr(pem=f"{one}and another:\n{one}")


def _flipped(position: int) -> bytes:
    der = bytearray(make_csr(sans=[x509.DNSName("test.example.com")]))
    der[position] ^= 1
    return bytes(der)


def _signed_by_another_key() -> bytes:
    def edit(info: asn1_csr.CertificationRequestInfo) -> None:
        info["subject_pk_info"] = asn1_keys.PublicKeyInfo.load(spki(key_of("p384")))

    return edited_csr(edit)


def _version(number: int) -> bytes:
    der = make_csr()
    place = der.index(b"\x02\x01\x00")
    return der[:place] + bytes([2, 1, number]) + der[place + 3 :]


def _explicit_curve() -> bytes:
    """P-256 spelled out: SpecifiedECDomain instead of the name of the curve."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    domain = asn1_keys.SpecifiedECDomain(
        {
            "version": "ecdpVer1",
            "field_id": {"field_type": "prime_field", "parameters": p},
            "curve": {"a": b"\xff" * 32, "b": b"\x01" * 32},
            "base": _leaf_point(),
            "order": 2**256 - 1,
        }
    )
    key = asn1_keys.PublicKeyInfo.load(spki(leaf_key()))
    key["algorithm"]["parameters"] = asn1_keys.ECDomainParameters(name="specified", value=domain)
    return with_key(bytes(key.dump(force=True)))


def _leaf_point() -> bytes:
    return leaf_key().public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _pss_only_key() -> bytes:
    key = asn1_keys.PublicKeyInfo.load(spki(key_of("rsa2048")))
    key["algorithm"] = {"algorithm": "rsassa_pss"}
    return with_key(bytes(key.dump(force=True)))


def _point_off_the_curve() -> bytes:
    key = spki(leaf_key())
    return with_key(key[:-1] + bytes([key[-1] ^ 1]))


def _on_another_curve() -> bytes:
    key = ec.generate_private_key(ec.SECP256K1())
    return with_key(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _common_name_of(value: object) -> bytes:
    def edit(info: asn1_csr.CertificationRequestInfo) -> None:
        attribute = asn1_x509.NameTypeAndValue({"type": "common_name", "value": value})
        rdn = asn1_x509.RelativeDistinguishedName([attribute])
        info["subject"] = asn1_x509.Name(name="", value=asn1_x509.RDNSequence([rdn]))

    return edited_csr(edit)


def _directory_string(kind: str, text: str) -> asn1_x509.DirectoryString:
    return asn1_x509.DirectoryString(name=kind, value=text)


def _san_bytes(content: bytes) -> bytes:
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), content)
    return make_csr(extensions=[(value, False)])


def _many_names(count: int) -> bytes:
    return make_csr(sans=[x509.DNSName(f"h{n}.example") for n in range(count)])


def _twice_the_same_extension() -> bytes:
    def edit(info: asn1_csr.CertificationRequestInfo) -> None:
        request = info["attributes"][0]["values"][0]
        request.append(request[0].copy())

    return edited_csr(edit)


# R114, R116, R102. Each: how it is made, and the stable reason.
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "CSR_MALFORMED"),
    "garbage": (lambda: b"garbage", "CSR_MALFORMED"),
    "PEM as DER": (lambda: pem_of(make_csr()).encode(), "CSR_MALFORMED"),
    "cut": (lambda: make_csr()[:-1], "CSR_MALFORMED"),
    "trailing byte": (lambda: make_csr() + b"\x00", "CSR_MALFORMED"),
    "indefinite length": (lambda: b"\x30\x80" + make_csr()[3:] + b"\x00\x00", "CSR_MALFORMED"),
    "deep nesting": (lambda: b"\x30\x80" * 30_000, "CSR_MALFORMED"),
    "64 KiB and a byte": (lambda: b"\x00" * 65537, "CSR_TOO_LARGE"),
    "version 1": (lambda: _version(1), "CSR_VERSION"),
    "version 2": (lambda: _version(2), "CSR_VERSION"),
    "flipped bit in the signature": (lambda: _flipped(-1), "CSR_SIGNATURE_INVALID"),
    "signed by another key": (_signed_by_another_key, "CSR_SIGNATURE_INVALID"),
    "changed name": (lambda: make_csr().replace(b"test.example", b"evil.example"), "CSR_SIGNATURE_INVALID"),
    "RSA 1024": (lambda: with_key(rsa_spki(_modulus(1024))), "KEY_TOO_SMALL"),
    "RSA 2047": (lambda: with_key(rsa_spki(_modulus(2047))), "KEY_TOO_SMALL"),
    "RSA 2049": (lambda: with_key(rsa_spki(_modulus(2049))), "KEY_WEAK"),
    "RSA 8200": (lambda: with_key(rsa_spki(_modulus(8200))), "KEY_TOO_LARGE"),
    "RSA 16384": (lambda: with_key(rsa_spki(_modulus(16384))), "KEY_TOO_LARGE"),
    "exponent 1": (lambda: with_key(rsa_spki(_modulus(2048), 1)), "KEY_WEAK"),
    "exponent 3": (lambda: with_key(rsa_spki(_modulus(2048), 3)), "KEY_WEAK"),
    "even exponent": (lambda: with_key(rsa_spki(_modulus(2048), 65538)), "KEY_WEAK"),
    "huge exponent": (lambda: with_key(rsa_spki(_modulus(2048), _modulus(2040))), "KEY_WEAK"),
    "even modulus": (lambda: with_key(rsa_spki(_modulus(2048) - 1)), "KEY_WEAK"),
    "negative modulus": (lambda: with_key(rsa_spki(-_modulus(2048))), "CSR_MALFORMED"),
    "RSA-PSS key": (_pss_only_key, "KEY_TYPE_NOT_ALLOWED"),
    "explicit curve": (_explicit_curve, "KEY_TYPE_NOT_ALLOWED"),
    "secp256k1": (_on_another_curve, "KEY_TYPE_NOT_ALLOWED"),
    "point off the curve": (_point_off_the_curve, "KEY_WEAK"),
    "101 names": (lambda: _many_names(101), "TOO_MANY_NAMES"),
    "1000 names": (lambda: _many_names(1000), "TOO_MANY_NAMES"),
    "broken subjectAltName": (lambda: _san_bytes(b"\x30\x06\x82\x09a.a"), "CSR_MALFORMED"),
    "address of five octets": (lambda: _san_bytes(b"\x30\x07\x87\x05\x01\x02\x03\x04\x05"), "CSR_MALFORMED"),
    "an extension twice": (_twice_the_same_extension, "CSR_MALFORMED"),
    "common name of 65 characters": (
        lambda: _common_name_of(_directory_string("utf8_string", "a" * 65)),
        "SUBJECT_INVALID",
    ),
    "empty common name": (lambda: _common_name_of(_directory_string("utf8_string", "")), "SUBJECT_INVALID"),
    "BMPString": (lambda: _common_name_of(_directory_string("bmp_string", "a.example")), "SUBJECT_INVALID"),
    "T61String": (lambda: _common_name_of(_directory_string("teletex_string", "a.example")), "SUBJECT_INVALID"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD)
def test_bad_requests(make: Callable[[], bytes], reason: str) -> None:
    """Each gets its stable reason on the field it came in, within a second."""
    der = make()
    started = time.perf_counter()
    error = refusal(der)
    assert error.reason == reason
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("algorithm", [hashes.SHA224(), hashes.SHA384(), hashes.SHA512()], ids=lambda h: h.name)
def test_signatures_over_other_hashes(algorithm: hashes.HashAlgorithm) -> None:
    """The SHA-2 family is fine, whatever the key."""
    assert read_csr(der=make_csr(algorithm=algorithm)).public_key_der == spki(leaf_key())


@pytest.mark.parametrize("name", ["sha1", "md5"])
def test_weak_hashes_prove_nothing(openssl: Callable[..., str], tmp_path: object, name: str) -> None:
    """A request that openssl signed over SHA-1 or MD5 is refused (R114)."""
    arguments = ["-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-subj", "/CN=a.example"]
    pem = openssl("req", "-new", *arguments, f"-{name}")
    with pytest.raises(InvalidArgument) as caught:
        read_csr(pem=pem)
    assert caught.value.reason == "CSR_SIGNATURE_INVALID"


def test_an_rsa_key_may_sign_with_pss(rsa_key: rsa.RSAPrivateKey) -> None:
    """RSASSA-PSS proves possession of an ordinary RSA key as well as PKCS #1 does."""
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    request = x509.CertificateSigningRequestBuilder().subject_name(common_name("a.example"))
    der = request.sign(rsa_key, hashes.SHA256(), rsa_padding=pss).public_bytes(Encoding.DER)
    assert read_csr(der=der).public_key_der == spki(rsa_key)


def test_a_compressed_point_is_written_out(openssl: Callable[..., str]) -> None:
    """A key that came compressed is known by the bytes that the certificate will have."""
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-conv_form", "compressed", "-out", "k.pem")
    request = read_csr(pem=openssl("req", "-new", "-key", "k.pem", "-subj", "/CN=a.example"))
    assert len(request.public_key_der) == 91


@pytest.mark.parametrize("is_odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize(
    "form", [PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint], ids=["uncompressed", "compressed"]
)
@pytest.mark.parametrize("known", BADKEYS_EC, ids=lambda known: known.kind)
def test_debians_ec_keys_in_every_spelling(known: Published, form: PublicFormat, is_odd: bool) -> None:
    """A key on a curve is known by its x coordinate: compressed or not, and with either y (CVE-2008-0166)."""
    curve = CURVES[known.kind]
    x = known.number.to_bytes(-(-curve.key_size // 8))
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, bytes([2 + is_odd]) + x)
    algorithm = parts_of.key_algorithm(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    point = b"\0" + key.public_bytes(Encoding.X962, form)
    content = algorithm + parts_of.header(0x03, len(point)) + point
    with pytest.raises(InvalidArgument, match="CVE-2008-0166") as refused:
        check_public_key(parts_of.header(0x30, len(content)) + content, "csr_der")
    assert refused.value.reason == "KEY_WEAK"


@pytest.mark.parametrize("bits", [2048, 4096, 8192])
def test_rsa_sizes_within_the_bounds(bits: int) -> None:
    """2048 to 8192 bits, both included, are allowed; the check takes well under a tenth of a second."""
    key = rsa_spki(_modulus(bits))
    started = time.perf_counter()
    check_public_key(key, "csr_der")
    assert time.perf_counter() - started < 0.1


def test_no_subject_and_no_names() -> None:
    """An empty request is read: whether names are needed is the profile's business."""
    request = read_csr(der=make_csr(""))
    assert request.sans is None
    assert not request.subject.rdns


def test_a_hundred_names_are_read() -> None:
    """The limit itself is within the limit."""
    request = read_csr(der=_many_names(100))
    assert request.sans is not None
    assert len(request.sans) == 100


def test_unicode_in_the_subject_is_read() -> None:
    """UTF-8 in the subject is text like any other here."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Müller & Söhne")])
    assert read_csr(der=make_csr(name)).subject == name


def test_moduli_for_these_tests_have_no_small_factors() -> None:
    """The made-up moduli don't fail for another reason than the one under test."""
    assert gcd(_modulus(2048), _SMALL) == 1


@pytest.mark.parametrize("oid", ["sha256_ecdsa", "sha384_ecdsa", "sha224_ecdsa", "sha256_rsa", "ed25519"])
@pytest.mark.parametrize("hashed", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda each: each.name)
@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_the_library_finds_the_same_of_ec_signatures(kind: KeyKind, hashed: hashes.HashAlgorithm, oid: str) -> None:
    """A signature counts if it is made with the algorithm that the request names, and not otherwise (R114)."""
    request = asn1_csr.CertificationRequest.load(make_csr(key=key_of(kind), algorithm=hashed))
    request["signature_algorithm"] = asn1_algos.SignedDigestAlgorithm({"algorithm": oid})
    der = bytes(request.dump(force=True))
    try:
        sound = x509.load_der_x509_csr(der).is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        sound = False
    assert sound == (oid == f"{hashed.name}_ecdsa")
    if sound:
        assert read_csr(der=der).public_key_der == spki(key_of(kind))
    else:
        assert refusal(der).reason == "CSR_SIGNATURE_INVALID"
