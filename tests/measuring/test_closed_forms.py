"""Certificates against models whose smoothed score is a known integral, through the real sampling path.

Each model shows something that one half-space cannot: several faces (bivariate normal truth), a score that is not
monotone along the shift (regression within a tolerance), noise that differs per tensor, and noise in a subspace. A
certificate may exceed the truth in at most MOST of REPEATS independent measurements (budget 1e-6 at alpha); a
broken sibling must exceed it more often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import models
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binom, multivariate_normal
from torch import nn

from certify.checkpoints import Checkpoint, load_model, open_checkpoint
from certify.evidence import DistanceEvidence
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.smoothed import DrawScores
from certify.measuring import subspace_law
from certify.measuring.run import Run
from certify.measuring.scores import all_items, one_item_each
from certify.noise import Subspace, noised, weight_noise
from certify.noise.subspace import displacement_in, save_basis, save_member
from certify.records import BenchmarkIdentity, ExplicitIdentity, NoiseLaw, Seed
from certify.statistics import one_pass_lower
from certify.statistics.laws import strong_lower

ALPHA, REPEATS, DRAWS = 0.05, 80, 60
# Misses are Bin(80, <= 0.05); P(Bin(80, .05) > MOST) <= 1e-6. A bound that misses half the time passes with 1e-6 too.
MOST = int(binom.isf(1e-6, REPEATS, ALPHA))
D = "sha256:" + "0" * 64
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1)
Score = Callable[[nn.Module], list[float]]
Bound = Callable[["Drawn", Displacement], float]


def seed(i: int) -> Seed:
    return Seed(value=f"{i:064x}")


class Items:
    """A benchmark whose items are functions of the weights, read in float64."""

    tokens_per_batch = 1

    def __init__(self, m: int, rule: Score) -> None:
        self.rule = rule
        self.identity = BenchmarkIdentity(name="closed", items=m, scoring="rule", chance=0.0, digest=D, tokens=D)

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        scores = self.rule(model)
        return scores if items is None else [scores[j] for j in items]


class Weights(nn.Module):
    """Parameters u and v, at zero."""

    def __init__(self, **sizes: int) -> None:
        super().__init__()
        for name, size in sizes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(size), requires_grad=False))


class Drawn:
    """Scores of one base measurement, and the law that they came from."""

    def __init__(self, law: NoiseLaw, scores: tuple[float, ...]) -> None:
        self.law, self.scores = law, scores


def measure(
    model: nn.Module, scorer: Items, law: NoiseLaw, first: int, subspace: Subspace | None = None, repeats: int = REPEATS
) -> list[Drawn]:
    """Independent measurements of one base, each of DRAWS draws over all items."""
    out = []
    for i in range(repeats):
        with noised(model, law, seed(first + i), subspace=subspace) as engine:
            out.append(Drawn(law, all_items(engine, scorer, range(DRAWS), Run(), "", {}).scores))
    return out


def certified(drawn: Drawn, displacement: Displacement) -> float:
    """The bound of the certificate's own judge."""
    draws = BaseDraws(
        law=drawn.law, engine=ENGINE, seed=seed(0), alpha=ALPHA, draws=DrawScores(scores=drawn.scores), base_score=1.0
    )
    return DistanceEvidence(draws=draws, displacement=displacement).bound(ALPHA, 1)


def misses(runs: list[Drawn], bound: Bound, places: Sequence[tuple[Displacement, float]]) -> int:
    """Measurements whose bound exceeds the truth at any of the places."""
    return sum(any(bound(run, where) > truth for where, truth in places) for run in runs)


def at(norms: dict[str, float], differences: tuple[str, ...] = ()) -> Displacement:
    """A displacement with these norms."""
    total = math.sqrt(sum(n * n for n in norms.values()))
    return Displacement(norms=norms, differences=differences, delta_norm=total, dimension=64)


def no_law(drawn: Drawn, where: Displacement) -> float:
    """Broken: the base's own bound, carried to the checkpoint as if it had not moved."""
    return certified(drawn, at(dict.fromkeys(where.norms, 0.0)))


