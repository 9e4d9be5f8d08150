"""How fresh what the gateway says is, for operators: the age of its evidence over the last minute.

Sampled by the clock rather than by answer: a gateway that nobody asks is watched too, and the quick way stays quick.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.clock import Clock
from gateway.knowledge import Knowledge

_INTERVAL = 0.05
_SAMPLES = round(60 / _INTERVAL)
QUANTILES = (("0.5", 0.5), ("0.99", 0.99), ("1", 1.0))


class EvidenceAges:
    """The age of the watch's proof, twenty times a second, over the last minute. `clock` is the boot clock."""

    def __init__(self, knowledge: Knowledge, clock: Clock) -> None:
        self._knowledge = knowledge
        self._clock = clock
        self._samples: deque[float] = deque(maxlen=_SAMPLES)

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_INTERVAL)

    def sample(self) -> None:
        """Take one sample; none before the first proof."""
        proof = self._knowledge.evidence.proof
        if proof > float("-inf"):
            self._samples.append(self._clock() - proof)

    def quantile(self, share: float) -> float:
        """The age that so large a share of the samples does not exceed, in seconds; NaN if there are none."""
        ordered = sorted(self._samples)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def oldest_trusted(self) -> float:
        """Seconds since the look-up of the entry that has been trusted for longest; 0 if none is."""
        knowledge, now = self._knowledge, self._clock()
        trusted = (now - entry.looked_up_at for entry in knowledge.cache.entries() if knowledge.fresh(entry))
        return max(trusted, default=0.0)


class EvidenceCollector(Collector):
    """Exports the ages when Prometheus asks."""

    def __init__(self, ages: EvidenceAges) -> None:
        self._ages = ages

    def collect(self) -> Iterable[Metric]:
        """The current numbers."""
        ages = GaugeMetricFamily(
            "goodstanding_evidence_age_quantile_seconds",
            "Age of the watch's proof over the last minute; what is answered from the cache is not older",
            labels=["quantile"],
        )
        for name, share in QUANTILES:
            ages.add_metric([name], self._ages.quantile(share))
        yield ages
        yield GaugeMetricFamily(
            "goodstanding_oldest_trusted_entry_seconds",
            "Seconds since the look-up of the entry that has been trusted for longest",
            value=self._ages.oldest_trusted(),
        )
