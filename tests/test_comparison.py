"""Two checkpoints on the same items: exact coverage by enumeration, verdicts, and what cannot be compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from point_certificates import BENCHMARK, certificate, identity
from scipy.special import gammaln

from certify import statistics
from certify.comparison import change_in_retention, change_in_score, compare
from certify.documents import Certificate
from certify.errors import InvalidInput
from certify.evidence import PointEvidence, SmoothedEvidence, Verdict
from certify.evidence.paired_items import ItemScores, PairedScores
from certify.evidence.smoothed import DrawScores
from certify.records import Environment, ExplicitIdentity, Seed, WeightNoise
from certify.strategies import certificates, item_scores

M, CHANCE = 12, 0.25
KINDS = list(itertools.product((-1, 1, 0), (1, 0)))  # change of an item from first to second; the base's own score
CELLS = np.array([c for c in itertools.product(range(M + 1), repeat=5) if sum(c) <= M])
CELLS = np.column_stack([CELLS, M - CELLS.sum(1)])  # how many items are of each kind
CHANGES, BASE = np.array([change for change, _ in KINDS]), np.array([score for _, score in KINDS])
SHARES = [
    (lost, gained, of_lost, of_gained, of_same)
    for lost, gained in itertools.product((0.0, 0.05, 0.3), (0.0, 0.02, 0.3))
    for of_lost, of_gained, of_same in itertools.product((1.0, 0.4), (1.0, 0.4), (0.95, 0.3))
]
Function = Callable[[int, int, int, float], tuple[float, float] | None]


def beside(scores: ItemScores) -> PairedScores:
    """A checkpoint's scores beside a base that is right on all items."""
    return PairedScores(base=(1.0,) * len(scores), checkpoint=scores)


def scores_of(lost: int, gained: int, right: int) -> tuple[ItemScores, ItemScores, ItemScores]:
    """Base, first and second: the bounds depend on these counts alone."""
    base = (1.0,) * right + (0.0,) * (M - right)
    first = (1.0,) * lost + (0.0,) * gained + (1.0,) * (M - lost - gained)
    second = (0.0,) * lost + (1.0,) * gained + (1.0,) * (M - lost - gained)
    return base, first, second


def ours(lost: int, gained: int, right: int, alpha: float) -> tuple[float, float] | None:
    """The bounds of the change in retention."""
    base, first, second = scores_of(lost, gained, right)
    change = change_in_score(beside(first), beside(second), "population", 2 * alpha / 3)
    found = change_in_retention(change, PairedScores(base=base, checkpoint=base).base_score(alpha / 3), CHANCE)
    return found and (found.lower or 0.0, found.upper or 0.0)


def misses(function: Function, alpha: float) -> list[float]:
    """Worst exact probability over the truths that a bound is wrong, or given without a denominator."""
    moves = (CELLS @ (CHANGES < 0)).astype(int), (CELLS @ (CHANGES > 0)).astype(int), (CELLS @ BASE).astype(int)
    known = {key: function(*key, alpha) for key in set(zip(*map(list, moves), strict=True))}
    answers = [known[key] for key in zip(*map(list, moves), strict=True)]
    given_ = np.array([answer is not None for answer in answers])
    lower = np.array([answer[0] if answer else -math.inf for answer in answers])
    upper = np.array([answer[1] if answer else math.inf for answer in answers])
    worst = [0.0, 0.0]
    for lost, gained, *of in SHARES:
        group = {-1: (lost, of[0]), 1: (gained, of[1]), 0: (1 - lost - gained, of[2])}
        p = np.array([group[c][0] * (group[c][1] if b else 1 - group[c][1]) for c, b in KINDS])
        logs = np.where(CELLS == 0, 0.0, CELLS * np.log(np.maximum(p, 1e-300)))
        probability = np.exp(gammaln(M + 1) - gammaln(CELLS + 1).sum(1) + logs.sum(1))
        base = float(p @ BASE)
        if base <= CHANCE:
            miss = [float(probability @ given_)] * 2
        else:
            truth = float(p @ CHANGES) / (base - CHANCE)
            miss = [float(probability @ (lower > truth + 1e-9)), float(probability @ (upper < truth - 1e-9))]
        worst = [max(pair) for pair in zip(worst, miss, strict=True)]
    return worst


