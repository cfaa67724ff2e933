"""The planner chooses work and no bound: the faster engine, for stated reasons, once; refusals lead back by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from certify.errors import ActivationRefused, CertifyWarning, InvalidPlan
from certify.measuring import Base, EngineChoice, PlannedDraws, choose_engine, measure_base
from certify.measuring import engine_choice as plan
from certify.measuring.costs import duration
from certify.measuring.engine_choice import (
    _Showing,
    _time_showing,
    _time_writing,
    _within_draw_correlation,
    _Writing,
)
from certify.measuring.run import Run
from certify.measuring.world import World

SHOWN = EngineChoice(engine="activation", asked=True)
SLOW_TO_WRITE = _Writing(draw=0.5, alone=0.1, together=0.05, items=20, correlation=0.1, whole=1.5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    where = tmp_path_factory.mktemp("choice")
    model = models.llama(seed=1)
    models.save_folder(where / "base", model)
    return Base.open(where / "base", models.write_jsonl(where / "own.jsonl", models.own_answers(model, 40)))


def asked(base: Base, n: int = 100, **rest: Any) -> EngineChoice:
    planned = [PlannedDraws(base.weight_law(0.05), n, design="pairs"), PlannedDraws(base.weight_law(0.01), 7)]
    return choose_engine(base, planned, (0.02, 0.05), **rest)


def timings(monkeypatch: pytest.MonkeyPatch, writing: _Writing, showing: _Showing | ActivationRefused) -> None:
    """Let the pilot find these."""

    def shown(*_: Any, **__: Any) -> _Showing:
        if isinstance(showing, ActivationRefused):
            raise showing
        return showing

    monkeypatch.setattr(plan, "_time_writing", lambda *_, **__: writing)
    monkeypatch.setattr(plan, "_time_showing", shown)


def test_the_faster_engine_is_taken_and_the_numbers_are_said(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """180 trials in 3 runs: the sums of the stated unit costs, with the share of noise and the alternative."""
    timings(monkeypatch, SLOW_TO_WRITE, _Showing(pair=0.2, tokens_per_batch=2048, proof=3.0))
    choice = asked(base)
    assert (choice.engine, choice.tokens_per_batch, choice.asked) == ("activation", 2048, False)
    first, second, third = choice.reasons
    shown, written = 180 * 0.2 + 2 * 3.0, 180 * 0.6  # one proof for the basin, one for the pairs
    assert first == (
        f"engine: activation for 180 trials of one item each; predicted {duration(shown)} in activation space, "
        f"{duration(written)} explicitly (83% of that writes noise)"
    )
    assert "500 ms to write a draw, 100 ms for an item alone, 50 ms for one among 20; 200 ms for a pair" in second
    assert third.startswith("items per draw: 1, for which alone a record has a bound; with 8 the explicit engine")
    table = 1.5 + 7 * (0.5 + 1.5)
    assert choice.seconds == pytest.approx(shown + table)
    timings(monkeypatch, SLOW_TO_WRITE, _Showing(pair=0.2, tokens_per_batch=2048, proof=40.0))
    choice = asked(base)
    assert choice.engine == "explicit" and choice.seconds == pytest.approx(written + table)


def test_the_best_number_of_items_is_the_formula_s() -> None:
    """K(m) = (c_p/m + c_e)(1 + (m-1) rho) is least near sqrt(c_p (1-rho)/(c_e rho)) = 9.5; at most 12.5 % off."""
    exact = (np.sqrt(0.5 * 0.1) + np.sqrt(0.05 * 0.9)) ** 2
    m = SLOW_TO_WRITE.best_m(64)
    assert m == 8
    assert exact <= SLOW_TO_WRITE.effective(m) <= 1.125 * exact
    assert SLOW_TO_WRITE.best_m(3) == 2
    assert SLOW_TO_WRITE.effective(1) == SLOW_TO_WRITE.trial


def test_the_correlation_within_a_draw_is_found() -> None:
    """Planted correlation .25 in 4000 draws x 20 items within .05; independent items show none; constants give 0."""
    generator = np.random.default_rng(3)
    shared, own = generator.random((4000, 1)) < 0.5, generator.random((4000, 20)) < 0.5
    mixed = np.where(generator.random((4000, 20)) < 0.5, shared, own).astype(float)  # each pair shares with 1/4
    assert _within_draw_correlation(mixed) == pytest.approx(0.25, abs=0.05)
    assert abs(_within_draw_correlation(own.astype(float))) < 0.01
    assert _within_draw_correlation(np.ones((20, 20))) == 0.0
    assert _within_draw_correlation(np.ones((20, 1))) == 0.0


def test_a_real_pilot_times_both_and_leaves_the_weights_alone(base: Base) -> None:
    """Every cost is positive, the correlation not below what can be seen; bigger batches only within the allowance."""
    before = [p.detach().clone() for p in base.model.parameters()]
    law = base.weight_law(0.05)
    written = _time_writing(base, law)
    assert min(written.draw, written.alone, written.together) > 0 == written.whole and written.items == 20
    assert _time_writing(base, law, whole=True).whole > 0
    assert 0.005 <= written.correlation < 1
    assert _time_writing(base, law, allowance=0.0).correlation is None  # one draw, which shows none
    assert _time_showing(base, law).tokens_per_batch == 512
    shown = _time_showing(base, law, trials=10**6)
    assert shown.pair > 0 and shown.proof > 0
    assert all(torch.equal(a, b) for a, b in zip(before, base.model.parameters(), strict=True))


def test_a_pilot_with_many_decisions_in_the_guard_refuses(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share is judged on pilot draws, so that no certifying draw decides which function is certified."""
    monkeypatch.setattr("certify.noise.activation.pairs.GUARD_FLOOR", 1.0)
    choice = asked(base)
    assert choice.engine == "explicit"
    assert re.search(r"decisions \(.*%, limit 1%\) lie within the margin guard of 1\.0e\+00", choice.reasons[0])


