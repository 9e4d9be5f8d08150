"""A CA, responders good and bad, and answers made with `openssl ocsp` and bent by hand."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.ocsp.der import tlv
from gateway.ocsp.reading import read_response

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
GOOD, REVOKED = 0x1003, 0x1004


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def make(
    name: str,
    issuer: Pair | None = None,
    *,
    serial: int = 1,
    usage: x509.ObjectIdentifier | None = None,
    ca: bool = False,
    begin: datetime = NOW - 30 * DAY,
    end: datetime = NOW + 300 * DAY,
    nocheck: bool = False,
) -> Pair:
    """A certificate by `issuer`, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by = issuer.certificate.subject if issuer else subject
    builder = x509.CertificateBuilder(by, subject, key.public_key(), serial, begin, end)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if nocheck:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


class Answers:
    """Files to explain. `folder` has them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = make("Some CA", ca=True)
        self.other = make("Some CA", ca=True)  # the same name, another key
        signing = ExtendedKeyUsageOID.OCSP_SIGNING
        self.pairs = {
            "ca": self.ca,
            "other": self.other,
            "responder": make("ocsp.example.com", self.ca, serial=2, usage=signing, nocheck=True),
            "plain": make("no purpose", self.ca, serial=3),
            "server": make("a server", self.ca, serial=4, usage=ExtendedKeyUsageOID.SERVER_AUTH),
            "foreign": make("ocsp.example.com", self.other, serial=5, usage=signing, nocheck=True),
            "ended": make("ended", self.ca, serial=6, usage=signing, end=NOW - DAY, nocheck=True),
            "leaf": make("leaf\x1b[31m.example.com", self.ca, serial=GOOD),
            "gone": make("gone.example.com", self.ca, serial=REVOKED),
        }
        for name, pair in self.pairs.items():
            (folder / f"{name}.pem").write_bytes(pair.pem)
            key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / f"{name}.key").write_bytes(key)
        times = (f"{NOW + 300 * DAY:%y%m%d%H%M%SZ}", f"{NOW - DAY:%y%m%d%H%M%SZ}")
        (folder / "index.txt").write_text(
            f"V\t{times[0]}\t\t{GOOD:X}\tunknown\t/CN=leaf\n"
            f"R\t{times[0]}\t{times[1]},keyCompromise\t{REVOKED:X}\tunknown\t/CN=gone\n"
        )

    def openssl(self, name: str, certificate: str = "leaf", *options: str, signer: str = "responder") -> Path:
        """An answer that `openssl ocsp` gives from its index, and the request beside it (NAME.req)."""
        file = self.folder / f"{name}.der"
        asked = [option for option in options if option in ("-no_nonce", "-sha256")]
        self._run(*asked, "-issuer", "ca.pem", "-cert", f"{certificate}.pem", "-reqout", f"{name}.req")
        answer = ["-index", "index.txt", "-CA", "ca.pem", "-rsigner", f"{signer}.pem", "-rkey", f"{signer}.key"]
        more = [option for option in options if option not in asked]
        self._run(*answer, "-reqin", f"{name}.req", "-respout", f"{name}.der", "-ndays", "7", *more)
        return file

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", "ocsp", *arguments], cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def made(
        self,
        name: str,
        signer: str = "responder",
        *,
        enclosed: tuple[str, ...] = ("responder",),
        this_update: datetime = NOW - timedelta(minutes=2),
        next_update: datetime | None = NOW + 7 * DAY,
        issuer: str = "ca",
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    ) -> Path:
        """An answer about `leaf` with anything wrong with it."""
        pair = self.pairs[signer]
        is_revoked = status is ocsp.OCSPCertStatus.REVOKED
        revocation = (NOW - DAY, x509.ReasonFlags.certificate_hold) if is_revoked else (None, None)
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                self.pairs["leaf"].certificate,
                self.pairs[issuer].certificate,
                hashes.SHA1(),
                status,
                this_update,
                next_update,
                *revocation,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, pair.certificate)
        )
        if enclosed:
            builder = builder.certificates([self.pairs[each].certificate for each in enclosed])
        file = self.folder / f"{name}.der"
        file.write_bytes(builder.sign(pair.key, hashes.SHA256()).public_bytes(Encoding.DER))
        return file

    def signed_again(self, name: str, old: bytes, new: bytes, signer: str = "responder") -> Path:
        """A good answer with something in it replaced, and signed again."""
        basic = read_response(self.made(name).read_bytes()).basic
        assert basic is not None
        assert basic.tbs.count(old) == 1
        tbs = basic.tbs.replace(old, new)
        signature = self.pairs[signer].key.sign(tbs, ec.ECDSA(hashes.SHA256()))
        algorithm = tlv(0x30, bytes.fromhex("06082a8648ce3d040302"))
        certs = tlv(0xA0, tlv(0x30, b"".join(basic.certificates)))
        whole = tlv(0x30, tbs + algorithm + tlv(0x03, b"\0" + signature) + certs)
        response = tlv(0x30, bytes.fromhex("06092b0601050507300101") + tlv(0x04, whole))
        file = self.folder / f"{name}.der"
        file.write_bytes(tlv(0x30, b"\x0a\x01\x00" + tlv(0xA0, response)))
        return file
