"""Sequential gates through the real sampling path, on half-spaces whose smoothed score is known."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binom
from test_end_to_end import DIMENSION, ENGINE, SIGMA, HalfSpace, Thresholds, base_model, law, seed

from certify.bounds import clopper_pearson_lower
from certify.checkpoints import open_checkpoint
from certify.errors import CheckpointError, InvalidInput, InvalidPlan
from certify.gates import Decision, GatePlan
from certify.measuring import Base
from certify.measuring.checkpoint import Candidate
from certify.measuring.sequential import SequentialRecord, decide, pair_trials, run_gate
from certify.noise import noised
from certify.records import ModelIdentity

MARGINS = (0.5, 1.0, 1.5)
DIGESTS = ["sha256:" + c * 64 for c in "0123456789abcdef"]
SIZES = pytest.mark.parametrize("repeats", [150, pytest.param(2000, marks=pytest.mark.statistical)])
CAP, ALPHA = 120, 0.1


def identity(i: int) -> ModelIdentity:
    return ModelIdentity(name=f"m{i}", weights=DIGESTS[i % 16], companions={}, parameters=DIMENSION, dtypes=("F32",))


def moved(r: float) -> HalfSpace:
    """The checkpoint at distance r against a."""
    return HalfSpace(torch.full((DIMENSION,), -r * SIGMA / DIMENSION**0.5))


def gate(plan: GatePlan, r: float = 0.0, i: int = 1, user_seed: int = 0) -> SequentialRecord:
    return run_gate(
        moved(r), Thresholds(MARGINS), law(), plan,
        base=identity(0), checkpoint=identity(i), engine=ENGINE, user_seed=user_seed,
    )  # fmt: skip


def truth(r: float) -> float:
    return float(np.mean(ndtr(np.array(MARGINS) - r)))


@pytest.fixture(scope="module")
def paths():  # type: ignore[no-untyped-def]
    """Outcomes of CAP trials for each of many gates at distance 0.5, drawn through the real path."""
    known: dict[int, list[str]] = {}

    def draw(repeats: int) -> list[str]:
        if repeats not in known:
            rows = []
            for i in range(repeats):
                with noised(moved(0.5), law(), seed(90_000 + i)) as engine:
                    rows.append("".join(str(int(x)) for x in pair_trials(engine, Thresholds(MARGINS), seed(i), CAP)))
            known[repeats] = rows
        return known[repeats]

    return draw


def ends(paths: list[str], plan: GatePlan) -> list[Decision]:
    """Where each path ends, by stopping at its first decision."""
    found = []
    for path in paths:
        stops = (n for n in range(1, CAP + 1) if plan.decide(n, path[:n].count("1")) is not Decision.CONTINUE)
        found.append(decide(plan, 0.0, path[: next(stops)]))
    return found


@SIZES
def test_a_checkpoint_exactly_at_the_requirement_passes_with_probability_at_most_alpha(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """E J = p0: false passes stay below the count that has probability 1e-6 at alpha."""
    plan = GatePlan(p0=truth(0.5), p1=0.9, alpha=ALPHA, cap=CAP)
    passed = sum(d is Decision.PASSED for d in ends(paths(repeats), plan))
    assert passed <= binom.isf(1e-6, repeats, ALPHA), f"{passed} of {repeats} at alpha {ALPHA}"


@SIZES
def test_the_gate_has_the_power_and_speed_that_its_plan_states(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """E J above p0: passes are binomial with the plan's exact probability (two-sided, 1e-6)."""
    plan = GatePlan(p0=0.55, p1=truth(0.5), alpha=ALPHA, cap=CAP)
    passed, expected = sum(d is Decision.PASSED for d in ends(paths(repeats), plan)), plan.power
    low, high = binom.ppf(5e-7, repeats, expected), binom.isf(5e-7, repeats, expected)
    assert low <= passed <= high, f"{passed} of {repeats}, planned {expected:.3f}"


