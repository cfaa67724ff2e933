"""The change of a noise-averaged score between two checkpoints, each drawn beside the same base."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from certify.errors import InvalidInput
from certify.evidence import SmoothedEvidence
from certify.evidence.change import change_of_draws
from certify.evidence.smoothed import DrawScores, paired_drop
from certify.records import ExplicitIdentity, Seed, WeightNoise

SEED = Seed(value="0" * 64)
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)


def law(sigma: float = 0.1) -> WeightNoise:
    return WeightNoise(sigma={"w": sigma}, sizes={"w": 100})


def evidence(base: list[float], checkpoint: list[float], failed: list[float] | None = None) -> SmoothedEvidence:
    """Draws of a base and a checkpoint; ``failed`` is the share of items without an answer at the checkpoint."""
    return SmoothedEvidence(
        law=law(),
        engine=ENGINE,
        seed=SEED,
        base=DrawScores(scores=tuple(base)),
        checkpoint=DrawScores(scores=tuple(checkpoint), failed=tuple(failed or ())),
        base_unnoised=1.0,
        checkpoint_unnoised=1.0,
    )


def test_the_base_cancels() -> None:
    """A checkpoint 0.1 below its base and one 0.3 below lie 0.2 apart, whatever the base scored in its draws."""
    first = evidence([0.9, 0.8] * 100, [0.8, 0.7] * 100)
    second = evidence([0.7, 1.0] * 100, [0.4, 0.7] * 100)
    change = change_of_draws(first, second, 0.05)
    assert change.value == pytest.approx(-0.2)
    assert change.lower < -0.2 < change.upper


def test_each_bound_is_two_bounds_at_half_of_alpha() -> None:
    """Written out from the bounds of each drop."""
    first = evidence([0.9, 0.8] * 100, [0.8, 0.75] * 100)
    second = evidence([0.7, 1.0] * 100, [0.4, 0.6] * 100)
    early = paired_drop([0.1, 0.05] * 100, 0.025, first.eta)
    late = paired_drop([0.3, 0.4] * 100, 0.025, second.eta)
    change = change_of_draws(first, second, 0.05)
    assert change.lower == pytest.approx(early.lower - late.upper, abs=1e-9)
    assert change.upper == pytest.approx(early.upper - late.lower, abs=1e-9)


def test_turning_round_turns_the_bounds_round() -> None:
    """What one lost the other gained."""
    first, second = evidence([0.9] * 50, [0.8, 0.7] * 25), evidence([0.9] * 50, [0.6, 0.9] * 25)
    there, back = change_of_draws(first, second, 0.05), change_of_draws(second, first, 0.05)
    assert (back.lower, back.upper) == pytest.approx((-there.upper, -there.lower))


def test_items_without_an_answer_count_against_whatever_is_said() -> None:
    """At the second checkpoint they may have been right, at the first one too: each moves one bound outwards."""
    whole = evidence([0.9] * 50, [0.8, 0.7] * 25)
    part = evidence([0.9] * 50, [0.8, 0.7] * 25, [0.1] * 50)
    known = change_of_draws(whole, whole, 0.05)
    later, earlier = change_of_draws(whole, part, 0.05), change_of_draws(part, whole, 0.05)
    assert (later.lower, later.upper) == pytest.approx((known.lower, known.upper + 0.1), abs=0.01)
    assert (earlier.lower, earlier.upper) == pytest.approx((known.lower - 0.1, known.upper), abs=0.01)


def test_another_law_of_noise_is_refused() -> None:
    """Scores under different noise are averages of different things."""
    first = evidence([0.9] * 50, [0.8] * 50)
    other = first.model_copy(update={"law": law(0.2)})
    with pytest.raises(InvalidInput, match=r"noise differs: .* sigma = 0\.1 and .* sigma = 0\.2"):
        change_of_draws(first, other, 0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"engine": ENGINE.model_copy(update={"device": "cuda"})}, "engine differs: .* device cpu, .* device cuda, "),
        ({"engine": ENGINE.model_copy(update={"lattice_bits": 8})}, "engine differs: .* lattice_bits 8, "),
        ({"engine": ENGINE.model_copy(update={"tokens_per_batch": 2})}, "engine differs: .* tokens_per_batch 2"),
        ({"base_unnoised": 0.75}, r"base's score without noise differs: 1\.0 and 0\.75"),
    ],
)
def test_a_base_that_is_another_number_does_not_cancel(changed: dict[str, object], message: str) -> None:
    """Another engine is another function; a base that scores otherwise without noise was not the same base."""
    first = evidence([0.9] * 50, [0.8] * 50)
    with pytest.raises(InvalidInput, match=f"the base does not cancel: {message}"):
        change_of_draws(first, first.model_copy(update=changed), 0.05)


def test_which_of_two_cards_ran_is_no_other_engine() -> None:
    """The index of a device names no other kernels."""
    first, second = (
        evidence([0.9] * 50, [0.8] * 50).model_copy(update={"engine": ENGINE.model_copy(update={"device": device})})
        for device in ("cuda:0", "cuda:1")
    )
    assert change_of_draws(first, second, 0.05).value == 0.0


RUNS, N, ALPHA, FALSE_ALARM = 300, 60, 0.2, 1e-6


def misses(upper: object) -> int:
    """How often an upper bound of the change lies below the true change, 0 here: two equal checkpoints."""
    rng, count = np.random.default_rng(7), 0
    for _ in range(RUNS):
        # J(base) = 1, and each checkpoint keeps 0.2 or 0.8 of it with probability 1/2: wide and far from normal.
        first, second = (evidence([1.0] * N, list(rng.choice([0.2, 0.8], N))) for _ in range(2))
        count += upper(first, second) < 0.0  # type: ignore[operator]
    return count


def most() -> int:
    """The number of misses that a bound at alpha exceeds with probability 1e-6 at most."""
    return int(binom.isf(FALSE_ALARM, RUNS, ALPHA))


def test_the_upper_bound_covers() -> None:
    """Over seeded runs it misses no more often than alpha allows (false alarm 1e-6)."""
    assert misses(lambda first, second: change_of_draws(first, second, ALPHA).upper) <= most()


def test_a_bound_that_subtracts_the_same_ends_is_caught() -> None:
    """The classic slip, upper minus upper, misses far too often: the check above has power."""

    def wrong(first: SmoothedEvidence, second: SmoothedEvidence) -> float:
        early, late = (
            paired_drop([1.0 - s for s in each.checkpoint.scores], ALPHA / 2).upper for each in (first, second)
        )
        return early - late

    assert misses(wrong) > most()
