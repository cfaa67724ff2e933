"""Both engines on the real path: the same means, the same bytes after a kill, and draws that can be drawn again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models
import pytest

from certify.documents import Measurement, read_document
from certify.errors import InvalidPlan
from certify.evidence.trials import Trials
from certify.measuring import Base, EngineChoice, PlannedDraws, measure_base
from certify.measuring.at_base import draws_at_base, measure_basin
from certify.measuring.item_trials import _explicit_scores, open_in_activation_space
from certify.measuring.replay import audit, replay
from certify.measuring.run import Run
from certify.measuring.world import World
from certify.records import ActivationIdentity
from certify.verify import differences

SHOWN = EngineChoice(engine="activation", asked=True, tokens_per_batch=96)
SIGMA = 0.08


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A small Llama with 60 items that it gets right, and a noise that costs it some of them."""
    where = tmp_path_factory.mktemp("engines")
    model = models.llama(seed=1)
    models.save_folder(where / "base", model)
    return Base.open(where / "base", models.write_jsonl(where / "own.jsonl", models.own_answers(model, 60)))


def right(scores: Sequence[float | None]) -> int:
    return int(sum(s or 0.0 for s in scores))


def one_pass_counts(base: Base, sigma: float, runs: int) -> tuple[int, int]:
    """Right answers of ``runs`` one-pass levels in activation space, and how many there could be."""
    found = [measure_basin(base, (sigma,), user_seed=seed, engine=SHOWN).levels[0].scores for seed in range(runs)]
    return sum(right(scores) for scores in found), runs * len(base.scores)


def one_pass(base: Base, sigma: float, user_seed: int = 0) -> Trials:
    return base.trials("basin", base.weight_law(sigma), len(base.scores), user_seed)


def z_of(k: int, n: int, k2: int, n2: int) -> float:
    """Two-sample z of proportions; items occur equally often in both, so the pooled variance is an upper bound."""
    p = (k + k2) / (n + n2)
    return (k / n - k2 / n2) / math.sqrt(p * (1 - p) * (1 / n + 1 / n2))


@pytest.mark.parametrize("runs", [12, pytest.param(200, marks=pytest.mark.statistical)])
def test_levels_and_pairs_of_both_engines_have_one_mean(base: Base, runs: int) -> None:
    """Each |z| <= 4.9, exceeded with probability 1e-6 if the engines draw from one law; another sigma is noticed.

    720 trials an arm by default; 12,000 in the long run, where a difference of .03 would show.
    """
    written = [_explicit_scores(base, one_pass(base, SIGMA, 100 + s), Run()).scores for s in range(runs)]
    there = sum(right(scores) for scores in written)
    here, n = one_pass_counts(base, SIGMA, runs)
    assert 0.3 < there / n < 0.97
    assert abs(z_of(here, n, there, n)) <= 4.9, (here, there)
    pairs = draws_at_base(base, PlannedDraws(base.weight_law(SIGMA), n, design="pairs"), 0.05, 1, engine=SHOWN)
    assert isinstance(pairs.engine, ActivationIdentity)
    assert abs(z_of(right(pairs.draws.scores), n, there, n)) <= 4.9
    broken, _ = one_pass_counts(base, 1.5 * SIGMA, runs)
    assert abs(z_of(broken, n, there, n)) > 4.9, (broken, there)


def test_items_of_pairs_are_uniform_and_fixed_by_the_seed(base: Base) -> None:
    """Each of the 60 items equally often within 5.7 standard deviations (budget 1e-8 each); by seed."""

    def drawn(seed: int) -> tuple[int, ...]:
        return base.trials("pairs", base.weight_law(SIGMA), 60_000, seed).items or ()

    found = drawn(7)
    assert found == drawn(7) != drawn(8)
    spread = math.sqrt(60_000 * (1 / 60) * (59 / 60))
    assert all(abs(found.count(j) - 1000) <= 5.7 * spread for j in range(60))


def test_pairs_have_seeds_of_their_own(base: Base) -> None:
    """Trying a table and pairs draws different noise: one's outcome says nothing about the other's."""
    law = base.weight_law(SIGMA)
    pairs = PlannedDraws(law, 60, design="pairs").trials(base)
    table = draws_at_base(base, PlannedDraws(law, 60), 0.05, 1)
    assert len({pairs.seed.value, table.seed.value, one_pass(base, SIGMA).seed.value}) == 3


def measured(base: Base, run: Run | None = None, **rest: Any) -> Measurement:
    planned = [PlannedDraws(base.weight_law(SIGMA), 150, design="pairs")]
    return measure_base(base, planned=planned, grid=(SIGMA / 4, SIGMA), engine=SHOWN, run=run, **rest)


