"""`openssl ocsp` as a judge, and which root it has to trust for each issuer's answers."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.conformance.estate import Estate
from tests.conformance.judges.tools import require
from tests.conformance.wire import Responder

VERIFIED = "Response verify OK\n"
SIGNED_BY = {
    # issuer: (trust anchor, who signs answers)
    "solo": ("solo", "delegate"),
    "solo-rsa": ("solo-rsa", "delegate"),
    "issuing": ("root", "delegate"),
    "rsa": ("rsa-root", "delegate"),
    "direct": ("root", "issuer"),
    "direct-rsa": ("rsa-root", "issuer"),
    "root": ("root", "delegate"),
    "rsa-root": ("rsa-root", "delegate"),
}
ABOUT_A_CA = {"root": "issuing", "rsa-root": "rsa"}
"""Roots that don't issue leaf certificates here are asked about an issuing CA instead."""


@dataclass(frozen=True)
class Said:
    """What openssl said."""

    status: int
    out: str
    err: str


class OpenSsl:
    """`openssl ocsp`, run beside the estate. Every answer that it gets is linted with the others."""

    def __init__(self, estate: Estate, folder: Path) -> None:
        self._program = require("openssl")
        self.estate = estate
        self._answers = (folder / f"answer{number}.der" for number in count())

    def run(self, *arguments: str | Path) -> Said:
        """Run it as it is."""
        command = [self._program, "ocsp", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def ask(
        self, issuer: str, *arguments: str | Path, responder: Responder | None = None, trust: str | None = None
    ) -> Said:
        """Ask about an issuer's certificates, trusting its root and nothing else."""
        anchor = self.estate.ca_file(trust or SIGNED_BY[issuer][0])
        respout = next(self._answers)
        url = (responder or self.estate.responder).url
        said = self.run(
            *("-issuer", self.estate.ca_file(issuer), "-CAfile", anchor, "-no-CApath", "-no-CAstore"),
            *("-url", url, "-respout", respout, *arguments),
        )
        if respout.exists() and len(respout.read_bytes()) > 5:
            Responder.heard.append(respout.read_bytes())
        return said

    def request(self, file: Path, issuer: str, *arguments: str | Path) -> bytes:
        """Have it write a request, and send nothing."""
        said = self.run("-issuer", self.estate.ca_file(issuer), *arguments, "-reqout", file)
        assert said.status == 0, said.err
        return file.read_bytes()
