"""Every reference value of tests/theory_vectors.json, against the functions that ship."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from certify import statistics
from certify.statistics import laws, precision

FILE = json.loads((Path(__file__).parent / "theory_vectors.json").read_text(encoding="utf-8"))
VECTORS = FILE["vectors"]


def _scores(x):
    if isinstance(x, dict) and "repeat" in x:
        return [value for value, times in x["repeat"] for _ in range(times)]
    if isinstance(x, dict):
        return x["cycle"] * x["times"]
    return x


def _layer_cake(x, ranks, g, r):
    thresholds = np.sort(x)[np.array(ranks) - 1]
    return statistics.ScoreBand(tuple(ranks), tuple(thresholds), tuple(g), len(x), 0.05).mean_lower(r)


def _log_capital(x, p0):
    plan = statistics.GatePlan(p0=p0, p1=0.99, alpha=1e-9, cap=10**6, alpha_refute=1e-9)
    gate = statistics.ScoreGate(plan)
    for score in _scores(x):
        gate = gate.step(score)
    return gate.log_capital


def _token_counterexample(a, sigma):
    base = laws.required_base_level(0.5, a / (math.sqrt(2) * sigma))
    return [base, laws.strong_lower(base, a / sigma), 0.0]


def _failed(n, failures, alpha, q):
    return statistics.largest_radius(n, failures, alpha, q)


FUNCTIONS = {
    "h": laws.strong_lower,
    "h_tail": lambda t, r: laws.strong_lower_tail(t, r),
    "u": laws.strong_upper,
    "weak": laws.weak_lower,
    "radius": lambda p, q, sigma: sigma * laws.certified_radius(p, q),
    "base_level": laws.required_base_level,
    "distance": laws.mahalanobis,
    "position": laws.slice_position,
    "mean_norm": laws.mean_noise_norm,
    "figure4a": lambda sigma, r, p: laws.strong_lower(p, r / sigma),
    "figure4b": lambda p, r, sigma: laws.strong_lower(p, r / np.array(sigma)),
    "figure4a_radius": lambda sigma, q, p: sigma * laws.certified_radius(p, q),
    "cp_lower": statistics.clopper_pearson_lower,
    "cp_upper": statistics.clopper_pearson_upper,
    "cp_lower_onepass": statistics.one_pass_lower,
    "cp_upper_onepass": statistics.one_pass_upper,
    "kl_inv_lower": statistics.kl_inverse_lower,
    "two_level": statistics.two_level_lower,
    "crossed": statistics.crossed_lower,
    "geo_ranks": statistics.geometric_ranks,
    "noncross": statistics.non_crossing_probability,
    "local_level": statistics.local_level,
    "band": lambda n, alpha, base: statistics.score_band([0.5] * n, alpha, base=base).levels,
    "band_first": lambda n, alpha, base: statistics.ceiling(n, alpha, 0.0, base=base),
    "layer_cake": _layer_cake,
    "lc_scores": lambda x, alpha, base, r: statistics.score_band(_scores(x), alpha, base=base).mean_lower(r),
    "lc_scores_bonferroni": lambda x, alpha, base, r: statistics.score_band(
        _scores(x), alpha, base=base, calibration="bonferroni"
    ).mean_lower(r),
    "betting_lower": lambda x, alpha: statistics.betting_lower(_scores(x), alpha),
    "gate_log_capital_last": _log_capital,
    "paired_lower": lambda d, alpha: statistics.paired_difference_lower(_scores(d), alpha),
    "sprt_bounds": statistics.sprt_boundaries,
    "draws_zero_failures": statistics.draws_zero_failures,
    "draws_with_failures": lambda c, p, alpha: statistics.draws_with_failures(c, p, alpha),
    "draws_for_power": statistics.draws_for_power,
    "quantile_rank": statistics.quantile_rank,
    "r_max": _failed,
    "tolerated_ratio": lambda n, alpha, k: [statistics.tolerated_ratio(n, alpha, each) for each in k],
    "ladder_radius_cost": lambda n, alpha, ladder: [statistics.ladder_radius_cost(n, alpha, each) for each in ladder],
    "layer_cake_ceiling": lambda n, alpha, base, r: statistics.ceiling(n, alpha, r, base=base),
    "token_counterexample": _token_counterexample,
    "token_bound": lambda p, sigma, distances: laws.strong_lower(p, laws.mahalanobis(distances, sigma)),
    "chance_corrected_retention": statistics.chance_corrected_retention,
    "ratio_test_target": statistics.ratio_test_target,
    # Two comparators that ship nowhere: their formulas, so that no entry of the file is skipped.
    "dkw_width": lambda n, alpha: math.sqrt(math.log(1 / alpha) / (2 * n)),
    "single_draw_term": lambda L, sigma, delta: L * sigma * math.sqrt(2 * math.log(1 / delta)),  # noqa: N803
    "eta_table": lambda d, j: precision.eta_table(d, j),
    "eta_strict": lambda d, j: precision.eta_strict(d, j),
    "tv_floor_truncated": lambda d, uniform_bits: [precision.tail_floor_truncated(d, bits) for bits in uniform_bits],
}

NEVER_ABOVE = {
    "radius", "cp_lower", "cp_lower_onepass", "kl_inv_lower", "two_level", "crossed", "local_level", "band",
    "band_first", "layer_cake", "lc_scores", "lc_scores_bonferroni", "paired_lower", "r_max",
    "tolerated_ratio", "layer_cake_ceiling", "chance_corrected_retention", "figure4a_radius",
}  # fmt: skip
NEVER_BELOW = {"base_level", "distance", "cp_upper", "cp_upper_onepass", "eta_table", "eta_strict"}


def agrees(value, expected, tolerance):
    """Whether a value meets the tolerance of its entry; shapes must agree."""
    got, want = np.asarray(value, dtype=float), np.asarray(expected, dtype=float)
    if got.shape != want.shape:
        return False
    if tolerance.get("exact"):
        return bool(np.all(got == want))
    allowed = tolerance.get("abs", 0.0) + tolerance.get("rel", 0.0) * np.abs(want)
    return bool(np.all(np.abs(got - want) <= allowed))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_function_gives_the_reference_value(vector):
    """The function that ships gives the reference value within its tolerance."""
    value = FUNCTIONS[vector["function"]](**vector["inputs"])
    assert agrees(value, vector["expected"], vector["tolerance"]), (value, vector["expected"])


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["function"] in NEVER_ABOVE], ids=lambda v: v["id"])
def test_lower_bound_is_never_above_the_reference(vector):
    """Lower bounds, radii and levels err downwards. 1e-15 is the rounding of the reference itself; 1e-7 for
    calibrated levels, whose reference is a root found to that precision."""
    value = np.asarray(FUNCTIONS[vector["function"]](**vector["inputs"]))
    rounding = 1e-7 if vector["tolerance"].get("rel", 0) >= 1e-6 else 1e-15
    assert np.all(value <= np.asarray(vector["expected"]) + rounding * np.abs(vector["expected"]))


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["function"] in NEVER_BELOW], ids=lambda v: v["id"])
def test_upper_bound_is_never_below_the_reference(vector):
    """Upper bounds, distances and eta err upwards."""
    value = np.asarray(FUNCTIONS[vector["function"]](**vector["inputs"]))
    assert np.all(value >= np.asarray(vector["expected"]) * (1 - 1e-15))


def test_no_entry_is_skipped():
    """All 140 entries are there, and each names a function that is mapped; no mapping is idle."""
    used = Counter(vector["function"] for vector in VECTORS)
    assert len(VECTORS) == 140
    assert len({vector["id"] for vector in VECTORS}) == 140
    assert set(used) == set(FUNCTIONS) == set(FILE["functions"])
    assert set(FUNCTIONS) >= NEVER_ABOVE | NEVER_BELOW


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_comparison_can_fail(vector):
    """A value that is off by ten tolerances, or by one where the entry is exact, is refused."""
    tolerance, expected = vector["tolerance"], np.asarray(vector["expected"], dtype=float)
    step = 1.0 if tolerance.get("exact") else 10 * (tolerance.get("abs", 0) + tolerance.get("rel", 0))
    wrong = expected + step * np.maximum(np.abs(expected), 1.0)
    assert not agrees(wrong, vector["expected"], tolerance)