def test_a_measurement_in_activation_space_holds_what_it_rests_on(base: Base, tmp_path: Path) -> None:
    """Engine, guard, coupling and design are in the file; it verifies; levels and pairs are drawn again alike."""
    found = measured(base)
    engines = [*(level.engine for level in found.basin.levels), found.draws[0].engine]
    for engine in engines:
        assert isinstance(engine, ActivationIdentity)
        assert engine.guard == max(1e-4, 100 * engine.coupling) and engine.tokens_per_batch == 96
    assert found.draws[0].design == "pairs"
    assert set(found.draws[0].draws.scores) <= {0.0, 1.0}
    assert differences(read_document(found.to_json(tmp_path / "m.json"))) == []
    assert replay(found, base, 40) == []
    audited = audit(found, base, 3)
    assert len(audited) == 3 and all(a.passed for a in audited.values())


def test_a_replay_names_what_was_changed(base: Base) -> None:
    """One flipped pair and one flipped level score are found; a decision at the guard's edge is no contradiction."""
    found = measured(base)
    level, pairs = found.basin.levels[1], found.draws[0]
    scores = (1.0 - (level.scores[0] or 0.0), *level.scores[1:])
    flipped = (1.0 - pairs.draws.scores[0], *pairs.draws.scores[1:])
    forged = found.model_copy(
        update={
            "basin": found.basin.model_copy(
                update={"levels": (found.basin.levels[0], level.model_copy(update={"scores": scores}))}
            ),
            "draws": (pairs.model_copy(update={"draws": pairs.draws.model_copy(update={"scores": flipped})}),),
        }
    )
    lines = replay(forged, base, 10_000)
    assert [line.split(":")[1] for line in lines] == [" basin.levels.1, draw 0", " draws.0, draw 0"]

    pairs_ = open_in_activation_space(base, one_pass(base, SIGMA), 96)
    margins = pairs_.score(pairs_.one_pass()).margins
    edge = min(range(60), key=lambda j: abs(margins[j]))
    open_level = level.model_copy(
        update={
            "engine": level.engine.model_copy(update={"guard": abs(margins[edge]) / 1.5, "guarded": 1}),
            "scores": tuple(None if j == edge else s for j, s in enumerate(level.scores)),
        }
    )
    basin = found.basin.model_copy(update={"levels": (open_level,)})
    assert replay(found.model_copy(update={"basin": basin, "draws": ()}), base, 10_000) == []


def test_no_batch_plan_depends_on_what_was_drawn(base: Base) -> None:
    """The batches of a run follow from lengths and settings: other scores, seeds of draws or machines change none."""
    trials = one_pass(base, SIGMA)
    opened = [open_in_activation_space(base, one_pass(base, s, u), 96) for s, u in ((SIGMA, 0), (SIGMA / 8, 3))]
    plans = [pairs.plan([(j, (j,)) for j in trials.items]) for pairs in opened]
    assert plans[0] == plans[1] and len(plans[0]) > 3


class Killed(BaseException):
    """What stops a process between two batches."""


def killed_after(batches: int) -> Any:
    def track(indices: Sequence[int], label: str) -> Any:
        for done, i in enumerate(indices):
            if done == batches:
                raise Killed
            yield i

    return track


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_killed_run_resumes_to_the_same_file(base: Base, tmp_path: Path, cut: int) -> None:
    """Stopped after three batches, and in the midst of writing one (``cut`` lines and a half are lost)."""
    whole = measured(base).to_text()
    with pytest.raises(Killed):
        measured(base, Run(killed_after(3), tmp_path))
    (file,) = tmp_path.glob("*/ledger.*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[: len(lines) - cut]) + (b"[9,1" if cut else b""))
    assert measured(base, Run(ledgers=tmp_path)).to_text() == whole
    again = sorted(tmp_path.glob("*/ledger.*.jsonl"))
    assert measured(base, Run(ledgers=tmp_path)).to_text() == whole
    assert sorted(tmp_path.glob("*/ledger.*.jsonl")) == again, "a third run drew something"


class _Alone(World):
    def wait(self) -> None:
        """Do not wait for a partner that is not there."""


def test_two_processes_give_the_file_of_one(base: Base, tmp_path: Path) -> None:
    """Ranks take whole batches; the second to come finds the first's and completes each run."""
    ranks = [Run(ledgers=tmp_path, world=_Alone(rank, 2)) for rank in (0, 1)]
    with pytest.raises(InvalidPlan, match="draws are missing"):
        measured(base, ranks[0])
    for run in ranks * 2:  # without its partner, a rank stops at the next run: one level, the other, the pairs
        with contextlib.suppress(InvalidPlan):
            measured(base, run)
    found = measured(base, ranks[1])
    assert found.to_text() == measured(base).to_text()
    assert {file.name.split(".")[1] for file in tmp_path.glob("*/ledger.*.jsonl")} == {"0", "1"}
