"""A pilot chooses and foresees; nothing of it can become evidence."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from pydantic import ValidationError

from certify.errors import InvalidPlan
from certify.evidence import Requirement
from certify.evidence.distance import BaseDraws
from certify.evidence.smoothed import DrawScores
from certify.measuring import Base, Run, pilot_sigma
from certify.measuring import pilot as module
from certify.measuring.pilot import PilotDraws, allowed_drop, pilot_draws
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


def test_a_hopeless_sigma_is_left_after_a_draw_or_two(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whole benchmarks one draw shows it, of single items the first batch; what is harmless takes all of them."""
    taken: list[float] = []
    losses = module._losses

    def counting(*given: Any) -> Generator[tuple[float, int], None, None]:
        for loss, total in losses(*given):
            taken.append(total)
            yield loss, total

    def drawn(sigma: float) -> tuple[bool, int, int]:
        taken.clear()
        return module._harmless(counting(base, sigma, 0), 0.025), len(taken), int(taken[0])

    fine, number, of = drawn(1e-4)
    assert (fine, number, of) == (True, 30, 30)  # in activation space: each item under a draw of its own
    fine, number, of = drawn(3.0)
    assert not fine and number < 10 and of == 30
    monkeypatch.setattr(module, "_shown", lambda *_: None)
    assert drawn(1e-4) == (True, module.DRAWS, module.DRAWS)
    fine, number, _ = drawn(3.0)
    assert not fine and number <= 2
    assert pilot_sigma(base) > 0


def test_leaving_early_chooses_what_all_draws_would(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sigma is left only where its mean would stay too low if the draws to come lost nothing."""
    monkeypatch.setattr(module, "_shown", lambda *_: None)
    sigma = module.size_of_weights(base)
    while sum(base.scores) / 30 - pilot_draws(base, sigma).mean > 0.025:
        sigma /= 2
    assert pilot_sigma(base) == sigma


def test_a_chosen_sigma_is_kept_with_the_draws(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question again draws nothing; another one does."""
    first = pilot_sigma(base, run=Run(ledgers=tmp_path))
    monkeypatch.setattr(module, "_losses", lambda *_: pytest.fail("drawn again"))
    assert pilot_sigma(base, run=Run(ledgers=tmp_path)) == first
    with pytest.raises(pytest.fail.Exception):
        pilot_sigma(base, tau=0.1, run=Run(ledgers=tmp_path))
