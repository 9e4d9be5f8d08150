"""Clients that sign their requests: certificates of all kinds, and signatures that are right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.pki.certificates import key_usage
from tests.conformance.estate import Estate
from tests.conformance.wire import tlv

DAY = timedelta(days=1)
NULL = b"\x05\x00"
RSA_SHA1, RSA_SHA256, RSA_SHA512, RSA_MD5 = (
    bytes.fromhex(f"06092a864886f70d0101{n}") for n in ("05", "0b", "0d", "04")
)
ECDSA_SHA1 = bytes.fromhex("06072a8648ce3d0401")
ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512 = (bytes.fromhex(f"06082a8648ce3d0403{n}") for n in ("02", "03", "04"))
ED25519 = bytes.fromhex("06032b6570")
UNKNOWN = bytes.fromhex("06032a0304")

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Client:
    """A key and its certificate, with those between it and an anchor."""

    key: PrivateKey
    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...] = ()

    @cached_property
    def chain(self) -> tuple[bytes, ...]:
        """What the client sends along, in DER."""
        return tuple(each.public_bytes(Encoding.DER) for each in (self.certificate, *self.others))

    @property
    def identifier(self) -> bytes:
        """The AlgorithmIdentifier of its signatures, in DER."""
        match self.key:
            case rsa.RSAPrivateKey():
                return tlv(0x30, RSA_SHA256, NULL)
            case ec.EllipticCurvePrivateKey():
                return tlv(0x30, ECDSA_SHA384 if self.key.curve.key_size == 384 else ECDSA_SHA256)
        return tlv(0x30, ED25519)

    def signed(self, tbs: bytes) -> bytes:
        """The request (DER), signed as it should be."""
        return signed_request(tbs, self.identifier, sign(self.key, tbs), self.chain)


def sign(key: PrivateKey, data: bytes, digest: hashes.HashAlgorithm | None = None) -> bytes:
    """A signature, by default with the digest that fits the key."""
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(data, padding.PKCS1v15(), digest or hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            fitting = hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA256()
            return key.sign(data, ec.ECDSA(digest or fitting))
    return key.sign(data)


def signed_request(tbs: bytes, algorithm: bytes, value: bytes, certificates: Sequence[bytes] | None) -> bytes:
    """The DER of an OCSPRequest with a signature of these parts. `certificates`: None for no field at all."""
    certs = b"" if certificates is None else tlv(0xA0, tlv(0x30, *certificates))
    return tlv(0x30, tbs, tlv(0xA0, tlv(0x30, algorithm, tlv(0x03, b"\x00" + value), certs)))


def openssl_request(estate: Estate, certificate: Path, signer: Client, folder: Path) -> bytes:
    """A request about a certificate of `issuing` that openssl made and signed."""
    key = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "signer.key").write_bytes(key)
    (folder / "signer.pem").write_bytes(signer.certificate.public_bytes(Encoding.PEM))
    (folder / "others.pem").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in signer.others))
    others = ("-sign_other", str(folder / "others.pem")) if signer.others else ()
    pair = ("-signer", str(folder / "signer.pem"), "-signkey", str(folder / "signer.key"), *others)
    asked = ("-issuer", str(estate.ca_file("issuing")), "-cert", str(certificate), "-no_nonce")
    estate.system.run("openssl", "ocsp", *asked, *pair, "-reqout", str(folder / "request"))
    return (folder / "request").read_bytes()


def authority(name: str, issuer: Client | None = None, *, begin: timedelta = -DAY, end: timedelta = DAY) -> Client:
    """A CA; self-signed without an issuer."""
    return _certify(ec.generate_private_key(ec.SECP256R1()), name, issuer, True, begin, end)


def client(
    issuer: Client,
    key: PrivateKey | None = None,
    *,
    begin: timedelta = -DAY,
    end: timedelta = DAY,
    usage: x509.KeyUsage | None = None,
) -> Client:
    """Somebody with a certificate of that CA."""
    new = key or ec.generate_private_key(ec.SECP256R1())
    return _certify(new, "OCSP client", issuer, False, begin, end, usage)


def _certify(
    key: PrivateKey,
    name: str,
    issuer: Client | None,
    ca: bool,
    begin: timedelta,
    end: timedelta,
    usage: x509.KeyUsage | None = None,
) -> Client:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer_key, signer_name = (issuer.key, issuer.certificate.subject) if issuer else (key, subject)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(
            signer_name, subject, key.public_key(), x509.random_serial_number(), now + begin, now + end
        )
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(usage or key_usage(ca=ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
    )
    if not ca:
        names = x509.SubjectAlternativeName([x509.DNSName("client.example.com")])
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(names, critical=False).add_extension(purposes, critical=False)
    digest = None if isinstance(signer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    # A CA above it goes along, unless it is the anchor.
    others = (issuer.certificate, *issuer.others) if issuer and issuer.certificate.issuer != signer_name else ()
    return Client(key, builder.sign(signer_key, digest), others)
