"""The issuers that the conformance tests ask about, beside those that `goodstanding init` makes.

| name | key | what for |
|---|---|---|
| root, issuing | P-256 | made by init: an offline root that answers from files, an issuing CA with enrolled delegates |
| rsa-root, rsa | RSA | the same with RSA keys; the name of `rsa` is as the baseline requirements want it |
| solo, solo-rsa | P-256, RSA | a root that issues leaf certificates itself |
| direct, direct-rsa | P-256, RSA | issuing CAs whose own key signs the answers |
| rolled | P-256 | the name of `issuing` with another key (R32) |
| renamed | P-256 | the key of `issuing` under another name (R32) |
| expired | P-256 | its certificate ended an hour ago |
| compromised | P-256 | to be revoked for keyCompromise by whoever tests that |
| ceased | P-256 | to be revoked for cessationOfOperation by whoever tests that |

CA certificates below a root are recorded as certificates of that root too, so that they can be asked about and revoked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.ca.bootstrap import CA_PROFILE, INIT_ACTOR
from services.db import certificates, issuers, position, status
from services.db.engine import Database
from services.db.records import IssuerState, NewCertificate, NewIssuer, NewIssuerCertificate
from services.pki import der, keys
from services.pki.certificates import key_usage
from services.pki.issuers import PrivateKey, signature_hash
from services.pki.serials import new_serial, serial_from_int, serial_to_int

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PASSPHRASE_FILE = "secrets/issuing.passphrase"
OFFLINE = ("root", "rsa-root")
DIRECT = ("direct", "direct-rsa")


@dataclass(frozen=True)
class Authority:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True)
class _New:
    name: str
    key: PrivateKey
    parent: str | None
    subject: x509.Name | None = None
    begin: timedelta = -DAY
    end: timedelta = 3000 * DAY


class Hierarchy:
    """Adds issuers to a data folder whose services do not run yet."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._passphrase = (data / PASSPHRASE_FILE).read_bytes().strip()
        self.authorities = {name: self._read(name) for name in ("root", "issuing")}

    def extend(self) -> None:
        """Make the authorities, write their files as init does (`ca/NAME.pem`, `ca/NAME.key`), and record them."""
        issuing = self.authorities["issuing"]
        for new in (
            _New("rsa-root", _rsa(), None),
            _New("rsa", _rsa(), "rsa-root", subject=_name("Conformance rsa", country="NL", organization="Conformance")),
            _New("solo", _ec(), None),
            _New("solo-rsa", _rsa(), None),
            _New("direct", _ec(), "root"),
            _New("direct-rsa", _rsa(), "rsa-root"),
            _New("rolled", _ec(), "root", subject=issuing.certificate.subject),
            _New("renamed", issuing.key, "root"),
            _New("expired", _ec(), "root", begin=-30 * DAY, end=-HOUR),
            _New("compromised", _ec(), "root"),
            _New("ceased", _ec(), "root"),
        ):
            self.authorities[new.name] = self._make(new)
            self._write(new.name, self.authorities[new.name])
            self._record(new)
        for name in OFFLINE:
            delegate = make_delegate(self.authorities[name], self._now - HOUR, self._now + 30 * DAY)
            self._write(f"{name}-ocsp", delegate)
        self._configure()

    def _make(self, new: _New) -> Authority:
        subject = new.subject or _name(f"Conformance {new.name}")
        parent = self.authorities[new.parent] if new.parent else None
        signer = parent or Authority(None, new.key)  # type: ignore[arg-type]
        builder = (
            x509.CertificateBuilder(
                parent.certificate.subject if parent else subject,
                subject,
                new.key.public_key(),
                serial_to_int(new_serial()),
                self._now + new.begin,
                self._now + new.end,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0 if parent else None), critical=True)
            .add_extension(key_usage(ca=True), critical=True)
            .add_extension(_key_id(new.key), critical=False)
        )
        if parent:
            authority = x509.AuthorityKeyIdentifier(_key_id(parent.key).digest, None, None)
            builder = builder.add_extension(authority, critical=False)
        return Authority(builder.sign(signer.key, signature_hash(signer.key)), new.key)  # type: ignore[arg-type]

    def _read(self, name: str) -> Authority:
        certificate = x509.load_pem_x509_certificate((self._data / f"ca/{name}.pem").read_bytes())
        passphrase = (self._data / f"secrets/{name}.passphrase").read_bytes().strip()
        key = load_pem_private_key((self._data / f"ca/{name}.key").read_bytes(), passphrase)
        return Authority(certificate, key)  # type: ignore[arg-type]

    def _write(self, name: str, authority: Authority) -> None:
        (self._data / f"ca/{name}.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        (self._data / f"ca/{name}.key").write_bytes(keys.encrypt_key(authority.key, self._passphrase))

    def _record(self, new: _New) -> None:
        certificate = self.authorities[new.name].certificate
        offline = new.name in OFFLINE
        with self.database() as db, db.write() as conn:
            parents = {issuer.name: issuer.id for issuer in issuers.list_issuers(conn)}
            record = NewIssuer(
                name=new.name,
                state=IssuerState.OFFLINE if offline else IssuerState.ACTIVE,
                subject_der=der.subject_der(certificate),
                public_key_der=der.public_key_der(certificate),
                certificates=(
                    NewIssuerCertificate(
                        certificate.public_bytes(Encoding.DER),
                        certificate.not_valid_before_utc,
                        certificate.not_valid_after_utc,
                    ),
                ),
                parent_id=parents[new.parent] if new.parent else None,
                key_ref=None if offline else f"ca/{new.name}.key",
                created_at=self._now,
            )
            issuers.add_issuer(conn, record, position.advance(conn, 1))
            if new.parent:
                row = recorded_certificate(certificate, parents[new.parent], CA_PROFILE, self._now)
                status.insert_statuses(
                    conn, [row], certificates.insert_certificates(conn, [row]), position.advance(conn, 1)
                )

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database of the services, whether they run or not."""
        db = Database.open(f"sqlite:///{self._data / 'goodstanding.db'}")
        try:
            yield db
        finally:
            db.close()

    def _configure(self) -> None:
        config = self._data / "config.toml"
        issuing = f'issuing = "{PASSPHRASE_FILE}"\n'
        others = "".join(f'{name} = "{PASSPHRASE_FILE}"\n' for name in self.authorities if name != "issuing")
        text = config.read_text().replace(issuing, issuing + others)
        # A gateway may have a key of every kind, and each takes its place among the delegates that it may hold.
        text = text.replace("[ca]\n", "[ca]\nmax_live_delegates = 60\n", 1)
        config.write_text(text + signer_tables(Path()))


def make_delegate(authority: Authority, begin: datetime, end: datetime) -> Authority:
    """An OCSP signing pair, as it is made by hand for an offline root."""
    key = _ec()
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certificate = (
        x509.CertificateBuilder(
            authority.certificate.subject,
            _name("Conformance root responder"),
            key.public_key(),
            serial_to_int(new_serial()),
            begin,
            end,
        )
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(_key_id(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(_key_id(authority.key).digest, None, None), critical=False)
        .sign(authority.key, signature_hash(authority.key))  # type: ignore[arg-type]
    )
    return Authority(certificate, key)


def recorded_certificate(
    certificate: x509.Certificate, issuer_id: int, profile: str, issued_at: datetime
) -> NewCertificate:
    """The record of a certificate that was not made by the CA service, as its database holds it."""
    return NewCertificate(
        issuer_id=issuer_id,
        serial=serial_from_int(certificate.serial_number),
        der=certificate.public_bytes(Encoding.DER),
        subject=certificate.subject.rfc4514_string(),
        common_name=str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value),
        subject_alternative_names=(),
        profile=profile,
        public_key_sha256=hashlib.sha256(der.public_key_der(certificate)).digest(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=issued_at,
        actor=INIT_ACTOR,
    )


def signer_tables(data: Path) -> str:
    """The settings of a gateway that answers for offline roots, and for issuers that sign themselves."""
    pairs = {**{name: f"{name}-ocsp" for name in OFFLINE}, **{name: name for name in DIRECT}}
    return "".join(
        f"\n[[gateway.issuers.{issuer}.signers]]\n"
        f"certificate = {json.dumps(str(data / f'ca/{pair}.pem'))}\n"
        f"key = {json.dumps(str(data / f'ca/{pair}.key'))}\n"
        f"passphrase_file = {json.dumps(str(data / PASSPHRASE_FILE))}\n"
        for issuer, pair in pairs.items()
    )


def _ec() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _name(common_name: str, *, country: str = "", organization: str = "") -> x509.Name:
    oids = x509.NameOID
    values = {oids.COUNTRY_NAME: country, oids.ORGANIZATION_NAME: organization, oids.COMMON_NAME: common_name}
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in values.items() if value])


def _key_id(key: PrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())
