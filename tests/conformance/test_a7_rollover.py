"""A7: signers change while clients ask, and nobody notices; none signs after its end (R68).

Clients ask all the time, in several ways, on connections that stay open. Not one of them may be refused, or be given
an answer that does not verify, while a signer's files are replaced, or enrolled signers are renewed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.pki.certificates import BACK_DATING
from tests.conformance.certificates import Certificates, Certified, KeepAlive
from tests.conformance.estate import Estate
from tests.conformance.hierarchy import Authority, make_delegate
from tests.conformance.verification import key_hash, responder_certificate, verify
from tests.conformance.wire import Answer, Reply, Responder, nonce, request
from tests.waiting import wait_until

MINUTE = timedelta(minutes=1)
PAUSE = 0.005
"""Seconds between two requests of a client: enough for the answers to be verified afterwards."""


@dataclass
class Clients:
    """Clients that ask about one certificate until they are told to stop: with nonces, and without."""

    responder: Responder
    subject: Certified
    replies: list[Reply] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        cert_id = self.subject.cert_id()
        makes: list[Callable[[], bytes]] = [
            lambda: request(cert_id),
            lambda: request(self.subject.cert_id(hash_algorithm="sha256")),
            lambda: request(cert_id, extensions=[nonce(os.urandom(16))]),
        ]
        self._threads = [threading.Thread(target=self._run, args=(make,)) for make in makes]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, make: Callable[[], bytes]) -> None:
        try:
            with KeepAlive(self.responder) as connection:
                while not self._stop.is_set():
                    self.replies.append(connection.post(make()))
                    time.sleep(PAUSE)
        except Exception as error:
            self.failures.append(repr(error))
            raise

    def check(self, *, ahead: timedelta = timedelta()) -> list[x509.Certificate]:
        """Fail unless every answer was good and authentic. Returns who signed, each once, in the order of the first."""
        assert self.failures == []
        assert len(self.replies) > 100
        signers: dict[x509.Certificate, None] = {}
        for body in dict.fromkeys(reply.body for reply in self.replies if reply.status == 200):
            assert len(body) > 5, f"refused: {body.hex()}"
            answer = Answer(body)
            verify(answer, self.subject.ca, ahead=ahead)
            assert answer.status == "good"
            signers[responder_certificate(answer, self.subject.ca)] = None
        assert {reply.status for reply in self.replies} == {200}
        return list(signers)


@dataclass(frozen=True)
class SignerFiles:
    """A pair of files, and what a gateway needs to know of them."""

    folder: Path
    issuer: str

    @property
    def table(self) -> str:
        return (
            f"[[gateway.issuers.{self.issuer}.signers]]\n"
            f'certificate = "{self.folder / "signer.pem"}"\nkey = "{self.folder / "signer.key"}"\n'
        )

    def write(self, *pairs: tuple[str, bytes]) -> None:
        """Replace files, each at once."""
        for name, content in pairs:
            temporary = self.folder / f"{name}.new"
            temporary.touch(0o600)
            temporary.write_bytes(content)
            temporary.replace(self.folder / name)

    def write_key(self, signer: Authority) -> None:
        """The key alone."""
        key = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.write(("signer.key", key))

    def write_both(self, signer: Authority) -> None:
        """One after the other."""
        self.write_key(signer)
        self.write_certificate(signer)

    def write_certificate(self, signer: Authority) -> None:
        """The certificate alone."""
        self.write(("signer.pem", signer.certificate.public_bytes(Encoding.PEM)))


def signer_of(estate: Estate, issuer: str, end: datetime) -> Authority:
    """A new delegate that began a minute ago."""
    begin = datetime.now(UTC).replace(microsecond=0) - MINUTE
    return make_delegate(estate.hierarchy.authorities[issuer], begin, end)


@pytest.mark.rule("R68")
def test_files_are_replaced(estate: Estate, certificates: Certificates, tmp_path: Path) -> None:
    """First the key and then the certificate, as an administrator would copy them: the old signer goes on until the
    new one is whole, and then the new one signs.
    """
    in_a_day = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    old, new = (signer_of(estate, "solo", in_a_day) for _ in range(2))
    files = SignerFiles(tmp_path, "solo")
    files.write_both(old)
    gateway = estate.gateway("files-replaced", files.table)
    subject = certificates.issue("files-replaced.example.com", "solo")
    with Clients(gateway, subject) as clients:
        files.write_key(new)
        wait_until(lambda: "the old signer goes on" in gateway.log, within=20)
        half_way = len(clients.replies)
        assert clients.replies[half_way - 1].answer.certificates[0].dump() == old.certificate.public_bytes(Encoding.DER)
        files.write_certificate(new)
        wanted = key_hash(new.certificate)
        wait_until(lambda: clients.replies[-1].answer.data["responder_id"].chosen.native == wanted, within=20)
        after = len(clients.replies)
        wait_until(lambda: len(clients.replies) > after + 50 or bool(clients.failures), within=20)
    assert clients.check() == [old.certificate, new.certificate]
    assert subject.verified(gateway.post(subject.request())).data["responder_id"].chosen.native == wanted


def ahead_of_half_life(delegate: x509.Certificate) -> timedelta:
    """How far a gateway's clock has to be ahead for each new delegate to be two seconds before the half of its life."""
    life = delegate.not_valid_after_utc - delegate.not_valid_before_utc
    return life / 2 - BACK_DATING - timedelta(seconds=2)


