"""The tools that are compared with: `openssl ca` signing one batch, and the responder `openssl ocsp`.

Same key types, same profile of certificate, a delegated responder as ours, and no more than they do by themselves:
`openssl ca` keeps its database in one text file and does not sync it to the disk.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.load import check
from benchmarks.processes import BenchmarkError, ending, free_ports
from benchmarks.questions import Messages, plain

_START_WITHIN = 10.0
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_CONFIG = """\
[ca]
default_ca = batch
[batch]
database = index.txt
new_certs_dir = certificates
certificate = ca.pem
private_key = ca.key
rand_serial = yes
default_md = sha256
default_days = 90
policy = any
unique_subject = no
copy_extensions = copy
x509_extensions = server
[any]
commonName = supplied
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
authorityInfoAccess = OCSP;URI:http://127.0.0.1:2560, caIssuers;URI:http://127.0.0.1:2560/ca/issuing.cer
[req]
distinguished_name = asked
[asked]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[responder]
keyUsage = critical, digitalSignature
extendedKeyUsage = OCSPSigning
noCheck = yes
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Authority:
    """A folder with a CA and a responder's certificate in it."""

    folder: Path

    @property
    def certificate(self) -> x509.Certificate:
        """The CA's."""
        return x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())

    def serials(self) -> list[int]:
        """The serial numbers of what was signed."""
        return [int(line.split("\t")[3], 16) for line in (self.folder / "index.txt").read_text().splitlines()]

    def sign(self, csrs: Sequence[Path]) -> float:
        """Sign all the requests in one batch, from an empty database; the seconds that it took."""
        (self.folder / "index.txt").write_text("")
        begun = time.perf_counter()
        openssl(self.folder, "ca", "-config", "openssl.cnf", "-batch", "-notext", "-infiles", *map(str, csrs))
        seconds = time.perf_counter() - begun
        if len(self.serials()) != len(csrs):
            raise BenchmarkError(f"openssl ca signed {len(self.serials())} of {len(csrs)} requests")
        return seconds


def make_authority(folder: Path) -> Authority:
    """A CA and its responder, both on P-256."""
    (folder / "certificates").mkdir(parents=True)
    (folder / "openssl.cnf").write_text(_CONFIG)
    make = ("req", "-config", "openssl.cnf", "-x509", *_CURVE, "-days", "90")
    openssl(folder, *make, "-subj", "/CN=CA", "-extensions", "authority", "-keyout", "ca.key", "-out", "ca.pem")
    below = ("-CA", "ca.pem", "-CAkey", "ca.key", "-extensions", "responder")
    openssl(folder, *make, "-subj", "/CN=Responder", *below, "-keyout", "ocsp.key", "-out", "ocsp.pem")
    return Authority(folder)


def write_requests(folder: Path, csrs: Sequence[bytes]) -> list[Path]:
    """Put requests into files, for the command."""
    folder.mkdir()
    paths = [folder / f"{number}.csr" for number in range(len(csrs))]
    for path, der in zip(paths, csrs, strict=True):
        path.write_bytes(x509.load_der_x509_csr(der).public_bytes(Encoding.PEM))
    return paths


@contextlib.contextmanager
def responder(authority: Authority) -> Iterator[tuple[str, int]]:
    """`openssl ocsp` with what was signed; its address and its process id."""
    port = free_ports(1)[0]
    command = ["openssl", "ocsp", "-index", "index.txt", "-port", str(port), "-CA", "ca.pem", "-nmin", "720"]
    command += ["-rsigner", "ocsp.pem", "-rkey", "ocsp.key", "-ignore_err"]
    with (
        subprocess.Popen(
            command, cwd=authority.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        ending(process),
    ):
        address = f"127.0.0.1:{port}"
        _wait_for(address, plain(authority.certificate, authority.serials()[:1], keep_alive=False))
        yield address, process.pid


def _wait_for(address: str, messages: Messages) -> None:
    """Ask until it answers; it may not survive a connection without a request, so nothing less will do."""
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            check(address, messages)
            return
        time.sleep(0.02)
    raise BenchmarkError("openssl ocsp does not listen")


def openssl(folder: Path, *arguments: str) -> None:
    """Run the command in a folder. Raises BenchmarkError with what it said."""
    done = subprocess.run(("openssl", *arguments), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"openssl {arguments[0]} failed:\n{done.stderr[-2000:]}")
