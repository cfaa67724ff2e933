"""Measure how wide the basin of a base is: the draws of ``certify basin``.

Levels and draws are those of :func:`certify.measuring.measure_base`, with the same seeds and ledgers, so a measurement
and a basin record of one base hold the same scores at the same sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from certify.checkpoints import Checkpoint, difference, open_checkpoint
from certify.documents import BasinRecord
from certify.evidence import Requirement
from certify.evidence.feasibility import require_feasible
from certify.evidence.position import GridOrigin
from certify.evidence.width import Place, WidthEvidence
from certify.measuring.at_base import PlannedDraws, check_grid, draws_at_base, measure_basin
from certify.measuring.base import Base
from certify.measuring.costs import Load, foretell, noise_writing
from certify.measuring.item_trials import EXPLICIT, EngineChoice
from certify.measuring.pilot import allowed_drop, pilot_sigma, sigma_grid
from certify.measuring.run import Run

STRICT_DRAWS = 100
"""Whole-benchmark draws at each sigma: 100 clean ones show a strict share above 0.97 (one-sided, 95 %)."""


def pilot_grid(
    base: Base, requirement: Requirement, user_seed: int = 0, run: Run | None = None
) -> tuple[float, ...]:
    """Return the ascending sigmas that pilot draws place around the edge of the basin.

    They score the base's own items, which is free for exactly these; measure with ``grid_origin="pilot"`` to say so.

    Raises:
        InvalidPlan: the requirement allows no drop, or even the smallest sigma tried breaks the benchmark.
    """
    base.kept_scores(run or Run())
    return sigma_grid(pilot_sigma(base, allowed_drop(base, requirement), user_seed, run))


def measure_width(
    base: Base,
    grid: Sequence[float],
    *,
    requirement: Requirement | None = None,
    alpha: float = 0.05,
    draws: int = STRICT_DRAWS,
    checkpoints: Sequence[str | Path | Checkpoint] = (),
    user_seed: int = 0,
    run: Run | None = None,
    engine: EngineChoice = EXPLICIT,
    grid_origin: GridOrigin = "given",
) -> BasinRecord:
    """Measure the basin on ``grid``, fixed beforehand, and say how wide it is.

    ``grid_origin`` is recorded: "pilot" for a grid of :func:`pilot_grid`, whose draws scored these same items.

    ``draws`` whole-benchmark draws at each sigma (0 for none) give the share of directions that lose nothing; they are
    written into the weights, whichever ``engine`` draws the basin. Of each of ``checkpoints`` only the weights are
    read, for its place alpha* beside the width.

    Guarantee: that of :meth:`certify.evidence.width.WidthEvidence.judge`.

    Raises:
        InvalidInput: a grid that does not ascend, or a sigma that is not positive.
        InvalidPlan: so few items that no sigma could be certified whatever they showed.
        CheckpointError: a checkpoint cannot be read or compared.
        ActivationRefused: the activation engine was asked for, and is not exact here.
    """
    requirement, run = requirement or Requirement(), run or Run()
    check_grid(grid)
    identity = base.scorer.identity
    require_feasible("basin", identity.items, requirement, alpha, base.benchmark.chance, groups=identity.groups)
    places = tuple(_place(base, checkpoint) for checkpoint in checkpoints)
    load = Load.at_base(identity.items, len(grid), [(draws, "table")] * len(grid))
    writing = noise_writing(base, base.weight_law(grid[len(grid) // 2]))
    foretell(base, run, load, writing=writing, seconds=engine.seconds, engine=engine.engine)
    basin = measure_basin(base, grid, origin=grid_origin, user_seed=user_seed, run=run, engine=engine)
    planned = [PlannedDraws(level.law, draws) for level in basin.levels] if draws else []
    taken = tuple(draws_at_base(base, plan, alpha, len(planned), user_seed, run) for plan in planned)
    evidence = WidthEvidence(basin=basin, draws=taken, places=places)
    return BasinRecord.make(
        base=base.checkpoint.identity,
        benchmark=base.scorer.identity,
        requirement=requirement,
        alpha=alpha,
        evidence=evidence,
        environment=base.environment,
    )


def _place(base: Base, checkpoint: str | Path | Checkpoint) -> Place:
    opened = checkpoint if isinstance(checkpoint, Checkpoint) else open_checkpoint(checkpoint, base.checkpoint)
    displacement = difference(base.checkpoint, opened, identify=True)
    return Place(checkpoint=opened.identity, displacement=displacement)
