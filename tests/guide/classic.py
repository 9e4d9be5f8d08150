"""The folder that the well-known "OpenSSL certificate authority" guide leaves behind, made by the real openssl.

A root and an intermediate CA with their folders, each key encrypted with AES-256 under a pass phrase that is typed at
openssl's own prompts. The intermediate CA has issued, in this order: 1000 a server's certificate, 1001 a client's, and
revoked it, 1002 the OCSP pair, 1003 a server's to try revoking with.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guide.terminal import Answers, converse

PASS_PHRASES = {
    "root": "alice at the root",
    "intermediate": "alice in between",
    "ocsp": "alice answers",
    "server": "alice serves",
}
SERIALS = {"www.example.com": "1000", "bob@example.com": "1001", "ocsp.example.com": "1002", "test.example.com": "1003"}

_COMMON = """\
[ req ]
default_bits        = 2048
distinguished_name  = req_distinguished_name
string_mask         = utf8only
default_md          = sha256
x509_extensions     = v3_ca

[ req_distinguished_name ]
countryName                     = Country Name (2 letter code)
stateOrProvinceName             = State or Province Name
localityName                    = Locality Name
0.organizationName              = Organization Name
organizationalUnitName          = Organizational Unit Name
commonName                      = Common Name
emailAddress                    = Email Address
countryName_default             = GB
stateOrProvinceName_default     = England
localityName_default            =
0.organizationName_default      = Alice Ltd
organizationalUnitName_default  =
emailAddress_default            =

[ v3_ca ]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always,issuer
basicConstraints = critical, CA:true
keyUsage = critical, digitalSignature, cRLSign, keyCertSign

[ v3_intermediate_ca ]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always,issuer
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, cRLSign, keyCertSign

[ usr_cert ]
basicConstraints = CA:FALSE
nsCertType = client, email
nsComment = "OpenSSL Generated Client Certificate"
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid,issuer
keyUsage = critical, nonRepudiation, digitalSignature, keyEncipherment
extendedKeyUsage = clientAuth, emailProtection

[ server_cert ]
basicConstraints = CA:FALSE
nsCertType = server
nsComment = "OpenSSL Generated Server Certificate"
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid,issuer:always
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
authorityInfoAccess = OCSP;URI:http://ocsp.example.com

[ crl_ext ]
authorityKeyIdentifier=keyid:always

[ ocsp ]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid,issuer
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, OCSPSigning
"""

_CA = """\
# OpenSSL {what} CA configuration file.
[ ca ]
default_ca = CA_default

[ CA_default ]
dir               = {folder}
certs             = $dir/certs
crl_dir           = $dir/crl
new_certs_dir     = $dir/newcerts
database          = $dir/index.txt
serial            = $dir/serial
RANDFILE          = $dir/private/.rand
private_key       = $dir/private/{name}.key.pem
certificate       = $dir/certs/{name}.cert.pem
crlnumber         = $dir/crlnumber
crl               = $dir/crl/{name}.crl.pem
crl_extensions    = crl_ext
default_crl_days  = 30
default_md        = sha256
name_opt          = ca_default
cert_opt          = ca_default
default_days      = 375
preserve          = no
policy            = {policy}

[ policy_strict ]
countryName             = match
stateOrProvinceName     = match
organizationName        = match
organizationalUnitName  = optional
commonName              = supplied
emailAddress            = optional

[ policy_loose ]
countryName             = optional
stateOrProvinceName     = optional
localityName            = optional
organizationName        = optional
organizationalUnitName  = optional
commonName              = supplied
emailAddress            = optional

