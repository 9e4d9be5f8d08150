"""The metrics of several processes as those of one gateway.

Counters and histograms are summed. A gauge has a label `worker` instead: which sum would make sense differs from one to
another, and Prometheus can make it. A sum never falls, because of a worker that has died or is silent its last known
numbers still count; what it counted after it was last asked is lost with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Figures = list[dict[str, Any]]
"""Families of metrics as JSON values."""

_SUMMED = ("counter", "histogram", "summary")
_BEGUN = "_created"
"""The end of the names that tell since when something is counted."""

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""A family, a sample in it, and the labels."""


def figures(families: Iterable[Metric], without: Collection[str] = ()) -> Figures:
    """Metrics as they are now, but for the families that are not wanted."""
    return [
        {
            "name": family.name,
            "documentation": family.documentation,
            "type": family.type,
            "samples": [[sample.name, sample.labels, sample.value] for sample in family.samples],
        }
        for family in families
        if family.name not in without
    ]


class Ledger:
    """What the processes have said of themselves, by their names; and what those that are gone had counted."""

    def __init__(self) -> None:
        self._current: dict[str, Figures] = {}
        self._silent: set[str] = set()
        self._past: dict[Key, float] = {}

    def enter(self, name: str, said: Figures) -> None:
        """A process has told its numbers."""
        self._current[name] = said
        self._silent.discard(name)

    def silent(self, name: str) -> None:
        """A process did not answer: its gauges are left out until it does, and its counters stand still."""
        self._silent.add(name)

    def gone(self, name: str) -> None:
        """A process has ended; another one may come in its place."""
        for family in self._current.pop(name, []):
            if family["type"] in _SUMMED:
                for sample, labels, value in family["samples"]:
                    _add(self._past, _key(family["name"], sample, labels), value)
        self._silent.discard(name)

    def families(self) -> Iterable[Metric]:
        """The metrics of all together."""
        metrics: dict[str, Metric] = {}
        sums = dict(self._past)
        for name, said in self._current.items():
            for family in said:
                metric = Metric(family["name"], family["documentation"], family["type"])
                metric = metrics.setdefault(metric.name, metric)
                for sample, labels, value in family["samples"]:
                    if family["type"] in _SUMMED:
                        _add(sums, _key(metric.name, sample, labels), value)
                    elif name not in self._silent:
                        metric.add_sample(sample, {**labels, "worker": name}, value)
        for (family_name, sample, pairs), value in sums.items():
            if family_name in metrics:
                metrics[family_name].add_sample(sample, dict(pairs), value)
        return [metric for metric in metrics.values() if metric.samples]


class LedgerCollector(Collector):
    """Exports a ledger, with what the parent itself would say."""

    def __init__(self, ledger: Ledger, own: Callable[[], Iterable[Metric]]) -> None:
        self._ledger = ledger
        self._own = own

    def collect(self) -> Iterable[Metric]:
        """The numbers as they were last told."""
        yield from self._ledger.families()
        yield from self._own()


def _key(family: str, sample: str, labels: Mapping[str, str]) -> Key:
    return family, sample, tuple(sorted(labels.items()))


def _add(sums: dict[Key, float], key: Key, value: float) -> None:
    before = sums.get(key)
    if before is None:
        sums[key] = value
    else:
        sums[key] = min(before, value) if key[1].endswith(_BEGUN) else before + value