def no_confidence(drawn: Drawn, where: Displacement) -> float:
    """Broken: the law applied to the observed share, without a confidence bound."""
    evidence = DistanceEvidence(
        draws=BaseDraws(law=drawn.law, engine=ENGINE, seed=seed(0), alpha=ALPHA,
                        draws=DrawScores(scores=drawn.scores), base_score=1.0),
        displacement=where,
    )  # fmt: skip
    return float(strong_lower(min(float(np.mean(drawn.scores)), 1 - 1e-12), evidence.r))


def sampled_mean_fits(runs: list[Drawn], truth: float) -> bool:
    """The mean of all draws lies within 5.33 standard errors of the closed form (budget 1e-7)."""
    scores = np.concatenate([run.scores for run in runs])
    return bool(abs(scores.mean() - truth) <= 5.33 * scores.std() / len(scores) ** 0.5)


# ---------------------------------------------------------------- union and intersection of two half-spaces

SIZE, SIGMA, RHO = 16, 0.25, 0.3
A = torch.zeros(SIZE, dtype=torch.float64)
A[0] = 1.0
C = torch.zeros(SIZE, dtype=torch.float64)
C[0], C[1] = RHO, math.sqrt(1 - RHO * RHO)
EDGES = (1.2, 0.9)


def both(x: float, y: float) -> float:
    """P(first <= x, second <= y) of a standard bivariate normal with correlation RHO."""
    return float(multivariate_normal.cdf([x, y], cov=[[1, RHO], [RHO, 1]]))


def faces(union: bool) -> Items:
    def rule(model: nn.Module) -> list[float]:
        theta = model.u.double()
        inside = [float(theta @ n) >= -edge * SIGMA for n, edge in zip((A, C), EDGES, strict=True)]
        return [float(any(inside) if union else all(inside))]

    return Items(1, rule)


def truth_of_faces(union: bool, delta: torch.Tensor) -> float:
    x, y = (edge + float(delta @ n) / SIGMA for n, edge in zip((A, C), EDGES, strict=True))
    return float(ndtr(x) + ndtr(y)) - both(x, y) if union else both(x, y)


def corner(r: float) -> torch.Tensor:
    """The shift of length r sigma against both faces at once."""
    return -r * SIGMA * (A + C) / torch.linalg.vector_norm(A + C)


@pytest.mark.parametrize("union", [False, True], ids=["intersection", "union"])
def test_two_faces(union: bool) -> None:
    """Bivariate normal truth, shifted along one face's normal and against both."""
    law = weight_noise({"u": SIZE}, SIGMA)
    runs = measure(Weights(u=SIZE), faces(union), law, 10_000 * (1 + union))
    assert sampled_mean_fits(runs, truth_of_faces(union, corner(0.0)))
    shifts = [corner(r) for r in (0.0, 0.5, 1.0, 2.0)] + [-r * SIGMA * n for r in (0.5, 1.0, 2.0) for n in (A, C)]
    places = [(at({"u": float(torch.linalg.vector_norm(s))}), truth_of_faces(union, s)) for s in shifts]
    found = misses(runs, certified, places)
    assert found <= MOST, f"n={REPEATS} k={found} alpha={ALPHA} allowed={MOST}"

    def along_the_first_normal(drawn: Drawn, where: Displacement) -> float:
        """Broken: only the part of delta along the first face's normal counts as distance."""
        return certified(drawn, at({"u": abs(float(sideways @ A))}))

    sideways = -2.0 * SIGMA * (C - RHO * A) / math.sqrt(1 - RHO * RHO)  # towards the second face, along the first
    far = (at({"u": 2.0 * SIGMA}), truth_of_faces(union, corner(2.0)))
    near = (at({"u": 2.0 * SIGMA}), truth_of_faces(union, sideways))
    assert misses(runs, no_law, [far]) > MOST
    assert union or misses(runs, along_the_first_normal, [near]) > MOST  # a union keeps its first face


# ---------------------------------------------------------------- regression within a tolerance

INPUTS = np.array([[1.0, 0.5, 0.0, 0.2], [0.0, 1.0, -0.5, 0.1], [0.7, 0.0, 0.7, 0.0], [0.2, -0.4, 0.1, 1.0]])
TARGETS, TOLERANCE, REGRESSION_SIGMA = np.array([0.1, -0.2, 0.0, 0.3]), 0.8, 0.3


