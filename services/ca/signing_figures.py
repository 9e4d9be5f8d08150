"""What the signing processes do, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.ca.signing_pool import SigningPool

_NAME = "goodstanding_signing_process"


class SigningFigures(Collector):
    """Counts as they are when somebody asks. Register it."""

    def __init__(self, pool: SigningPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        tally = self._pool.tally
        yield GaugeMetricFamily(f"{_NAME}es", "Signing processes that can be asked now.", self._pool.running)
        yield CounterMetricFamily(f"{_NAME}_certificates", "Certificates that they made.", tally.signed)
        yield CounterMetricFamily(
            f"{_NAME}_returned", "Requests that the ca had to make or refuse after all.", tally.returned
        )
        yield CounterMetricFamily(f"{_NAME}_failures", "Processes that ended by themselves, or hung.", tally.failures)
