"""A fine-tune inside a subspace fixed before it: earlier task vectors span it, k numbers are trained.

The earlier task vectors ("scouts") are trained so that the base keeps its skills at random multiples of
them: the noise-averaged training of the base, in k dimensions. In the span of ordinary fine-tunes a
trained checkpoint lay two noise widths out, at the width where the base still scored 0.993; here less
than one, and only then is the certificate worth having.

The shipped checkpoint equals `materialise(base, basis, coordinates)` bit for bit, so whoever holds
the base, the basis and the coordinates can check that it lies in the subspace.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from training import Classroom, Exam, Recipe, Weights, load, loss_on, trained_parameters
from transformers import LlamaForCausalLM

Basis = list[Weights]


def task_vector(checkpoint: Weights, base: Weights) -> Weights:
    """checkpoint - base in float64."""
    return {name: checkpoint[name].double() - base[name].double() for name in base}


def norm(vector: Weights) -> float:
    """Euclidean length over all tensors."""
    return sum(float(v.double().square().sum()) for v in vector.values()) ** 0.5


def inner(left: Weights, right: Weights) -> float:
    """Inner product over all tensors."""
    return sum(float((left[name].double() * right[name].double()).sum()) for name in left)


def orthonormal(vectors: Sequence[Weights]) -> Basis:
    """Gram-Schmidt in float64, in the order given, rounded to the float32 that is stored."""
    directions: Basis = []
    for vector in vectors:
        rest = {name: v.clone() for name, v in vector.items()}
        for _ in range(2):  # a second pass removes what rounding left in the first
            for done in directions:
                along = inner(rest, done)
                rest = {name: v - along * done[name] for name, v in rest.items()}
        length = norm(rest)
        directions.append({name: v / length for name, v in rest.items()})
    return [{name: v.float() for name, v in direction.items()} for direction in directions]


def materialise(base: Weights, basis: Basis, coordinates: Tensor) -> Weights:
    """round(base + sum_i a_i v_i): float64, directions summed in index order, rounded to float32 once.

    The same operations as `certify.noise.subspace`, on tensors in memory.
    """
    weights = {}
    for name, start in base.items():
        moved = torch.zeros_like(start, dtype=torch.float64)
        for a, direction in zip(coordinates.double(), basis, strict=True):
            moved = moved + a * direction[name].double()
        weights[name] = (start.double() + moved).float()
    return weights


@dataclass(frozen=True)
class Scouting:
    """How the directions are trained: `lessons[i]` is what the i-th task vector teaches.

    `old` is kept at base + sum_i c_i scout_i, with c_i ~ N(0, stretch^2) drawn for every batch.
    """

    lessons: Sequence[Mapping[str, int]]
    old: Mapping[str, int]
    stretch: float
    steps: int
    learning_rate: float
    seed: int
    warmup: int = 50

    def rate(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero."""
        return (1 - step / self.steps) * min(1.0, (step + 1) / self.warmup)


def train_scouts(model: LlamaForCausalLM, base: Weights, classroom: Classroom, plan: Scouting) -> list[Weights]:
    """The task vectors, trained together with Adam: each batch's gradient goes to every one by its share."""
    rng, noise = random.Random(plan.seed), torch.Generator().manual_seed(plan.seed)
    scouts = [{name: torch.zeros_like(w) for name, w in base.items()} for _ in plan.lessons]
    optimizer = torch.optim.Adam([v for scout in scouts for v in scout.values()], lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, plan.rate)
    corners = torch.eye(len(scouts)).tolist()
    for _ in range(plan.steps):
        optimizer.zero_grad()
        spread = plan.stretch * torch.randn(len(scouts), generator=noise)
        batches = [(spread.tolist(), plan.old), *zip(corners, plan.lessons, strict=True)]
        for shares, lessons in batches:
            _accumulate(model, base, scouts, shares, classroom.batch(lessons, rng))
        optimizer.step()
        schedule.step()
    return [{name: v.double() for name, v in scout.items()} for scout in scouts]


def _accumulate(
    model: LlamaForCausalLM,
    base: Weights,
    scouts: Sequence[Weights],
    shares: Sequence[float],
    batch: tuple[Tensor, Tensor],
) -> None:
    """Add the gradient at base + sum_i shares_i scout_i to each scout's, times its share."""
    summed = {name: sum((c * v[name] for c, v in zip(shares, scouts, strict=True)), w) for name, w in base.items()}
    load(model, summed)
    model.zero_grad()
    loss_on(model, *batch).backward()
    for share, scout in zip(shares, scouts, strict=True):
        for name, parameter in trained_parameters(model).items():
            if parameter.grad is not None:
                before = scout[name].grad
                scout[name].grad = share * parameter.grad if before is None else before + share * parameter.grad


def train_coordinates(
    model: LlamaForCausalLM, base: Weights, basis: Basis, classroom: Classroom, recipe: Recipe, pull: float
) -> Tensor:
    """Adam on the k coordinates in float64: the gradient of each is the inner product with its direction.

    `pull` is the weight of half the squared length in the loss: a certificate is worth more the shorter
    the coordinates are, and a useless one is not zero by itself.
    """
    rng = random.Random(recipe.seed)
    coordinates = torch.zeros(len(basis), dtype=torch.float64)
    optimizer = torch.optim.Adam([coordinates], lr=recipe.learning_rate)
    for _ in range(recipe.steps):
        load(model, materialise(base, basis, coordinates))
        model.zero_grad()
        loss_on(model, *classroom.batch(recipe.lessons, rng)).backward()
        gradient = {name: p.grad for name, p in trained_parameters(model).items() if p.grad is not None}
        slope = torch.tensor([inner(gradient, v) for v in basis], dtype=torch.float64)
        coordinates.grad = slope + pull * coordinates
        optimizer.step()
    return coordinates.detach()


def scores_under_subspace_noise(
    model: LlamaForCausalLM,
    exam: Exam,
    base: Weights,
    basis: Basis,
    centre: Tensor,
    sigma: float,
    draws: int,
    seed: int,
) -> Tensor:
    """Scores at psi(centre + sigma z), z standard normal in k dimensions, shape `(draws,)`."""
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for _ in range(draws):
        z = torch.randn(len(basis), generator=generator, dtype=torch.float64)
        load(model, materialise(base, basis, centre + sigma * z))
        scores.append(exam.score(model))
    return torch.tensor(scores, dtype=torch.float64)