def within(model: nn.Module) -> list[float]:
    answers = INPUTS @ model.u.double().numpy()
    return [float(abs(a - y) <= TOLERANCE) for a, y in zip(answers, TARGETS, strict=True)]


def truth_within(delta: np.ndarray) -> float:
    """Mean over items of Phi((t - b)/s) - Phi((-t - b)/s), b = <delta, x> - y, s = sigma ||x||."""
    spread, off = REGRESSION_SIGMA * np.linalg.norm(INPUTS, axis=1), INPUTS @ delta - TARGETS
    return float(np.mean(ndtr((TOLERANCE - off) / spread) - ndtr((-TOLERANCE - off) / spread)))


def test_regression_within_a_tolerance() -> None:
    """Truth is a difference of two Phis; moving either way along an input loses answers."""
    law = weight_noise({"u": 4}, REGRESSION_SIGMA)
    runs = measure(Weights(u=4), Items(4, within), law, 30_000)
    assert sampled_mean_fits(runs, truth_within(np.zeros(4)))
    directions = [x / np.linalg.norm(x) for x in (*INPUTS, INPUTS.sum(0), -INPUTS.sum(0))]
    shifts = [r * REGRESSION_SIGMA * d for r in (0.0, 0.5, 1.0, 2.0, 3.0) for d in directions]
    places = [(at({"u": float(np.linalg.norm(s))}), truth_within(s)) for s in shifts]
    found = misses(runs, certified, places)
    assert found <= MOST, f"n={REPEATS} k={found} alpha={ALPHA} allowed={MOST}"
    assert misses(runs, no_law, places) > MOST


# ---------------------------------------------------------------- noise that differs per tensor

SIGMAS = {"u": 0.05, "v": 0.8}
MARGIN = 1.5


def two_tensors(model: nn.Module) -> list[float]:
    """One half-space over both tensors, each weighted by its own noise: margin MARGIN at the base."""
    along = float(model.u.double().sum()) / SIGMAS["u"] + float(model.v.double().sum()) / SIGMAS["v"]
    return [float(along / 8**0.5 >= -MARGIN)]  # 4 + 4 coordinates


def test_sigma_per_tensor() -> None:
    """Anisotropic r: the law is attained along the whitened normal, and along one tensor alone it still holds."""
    law = weight_noise({"u": 4, "v": 4}, SIGMAS)
    runs = measure(Weights(u=4, v=4), Items(1, two_tensors), law, 40_000)
    assert sampled_mean_fits(runs, float(ndtr(MARGIN)))
    places = []
    for r in (0.0, 0.5, 1.0, 2.0):
        share = r / 2**0.5  # along the normal each tensor moves by this many of its own sigmas
        places.append((at({name: share * s for name, s in SIGMAS.items()}), float(ndtr(MARGIN - r))))
        places.append((at({"u": r * SIGMAS["u"], "v": 0.0}), float(ndtr(MARGIN - r / 2**0.5))))
    found = misses(runs, certified, places)
    assert found <= MOST, f"n={REPEATS} k={found} alpha={ALPHA} allowed={MOST}"

    def isotropic(drawn: Drawn, where: Displacement) -> float:
        """Broken: ||delta|| over the root mean square sigma, as if noise were the same everywhere."""
        one = math.sqrt(np.mean([s * s for s in SIGMAS.values()]))
        r = where.delta_norm / one
        return certified(drawn, at({name: r * s / 2**0.5 for name, s in SIGMAS.items()}))

    assert misses(runs, isotropic, places) > MOST


def test_an_attained_law_without_confidence_is_caught() -> None:
    """Negative control: on the same half-space the law at the observed mean misses about half the time."""
    law = weight_noise({"u": 4, "v": 4}, SIGMAS)
    runs = measure(Weights(u=4, v=4), Items(1, two_tensors), law, 40_000)
    share = {name: s / 2**0.5 for name, s in SIGMAS.items()}
    assert misses(runs, no_confidence, [(at(share), float(ndtr(MARGIN - 1.0)))]) > MOST


# ---------------------------------------------------------------- a subspace