@pytest.mark.parametrize("alpha", [0.6, 0.05])
def test_bounds_of_the_change_in_retention_miss_with_probability_at_most_alpha(alpha: float) -> None:
    """Every outcome of 12 items, truths where the base's score goes with what is lost or gained included."""
    assert max(misses(ours, alpha)) <= alpha


def test_enumeration_rejects_a_base_taken_at_face_value() -> None:
    """Negative control: the observed base score as denominator, and the whole alpha for one side of the difference."""

    def wrong(lost: int, gained: int, right: int, alpha: float) -> tuple[float, float] | None:
        base = right / M - CHANCE
        loss = statistics.clopper_pearson_upper(lost, M, alpha) - gained / M
        return (-loss / base, math.inf) if base > 0 else None

    assert misses(wrong, 0.05)[0] > 0.1


@given(st.integers(1, 80).flatmap(lambda m: st.tuples(*[item_scores(min_items=m, max_items=m, missing=True)] * 2)))
def test_bounds_hold_whatever_a_missing_answer_would_have_scored(pair: tuple[ItemScores, ItemScores]) -> None:
    """With any answers filled in, the interval lies within the one that was given without them."""
    first, second = pair
    open_ = change_in_score(beside(first), beside(second), "population", 0.05)
    for a, b in itertools.product((0.0, 1.0), repeat=2):
        one = tuple(a if s is None else s for s in first)
        other = tuple(b if s is None else s for s in second)
        filled = change_in_score(beside(one), beside(other), "population", 0.05)
        assert open_.lower is not None
        assert open_.upper is not None
        assert filled.lower is not None
        assert filled.upper is not None
        assert open_.lower <= filled.lower
        assert filled.upper <= open_.upper


@pytest.mark.parametrize(
    ("before", "after", "metric", "margin", "verdict", "words"),
    [
        (40, 42, "score", -0.05, Verdict.CERTIFIED, "is at least -0.0"),
        (40, 42, "retention", -0.05, Verdict.CERTIFIED, "the change of the retention from step-1 to step-2"),
        (40, 120, "score", -0.05, Verdict.REFUTED, "is at most -0.1"),
        (40, 120, "retention", -0.05, Verdict.REFUTED, "80 of 400 items lost, 0 gained; at least -0.05 required"),
        (40, 55, "score", -0.05, Verdict.UNDECIDED, "Undecided whether the change of the score"),
        (120, 40, "score", 0.1, Verdict.CERTIFIED, "0 of 400 items lost, 80 gained"),
    ],
)
def test_verdicts(before: int, after: int, metric: str, margin: float, verdict: Verdict, words: str) -> None:
    """Better, worse beyond the margin, and neither; a positive margin asks for a gain."""
    found = compare(certificate(before), certificate(after, "2"), alpha=0.05, metric=metric, margin=margin)  # type: ignore[arg-type]
    assert found.verdict is verdict
    assert words in found.claim
    assert found.names == ("step-1", "step-2")


def test_without_a_margin_nothing_is_judged() -> None:
    """Both bounds are claimed, and there is no verdict."""
    found = compare(certificate(40), certificate(42, "2"), alpha=0.05)
    assert found.verdict is None
    assert "is at least -0.0" in found.claim
    assert "with the same confidence at most 0.0" in found.claim


def test_fixed_items_are_known() -> None:
    """No confidence: the change is the change."""
    pair = [
        certificate(wrong, mark, evidence=c.evidence.model_copy(update={"items": "fixed"}))
        for wrong, mark in ((40, "1"), (44, "2"))
        for c in [certificate(wrong, mark)]
    ]
    found = compare(*pair, alpha=0.05, metric="retention", margin=-0.02)
    assert (found.change.value, found.change.lower, found.change.upper) == pytest.approx([-4 / 390] * 3, rel=1e-9)
    assert found.verdict is Verdict.CERTIFIED
    assert found.claim.startswith(
        "The change of the retention from step-1 to step-2 on exactly these 400 items of own is"
    )
    assert " is -0.010 (4 of 400 items lost, 0 gained; at least -0.02 required)." in found.claim


def test_a_base_at_chance_has_no_retention_to_compare() -> None:
    """The claim says so; a score can still be compared."""
    chance = BENCHMARK.model_copy(update={"chance": 0.98})
    pair = certificate(40, benchmark=chance), certificate(42, "2", benchmark=chance)
    found = compare(*pair, alpha=0.05, metric="retention", margin=-0.05)
    assert found.verdict is Verdict.UNDECIDED
    assert found.claim.startswith("Nothing is claimed about the change of the retention")
    assert any("abstained" in note for note in found.notes)
    assert compare(*pair, alpha=0.05).change.lower is not None