def test_guarded_decisions_of_the_run_itself_count_against_it(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are the run stands: another engine after them would be a second attempt at one claim."""
    monkeypatch.setattr("certify.noise.activation.pairs.GUARD_FLOOR", 1.0)
    planned = [PlannedDraws(base.weight_law(0.05), 100, design="pairs")]
    found = measure_base(base, planned=planned, grid=(0.05,), engine=SHOWN)
    level, pairs = found.basin.levels[0], found.draws[0]
    assert level.engine.guarded == level.scores.count(None) > 0
    assert pairs.engine.guarded == sum(pairs.draws.failed) > 0
    assert pairs.seed.attempt == 0
    assert pairs.band(0.05).mean_lower() < pairs.draws.mean < pairs.mean_upper(0.05)


def test_a_choice_is_kept_with_the_draws(base: Base, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run that resumes on a busier machine keeps its engine; another plan is another choice; ranks share one."""
    fast = _Showing(pair=0.001, tokens_per_batch=2048, proof=0.0)
    timings(monkeypatch, SLOW_TO_WRITE, fast)
    first = asked(base, run=Run(ledgers=tmp_path))
    timings(monkeypatch, SLOW_TO_WRITE, _Showing(pair=9.0, tokens_per_batch=512, proof=9.0))
    assert asked(base, run=Run(ledgers=tmp_path)) == first
    assert asked(base, run=Run(ledgers=tmp_path, world=_Alone(1, 2))) == first
    assert asked(base, n=101, run=Run(ledgers=tmp_path)).engine == "explicit" != first.engine


class _Alone(World):
    def wait(self) -> None:
        """Do not wait for a partner that is not there."""


def test_a_named_engine_is_not_second_guessed(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pilot, and with the name in the reason."""
    monkeypatch.delattr(plan, "_time_writing")
    for engine in ("explicit", "activation"):
        choice = asked(base, engine=engine)
        assert (choice.engine, choice.asked, choice.reasons) == (engine, True, (f"engine: {engine}, as asked",))


def test_generated_answers_are_written(tmp_path: Path) -> None:
    """Activation space decides by likelihood only; the planner says so without timing anything."""
    base = Base.open(models.save_folder(tmp_path / "base", models.llama()), _generated(tmp_path))
    choice = asked(base)
    assert choice.engine == "explicit"
    assert "g is scored by GenerationScorer, not by likelihood" in choice.reasons[0]


def _generated(where: Path) -> Path:
    path = models.write_jsonl(where / "g.jsonl", [{"prompt": "1+1=", "target": "2"}])
    path.with_suffix(".toml").write_text("[generation]\nmax_new_tokens = 1\n")
    return path


def test_pairs_of_a_graded_benchmark_are_refused(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clopper-Pearson needs trials that are right or wrong."""
    graded = base.scorer.identity.model_copy(update={"graded": True})
    monkeypatch.setattr(base.scorer, "identity", graded)
    planned = [PlannedDraws(base.weight_law(0.05), 100, design="pairs")]
    with pytest.raises(InvalidPlan, match="own is graded: pairs need items that are right or wrong; take a table"):
        measure_base(base, planned=planned, grid=(0.05,))


def opt(where: Path) -> Path:
    """A model whose positions no rule explains."""
    config = OPTConfig(
        vocab_size=len(models.CHARACTERS) + 2, hidden_size=16, ffn_dim=32, word_embed_proj_dim=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return models.save_folder(where / "opt", OPTForCausalLM(config).eval())


def halved(where: Path) -> Path:
    """A base stored in 16 bits."""
    return models.save_folder(where / "half", models.llama().to(torch.bfloat16))


@pytest.mark.parametrize(
    ("make", "reason"),
    [(opt, r"OPTLearnedPositionalEmbedding\) is of a type without a rule"), (halved, "tensors are torch.bfloat16")],
)
def test_what_activation_space_cannot_show_is_written_instead_and_said(tmp_path: Path, make: Any, reason: str) -> None:
    """auto: the planner names the part and takes the explicit engine; asked for by name: an error, nothing drawn."""
    items = models.write_jsonl(tmp_path / "x.jsonl", [{"prompt": f"{i}+1=", "target": "2"} for i in range(10)])
    base = Base.open(make(tmp_path), items)
    planned, grid = [PlannedDraws(base.weight_law(0.01), 10, design="pairs")], (0.01,)
    choice = choose_engine(base, planned, grid)
    (why,) = choice.reasons
    assert choice.engine == "explicit" and why.startswith("engine: explicit; not exact in activation space: ")
    assert re.search(reason, why)
    found = measure_base(base, planned=planned, grid=grid, engine=choice)
    assert found.basin.levels[0].engine.name == found.draws[0].engine.name == "explicit"
    with pytest.raises(ActivationRefused, match=reason):
        measure_base(base, planned=planned, grid=grid, engine=SHOWN)
    with pytest.warns(CertifyWarning, match="use the explicit engine, which takes over"):
        late = measure_base(base, planned=planned, grid=grid, engine=EngineChoice(engine="activation"))
    assert late == found  # no draw was spent: the same seeds, the same scores
