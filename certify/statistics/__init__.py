"""The mathematics: numbers in, numbers out. What draws and items prove, sequential tests, and how many are needed.

Choose a bound by the design of the measurement: `clopper_pearson_*` for independent 0/1 trials, `one_pass_*` for one
trial per item, `score_band` for one score per draw over all items (the default), `betting_*` for the mean alone,
`trinomial_drop_bounds` for paired items (`drop_bounds` where their laws are unequal), `population_band` and its kin for
unseen items.

A gate tests the null hypothesis "the mean is at most p0" with draws that no other decision has used. It may pass at any
draw; futility ends it as undecided, without error control; refutation needs its own process and its own alpha. The
checkpoint must be fixed before the gate's draws, and the same draws never gate a second checkpoint: for many
checkpoints use a band. Source: docs/theory.md.
"""

from certify.statistics.band import ScoreBand, ceiling, mean_upper, score_band
from certify.statistics.betting import betting_lower, betting_upper, paired_difference_lower, paired_difference_upper
from certify.statistics.binomial import (
    Interval,
    clopper_pearson_interval,
    clopper_pearson_lower,
    clopper_pearson_upper,
    lower_tail,
    one_pass_lower,
    one_pass_upper,
)
from certify.statistics.fixed_gates import attempt_alpha, curtailed, holm, layer_cake_looks
from certify.statistics.gate_plan import Decision, GatePlan, Outcome, SprtBoundaries, sprt_boundaries
from certify.statistics.laws import (
    certified_radius,
    mahalanobis,
    mean_noise_norm,
    required_base_level,
    slice_position,
    strong_lower,
    strong_lower_tail,
    strong_upper,
    weak_lower,
    weak_upper,
)
from certify.statistics.paired import chance_corrected_retention, drop_bounds, ratio_test_target
from certify.statistics.population import crossed_lower, kl_inverse_lower, population_band, two_level_lower
from certify.statistics.precision import eta_strict, eta_table, tail_floor_truncated
from certify.statistics.ranks import bonferroni_level, geometric_ranks, local_level, non_crossing_probability
from certify.statistics.reach import Design, Feasibility, best_bound, feasible, require_feasible
from certify.statistics.rounding import ceil_to, floor_to, round_down, round_up
from certify.statistics.sizes import (
    PowerPlan,
    draws_for_power,
    draws_with_failures,
    draws_zero_failures,
    ladder_radius_cost,
    largest_radius,
    quantile_rank,
    tolerated_ratio,
)
from certify.statistics.stepwise_gates import BernoulliGate, ScoreGate
from certify.statistics.trinomial import pairs_for_power, trinomial_drop_bounds

__all__ = [
    "BernoulliGate",
    "Decision",
    "Design",
    "Feasibility",
    "GatePlan",
    "Interval",
    "Outcome",
    "PowerPlan",
    "ScoreBand",
    "ScoreGate",
    "SprtBoundaries",
    "attempt_alpha",
    "best_bound",
    "betting_lower",
    "betting_upper",
    "bonferroni_level",
    "ceil_to",
    "ceiling",
    "certified_radius",
    "chance_corrected_retention",
    "clopper_pearson_interval",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "crossed_lower",
    "curtailed",
    "draws_for_power",
    "draws_with_failures",
    "draws_zero_failures",
    "drop_bounds",
    "eta_strict",
    "eta_table",
    "feasible",
    "floor_to",
    "geometric_ranks",
    "holm",
    "kl_inverse_lower",
    "ladder_radius_cost",
    "largest_radius",
    "layer_cake_looks",
    "local_level",
    "lower_tail",
    "mahalanobis",
    "mean_noise_norm",
    "mean_upper",
    "non_crossing_probability",
    "one_pass_lower",
    "one_pass_upper",
    "paired_difference_lower",
    "paired_difference_upper",
    "pairs_for_power",
    "population_band",
    "quantile_rank",
    "ratio_test_target",
    "require_feasible",
    "required_base_level",
    "round_down",
    "round_up",
    "score_band",
    "slice_position",
    "sprt_boundaries",
    "strong_lower",
    "strong_lower_tail",
    "strong_upper",
    "tail_floor_truncated",
    "tolerated_ratio",
    "trinomial_drop_bounds",
    "two_level_lower",
    "weak_lower",
    "weak_upper",
]
