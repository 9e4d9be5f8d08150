"""Numbers out of runs."""

from __future__ import annotations

import pytest

from benchmarks.measure import Row, Spread, percentile, ratio, spread


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([3.0], Spread(3.0, 3.0, 3.0), id="one run"),
        pytest.param([5.0, 1.0, 3.0], Spread(3.0, 1.0, 5.0), id="odd"),
        pytest.param([4.0, 1.0, 3.0, 2.0], Spread(2.5, 1.0, 4.0), id="even"),
    ],
)
def test_a_spread_is_the_median_with_the_extremes(values: list[float], expected: Spread) -> None:
    """The order of the runs does not matter."""
    assert spread(values) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.01, 1, id="the least"),
        pytest.param(0.5, 50, id="half"),
        pytest.param(0.99, 99, id="99 of 100"),
        pytest.param(0.991, 100, id="a little more"),
        pytest.param(1.0, 100, id="all"),
    ],
)
def test_a_percentile_is_one_of_the_values(share: float, expected: int) -> None:
    """Nearest rank: nothing between two values is made up."""
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_nothing_is_made_of_no_values() -> None:
    """No runs, no numbers; and there is no percentile above all."""
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])
    for values, share in (([], 0.5), ([1.0], 0.0), ([1.0], 1.1)):
        with pytest.raises(ValueError, match="share"):
            percentile(values, share)


def test_a_ratio_is_taken_round_by_round() -> None:
    """A round in which the machine was slow for both does not show in the ratio."""
    ours, theirs = Row("ours", "", "/s"), Row("theirs", "", "/s")
    for slow in (1.0, 0.1, 1.0):
        ours.add(200 * slow)
        theirs.add(100 * slow)
    assert ratio(ours, theirs) == Spread(2.0, 2.0, 2.0)
    ours.add(1.0)
    with pytest.raises(ValueError, match="zip"):
        ratio(ours, theirs)
