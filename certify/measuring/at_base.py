"""Measure a base once: its basin, and the draws that serve every checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from certify.documents import Measurement
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import Requirement
from certify.evidence.distance import BaseDraws, DrawDesign
from certify.evidence.feasibility import require_feasible
from certify.evidence.paired_items import ItemScores, bounded_by, kept
from certify.evidence.position import Basin, BasinLevel, GridOrigin
from certify.evidence.smoothed import DrawScores
from certify.evidence.trials import Trials
from certify.measuring.base import Base
from certify.measuring.costs import Load, foretell, noise_writing
from certify.measuring.item_trials import EXPLICIT, EngineChoice, carry_out_trials
from certify.measuring.progress import Progress, with_progress
from certify.measuring.run import Run
from certify.measuring.scores import all_items, mean
from certify.noise import Subspace, noised
from certify.noise.law import check_sigma
from certify.records import NoiseLaw, SubspaceNoise


@dataclass(frozen=True)
class PlannedDraws:
    """One law of noise, how many draws of it to take at the base, and the design; all fixed before the first.

    ``design`` "table" scores all items under every draw, "pairs" one random item under each.
    """

    law: NoiseLaw
    n: int = 1000
    subspace: Subspace | None = None
    design: DrawDesign = "table"

    def trials(self, base: Base, user_seed: int = 0) -> Trials:
        """Return the draws at this base; pairs ask a uniformly random item under each, from the same seed."""
        return base.trials("pairs" if self.design == "pairs" else "distance", self.law, self.n, user_seed)


def subspace_law(subspace: Subspace, sigma: float) -> SubspaceNoise:
    """Return the law with noise of ``sigma`` on each coordinate of ``subspace``."""
    return SubspaceNoise(sigma=(check_sigma(sigma),) * subspace.k, basis=subspace.digest)


def measure_base(
    base: Base,
    *,
    planned: Sequence[PlannedDraws],
    grid: Sequence[float],
    grid_origin: GridOrigin = "given",
    alpha: float = 0.05,
    requirement: Requirement | None = None,
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
    progress: Progress | None = None,
) -> Measurement:
    """Count what position and distance evidence need: the basin on ``grid``, and the ``planned`` draws.

    ``engine`` draws what serves a mean claim alone: the basin and planned pairs (:func:`choose_engine` finds the
    faster). Tables, laws in a subspace and what it refuses are drawn by the explicit engine.

    ``grid_origin`` is recorded: "pilot" where pilot draws on these items placed the grid.

    ``alpha`` is the failure probability that later distance claims are declared at. Several laws of one kind are
    a ladder: each of K is judged at alpha/K, so that the best may be picked afterwards. With ``requirement``
    given, an n that could certify it under no outcome is refused before the first draw.

    ``progress``: "auto" for a line with rate and time left on a terminal or in a notebook, or a function of (what is
    drawn, done, total).

    Raises:
        InvalidPlan: infeasible n, or pairs of a graded benchmark.
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
        ActivationRefused: the activation engine was asked for, and is not exact here.
    """
    check_plan(base, planned, grid, alpha, requirement)
    ladders = Counter(plan.law.kind for plan in planned)
    run, items = with_progress(run, progress) or Run(), base.scorer.identity.items
    load = Load.at_base(items, len(grid), [(plan.n, plan.design) for plan in planned])
    law = planned[0].law if planned else base.weight_law(grid[0])
    writing = noise_writing(base, law, planned[0].subspace if planned else None)
    foretell(base, run, load, writing=writing, seconds=engine.seconds, engine=engine.engine)
    basin = measure_basin(base, grid, origin=grid_origin, user_seed=user_seed, run=run, engine=engine)
    draws = tuple(draws_at_base(base, plan, alpha, ladders[plan.law.kind], user_seed, run, engine) for plan in planned)
    return Measurement.seal(
        base=base.checkpoint.identity,
        benchmark=base.scorer.identity,
        basin=basin,
        draws=draws,
        environment=base.environment,
    )


def check_plan(
    base: Base,
    planned: Sequence[PlannedDraws],
    grid: Sequence[float],
    alpha: float,
    requirement: Requirement | None = None,
) -> None:
    """Refuse what can be refused before anything is drawn.

    Raises:
        InvalidPlan: infeasible n, pairs of a graded benchmark, or a subspace under vLLM.
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
    """
    check_grid(grid)
    ladders = Counter(plan.law.kind for plan in planned)
    for plan in planned:
        if plan.subspace is not None and base.layout is not None:
            raise InvalidPlan("--subspace: draws in a subspace are not streamed into vLLM: leave --engine vllm out")
        if plan.design == "pairs":
            _check_pairs(base)
        if requirement is not None:
            share = alpha / ladders[plan.law.kind]
            require_feasible("distance", plan.n, requirement, share, base.benchmark.chance, plan.design)


def measure_basin(
    base: Base,
    grid: Sequence[float],
    *,
    origin: GridOrigin = "given",
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
) -> Basin:
    """Score the base without noise, and each item under a draw of its own at every sigma of an ascending grid.

    ``origin`` says who chose the grid; what pilot draws on the same items placed is recorded, and said in claims.

    Raises:
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
        ActivationRefused: the activation engine was asked for, and is not exact here.
    """
    check_grid(grid)
    trials = planned_trials(base, grid, (), user_seed)
    run = run or Run()
    unnoised, found = base.kept_scores(run), carry_out_trials(base, trials, engine, run)
    levels = tuple(
        BasinLevel(sigma=sigma, law=t.law, engine=f.engine, seed=t.seed, scores=f.scores)
        for sigma, t, f in zip(grid, trials, found, strict=True)
    )
    return Basin(**bounded_by(base.scorer.identity), grid=origin, base=unnoised, levels=levels)


def check_grid(grid: Sequence[float]) -> None:
    """Refuse a grid of sigmas that is empty, does not ascend, or holds one that is not positive and finite."""
    for sigma in grid:
        check_sigma(sigma)
    if not grid or list(grid) != sorted(set(grid)):
        raise InvalidInput(f"the sigma grid must hold at least one value and ascend, got {list(grid)}")


def planned_trials(base: Base, grid: Sequence[float], planned: Sequence[PlannedDraws], user_seed: int) -> list[Trials]:
    """Return every run of a measurement: item j under draw j at each sigma of the grid, then the planned draws."""
    m = base.scorer.identity.items
    levels = [base.trials("basin", base.weight_law(sigma), m, user_seed) for sigma in grid]
    return levels + [plan.trials(base, user_seed) for plan in planned]


def _check_pairs(base: Base) -> None:
    identity = base.scorer.identity
    if identity.graded:
        raise InvalidPlan(f"{identity.name} is graded: pairs need items that are right or wrong; take a table")


def draws_at_base(
    base: Base,
    plan: PlannedDraws,
    alpha: float,
    ladder: int,
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
) -> BaseDraws:
    """Score the base under each planned draw; ``alpha`` and ``ladder`` are declared with them."""
    run, trials = run or Run(), plan.trials(base, user_seed)
    taken = {"law": plan.law, "seed": trials.seed, "alpha": alpha, "ladder": ladder, "base_score": mean(base.scores)}
    if plan.design == "pairs":
        _check_pairs(base)
        (tried,) = carry_out_trials(base, [trials], EXPLICIT if plan.subspace else engine, run, plan.subspace)
        draws = DrawScores(scores=tuple(kept(tried.scores)), failed=_failed(tried.scores))
        return BaseDraws(engine=tried.engine, design="pairs", draws=draws, **taken)
    with noised(base.model, plan.law, trials.seed, subspace=plan.subspace) as noise:
        draws = all_items(noise, base.scorer, range(plan.n), run, trials.label, base.run_identity(trials.seed))
    return BaseDraws(engine=base.engine, draws=draws, **taken)


def _failed(scores: ItemScores) -> tuple[float, ...]:
    """Return 1 for each trial without an answer; nothing if there were none."""
    return tuple(float(s is None) for s in scores) if None in scores else ()