"""

_CONFIRM = {r"\[y/n\]:": "y", r"commit\? \[y/n\]": "y"}
_PASS_PHRASE = "Enter (?:PEM )?pass phrase.*:"


@dataclass(frozen=True)
class ClassicCA:
    """The folder, which the guide has in /root/ca."""

    folder: Path

    @property
    def intermediate(self) -> Path:
        """The folder of the intermediate CA."""
        return self.folder / "intermediate"

    def certificate(self, name: str) -> Path:
        """What the intermediate CA has issued to a name."""
        return self.intermediate / f"certs/{name}.cert.pem"

    def key(self, name: str) -> Path:
        """The key of that."""
        return self.intermediate / f"private/{name}.key.pem"

    def make(self, bits: int) -> ClassicCA:
        """Follow the guide from its beginning; `bits` for the keys that it gives 4096."""
        self._prepare(self.folder, "root", "ca", "policy_strict")
        self._prepare(self.intermediate, "intermediate", "intermediate", "policy_loose")
        (self.intermediate / "csr").mkdir()
        (self.intermediate / "crlnumber").write_text("1000\n")
        self._make_root(bits)
        self._make_intermediate(bits)
        self.issue("www.example.com", "server_cert")
        self.issue("bob@example.com", "usr_cert", pass_phrase=None)
        self.revoke("bob@example.com", "-crl_reason", "keyCompromise")
        self.issue("ocsp.example.com", "ocsp", bits, PASS_PHRASES["ocsp"])
        self.issue("test.example.com", "server_cert")
        self.make_crl()
        return self

    def _prepare(self, folder: Path, what: str, name: str, policy: str) -> None:
        for below in ("certs", "crl", "newcerts", "private"):
            (folder / below).mkdir(parents=True)
        (folder / "private").chmod(0o700)
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        settings = _CA.format(what=what, folder=folder, name=name, policy=policy)
        (folder / "openssl.cnf").write_text(settings + _COMMON)

    def _make_root(self, bits: int) -> None:
        key, certificate = self.folder / "private/ca.key.pem", self.folder / "certs/ca.cert.pem"
        pass_phrase = PASS_PHRASES["root"]
        self._make_key(key, bits, pass_phrase)
        request = ("req", "-config", "openssl.cnf", "-key", key, "-new", "-x509", "-days", "7300", "-sha256")
        names = {"Organizational Unit Name": "Alice Ltd Certificate Authority", "Common Name": "Alice Ltd Root CA"}
        self.openssl(*request, "-extensions", "v3_ca", "-out", certificate, pass_phrase=pass_phrase, names=names)
        certificate.chmod(0o444)

    def _make_intermediate(self, bits: int) -> None:
        key, certificate = self.key("intermediate"), self.certificate("intermediate")
        pass_phrase = PASS_PHRASES["intermediate"]
        self._make_key(key, bits, pass_phrase)
        csr = self.intermediate / "csr/intermediate.csr.pem"
        request = ("req", "-config", "intermediate/openssl.cnf", "-new", "-sha256", "-key", key, "-out", csr)
        names = {
            "Organizational Unit Name": "Alice Ltd Certificate Authority",
            "Common Name": "Alice Ltd Intermediate CA",
        }
        self.openssl(*request, pass_phrase=pass_phrase, names=names)
        sign = ("ca", "-config", "openssl.cnf", "-extensions", "v3_intermediate_ca", "-days", "3650", "-notext")
        self.openssl(*sign, "-md", "sha256", "-in", csr, "-out", certificate, pass_phrase=PASS_PHRASES["root"])
        certificate.chmod(0o444)
        chain = self.certificate("ca-chain")
        chain.write_bytes(certificate.read_bytes() + (self.folder / "certs/ca.cert.pem").read_bytes())
        chain.chmod(0o444)

    def issue(
        self, name: str, section: str, bits: int = 2048, pass_phrase: str | None = PASS_PHRASES["server"]
    ) -> Path:
        """Make a key and a request, and have the intermediate CA sign it. No pass phrase: the key is not encrypted."""
        key, csr, certificate = self.key(name), self.intermediate / f"csr/{name}.csr.pem", self.certificate(name)
        self._make_key(key, bits, pass_phrase)
        request = ("req", "-config", "intermediate/openssl.cnf", "-key", key, "-new", "-sha256", "-out", csr)
        self.openssl(*request, pass_phrase=pass_phrase, names={"Common Name": name})
        sign = ("-extensions", section, "-days", "375", "-notext", "-md", "sha256", "-in", csr, "-out", certificate)
        self.ca(*sign)
        certificate.chmod(0o444)
        return certificate

    def revoke(self, name: str, *options: str) -> None:
        """Revoke what a name has."""
        self.ca("-revoke", self.certificate(name), *options)

    def make_crl(self) -> None:
        """Make the intermediate CA's list anew."""
        self.ca("-gencrl", "-out", self.intermediate / "crl/intermediate.crl.pem")

    def ca(self, *arguments: str | Path) -> str:
        """`openssl ca` for the intermediate CA, with its pass phrase typed."""
        command = ("ca", "-config", "intermediate/openssl.cnf", *arguments)
        return self.openssl(*command, pass_phrase=PASS_PHRASES["intermediate"])

    def _make_key(self, key: Path, bits: int, pass_phrase: str | None) -> None:
        encryption = () if pass_phrase is None else ("-aes256",)
        self.openssl("genrsa", *encryption, "-out", key, str(bits), pass_phrase=pass_phrase)
        key.chmod(0o400)

    def openssl(self, *arguments: str | Path, pass_phrase: str | None = None, names: Answers | None = None) -> str:
        """Run openssl in the folder, with somebody at the terminal. Returns what it showed."""
        answers = dict(_CONFIRM)
        if pass_phrase is not None:
            answers[_PASS_PHRASE] = pass_phrase
        answers |= {rf"{question}.*\]:": typed for question, typed in (names or {}).items()}
        answers[r"\[[^\]\n]*\]:"] = ""  # the other names are as they are by default
        return converse(("openssl", *arguments), answers, self.folder)

    def copy_to(self, folder: Path) -> ClassicCA:
        """The same folder somewhere else."""
        shutil.copytree(self.folder, folder)
        for config in (folder / "openssl.cnf", folder / "intermediate/openssl.cnf"):
            config.write_text(config.read_text().replace(str(self.folder), str(folder)))
        return ClassicCA(folder)

    def rows(self) -> Sequence[list[str]]:
        """The intermediate CA's index, in its six columns."""
        return [line.split("\t") for line in (self.intermediate / "index.txt").read_text().splitlines()]


def text_of(certificate: Path) -> str:
    """A certificate, as openssl prints it."""
    command = ["openssl", "x509", "-noout", "-text", "-in", str(certificate)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
