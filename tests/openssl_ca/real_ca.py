"""A certificate authority of the real `openssl ca`, in the layout of the classic guide, with encrypted keys."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PASSPHRASE = "correct horse"

_CONFIG = """
[ ca ]
default_ca = CA_default

[ CA_default ]
dir               = {folder}
certs             = $dir/certs
crl_dir           = $dir/crl
new_certs_dir     = $dir/newcerts
database          = $dir/index.txt
serial            = $dir/serial
private_key       = $dir/private/{name}.key.pem
certificate       = $dir/certs/{name}.cert.pem
crlnumber         = $dir/crlnumber
crl               = $dir/crl/{name}.crl.pem
crl_extensions    = crl_ext
default_crl_days  = 30
default_md        = sha256
default_days      = 375
preserve          = no
unique_subject    = no
policy            = policy_loose

[ policy_loose ]
countryName      = optional
organizationName = optional
commonName       = supplied

[ req ]
distinguished_name = req_distinguished_name
string_mask        = utf8only

[ req_distinguished_name ]

[ v3_ca ]
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid:always,issuer
basicConstraints       = critical, CA:true
keyUsage               = critical, digitalSignature, cRLSign, keyCertSign

[ server_cert ]
basicConstraints       = CA:FALSE
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid,issuer
keyUsage               = critical, digitalSignature
extendedKeyUsage       = serverAuth

[ crl_ext ]
authorityKeyIdentifier = keyid:always
"""


def openssl(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run the real command."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class RealCA:
    """A folder of `openssl ca`: index.txt, serial, crlnumber, newcerts/, certs/, crl/, private/, openssl.cnf."""

    folder: Path
    name: str = "ca"
    parent: RealCA | None = None

    def make(self) -> RealCA:
        """Make the folder, key and certificate: a root, or one below its parent."""
        for each in ("certs", "crl", "newcerts", "private"):
            (self.folder / each).mkdir(parents=True)
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n")
        (self.folder / "crlnumber").write_text("1000\n")
        self.config.write_text(_CONFIG.format(folder=self.folder, name=self.name))
        self._make_key(self.key)
        subject = ("-subj", f"/C=GB/O=Alice Ltd/CN=Alice Ltd {self.name}")
        signed = ("-config", self.config, "-key", self.key, "-passin", f"pass:{PASSPHRASE}", *subject)
        if self.parent is None:
            openssl("req", "-x509", *signed, "-days", "7300", "-extensions", "v3_ca", "-out", self.certificate)
        else:
            csr = self.folder / "ca.csr"
            openssl("req", "-new", *signed, "-out", csr)
            self.parent.sign(csr, self.certificate, "-extensions", "v3_ca", "-days", "3650")
            self.chain.write_text(self.certificate.read_text() + self.parent.certificate.read_text())
        return self

    def copy(self, folder: Path) -> RealCA:
        """A copy of the folder, in which `openssl ca` goes on independently."""
        copied = RealCA(folder, self.name, self.parent)
        shutil.copytree(self.folder, folder)
        copied.config.write_text(_CONFIG.format(folder=folder, name=self.name))
        return copied

    @property
    def config(self) -> Path:
        """openssl.cnf."""
        return self.folder / "openssl.cnf"

    @property
    def key(self) -> Path:
        """The encrypted key."""
        return self.folder / "private" / f"{self.name}.key.pem"

    @property
    def certificate(self) -> Path:
        """The CA's certificate."""
        return self.folder / "certs" / f"{self.name}.cert.pem"

    @property
    def chain(self) -> Path:
        """It, and those above it."""
        return self.folder / "certs" / "ca-chain.cert.pem"

    @property
    def index(self) -> Path:
        """The index."""
        return self.folder / "index.txt"

    @property
    def crl(self) -> Path:
        """The revocation list."""
        return self.folder / "crl" / f"{self.name}.crl.pem"

    def issue(self, common_name: str, *options: str) -> Path:
        """Issue a certificate for a new key; returns its file."""
        out = self.folder / "certs" / f"{common_name.replace('/', '-')}.cert.pem"
        key, csr = self.folder / "subject.key", self.folder / "subject.csr"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        subject = ("-utf8", "-subj", f"/C=GB/O=Alice Ltd/CN={common_name}")
        openssl("req", "-new", "-config", self.config, *curve, "-keyout", key, "-out", csr, *subject)
        self.sign(csr, out, "-extensions", "server_cert", *options)
        return out

    def sign(self, csr: Path, out: Path, *options: str) -> None:
        """Sign a certificate request."""
        self.run("-notext", "-batch", "-in", csr, "-out", out, *options)

    def revoke(self, certificate: Path, *options: str) -> None:
        """Revoke a certificate, with -crl_reason or its like."""
        self.run("-revoke", certificate, *options)

    def make_crl(self) -> Path:
        """Make a revocation list."""
        self.run("-gencrl", "-out", self.crl)
        return self.crl

    def run(self, *arguments: str | Path) -> None:
        """Run `openssl ca`."""
        openssl("ca", "-config", self.config, "-passin", f"pass:{PASSPHRASE}", *arguments)

    def add_rows(self, rows: Sequence[str]) -> None:
        """Append lines to the index."""
        with self.index.open("a", encoding="latin-1", newline="") as index:
            index.writelines(f"{row}\n" for row in rows)

    def _make_key(self, file: Path) -> None:
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        openssl("genpkey", *curve, "-aes256", "-pass", f"pass:{PASSPHRASE}", "-out", file)