OTHER = {
    "base": ({"base": identity("base", "a")}, "base: base (weights bbbbbbbbbbbb, config cccccccccccc) and base"),
    "benchmark": (
        {"benchmark": BENCHMARK.model_copy(update={"digest": f"sha256:{'f' * 64}"})},
        "benchmark digest: sha256:ddd",
    ),
    "scoring": (
        {"benchmark": BENCHMARK.model_copy(update={"scoring": "generation"})},
        "benchmark scoring: exact match and generation",
    ),
    "premise": (
        {"evidence": PointEvidence(items="fixed", scores=certificate(40).evidence.scores)},  # type: ignore[union-attr]
        "what the items stand for: population and fixed",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_differs_is_named(name: str) -> None:
    """Another base, other items, another scoring or another premise cannot be paired."""
    changed, message = OTHER[name]
    with pytest.raises(InvalidInput, match="the two certificates cannot be compared") as error:
        compare(certificate(40), certificate(42, "2", **changed), alpha=0.05)  # type: ignore[arg-type]
    assert message in str(error.value)


@settings(max_examples=10)
@given(certificates(kinds=["distance"]))
def test_distance_evidence_is_refused(other: Certificate) -> None:
    """It holds draws at the base alone."""
    with pytest.raises(InvalidInput, match="holds no scores of the checkpoint itself"):
        compare(other, other, alpha=0.05)


@settings(max_examples=25)
@given(certificates(kinds=["smoothed"]), st.sampled_from(["score", "retention"]))
def test_smoothed_evidence_is_compared_over_draws(one: Certificate, metric: str) -> None:
    """The noise-averaged scores; bounds surround the estimate, and the claim says over what."""
    found = compare(one, one, alpha=0.05, metric=metric, margin=-0.5)  # type: ignore[arg-type]
    assert (found.random, found.lost) == ("draws", None)
    assert "the change of the noise-averaged" in found.claim
    assert "draws, each beside the base" in found.claim
    if found.change.lower is not None and found.change.upper is not None:
        assert found.change.lower <= 0.0 <= found.change.upper
        assert found.change.value == 0.0


@settings(max_examples=10)
@given(certificates(kinds=["smoothed"]))
def test_other_noise_is_another_score(one: Certificate) -> None:
    """Draws of two laws average over different models."""
    law = one.evidence.law  # type: ignore[union-attr]
    sigma = {n: 2 * s for n, s in law.sigma.items()} if law.kind == "weights" else tuple(2 * s for s in law.sigma)
    evidence = one.evidence.model_copy(update={"law": law.model_copy(update={"sigma": sigma})})
    with pytest.raises(InvalidInput, match="differ in noise: Gaussian noise on"):
        compare(one, one.model_copy(update={"evidence": evidence}), alpha=0.05)


def smoothed(base: float, score: float, mark: str = "1", device: str = "cpu", **changed: object) -> Certificate:
    """A smoothed certificate whose draws all score alike; ``changed`` are fields of its evidence."""
    evidence = SmoothedEvidence(
        law=WeightNoise(sigma={"w": 0.1}, sizes={"w": 10}),
        engine=ExplicitIdentity(device="cpu", tokens_per_batch=1),
        seed=Seed(value=mark * 64),
        base=DrawScores(scores=(base,) * 400),
        checkpoint=DrawScores(scores=(score,) * 400),
        base_unnoised=0.9,
        checkpoint_unnoised=0.9,
    )
    environment = Environment(python="3.12", platform="Linux", packages={"torch": "2.13.0"}, device=device)
    return certificate(0, mark, evidence=evidence.model_copy(update=changed), environment=environment)


def test_smoothed_scores_of_two_machines_are_refused() -> None:
    """A base that scored 0.90 on one machine and 0.70 on the other would turn a loss of 0.15 into a gain."""
    with pytest.raises(InvalidInput, match=r"they differ in kernels: cpu and cuda$"):
        compare(smoothed(0.9, 0.85), smoothed(0.7, 0.7, "2", "cuda (NVIDIA H100)"), alpha=0.05, margin=0.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"engine": ExplicitIdentity(device="cuda", tokens_per_batch=1)}, "engine: .*device cpu.*device cuda"),
        ({"base_unnoised": 0.8}, r"differ in base's score without noise: 0\.9 and 0\.8$"),
    ],
)
def test_smoothed_scores_whose_base_is_another_number_are_refused(changed: dict[str, object], message: str) -> None:
    """It would not cancel."""
    with pytest.raises(InvalidInput, match=message):
        compare(smoothed(0.9, 0.85), smoothed(0.9, 0.85, "2", **changed), alpha=0.05)


