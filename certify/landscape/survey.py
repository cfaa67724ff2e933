"""Look around a base: the slices and planes that were asked for, in one record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from certify.checkpoints import Checkpoint, difference, load_model, open_checkpoint
from certify.errors import CheckpointError, InvalidInput, InvalidPlan
from certify.landscape.ascent import NO_SURROGATE, RESTARTS, STEPS, worst_case
from certify.landscape.directions import Lines, along, filter_case, most_case, sft_case
from certify.landscape.grid import Grid, even, through
from certify.landscape.planes import SIDE, checkpoint_plane, random_plane
from certify.landscape.record import FilterNormalised, Landscape, Plane, SftCase, Slice
from certify.landscape.slices import REFINE, TAU, slice_along
from certify.landscape.terrain import Terrain
from certify.measuring import Base, Run, pilot_sigma
from certify.measuring.costs import Load, foretell, noise_writing
from certify.measuring.environment import environment
from certify.records import BenchmarkIdentity
from certify.statistics import ranges

if TYPE_CHECKING:
    from torch import nn

P = TypeVar("P")
Asked = Literal["most", "sft", "worst", "filter", "plane"]
ASKED: tuple[Asked, ...] = get_args(Asked)
SPAN, RADIUS = 5.0, 0.2  # span in units of the pilot's sigma; radius of the attack in units of the span
FITTING = 3.0  # how many times as far as a near checkpoint a slice to it goes, where nobody gave a span


@dataclass(frozen=True)
class Settings:
    """How to look.

    Slices go from -``span`` to ``span`` in the unit of sigma, over ``points`` points fixed beforehand and up to
    ``refine`` more where scores fall; without a span a pilot takes five times the sigma that it finds harmless, and a
    slice to a checkpoint nearer than that goes three times as far as the checkpoint.
    ``directions`` random directions show their spread. The worst case is attacked at the radii ``attack_at`` (a fifth
    of the span if empty), ``restarts`` times ``steps`` steps. A plane has ``side`` points along each axis. ``tau`` is
    the allowed drop, which decides where an edge lies and whether an attack succeeded.
    """

    directions: int = 5
    span: float | None = None
    points: int = 21
    refine: int = REFINE
    attack_at: tuple[float, ...] = ()
    steps: int = STEPS
    restarts: int = RESTARTS
    side: int = SIDE
    tau: float = TAU

    def __post_init__(self) -> None:
        """Refuse what cannot be looked at, before anything is."""
        even(1.0 if self.span is None else self.span, self.points)  # for its checks
        for name, smallest in (("directions", 1), ("refine", 0), ("steps", 1), ("restarts", 1), ("side", 2)):
            ranges.count(name, getattr(self, name), smallest)
        ranges.unit("tau", self.tau)
        for radius in self.attack_at:
            reach = math.inf if self.span is None else self.span
            ranges.require(0.0 < radius <= reach, "attack_at", radius, "must lie in the slice, above 0 up to the span")


def explore(
    base: Base,
    *,
    checkpoints: Sequence[str | Path] = (),
    cases: Sequence[str] | None = None,
    settings: Settings | None = None,
    user_seed: int = 0,
    run: Run | None = None,
    beside: BenchmarkIdentity | None = None,
) -> Landscape:
    """Look around ``base`` and return what was found. It explores and proves nothing.

    ``cases``: any of most, sft, worst, filter, plane; most, sft (with checkpoints) and worst (where the benchmark has a
    surrogate) if absent. A plane goes through two checkpoints, or along two random directions where there are none.
    ``beside``: the pool of all skills that are looked at along the same directions.

    Raises:
        InvalidInput: an unknown case, a case without what it needs, or a bad grid.
        InvalidPlan: the worst case on a benchmark without a surrogate, or a pilot that finds no basin.
        CheckpointError: a checkpoint of another architecture or tokenizer, or one that equals the base.
    """
    run, settings, terrain = run or Run(), settings or Settings(), Terrain.of(base, user_seed, beside)
    fitting = math.inf
    chosen = _cases(cases, len(checkpoints), terrain.surrogate is not None)
    targets = [_Target.open(base, path) for path in checkpoints]
    if settings.span is None:
        pilot = pilot_sigma(base, settings.tau, user_seed, run)
        settings = replace(settings, span=float(f"{SPAN * pilot:.2g}"))  # checks attack_at against it
        fitting = FITTING
    survey = Survey(terrain, settings, run, fitting)
    load = survey.load(chosen, len(targets))
    foretell(base, run, load, writing=noise_writing(base, base.weight_law(1.0)))
    slices: list[Slice] = []
    planes: list[Plane] = []
    for case in chosen:
        if case == "most":
            slices.append(survey.most())
        elif case == "sft":
            slices += [survey.sft(target) for target in targets]
        elif case == "worst":
            slices += [survey.worst(radius) for radius in survey.radii]
        elif case == "filter":
            slices.append(survey.filtered())
        else:
            planes.append(survey.plane(targets))
    return Landscape.seal(
        base=base.checkpoint.identity,
        benchmark=base.scorer.identity,
        engine=base.engine,
        surrogate=terrain.surrogate.name if terrain.surrogate else None,
        tau=settings.tau,
        slices=tuple(slices),
        planes=tuple(planes),
        environment=environment(),
    )


@dataclass(frozen=True)
class _Target:
    """A checkpoint that a slice or a plane goes to."""

    checkpoint: Checkpoint
    device: str
    record: SftCase

    @classmethod
    def open(cls, base: Base, path: str | Path) -> _Target:
        """Compare the files with the base's.

        Raises:
            CheckpointError: another architecture or tokenizer, or the base's own weights.
        """
        checkpoint = open_checkpoint(path, base.checkpoint)
        displacement = difference(base.checkpoint, checkpoint, identify=True)
        if checkpoint.has_tokenizer and base.encode(checkpoint).identity.tokens != base.scorer.identity.tokens:
            raise CheckpointError(f"{path}: its tokenizer differs from the base's, so no segment of weights joins them")
        if displacement.delta_norm == 0.0:
            raise CheckpointError(f"{path}: has the base's own weights, so there is no direction from one to the other")
        record = SftCase(
            checkpoint=checkpoint.identity,
            delta_norm=displacement.delta_norm,
            dimension=displacement.dimension,
            differences=displacement.differences,
        )
        return cls(checkpoint, base.device, record)

    def load(self) -> nn.Module:
        """Return the checkpoint's model, loaded anew: slices one after another never hold two of them."""
        return load_model(self.checkpoint, self.device)


