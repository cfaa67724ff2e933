"""A pilot chooses and foresees; nothing of it can become evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import models
import pytest
import torch
from pydantic import ValidationError

from certify.errors import InvalidPlan
from certify.evidence import Requirement
from certify.evidence.distance import BaseDraws
from certify.evidence.smoothed import DrawScores
from certify.measuring import Base, pilot_sigma
from certify.measuring.pilot import GRID, PilotDraws, allowed_drop, pilot_costs, pilot_draws
from certify.noise import noised
from certify.records import Seed, derive_seed


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    where = tmp_path_factory.mktemp("pilot")
    model = models.llama()
    models.save_folder(where / "base", model)
    return Base.open(where / "base", models.write_jsonl(Path(where / "own.jsonl"), models.own_answers(model, 30)))


def test_no_record_of_evidence_accepts_pilot_scores(base: Base) -> None:
    """They have a type of their own; the same scores as certifying draws are accepted."""
    pilot = pilot_draws(base, 1e-3)
    fields = {"law": pilot.law, "engine": base.engine, "seed": Seed(value="0" * 64), "alpha": 0.05, "base_score": 1.0}
    with pytest.raises(ValidationError, match="draws"):
        BaseDraws(draws=pilot, **fields)
    assert not issubclass(PilotDraws, DrawScores)
    BaseDraws(draws=DrawScores(scores=pilot.scores), **fields)


def test_pilot_streams_are_disjoint_from_certifying_ones(base: Base) -> None:
    """Under one seed and law, no draw of the pilot has the noise of any certifying draw."""
    law, seed = base.weight_law(1e-3), Seed(value="5" * 64)
    seen = []
    for pilot in (True, False):
        with noised(base.model, law, seed, pilot=pilot) as engine:
            for i in range(4):
                seen.append(torch.cat([p.detach().flatten().clone() for p in engine.at(i).parameters()]))
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_pilot_seeds_are_no_other_evidence_s_seeds(base: Base) -> None:
    """The seed names its kind, so that even equal streams would differ."""
    law, identity, weights = base.weight_law(1e-3), base.scorer.identity, base.checkpoint.identity
    kinds = ("pilot", "basin", "distance", "smoothed", "sequential")
    assert len({derive_seed(kind, law, identity, weights, n=8).value for kind in kinds}) == len(kinds)


def test_the_pilot_finds_a_sigma_that_costs_little(base: Base) -> None:
    """At the chosen sigma the pilot's mean drop is at most half of what is allowed; the weights are put back."""
    before = [p.detach().clone() for p in base.model.parameters()]
    sigma = pilot_sigma(base)
    assert 1.0 - pilot_draws(base, sigma).mean <= 0.025
    assert all(torch.equal(a, b) for a, b in zip(before, base.model.parameters(), strict=True))


def test_what_noise_may_cost_is_in_score_units(base: Base) -> None:
    """A retention is a share of what lies above chance; an absence allows what a drop allows by default."""
    score, chance = sum(base.scores) / len(base.scores), base.benchmark.chance
    assert allowed_drop(base, Requirement(limit=0.2)) == 0.2
    assert allowed_drop(base, Requirement(unit="retention", limit=0.75)) == pytest.approx(0.25 * (score - chance))
    half = replace(base, benchmark=replace(base.benchmark, chance=0.5))
    assert allowed_drop(half, Requirement(unit="retention", limit=0.75)) == pytest.approx(0.25 * (score - 0.5))
    assert allowed_drop(base, Requirement(unit="absence", limit=0.3)) == Requirement().limit
    with pytest.raises(InvalidPlan, match="no pilot can choose sigma"):
        allowed_drop(base, Requirement(unit="retention", limit=1.0))


def test_costs_add_up(base: Base) -> None:
    """Predicted seconds are the counts of draws, items and passes times what one takes."""
    costs = pilot_costs(base)
    assert min(costs.draw, costs.item, costs.benchmark) > 0
    one = costs.draw + costs.benchmark
    assert costs.measure(2, 100) == pytest.approx(
        costs.benchmark + len(GRID) * 30 * (costs.draw + costs.item) + 2 * 100 * one
    )
    assert costs.check("smoothed", 50, 4) == pytest.approx(2 * costs.benchmark + 100 * one)
    assert costs.check("distance", 50, 4) == 0.0
    assert costs.check("position", 0, 4) == pytest.approx(2 * costs.check("point", 0, 4))