@pytest.mark.parametrize("what", ["dtype", "torch"])
def test_conditions_that_may_move_the_base_are_refused_for_draws_and_noted_for_items(what: str) -> None:
    """Items are paired by their own scores, whatever the base did; draws rest on the base."""

    def moved(one: Certificate) -> Certificate:
        dtypes = one.checkpoint.model_copy(update={"dtypes": ("BF16",)})
        newer = one.environment.model_copy(update={"packages": {"torch": "2.14.0"}})
        return one.model_copy(update={"checkpoint": dtypes} if what == "dtype" else {"environment": newer})

    with pytest.raises(InvalidInput, match=f"they differ in {what}: "):
        compare(smoothed(0.9, 0.85), moved(smoothed(0.9, 0.85, "2")), alpha=0.05)
    found = compare(certificate(40), moved(certificate(42, "2")), alpha=0.05)
    assert any(f"what ran them differs in {what}" in note for note in found.notes)


def test_a_base_that_scored_differently_under_noise_is_noted() -> None:
    """Where chance does not explain the difference; where it does, nothing is said."""
    words = "the base itself scored differently under noise in the two records (0.900 and 0.700 on average)"
    apart = compare(smoothed(0.9, 0.85), smoothed(0.7, 0.7, "2"), alpha=0.05)
    assert any(note.startswith(words) for note in apart.notes)
    alike = compare(smoothed(0.9, 0.85), smoothed(0.895, 0.7, "2"), alpha=0.05)
    assert not any("the base itself" in note for note in alike.notes)


@settings(max_examples=30)
@given(certificates(kinds=["position"]))
def test_position_compares_the_ends_of_the_segments(one: Certificate) -> None:
    """The end of the segment is the checkpoint; a checkpoint that differs in more than weights is refused."""
    if one.evidence.displacement.differences:  # type: ignore[union-attr]
        with pytest.raises(InvalidInput, match="differs from the base in more than weights: tokenizer differs"):
            compare(one, one, alpha=0.05)
        return
    found = compare(one, one, alpha=0.05)
    groups = None if one.evidence.items == "fixed" else one.evidence.basin.groups  # type: ignore[union-attr]
    of: dict[int, list[float]] = {}  # the items of each group; fixed items, and those without groups, count alone
    for k, score in enumerate(one.evidence.points[-1].scores):  # type: ignore[union-attr]
        of.setdefault(groups[k] if groups else k, []).append(score or 0.0)
    expected = fmean(fmean(group) for group in of.values())
    assert found.scores[0] == pytest.approx(expected, rel=1e-12, abs=1e-300)
    assert "both are the same checkpoint" in found.notes


def test_notes_say_what_else_differs() -> None:
    """Other versions, a base that scored differently, own settings, missing answers."""
    first = certificate(40)
    evidence = first.evidence
    assert isinstance(evidence, PointEvidence)
    base = (*(0.0, 0.0), *evidence.scores.base[2:])
    scores = evidence.scores.model_copy(update={"base": base, "checkpoint": (None, *evidence.scores.checkpoint[1:])})
    second = certificate(
        40,
        "2",
        evidence=PointEvidence(scores=scores, differences=("tokenizer differs",)),
        environment=Environment(python="3.12", platform="Linux", packages={"torch": "2.14.0"}),
    )
    notes = "; ".join(compare(first, second, alpha=0.05).notes)
    for words in (
        "1 items without an answer",
        "the base itself scored differently on 2 of 400 items",
        "what ran them differs in torch",
        "step-2 was scored with its own settings: tokenizer differs",
    ):
        assert words in notes


@pytest.mark.parametrize(("metric", "margin"), [("accuracy", None), ("score", 1.5)])
def test_bad_settings_are_refused(metric: str, margin: float | None) -> None:
    """An unknown metric, a margin that no change can have."""
    with pytest.raises(InvalidInput, match=r"choose from score, retention|must lie in"):
        compare(certificate(40), certificate(42, "2"), alpha=0.05, metric=metric, margin=margin)  # type: ignore[arg-type]