@dataclass(frozen=True)
class Survey:
    """One terrain and one way of looking; ``settings.span`` is given.

    ``fitting``: slices to a checkpoint go at most so many times as far as it lies.
    """

    terrain: Terrain
    settings: Settings
    run: Run = field(default_factory=Run)
    fitting: float = math.inf

    @property
    def span(self) -> float:
        """How far slices go."""
        return ranges.positive("span", self.settings.span or 0.0)

    @property
    def radii(self) -> tuple[float, ...]:
        """Where the worst case is attacked."""
        return self.settings.attack_at or (RADIUS * self.span,)

    def load(self, cases: Sequence[Asked], targets: int) -> Load:
        """Return the work of these cases: points to go to, where all items are scored, and twice where a loss is, too.

        A step of an ascent is counted as three passes, those of a loss and its gradient.
        """
        s, items = self.settings, self.terrain.scorer.identity.items
        line, passes = s.points - 1 + s.refine, 1 if self.terrain.surrogate is None else 2
        points = {
            "most": s.directions * line,
            "sft": targets * line,
            "worst": len(self.radii) * line,
            "filter": s.directions * line,
            "plane": s.side**2,
        }
        ascents = len(self.radii) * s.restarts * s.steps if "worst" in cases else 0
        looks = sum(points[case] for case in cases)
        return Load(draws=looks, together=(looks * passes + 3 * ascents) * items, models=int(targets > 0), most=True)

    def most(self) -> Slice:
        """Look along random directions."""
        return self._slice(most_case(self.terrain, self.settings.directions), self._even())

    def sft(self, target: _Target) -> Slice:
        """Look along the direction to a checkpoint, at the checkpoint itself and beyond it."""
        mark = target.record.alpha_star
        grid = through(mark, min(self.span, self.fitting * mark), self.settings.points)
        return self._slice(sft_case(self.terrain, target.load(), target.record), grid)

    def worst(self, radius: float) -> Slice:
        """Attack at ``radius``, and look along the direction that was found, outward from the base."""
        grid = even(self.span, self.settings.points, outward=True)
        place = grid.nearest(radius)
        steps, restarts = self.settings.steps, self.settings.restarts
        record, vector = worst_case(self.terrain, grid.at(place), steps=steps, restarts=restarts, run=self.run)
        first = tuple(sorted({*grid.first, place}))
        return self._slice(along(self.terrain, [(record, vector)], "worst case"), replace(grid, first=first))

    def filtered(self) -> Slice:
        """Look along filter-normalised directions, as far from the base as the other slices go."""
        lines = filter_case(self.terrain, self.settings.directions)
        norm = max(d.norm for d in lines.directions if isinstance(d, FilterNormalised))
        return self._slice(lines, self._even(math.sqrt(self.terrain.dimension) / norm))

    def plane(self, targets: Sequence[_Target] = ()) -> Plane:
        """Look at the plane through two checkpoints, or at that of two random directions where there are none."""
        side, run = self.settings.side, self.run
        if not targets:
            return random_plane(self.terrain, self.span, side=side, run=run)
        return checkpoint_plane(self.terrain, [(t.load(), t.record) for t in targets], side=side, run=run)

    def _even(self, factor: float = 1.0) -> Grid:
        return even(self.span * factor, self.settings.points)

    def _slice(self, lines: Lines[P], grid: Grid) -> Slice:
        return slice_along(self.terrain, lines, grid, tau=self.settings.tau, refine=self.settings.refine, run=self.run)


def _cases(asked: Sequence[str] | None, checkpoints: int, surrogate: bool) -> list[Asked]:
    """Return the cases to look at, in the order of ``ASKED``; refuse those that lack what they need."""
    if asked is None:
        possible: dict[Asked, bool] = {"most": True, "sft": checkpoints > 0, "worst": surrogate}
        return [case for case, yes in possible.items() if yes]
    unknown = [case for case in asked if case not in ASKED]
    if unknown or not asked:
        raise InvalidInput(f"cases {', '.join(unknown) or 'none'}: must be some of {', '.join(ASKED)}")
    if "sft" in asked and not checkpoints:
        raise InvalidInput("case sft: needs at least one checkpoint to go to")
    if "plane" in asked and checkpoints not in (0, 2):
        raise InvalidInput(f"case plane: goes through two checkpoints, or along random directions; got {checkpoints}")
    if "worst" in asked and not surrogate:
        raise InvalidPlan(f"case worst: {NO_SURROGATE}")
    return [case for case in ASKED if case in asked]
