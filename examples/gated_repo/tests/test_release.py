"""What a checkpoint must show before it is released."""

import pytest


@pytest.mark.basin(benchmarks=["addition", "reversal"], min_retention=0.95)
def test_kept(basin_bound):
    """At least 95 % of the base's score on each skill, shown on the items at hand."""
    assert basin_bound >= basin_bound.required


@pytest.mark.basin(benchmarks=["addition"], evidence="smoothed", max_drop=0.1, draws=60)
def test_robust(basin_bound):
    """As robust as the base: the drop under the same noise, averaged over 60 draws."""
    assert basin_bound <= basin_bound.required


@pytest.mark.basin(benchmarks=["addition"], evidence="position", max_drop=0.1)
def test_inside_the_measured_basin(basin_bound):
    """Inside the base's basin, and no loss on the way there."""
    assert basin_bound <= basin_bound.required
