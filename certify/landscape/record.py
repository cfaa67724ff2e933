"""What a landscape's file holds: points that were looked at, in which directions, and the numbers found there.

All sights are kept, and everything else (spread, the paper's T, edges, areas) is derived from them. A landscape
explores: no certificate and no gate rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from certify.documents import Document, read_as
from certify.errors import CertificateMismatch, InvalidInput
from certify.records import (
    BenchmarkIdentity,
    Digest,
    EngineIdentity,
    Environment,
    ModelIdentity,
    Positive,
    Record,
    Seed,
    Unit,
)
from certify.statistics import Interval, clopper_pearson_interval
from certify.statistics.laws import slice_position

Floats = NDArray[np.float64]
Count = Annotated[int, Field(gt=0)]
ROUNDING = 1e-9  # scores are sums of items divided by their number: a drop of exactly tau is no more than tau
LIMITS = (
    "A landscape explores and proves nothing about a checkpoint: no certificate and no gate rests on it.",
    "Random directions say nothing about the worst direction; an attack that failed proves nothing.",
    "Refined points were placed after looking at the scores around them.",
    "Width depends on how the weights are parametrised: compare no two models by it.",
    "The mean score over a slice, as VISAGE averages, depends on its span: it is context and no measure of a model.",
    "Scores speak of exactly these benchmark items.",
)


class MostCase(Record):
    """Draw ``draw`` of N(0, I) from ``seed`` in ``stream``, not normalised: a has the unit of sigma."""

    kind: Literal["most"] = "most"
    seed: Seed
    stream: str
    draw: Annotated[int, Field(ge=0)]


class SftCase(Record):
    """From the base to a checkpoint, scaled to norm sqrt(d): the checkpoint lies at ``alpha_star``."""

    kind: Literal["sft"] = "sft"
    checkpoint: ModelIdentity
    delta_norm: Positive
    dimension: Count
    differences: tuple[str, ...] = ()

    @property
    def alpha_star(self) -> float:
        """Where on the slice the checkpoint lies, in the unit of sigma."""
        return float(slice_position(self.delta_norm, self.dimension))


class Ascent(Record):
    """One restart of the attack: the surrogate loss where it began and the largest it found, both at the radius."""

    draw: Annotated[int, Field(ge=0)]
    start: float | None
    best: float | None


class WorstCase(Record):
    """The best direction found by projected gradient ascent on the surrogate at ``radius``, of norm sqrt(d)."""

    kind: Literal["worst"] = "worst"
    seed: Seed
    stream: str
    radius: Positive
    steps: Count
    ascents: Annotated[tuple[Ascent, ...], Field(min_length=1)]
    digest: Digest


class FilterNormalised(Record):
    """A Gaussian draw whose rows have the norms of the base's rows (Li et al. 2018); one-dimensional tensors stay."""

    kind: Literal["filter"] = "filter"
    seed: Seed
    stream: str
    draw: Annotated[int, Field(ge=0)]
    norm: Positive


Direction = Annotated[MostCase | SftCase | WorstCase | FilterNormalised, Field(discriminator="kind")]
Case = Literal["most", "sft", "worst", "filter"]


class Sight(Record):
    """What was found at one point: the benchmark score, and the surrogate loss where it is a finite number."""

    score: Unit
    nll: float | None = None


class Curve(Record):
    """Sights along one direction, in the order of the slice's ``a``."""

    direction: Direction
    sights: Annotated[tuple[Sight, ...], Field(min_length=1)]

    @property
    def scores(self) -> Floats:
        """Scores, shape (points,)."""
        return np.array([sight.score for sight in self.sights])

    @property
    def nll(self) -> Floats:
        """Surrogate losses, shape (points,); NaN where there is none."""
        return np.array([np.nan if sight.nll is None else sight.nll for sight in self.sights])


class Edge(NamedTuple):
    """Going outward from the base: the last a before the score has fallen by more than tau, and the first after.

    ``outside`` is None if the score never fell within the slice.
    """

    inside: float
    outside: float | None


