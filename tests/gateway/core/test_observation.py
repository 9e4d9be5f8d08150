"""What operators see of the gateway's freshness."""

from __future__ import annotations

import math

import pytest

from gateway.observation import EvidenceAges, EvidenceCollector
from tests.gateway.core.world import World


@pytest.fixture
def world() -> World:
    """A responder without a network."""
    return World()


def exported(ages: EvidenceAges) -> dict[str, float]:
    """The collector's samples by name and quantile."""
    return {
        sample.name + str(sample.labels.get("quantile", "")): sample.value
        for metric in EvidenceCollector(ages).collect()
        for sample in metric.samples
    }


def test_the_ages_of_the_last_minute(world: World) -> None:
    """Median, 99th percentile and maximum of what was sampled; what is older than a minute is gone."""
    ages = EvidenceAges(world.knowledge, world.clocks.boot_time)
    ages.sample()
    assert math.isnan(exported(ages)["goodstanding_evidence_age_quantile_seconds0.5"])
    world.watch()
    for _ in range(1200):
        ages.sample()
    world.clocks.pass_time(3)
    for _ in range(20):
        ages.sample()
    found = exported(ages)
    assert found["goodstanding_evidence_age_quantile_seconds0.5"] == 0
    assert found["goodstanding_evidence_age_quantile_seconds0.99"] == 3
    assert found["goodstanding_evidence_age_quantile_seconds1"] == 3
    world.proof()
    for _ in range(1200):
        ages.sample()
    assert exported(ages)["goodstanding_evidence_age_quantile_seconds1"] == 0


@pytest.mark.asyncio
async def test_the_oldest_trusted_entry(world: World) -> None:
    """It counts from its look-up, for as long as the watch vouches for it."""
    name = "goodstanding_oldest_trusted_entry_seconds"
    ages = EvidenceAges(world.knowledge, world.clocks.boot_time)
    world.service.issue(world.key(5))
    world.watch()
    assert exported(ages)[name] == 0
    await world.responder.answer(world.request(5))
    for _ in range(10):
        world.clocks.pass_time(0.5)
        world.proof()
    assert exported(ages)[name] == 5
    world.clocks.pass_time(2)
    assert exported(ages)[name] == 0