NORM, SUBSPACE_SIGMA = "model.norm.weight", 0.5
OUTSIDE = 7  # a weight that no direction of the basis moves


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint, Subspace]:
    """A base folder, and a subspace spanned by two weights of its last norm."""
    where = tmp_path_factory.mktemp("space")
    base = open_checkpoint(models.save_folder(where / "base", models.llama()))
    size = base.parameters[NORM].size
    directions = [{NORM: torch.eye(size, dtype=torch.float32)[i]} for i in (0, 1)]
    return where, base, save_basis(where / "basis.safetensors", directions)


def in_the_plane(model: nn.Module) -> list[float]:
    """Right while coordinates 0 and 1 stay beyond the edge and weight OUTSIDE stays where it was (at 1)."""
    weights = dict(model.named_parameters())[NORM].double()
    along = (float(weights[0]) - 1 + float(weights[1]) - 1) / 2**0.5
    return [float(along >= -MARGIN * SUBSPACE_SIGMA and abs(float(weights[OUTSIDE]) - 1) < 0.5)]


def test_a_subspace_law_and_its_members(space: tuple[Path, Checkpoint, Subspace]) -> None:
    """Members are bounded at their coordinates; a checkpoint off the span is at infinity, where ignoring that fails."""
    where, base, subspace = space
    law = subspace_law(subspace, SUBSPACE_SIGMA)
    runs = measure(load_model(base), Items(1, in_the_plane), law, 50_000, subspace)
    assert sampled_mean_fits(runs, float(ndtr(MARGIN)))
    places = []
    for r in (0.0, 0.5, 1.0, 2.0):
        each = -r * SUBSPACE_SIGMA / 2**0.5
        member = save_member(where / f"member{r}", base, subspace, [each, each])
        places.append((displacement_in(subspace, base, member), float(ndtr(MARGIN - r))))
        assert not places[-1][0].differences

    def leave(tensors: dict[str, torch.Tensor]) -> None:
        tensors[NORM][OUTSIDE] += 1.0

    stranger = open_checkpoint(models.variant(where / "member0.5", where / "stranger", leave))
    assert in_the_plane(load_model(stranger)) == [0.0]
    off = (displacement_in(subspace, base, stranger), 0.0)  # the noise never brings the lost weight back
    found = misses(runs, certified, [*places, off])
    assert found <= MOST, f"n={REPEATS} k={found} alpha={ALPHA} allowed={MOST}"

    def membership_ignored(drawn: Drawn, displacement: Displacement) -> float:
        """Broken: the coordinates that the checkpoint carries are believed, whatever its weights are."""
        return certified(drawn, displacement.model_copy(update={"differences": (), "norms": places[1][0].norms}))

    assert misses(runs, membership_ignored, [off]) > MOST


# ---------------------------------------------------------------- one pass


def test_items_under_noise_of_their_own() -> None:
    """One draw for each of 40 unequal regression items: the one-pass bound covers the closed-form mean."""
    tolerances = np.linspace(0.2, 1.2, 40)

    def rule(model: nn.Module) -> list[float]:
        answer = float(INPUTS[0] @ model.u.double().numpy())
        return [float(abs(answer) <= t) for t in tolerances]

    spread = REGRESSION_SIGMA * np.linalg.norm(INPUTS[0])
    truth = float(np.mean(2 * ndtr(tolerances / spread) - 1))
    law, scorer, low, plain = weight_noise({"u": 4}, REGRESSION_SIGMA), Items(40, rule), 0, 0
    for i in range(REPEATS):
        with noised(Weights(u=4), law, seed(60_000 + i)) as engine:
            k = int(sum(s or 0.0 for s in one_item_each(engine, scorer, range(40), Run(), "", {})))
        low += one_pass_lower(k, 40, ALPHA) > truth
        plain += k / 40 > truth
    assert low <= MOST
    assert plain > MOST  # negative control: the observed share taken for the truth


def test_the_budget_is_what_it_says() -> None:
    """MOST keeps the false-alarm budget and is no looser than one count."""
    assert binom.sf(MOST, REPEATS, ALPHA) <= 1e-6 < binom.sf(MOST - 1, REPEATS, ALPHA)
    assert binom.cdf(MOST, REPEATS, 0.5) <= 1e-6
