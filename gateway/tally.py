"""Counting on the hot path: a plain number, read when the metrics are.

prometheus_client's counters take a lock and several calls each time, which is a twentieth of what a ready answer takes.
One event loop counts here, so nothing has to be locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally:
    """A number that only grows."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def inc(self, more: int = 1) -> None:
        """Count."""
        self.count += more


class Tallies(Collector):
    """A counter with one label, as Prometheus sees it. Registers itself."""

    def __init__(self, name: str, documentation: str, label: str, values: Iterable[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self.by_value: Mapping[str, Tally] = {value: Tally() for value in values}
        REGISTRY.register(self)

    def collect(self) -> Iterable[Metric]:
        """The numbers now."""
        family = CounterMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, tally in self.by_value.items():
            family.add_metric([value], tally.count)
        yield family
