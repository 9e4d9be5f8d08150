"""The parts that need no process: figures added up, signers handed over, shares of what is limited."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.answering import share
from gateway.config import GatewayTable
from gateway.figures import Ledger, figures
from gateway.ocsp.response import SingleResponse
from gateway.portable import PortableSigner, speaks_for
from gateway.signer_keys import SignerKey
from gateway.signers import Signers
from gateway.worker import ReceivedSigners
from tests.gateway.core.files import BEGIN, Authority
from tests.gateway.core.world import NOW, issuer_of

CERT_ID = bytes.fromhex("3003020101")  # of any form: it is echoed


class Process:
    """What a process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.asked = Counter("asked", "Questions", ["door"], registry=self.registry)
        self.took = Histogram("took", "Seconds", buckets=(1.0,), registry=self.registry)
        self.held = Gauge("held", "Entries", registry=self.registry)

    def tell(self, ledger: Ledger, name: str) -> None:
        """Enter it."""
        ledger.enter(name, figures(self.registry.collect()))


def samples(ledger: Ledger) -> dict[tuple[str, str], float]:
    """All samples, but for those that tell since when something is counted."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in ledger.families()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_sums() -> None:
    """Counters and histograms are summed by label; a gauge is told of each process."""
    ledger = Ledger()
    for name, number in (("1", 1), ("2", 2)):
        process = Process()
        process.asked.labels("protocol").inc(number)
        process.took.observe(number)
        process.held.set(number)
        process.tell(ledger, name)
    assert samples(ledger) == {
        ("asked_total", "protocol"): 3,
        ("took_bucket", "1.0"): 1,
        ("took_bucket", "+Inf"): 2,
        ("took_count", ""): 2,
        ("took_sum", ""): 3,
        ("held", "1"): 1,
        ("held", "2"): 2,
    }


def test_sums_never_fall() -> None:
    """What a process counted stays when it is gone or silent: a sum that falls would look like a restart of all."""
    ledger = Ledger()
    first, second, third = Process(), Process(), Process()
    for name, process in (("1", first), ("2", second)):
        process.asked.labels("asgi").inc(10)
        process.tell(ledger, name)
    ledger.silent("1")
    assert samples(ledger)["asked_total", "asgi"] == 20
    assert ("held", "1") not in samples(ledger)
    ledger.gone("1")
    assert samples(ledger)["asked_total", "asgi"] == 20
    third.asked.labels("asgi").inc()
    third.tell(ledger, "1")
    assert samples(ledger)["asked_total", "asgi"] == 21
    assert ("held", "1") in samples(ledger)


def signer(
    kind: SignerKey = SignerKey.P256, authority: Authority | None = None, *, direct: bool = False
) -> PortableSigner:
    """A signer of an authority; a delegate, unless it is to be direct."""
    authority = authority or Authority()
    if direct:
        return PortableSigner(authority.key, authority.certificate, direct=True)
    key = kind.generate()
    return PortableSigner(key, authority.certify(key), by_name=True, not_after=BEGIN + timedelta(days=1))


@pytest.mark.parametrize("kind", SignerKey)
def test_handing_over(kind: SignerKey) -> None:
    """A signer comes out as it went in; what it signs is the same where that can be (not ML-DSA)."""
    before = signer(kind)
    after = PortableSigner.unpack(before.pack())
    assert after.certificate == before.certificate
    assert (after.not_after, after.direct) == (before.not_after, before.direct)
    assert after.repeatable == before.repeatable == ("ml-dsa" not in kind)
    single = SingleResponse(CERT_ID, "good", BEGIN, BEGIN + timedelta(hours=1))
    answers = {each.sign([single], BEGIN) for each in (before, after)}
    assert len(answers) == (1 if before.repeatable else 2)


def test_handing_over_a_direct_signer() -> None:
    """Direct signing stays direct: no certificate is enclosed (R67)."""
    after = PortableSigner.unpack(signer(direct=True).pack())
    single = SingleResponse(CERT_ID, "good", BEGIN, BEGIN + timedelta(hours=1))
    assert after.direct
    assert after.certificate.public_bytes(Encoding.DER) not in after.sign([single], BEGIN)


@pytest.mark.parametrize("direct", [False, True], ids=["delegate", "direct"])
def test_a_signer_is_for_one_issuer(direct: bool) -> None:
    """It signs once its issuer is known, and no more when that name comes to stand for another key (R65)."""
    first, second = Authority(), Authority()
    signers = Signers(lambda: float(NOW))
    received = ReceivedSigners(signers)
    theirs = signer(authority=first, direct=direct)
    received.take("issuing", 0, theirs)
    assert not received.complete()
    received.follow([issuer_of("issuing", first.certificate, active=True)])
    assert signers.current("issuing") is theirs
    assert received.complete()
    received.follow([issuer_of("issuing", second.certificate, active=True)])
    assert signers.current("issuing") is None
    assert not speaks_for(theirs, issuer_of("issuing", second.certificate, active=True))
    successor = signer(authority=second, direct=direct)
    received.take("issuing", 0, successor)
    assert signers.current("issuing") is successor
    received.drop("issuing", None)
    assert signers.current("issuing") is None
    assert received.ready() == []


def test_one_slot_is_dropped() -> None:
    """The others sign on."""
    authority = Authority()
    signers = Signers(lambda: float(NOW))
    received = ReceivedSigners(signers)
    received.follow([issuer_of("issuing", authority.certificate, active=True)])
    one, other = signer(authority=authority), signer(authority=authority)
    received.take("issuing", 0, one)
    received.take("issuing", 1, other)
    received.drop("issuing", 0)
    assert signers.current("issuing", 0) is None
    assert signers.default("issuing") is other
    assert received.complete()


@pytest.mark.parametrize(("total", "workers", "each"), [(4096, 1, 4096), (4096, 3, 1365), (1, 8, 1)])
def test_shares(total: int, workers: int, each: int) -> None:
    """All workers together never take more than is configured, and each takes something."""
    assert share(total, workers) == each


def test_settings_as_a_message() -> None:
    """Workers get the settings that the parent has read."""
    table = GatewayTable.model_validate(
        {
            "signer_keys": ["ed25519", "p-256"],
            "workers": 4,
            "tls_ca": "elsewhere/ca.pem",
            "issuers": {"a": {"preset": "short", "signers": [{"certificate": "a.pem", "key": "a.key"}]}},
        }
    )
    assert GatewayTable.model_validate(table.model_dump(mode="json")) == table


def test_the_ledger_knows_since_when() -> None:
    """The beginning of a count is that of the process that began first."""
    ledger = Ledger()
    begun = time.time()
    for name in ("1", "2"):
        process = Process()
        process.asked.labels("asgi").inc()
        process.tell(ledger, name)
    (created,) = (
        sample.value for family in ledger.families() for sample in family.samples if sample.name == "asked_created"
    )
    assert abs(created - begun) < 60
