"""Confidence bounds: what draws and items prove about a noised model. No torch below this package.

Choose by the design of the measurement: `clopper_pearson_*` for independent 0/1 trials, `one_pass_*` for
one trial per item, `score_band` for one score per draw over all items (the default), `betting_*` for the
mean alone, `drop_bounds` for paired items, `population_band` and its kin for unseen items.
"""

from certify.bounds.band import ScoreBand, ceiling, mean_upper, score_band
from certify.bounds.betting import (
    betting_lower,
    betting_upper,
    paired_difference_lower,
    paired_difference_upper,
)
from certify.bounds.binomial import (
    Interval,
    clopper_pearson_interval,
    clopper_pearson_lower,
    clopper_pearson_upper,
    lower_tail,
    one_pass_lower,
    one_pass_upper,
)
from certify.bounds.paired import (
    chance_corrected_retention,
    drop_bounds,
    ratio_test_target,
)
from certify.bounds.population import crossed_lower, kl_inverse_lower, population_band, two_level_lower
from certify.bounds.ranks import bonferroni_level, geometric_ranks, local_level, non_crossing_probability
from certify.rounding import ceil_to, floor_to, round_down, round_up

__all__ = [
    "Interval",
    "ScoreBand",
    "betting_lower",
    "betting_upper",
    "bonferroni_level",
    "ceil_to",
    "ceiling",
    "chance_corrected_retention",
    "clopper_pearson_interval",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "crossed_lower",
    "drop_bounds",
    "floor_to",
    "geometric_ranks",
    "kl_inverse_lower",
    "local_level",
    "lower_tail",
    "mean_upper",
    "non_crossing_probability",
    "one_pass_lower",
    "one_pass_upper",
    "paired_difference_lower",
    "paired_difference_upper",
    "population_band",
    "ratio_test_target",
    "round_down",
    "round_up",
    "score_band",
    "two_level_lower",
]
