"""What is wrong with the files of a data folder before anything starts, each with the cure.

It is imported by every service, the gateway among them: nothing here opens the database or loads a key.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.cli.failures import Failed, in_one_line
from services.cli.folder import DataFolder

PRIVATE = ("ca/*.key", "tls/*.key", "secrets/*")
FOR_OTHERS = 0o077


def exposed(folder: Path) -> list[Path]:
    """The keys and passphrases in a data folder that others than their owner can get at."""
    files = (file for pattern in PRIVATE for file in sorted(folder.glob(pattern)))
    return [file for file in files if file.is_file() and file.stat().st_mode & FOR_OTHERS]


def exposure_cure(files: Iterable[Path]) -> str:
    """The command that takes private files away from others."""
    return f"chmod 600 {shlex.join(map(str, files))}"


def require_credential(certificate: Path, key: Path, data: Path) -> None:
    """Raise Failed where a half of a server's credential is missing."""
    missing = next((file for file in (certificate, key) if not file.exists()), None)
    if missing is None:
        return
    cure = "bring it back from a backup"
    if key == certificate.with_suffix(".key"):
        name = certificate.stem
        # To renew takes the certificate, which says what the server is called.
        what = ["renew", name] if certificate.exists() else ["new", "--name", name, "--role", "server"]
        where = [] if certificate.parent == data.resolve() / "tls" else ["--out", str(certificate.parent)]
        command = shlex.join(["goodstanding", "credential", *what, *where, "--data", str(data)])
        cure = f"{cure}, or make another: {command}"
        if not certificate.exists():
            cure += " (and --server-name for each name but localhost that clients use)"
    raise Failed(f"{missing} is missing: {cure}")


def passphrase_text(error: Exception, variable: str) -> str:
    """The text of a passphrase that cannot be had, with the ways to have it."""
    text = in_one_line(error)
    if "GOODSTANDING_PASSPHRASE_" in text:  # it names the way itself
        return text
    return f"{text}; bring the file back from a backup, or give the passphrase in the environment: {variable}"


def missing_certificates(folder: DataFolder, gateway: str) -> Iterator[str]:
    """A warning for each CA certificate that clients need and that is not there; the gateway at `gateway` has them."""
    issuing, root, chain = (folder.authorities / f"{name}.pem" for name in ("issuing", "root", "chain"))
    for file in (issuing, root):
        if not file.exists():
            url = shlex.quote(f"{gateway}/ca/{file.stem}.cer")
            yield _missing(file, f"curl -s {url} | openssl x509 -inform der -out {shlex.quote(str(file))}")
    if not chain.exists():
        yield _missing(chain, f"cat {shlex.join([str(issuing), str(root)])} > {shlex.quote(str(chain))}")


def _missing(file: Path, command: str) -> str:
    return f"warning: {file} is missing, and clients need it to check answers: {command}"