@pytest.mark.rule("R65", "R66", "R68")
def test_enrolled_signers_are_renewed(estate: Estate, responder: Responder, certificates: Certificates) -> None:
    """A gateway whose clock is a day and a half ahead is always near the half of its delegates' life, and so renews
    all the time: each time with another key, and with a certificate that overlaps with the one before.
    """
    subject = certificates.issue("renewed.example.com")
    ahead = ahead_of_half_life(responder_certificate(responder.post(subject.request()).answer, subject.ca))
    assert timedelta(days=1) < ahead < timedelta(days=2)
    script = Path(__file__).with_name("clock_ahead.py")
    program = (sys.executable, str(script), str(ahead.total_seconds()))
    gateway = estate.gateway("clock-ahead", program=program)
    try:
        with Clients(gateway, subject) as clients:
            seen: set[bytes] = set()

            def renewed() -> bool:
                if clients.replies:
                    seen.add(clients.replies[-1].answer.data["responder_id"].chosen.native)
                return len(seen) >= 4 or bool(clients.failures)

            wait_until(renewed, within=60)
    finally:
        gateway.stop()
    signers = clients.check(ahead=ahead)
    assert len(signers) >= 4
    assert len({key_hash(signer) for signer in signers}) == len({signer.serial_number for signer in signers})
    for before, after in pairwise(signers):
        assert after.not_valid_before_utc < before.not_valid_after_utc - timedelta(days=1)


@pytest.mark.rule("R57", "R59", "R68")
def test_no_signature_after_the_end(estate: Estate, certificates: Certificates, tmp_path: Path) -> None:
    """A signer that ends in a few seconds gives answers that end with it; then clients are told to come again later,
    and none gets an answer, be it from the cache.
    """
    in_a_day = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    files = SignerFiles(tmp_path, "solo-rsa")
    files.write_both(signer_of(estate, "solo-rsa", in_a_day))
    gateway = estate.gateway("signer-ends", files.table)
    subject = certificates.issue("signer-ends.example.com", "solo-rsa")
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=12)
    files.write_both(signer_of(estate, "solo-rsa", end))
    wait_until(lambda: gateway.post(subject.request()).answer.next_update == end, within=12)
    plain, fresh = subject.request(), request(subject.cert_id(), extensions=[nonce(b"0123456789abcdef")])
    ways: list[Callable[[], Reply]] = [
        lambda: gateway.post(plain),
        lambda: gateway.get(plain),
        lambda: gateway.post(fresh),
    ]
    for ask in ways:
        answer = subject.verified(ask())
        assert (answer.status, answer.next_update) == ("good", end)
    while (asked := datetime.now(UTC)) < end + timedelta(seconds=1):
        statuses = {ask().ocsp_status for ask in ways}
        assert statuses <= ({"successful", "try_later"} if asked < end else {"try_later"})
        time.sleep(PAUSE)
    assert [ask().body for ask in ways] == [b"\x30\x03\x0a\x01\x03"] * 3
    assert gateway.post(request(subject.cert_id(1))).ocsp_status == "try_later"
    other = certificates.issue("another-issuer.example.com")
    assert other.verified(gateway.post(other.request())).status == "good"
