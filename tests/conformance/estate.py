"""Live services with many issuers, and as many gateways in front of them as the tests want, on real sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.hierarchy import Hierarchy, signer_tables
from tests.conformance.wire import Responder
from tests.e2e.system import BIN, System, free_addresses
from tests.waiting import wait_until

Setting = str | int | float | bool | list[str]
PROGRAM = (str(BIN / "goodstanding"), "serve", "gateway", "--config")


class Gateway(Responder):
    """A gateway's process of its own, with settings of its own."""

    def __init__(self, system: System, folder: Path, settings: dict[str, Setting], more: str) -> None:
        self.http, self.ops = free_addresses(2)
        super().__init__(self.http)
        self.folder = folder
        self._log = folder / "log"
        self.config = folder / "config.toml"
        values: dict[str, Setting] = {
            "http": self.http,
            "ops": self.ops,
            "ca": system.ca,
            "status": system.status,
            "tls_ca": str(system.data / "tls/ca.pem"),
            "certificate": str(folder / f"{folder.name}.pem"),
            "key": str(folder / f"{folder.name}.key"),
            **settings,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        self.config.write_text("\n".join(["[gateway]", *lines, more]))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True, program: Sequence[str] = PROGRAM) -> Gateway:
        """Start, and wait until it is ready to answer for every issuer; not `ready`: until its process serves.

        `program`: what to run, with the configuration's file as its last argument.
        """
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: self._serves("readyz" if ready else "healthz"), within=30)
        except BaseException:
            self.stop()
            raise
        return self

    def _serves(self, page: str) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://{self.ops}/{page}", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def stop(self) -> int:
        """Stop it, and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Estate:
    """The CA and status services with the issuers of `hierarchy`, a default gateway, and others on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.system = System(folder)
        self._gateways: dict[str, Gateway] = {}

    def start(self) -> Estate:
        """Start the services and the default gateway."""
        system = self.system
        addresses = ("--ca", system.ca, "--status", system.status, "--http", system.http, "--ops", system.ops)
        system.run("goodstanding", "init", "--data", "data", *addresses)
        self.hierarchy = Hierarchy(system.data)
        self.hierarchy.extend()
        system.start()
        return self

    @property
    def responder(self) -> Responder:
        """The default gateway, as `goodstanding up` runs it, with default settings."""
        return Responder(self.system.http)

    def gateway(
        self,
        name: str,
        more: str = "",
        *,
        ready: bool = True,
        program: Sequence[str] = PROGRAM,
        **settings: Setting,
    ) -> Gateway:
        """The gateway of that name: the same one for the same name, so settings must be the same too.

        `more`: further lines of its configuration, after the table [gateway]. Not `ready`: it will never be, for want
        of what it needs. `program`: see `Gateway.start`.
        """
        if name not in self._gateways:
            folder = self.folder / name
            self.system.run("goodstanding", "credential", "new", "--name", name, "--role", "responder", "--out", name)
            tables = more + signer_tables(self.system.data)
            self._gateways[name] = Gateway(self.system, folder, settings, tables)
            self._gateways[name].start(ready=ready, program=program)
        return self._gateways[name]

    def ca_file(self, issuer: str) -> Path:
        """An issuer's certificate (PEM)."""
        return self.system.data / f"ca/{issuer}.pem"

    def ca(self, issuer: str) -> bytes:
        """An issuer's certificate (PEM), as bytes."""
        return self.ca_file(issuer).read_bytes()

    def issue(self, name: str, issuer: str = "issuing", *options: str) -> Path:
        """Issue a certificate over gRPC to a key made by openssl. Returns its file (PEM); NAME.key is beside it."""
        files = {kind: self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem")}
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(files["key"]))
        self.system.run("openssl", "req", "-new", *key, "-subj", f"/CN={name}", "-out", str(files["csr"]))
        self.system.run(
            "goodstanding", "issue", str(files["csr"]), "--issuer", issuer, "--out", str(files["pem"]), *options
        )
        return files["pem"]

    def revoke(self, certificate: Path, reason: str = "superseded") -> None:
        """Revoke a certificate over gRPC."""
        self.system.run("goodstanding", "revoke", "--cert", str(certificate), "--reason", reason)

    def stop(self) -> None:
        """Stop everything."""
        for gateway in self._gateways.values():
            gateway.stop()
        assert self.system.stop() == 0