@SIZES
def test_refutation_of_a_checkpoint_that_keeps_the_requirement_is_as_rare(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """E J = p0 with alpha_refute: false refutations stay within their own alpha."""
    plan = GatePlan(p0=truth(0.5), p1=0.9, alpha=ALPHA, cap=CAP, alpha_refute=ALPHA)
    refuted = sum(d is Decision.REFUTED for d in ends(paths(repeats), plan))
    assert refuted <= binom.isf(1e-6, repeats, ALPHA)


@SIZES
def test_peeking_at_clopper_pearson_is_caught(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """Negative control: stopping at the first look at which a fixed-n bound passes fails the test above."""
    p0 = truth(0.5)
    looks = np.arange(1, CAP + 1)
    counts = np.array([[int(c) for c in path] for path in paths(repeats)]).cumsum(1)
    peeked = int((clopper_pearson_lower(counts, looks, ALPHA) >= p0).any(1).sum())
    assert peeked > binom.isf(1e-6, repeats, ALPHA)


def test_a_record_redecides_itself() -> None:
    """Plan, seed, outcomes and decision survive JSON; a changed outcome, decision or seed is refused."""
    record = gate(GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=300))
    assert record.decision is Decision.PASSED
    text = record.model_dump_json()
    assert SequentialRecord.model_validate_json(text) == record
    for old, new in (
        (f'"outcomes":"{record.outcomes}"', f'"outcomes":"{"0" * len(record.outcomes)}"'),
        ('"decision":"passed"', '"decision":"refuted"'),
        (f'"outcomes":"{record.outcomes}"', f'"outcomes":"{record.outcomes}1"'),
        (f'"outcomes":"{record.outcomes}"', f'"outcomes":"{record.outcomes[:-1]}"'),
        (record.seed.value, "0" * 64),
        ('"cap":300', '"cap":301'),
    ):
        assert old in text
        with pytest.raises(ValueError, match=r"decision|seed|decided"):
            SequentialRecord.model_validate_json(text.replace(old, new))


def test_draws_are_of_this_checkpoint_alone() -> None:
    """Same everything, same outcomes; another checkpoint or user seed, other outcomes; global state untouched."""
    plan = GatePlan(p0=0.7, p1=0.9, alpha=1e-6, beta=1e-6, cap=60)
    state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    first, again, other, third = gate(plan), gate(plan), gate(plan, i=2), gate(plan, user_seed=1)
    assert first == again
    assert len({first.outcomes, other.outcomes, third.outcomes}) == 3
    assert len({first.seed.value, other.seed.value, third.seed.value}) == 3
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.random.get_rng_state(), state[1])


def test_far_below_the_requirement_it_ends_early_without_a_proof() -> None:
    """A checkpoint two sigma off ends as futile, or as refuted where the plan pays for it."""
    assert gate(GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=300), r=2.0).decision is Decision.FUTILE
    paid = gate(GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=300, alpha_refute=0.05), r=2.0)
    assert paid.decision is Decision.REFUTED


def test_finite_precision_is_paid_on_both_sides() -> None:
    """A pass is judged at p0 + eta, a refutation at p0 - eta: a large eta delays both."""
    plan = GatePlan(p0=0.7, p1=0.95, alpha=0.05, cap=60, alpha_refute=0.05)
    for digit, end in (("1", Decision.PASSED), ("0", Decision.REFUTED)):
        first = next(n for n in range(1, 60) if decide(plan, 0.0, digit * n) is not Decision.CONTINUE)
        assert decide(plan, 0.0, digit * first) is end
        assert decide(plan, 0.2, digit * first) is Decision.CONTINUE


def test_what_the_gate_cannot_test_is_refused() -> None:
    """A graded benchmark, and a p1 that eta has swallowed."""
    graded = Thresholds(MARGINS)
    graded.identity = graded.identity.model_copy(update={"graded": True})
    plan = GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=10)
    with pytest.raises(InvalidPlan, match="half-spaces is graded"):
        run_gate(base_model(), graded, law(), plan, base=identity(0), checkpoint=identity(1), engine=ENGINE)
    with pytest.raises(InvalidInput, match="must be above p0"):
        gate(GatePlan(p0=0.6, p1=0.6 + 1e-12, alpha=0.05, cap=10))


def test_a_checkpoint_on_disk_is_gated_as_it_is(tmp_path: Path) -> None:
    """A copy of a base that is right on all its items passes; a wreck is refuted; another tokenizer is refused."""
    model = models.llama()
    models.save_folder(tmp_path / "base", model)
    base = Base.open(tmp_path / "base", models.write_jsonl(tmp_path / "own.jsonl", models.own_answers(model, 40)))
    noise = torch.Generator().manual_seed(0)

    def wreck(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor + torch.randn(tensor.shape, generator=noise)

    plan = GatePlan(p0=0.8, p1=0.95, alpha=0.05, cap=200, alpha_refute=0.05)
    found = {}
    for name, change in (("same", lambda tensors: None), ("wreck", wreck)):
        checkpoint = open_checkpoint(models.variant(tmp_path / "base", tmp_path / name, change))
        found[name] = Candidate(base, checkpoint).sequential(base.weight_law(1e-4), plan)
        assert found[name].checkpoint == checkpoint.identity
    assert (found["same"].decision, found["wreck"].decision) == (Decision.PASSED, Decision.REFUTED)
    models.variant(tmp_path / "base", tmp_path / "other", lambda tensors: None)
    (tmp_path / "other" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="tokenizer differs"):
        Candidate(base, open_checkpoint(tmp_path / "other")).sequential(base.weight_law(1e-4), plan)
