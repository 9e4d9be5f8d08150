"""A gateway without a network: the real responder over a status service that can be bent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.answers import AnswerCache, Revocation, Status
from gateway.evidence import CertificateKey
from gateway.issuers import Issuer
from gateway.knowledge import Knowledge, LookedUp, StatusUnavailable
from gateway.ocsp.response import ResponseSigner
from gateway.policy import AnswerPolicy
from gateway.responder import Responder
from gateway.signer_keys import SignerKey
from gateway.signers import Signers
from gateway.validity import ValidityPolicies, ValidityPolicy

NOW = 1_800_000_000


@dataclass
class Clocks:
    """A boot clock and a wall clock that stand still until they are moved."""

    boot: float = 1000.0
    wall: float = float(NOW)

    def boot_time(self) -> float:
        return self.boot

    def wall_time(self) -> float:
        return self.wall

    def pass_time(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds


@dataclass
class StatusService:
    """Statuses by certificate, with a revision that the test moves; it can be away, and it counts its calls."""

    clocks: Clocks
    history: str = "h1"
    revision: int = 10
    statuses: dict[CertificateKey, Status] = field(default_factory=dict)
    away: bool = False
    calls: list[list[CertificateKey]] = field(default_factory=list)
    before_reply: list[Callable[[], None]] = field(default_factory=list)
    """What happens between reading and replying, once."""
    delay: float = 0.0
    """How long a reply takes, on the boot clock."""
    gate: asyncio.Event | None = None
    """Replies wait for it."""

    def issue(self, key: CertificateKey) -> None:
        self.revision += 1
        self.statuses[key] = Status(key, True, None, NOW - 86400, NOW + 86400 * 90, self.revision)

    def revoke(self, key: CertificateKey, reason: int = 1) -> int:
        self.revision += 1
        now = int(self.clocks.wall)
        self.statuses[key] = Status(key, True, Revocation(now, reason), now, NOW + 86400 * 90, self.revision)
        return self.revision

    async def look_up(self, keys: Sequence[CertificateKey]) -> list[LookedUp]:
        sent = self.clocks.boot
        self.calls.append(list(keys))
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise StatusUnavailable("away")
        found = [
            LookedUp(self.statuses.get(key, Status(key, False, None, 0, 0, 0)), self.history, self.revision, sent)
            for key in keys
        ]
        for action in self.before_reply:
            action()
        self.before_reply.clear()
        self.clocks.boot += self.delay
        return found


def authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A CA certificate, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.fromtimestamp(NOW, UTC) - timedelta(days=30)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, begin, begin + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def delegate(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    begin: int = NOW - 86400,
    end: int = NOW + 2 * 86400,
    kind: SignerKey = SignerKey.P256,
) -> ResponseSigner:
    """A responder certificate of `ca`, and its key."""
    key = kind.generate()
    certificate = (
        x509.CertificateBuilder(
            ca.subject,
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "responder")]),
            key.public_key(),
            2,
            datetime.fromtimestamp(begin, UTC),
            datetime.fromtimestamp(end, UTC),
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return ResponseSigner(key, certificate)


def issuer_of(name: str, ca: x509.Certificate, *, active: bool = True) -> Issuer:
    """The issuer for a CA certificate."""
    return Issuer(
        name,
        active,
        ca.subject.public_bytes(),
        ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        (ca.public_bytes(Encoding.DER),),
        1,
    )


class World:
    """A responder, the status service behind it, and both clocks."""

    def __init__(
        self, policy: AnswerPolicy | None = None, kind: SignerKey = SignerKey.P256, signing_threads: int = 0
    ) -> None:
        self.clocks = Clocks()
        self.service = StatusService(self.clocks)
        cache = AnswerCache(1000, 10_000_000)
        self.knowledge = Knowledge(cache, self.service.look_up, self.clocks.boot_time, 1.0)
        self.signers = Signers(self.clocks.wall_time)
        validity = ValidityPolicies(ValidityPolicy(12 * 3600, 60), {})
        self.ca, self.ca_key = authority("issuing")
        self.knowledge.issuers.update([issuer_of("issuing", self.ca)])
        self.signers.install("issuing", delegate(self.ca, self.ca_key, kind=kind))
        self.responder = Responder(
            self.knowledge,
            self.signers,
            validity,
            self.clocks.wall_time,
            policy=policy,
            max_requests=100,
            max_pending=100,
            signing_threads=signing_threads,
        )
        self._ping = 0

    def key(self, serial: int) -> CertificateKey:
        return CertificateKey("issuing", serial.to_bytes((serial.bit_length() + 7) // 8, "big"))

    def watch(self) -> None:
        """The watch begins, and the first ping is answered."""
        self.knowledge.reset(self.service.history, self.service.revision)
        self.proof()

    def proof(self) -> None:
        """A ping is sent and answered now."""
        self._ping += 1
        self.knowledge.evidence.ping_sent(self._ping, self.clocks.boot)
        self.knowledge.evidence.pong(self._ping, self.service.revision)

    def tell(self, key: CertificateKey) -> None:
        """The watch tells of the latest change of a certificate."""
        revision = self.service.statuses[key].revision
        self.knowledge.changes([(key, revision)], [], revision)

    def request(
        self,
        serial: int,
        *,
        nonce: bytes | None = None,
        algorithm: hashes.HashAlgorithm | None = None,
        ca: x509.Certificate | None = None,
        preferred: bytes | None = None,
    ) -> bytes:
        issuer = ca or self.ca
        key = issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        algorithm = algorithm or hashes.SHA1()
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
            _hash(issuer.subject.public_bytes(), algorithm), _hash(key, algorithm), serial, algorithm
        )
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        if preferred is not None:
            oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1.8")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, preferred), critical=False)
        return builder.build().public_bytes(Encoding.DER)


def _hash(content: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(content)
    return digest.finalize()