class Slice(Record):
    """Curves a -> score at base + a v along one or several directions v of one case, on one grid of a.

    ``planned`` is the part of the grid that was fixed beforehand; the other points were placed where scores fell.
    """

    a: Annotated[tuple[float, ...], Field(min_length=2)]
    planned: tuple[float, ...]
    curves: Annotated[tuple[Curve, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _well_formed(self) -> Slice:
        if list(self.a) != sorted(set(self.a)) or 0.0 not in self.a:
            raise ValueError("a must ascend without repeats and hold 0, the base")
        if not set(self.planned) <= set(self.a):
            raise ValueError("planned points must be among a")
        if any(len(curve.sights) != len(self.a) for curve in self.curves):
            raise ValueError(f"each curve must have {len(self.a)} sights")
        if len({curve.direction.kind for curve in self.curves}) > 1:
            raise ValueError("the curves of one slice must be of one case")
        return self

    @property
    def case(self) -> Case:
        """Which kind of direction."""
        return self.curves[0].direction.kind

    @property
    def base(self) -> Sight:
        """The base itself, at a = 0."""
        return self.curves[0].sights[self.a.index(0.0)]

    @cached_property
    def scores(self) -> Floats:
        """Scores, shape (directions, points)."""
        return np.array([curve.scores for curve in self.curves])

    @cached_property
    def nll(self) -> Floats:
        """Surrogate losses, shape (directions, points); NaN where there is none."""
        return np.array([curve.nll for curve in self.curves])

    def at(self, a: float) -> Floats:
        """Return the scores at one point of the grid, shape (directions,).

        Raises:
            InvalidInput: ``a`` is not on the grid.
        """
        if a not in self.a:
            raise InvalidInput(f"a = {a!r} is not on the slice's grid of {len(self.a)} points")
        found: Floats = self.scores[:, self.a.index(a)]
        return found

    def drop(self, a: float) -> tuple[float, float]:
        """Return the drop at ``a``, one-sided and two-sided: J(base) - mean J, and the mean of abs(J(base) - J).

        In the first a gain in one direction cancels a loss in another (as in the definition of the sigma-basin);
        in the second nothing cancels.
        """
        fall = self.base.score - self.at(a)
        return float(fall.mean()), float(np.abs(fall).mean())

    def strict_share(self, a: float, alpha: float = 0.05) -> tuple[int, Interval]:
        """Return in how many directions nothing is lost at ``a``, and the Clopper-Pearson interval of the share.

        The interval (two-sided, confidence 1 - alpha over the random directions, before finite precision) holds for
        one ``a`` named beforehand.

        Raises:
            InvalidInput: the directions are not random draws, or ``a`` was placed after looking.
        """
        if self.case != "most" or a not in self.planned:
            raise InvalidInput(f"a share of random directions needs the most-case slice and a planned a, got {a!r}")
        kept = int((self.at(a) >= self.base.score).sum())
        return kept, clopper_pearson_interval(kept, len(self.curves), alpha)

    def edges(self, tau: float) -> list[tuple[Edge, Edge]]:
        """Return for each direction the edge on the negative and on the positive side at an allowed drop ``tau``."""
        return [(self._edge(curve, tau, -1), self._edge(curve, tau, 1)) for curve in self.scores]

    def _edge(self, scores: Floats, tau: float, side: Literal[-1, 1]) -> Edge:
        inside = 0.0
        outward = [(a, s) for a, s in zip(self.a, scores, strict=True) if a * side > 0][::side]
        for a, score in outward:
            if self.base.score - score > tau + ROUNDING:
                return Edge(inside, a)
            inside = a
        return Edge(inside, None)

    def areas(self) -> Floats:
        """Return the mean score over the slice for each direction (trapezoid rule), shape (directions,).

        The kind of average that VISAGE takes of a safety landscape. It depends on the span and on the
        parametrisation, so it is context for a figure and compares nothing across models.
        """
        return np.asarray(np.trapezoid(self.scores, self.a, axis=1) / (self.a[-1] - self.a[0]))


class Mark(Record):
    """A checkpoint's place in a plane."""

    name: str
    x: float
    y: float


class Plane(Record):
    """Sights at base + x v1 + y v2 on a grid, row by row (``y`` outside, ``x`` inside).

    ``random``: v1 and v2 are most-case directions as drawn. ``checkpoints``: v1 points to the first checkpoint, v2 is
    the second's direction less its part along v1, both of norm sqrt(d).
    """

    kind: Literal["random", "checkpoints"]
    directions: tuple[Direction, Direction]
    cosine: float
    x: Annotated[tuple[float, ...], Field(min_length=2)]
    y: Annotated[tuple[float, ...], Field(min_length=2)]
    sights: tuple[Sight, ...]
    marks: tuple[Mark, ...] = ()

    @model_validator(mode="after")
    def _well_formed(self) -> Plane:
        if len(self.sights) != len(self.x) * len(self.y):
            raise ValueError(f"a plane of {len(self.x)} x {len(self.y)} points needs as many sights")
        return self

    @property
    def scores(self) -> Floats:
        """Scores, shape (y, x)."""
        return np.array([sight.score for sight in self.sights]).reshape(len(self.y), len(self.x))

    @property
    def nll(self) -> Floats:
        """Surrogate losses, shape (y, x); NaN where there is none."""
        flat = [np.nan if sight.nll is None else sight.nll for sight in self.sights]
        return np.array(flat).reshape(len(self.y), len(self.x))


class Landscape(Document):
    """What was looked at around a base on one benchmark. It explores and proves nothing."""

    schema_name: Literal["pytest-basin/landscape"] = Field(default="pytest-basin/landscape", alias="schema")
    base: ModelIdentity
    benchmark: BenchmarkIdentity
    engine: EngineIdentity
    surrogate: str | None
    tau: Unit
    slices: tuple[Slice, ...]
    planes: tuple[Plane, ...] = ()
    environment: Environment
    limits: tuple[str, ...] = LIMITS

    @property
    def _in_brief(self) -> str:
        return f"{self.base.name} on {self.benchmark.name}: {len(self.slices)} slices, {len(self.planes)} planes"

    @property
    def _told(self) -> dict[str, str]:
        slices = ", ".join(dict.fromkeys(each.case for each in self.slices))
        return {"base": self.base.name, "benchmark": self.benchmark.name, "slices": slices,
                "planes": str(len(self.planes)), "not covered": " ".join(self.limits)}  # fmt: skip

    def of_case(self, case: Case) -> list[Slice]:
        """Return the slices of one case."""
        return [each for each in self.slices if each.case == case]


def paper_transform(scores: Sequence[float] | Floats) -> Floats | None:
    """Return the paper's T over one curve: 1 - (s - min) / (max - min), 0 at its best and 1 at its worst point.

    None for a constant curve, which has no T. Every other curve touches 0 and 1, however little it falls: show it
    beside the raw scores only. Source: theory, 2.1.
    """
    curve = np.asarray(scores, dtype=np.float64)
    low, high = curve.min(), curve.max()
    if low == high:
        return None
    found: Floats = 1.0 - (curve - low) / (high - low)
    return found


def attack_succeeded(found: Slice, tau: float) -> bool:
    """Return whether a worst-case slice loses more than ``tau`` at the radius of its attack.

    True shows one direction that breaks the capability. False shows that this attack found none, and no more.
    """
    direction = found.curves[0].direction
    if not isinstance(direction, WorstCase):
        raise InvalidInput(f"a slice of the {found.case} case holds no attack")
    return bool(found.base.score - found.at(direction.radius)[0] > tau + ROUNDING)


def read_landscape(path: str | Path) -> Landscape:
    """Read a landscape whose digest fits.

    Raises:
        UnsupportedSchema: another schema, or a version that this release does not know.
        CertificateMismatch: a field is missing, unknown or out of range, or the file was changed after it was sealed.
        CertifyError: the file is missing or not JSON.
    """
    document = read_as(path, {"pytest-basin/landscape": Landscape})
    if document.digest != document.own_digest():
        raise CertificateMismatch(f"{path}: its digest does not fit its content: the file was changed")
    return document
