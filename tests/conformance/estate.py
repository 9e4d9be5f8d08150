"""Live services with many issuers, and as many gateways in front of them as the tests want, on real sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from services.cli.credentials import load_authority, record
from services.cli.folder import DataFolder
from services.clock import utc_now
from services.pki import keys, mtls
from tests.conformance.hierarchy import Hierarchy, signer_tables
from tests.conformance.wire import Responder
from tests.e2e import client
from tests.e2e.system import BIN, System, free_addresses
from tests.waiting import wait_until

Setting = str | int | float | bool | list[str]
MOST_RUNNING = 5
"""Gateways beside the default one. Each asks the status service something all the time, and has keys certified."""
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

    def terminate(self) -> None:
        """Tell it to stop."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Stop it, and return its exit status."""
        self.terminate()
        assert self.process is not None
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
        """Those that run, the one that was asked for last at the end."""
        self._ended: list[Gateway] = []
        self._starts: Counter[str] = Counter()

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

        A module asks for its own: of many, those that were not asked for lately have ended.

        `more`: further lines of its configuration, after the table [gateway]. Not `ready`: it will never be, for want
        of what it needs. `program`: see `Gateway.start`.
        """
        gateway = self._gateways.pop(name, None)
        if gateway is None:
            self._make_room()
            tables = more + signer_tables(self.system.data)
            gateway = Gateway(self.system, self._credential(name), settings, tables)
            gateway.start(ready=ready, program=program)
        self._gateways[name] = gateway
        return gateway

    def _make_room(self) -> None:
        while len(self._gateways) >= MOST_RUNNING:
            oldest = self._gateways.pop(next(iter(self._gateways)))
            oldest.terminate()
            self._ended.append(oldest)

    def _credential(self, name: str) -> Path:
        """A gateway's folder with its credential, made as `goodstanding credential new` does, without a process."""
        self._starts[name] += 1
        if self._starts[name] > 1:  # another one, for which delegates of its own are made
            name = f"{name}-{self._starts[name]}"
        folder, now = self.folder / name, utc_now()
        folder.mkdir()
        credential = load_authority(DataFolder(self.system.data), mtls.TRUST_DOMAIN).client(name, "responder", now)
        with self.hierarchy.database() as db:
            record(db, credential, now)
        credential.write(folder / f"{name}.pem")
        return folder

    def ca_file(self, issuer: str) -> Path:
        """An issuer's certificate (PEM)."""
        return self.system.data / f"ca/{issuer}.pem"

    def ca(self, issuer: str) -> bytes:
        """An issuer's certificate (PEM), as bytes."""
        return self.ca_file(issuer).read_bytes()

    def issue(self, name: str, issuer: str = "issuing") -> Path:
        """Issue a certificate over gRPC to a new key. Returns its file (PEM); NAME.key is beside it."""
        key, file = keys.generate_key(), self.folder / f"{name}.pem"
        certificate = client.issue(self.system, name, issuer=issuer, key=key)
        file.with_name(f"{name}.key").write_bytes(keys.plain_key(key))
        file.write_bytes(certificate.public_bytes(Encoding.PEM))
        return file

    def revoke(self, certificate: Path, reason: str = "superseded") -> None:
        """Revoke a certificate by command."""
        self.system.run("goodstanding", "revoke", "--cert", str(certificate), "--reason", reason)

    def stop(self) -> None:
        """Stop everything: gateways all at once, because each takes a moment."""
        for gateway in self._gateways.values():
            gateway.terminate()
        for gateway in (*self._gateways.values(), *self._ended):
            gateway.stop()
        assert self.system.stop() == 0
