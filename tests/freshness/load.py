"""The load on a world, and what it shows: writers that revoke, a hammer that asks, and the verdict on every answer.

The rule (G3), with one monotonic clock: T is when the revoker saw success. An answer to a request that was *sent* at or
after T + τ is never `good`, and no `good` is *written* at or after T + τ either. Where the kernel tells when an answer
was written both are exact. Elsewhere some time is allowed between writing and reading.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from goodstanding.ca.v1 import ca_pb2
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub
from tests.freshness import hammer
from tests.freshness.hammer import GOOD, KINDS, NONCE_SIZE, RECORD, REVOKED, WRONG, Orders
from tests.freshness.world import World

TAU = 1.0
ON_THE_WAY = 0.3
"""Allowed between writing and reading where the kernel does not tell when it was written."""
REPAIRED_WITHIN = 2.0
WRITERS = 4
STEADY = 8
"""Certificates that nobody revokes."""
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_WORDS = ("good", "revoked", "unknown", "tryLater", "another error", "no answer", "a wrong answer")
_KINDS = ("POST", "nonce", "GET")
_LOOK_EVERY = 0.03
_IN_A_ROW = 40
"""So many answers without a failure show that a gateway is well."""


class Heard(NamedTuple):
    """One answer; as `hammer.RECORD` has it."""

    asked_at: float
    written_at: float
    revoked_at: float
    certificate: int
    gateway: int
    kind: int
    word: int
    exact: int

    def __str__(self) -> str:
        how = f"by gateway {self.gateway} ({_KINDS[self.kind]})"
        when = f"asked at {self.asked_at:.4f}, written at {self.written_at:.4f}"
        return f"{_WORDS[self.word]} for {self.certificate} {how}, {when}"


@dataclass(frozen=True)
class Certificates:
    """What is asked about: the first ones will be revoked, the last ones not."""

    issuer: x509.Certificate
    serials: Sequence[int]

    def requests(self, *, nonce: bool) -> list[str]:
        """OCSP requests in hex."""
        key_hash = x509.SubjectKeyIdentifier.from_public_key(self.issuer.public_key()).digest
        name_hash = hashlib.sha1(self.issuer.subject.public_bytes()).digest()
        made = []
        for serial in self.serials:
            builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name_hash, key_hash, serial, SHA1())
            if nonce:
                builder = builder.add_extension(x509.OCSPNonce(bytes(NONCE_SIZE)), critical=False)
            made.append(builder.build().public_bytes(Encoding.DER).hex())
        return made


def enough(seconds: float) -> int:
    """How many certificates writers need to be busy for so long, and a little longer."""
    return 30 + int(25 * seconds) + STEADY


class Load:
    """Within the block, gateways are asked without end; certificates are revoked from `revoke` on."""

    def __init__(
        self, world: World, serials: Sequence[int], *, connections: int = 2, pause: float = 0.0, every: float = 0.15
    ) -> None:
        """`every`: seconds between two revocations of one writer."""
        self._world = world
        self._certificates = Certificates(world.issuer, serials)
        self._serials = serials
        self._every = every
        name = f"load-{uuid.uuid4().hex}"
        self._orders_file = world.folder / f"{name}.json"
        self._records_file = world.folder / f"{name}.records"
        self._orders = Orders(
            gateways=world.gateway_addresses,
            plain=self._certificates.requests(nonce=False),
            with_nonce=self._certificates.requests(nonce=True),
            connections=connections,
            pause=pause,
            records=str(self._records_file),
        )
        self.heard: list[Heard] = []
        self.acknowledged: dict[int, float] = {}
        """T, by certificate."""
        self._read_to = 0
        self._waiting = list(range(len(serials) - STEADY))[::-1]
        self._stop = threading.Event()
        self._writers: list[threading.Thread] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._orders.write(self._orders_file)
        self._records_file.touch()
        command = [sys.executable, "-m", "tests.freshness.hammer", str(self._orders_file)]
        root = Path(hammer.__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE)
        try:
            self._wait_for(self._all_good, within=30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self.stop_revoking()
        self._process.stdin.close()
        try:
            assert self._process.wait(20) == 0
        finally:
            self._process.kill()
            self._process.wait()
        self.read()

    # Asking

    def read(self) -> list[Heard]:
        """Everything that was heard until now."""
        with self._records_file.open("rb") as file:
            file.seek(self._read_to)
            octets = file.read()
        whole = octets[: len(octets) // RECORD.size * RECORD.size]
        self._read_to += len(whole)
        self.heard += map(Heard._make, RECORD.iter_unpack(whole))
        return self.heard

    def _wait_for(self, condition: Callable[[], bool], within: float) -> None:
        assert self._process is not None
        process = self._process

        deadline = time.monotonic() + within
        while True:
            assert process.poll() is None, "the hammer has ended"
            self.read()
            if condition():
                return
            assert time.monotonic() < deadline, f"it did not come about within {within:g} s; lately: {self.lately()}"
            time.sleep(_LOOK_EVERY)

    def lately(self) -> str:
        """What was heard in the last second."""
        since = time.monotonic() - 1
        return str(Counter(_WORDS[each.word] for each in self.heard if each.written_at > since))

    def _all_good(self) -> bool:
        """Whether every gateway has said good of every certificate, in every way of asking."""
        said = {(each.gateway, each.kind, each.certificate) for each in self.heard if each.word == GOOD}
        return len(said) >= len(self._orders.gateways) * len(KINDS) * len(self._serials)

    # Revoking

    def revoke(self) -> None:
        """From now on, writers revoke one certificate after the other."""
        self._writers = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        for writer in self._writers:
            writer.start()

    def stop_revoking(self) -> None:
        """Let the writers end. Each gets its answer first."""
        self._stop.set()
        for writer in self._writers:
            writer.join()
        self._writers = []

    def _write(self) -> None:
        with self._world.channel() as channel:
            stub = CertificateAuthorityServiceStub(channel)
            while not self._stop.is_set() and self._waiting:
                self._revoke_one(stub, self._waiting.pop())
                self._stop.wait(self._every)

    def revoke_now(self) -> int:
        """Revoke one more, and return which."""
        with self._world.channel() as channel:
            certificate = self._waiting.pop()
            self._revoke_one(CertificateAuthorityServiceStub(channel), certificate)
        return certificate

    def _revoke_one(self, stub: CertificateAuthorityServiceStub, certificate: int) -> None:
        """Revoke, and try again until it is said to be done."""
        request = ca_pb2.RevokeCertificateRequest(request_id=uuid.uuid4().hex)
        request.issuer_and_serial_number.issuer = "issuing"
        request.issuer_and_serial_number.serial_number = f"{self._serials[certificate]:x}"
        deadline = time.monotonic() + 30
        while True:
            try:
                stub.RevokeCertificate(request, timeout=10)
            except grpc.RpcError as error:
                if error.code() not in _PASSING or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                self.acknowledged[certificate] = time.monotonic()
                return

    def forget_acknowledgements(self) -> None:
        """What was revoked until now is not revoked any more."""
        self.acknowledged.clear()

    # The verdict

    def wait_until_told(self) -> None:
        """Wait until all gateways have told of every revocation."""
        wanted = {(gateway, each) for gateway in range(len(self._orders.gateways)) for each in self.acknowledged}
        self._wait_for(
            lambda: wanted <= {(each.gateway, each.certificate) for each in self.heard if each.word == REVOKED},
            within=10,
        )

    def wait_out_the_bound(self) -> None:
        """Let the writers end, and wait until everybody, asked after the bound, has told of every revocation."""
        self.stop_revoking()
        assert self.acknowledged, "nothing was revoked"
        askers = len(self._orders.gateways) * len(KINDS)
        self._wait_for(lambda: len(self._told_after_the_bound()) >= askers * len(self.acknowledged), within=TAU + 20)

    def _told_after_the_bound(self) -> set[tuple[int, int, int]]:
        never = float("inf")
        return {
            (each.gateway, each.kind, each.certificate)
            for each in self.heard
            if each.word == REVOKED and each.asked_at >= self.acknowledged.get(each.certificate, never) + TAU
        }

    def wait_until_well(self, repaired_at: float) -> float:
        """Wait until all gateways answer again without failures, and return how long after the repair that was."""
        found: list[float] = []

        def well() -> bool:
            moments = [self._well_at(gateway, repaired_at) for gateway in range(len(self._orders.gateways))]
            found[:] = [moment for moment in moments if moment is not None]
            return len(found) == len(moments)

        self._wait_for(well, within=20)
        return max(found) - repaired_at

    def _well_at(self, gateway: int, since: float) -> float | None:
        """When a gateway had given so many answers in a row without a failure."""
        row = 0
        for each in self.heard:
            if each.gateway == gateway and each.asked_at >= since:
                row = row + 1 if each.word in (GOOD, REVOKED) else 0
                if row == _IN_A_ROW:
                    return each.written_at
        return None

    def overdue(self, allowed: Callable[[Heard], bool] = lambda _: False) -> list[str]:
        """The answers that break the rule, but for those that `allowed` knows."""
        return [
            f"{each}; revoked at {self.acknowledged[each.certificate]:.4f}"
            for each in self.heard
            if each.word == GOOD and each.certificate in self.acknowledged
            if _is_overdue(each, self.acknowledged[each.certificate] + TAU) and not allowed(each)
        ]

    def judge(self, allowed: Callable[[Heard], bool] = lambda _: False) -> None:
        """G3, for every answer."""
        self.read()
        late = self.overdue(allowed)
        assert not late, f"{len(late)} answers, such as: " + "\n".join(late[:5])
        wrong = [str(each) for each in self.heard if each.word == WRONG]
        assert not wrong, wrong[:5]

    def tell(self, more: str = "") -> None:
        """Say in numbers what happened: pytest shows it where a test fails, or with -s."""
        words = Counter(_WORDS[each.word] for each in self.heard)
        first: defaultdict[tuple[int, int], float] = defaultdict(lambda: float("inf"))
        for each in self.heard:
            if each.word == REVOKED and each.certificate in self.acknowledged:
                key = each.gateway, each.certificate
                first[key] = min(first[key], each.written_at - self.acknowledged[each.certificate])
        delays = sorted(first.values())
        seconds = self.heard[-1].written_at - self.heard[0].asked_at
        told = f"; told within p50 {delays[len(delays) // 2]:.3f} s, max {delays[-1]:.3f} s" if delays else ""
        answers = f"{len(self.heard) / seconds:.0f} answers/s, {dict(words)}"
        sys.stdout.write(f"{answers}, {len(self.acknowledged)} revoked{told}; {more}\n")


def _is_overdue(heard: Heard, bound: float) -> bool:
    return heard.asked_at >= bound or heard.written_at >= bound + (0 if heard.exact else ON_THE_WAY)
