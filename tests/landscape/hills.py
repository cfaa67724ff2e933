"""Terrains whose landscape is known in closed form, and one with a real tokenizer and benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from certify.landscape.record import SftCase
from certify.landscape.terrain import Terrain
from certify.records import BenchmarkIdentity, ModelIdentity, Seed

D = "sha256:" + "0" * 64
SEED = Seed(value=f"{2**200 + 77:064x}")
SIZES = {"u": 1500, "w": 2596}  # 4096 weights: sqrt(d) = 64
ROOT = 64.0


class Weights(nn.Module):
    """Parameters u and w, at zero."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        for name, size in SIZES.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(size, dtype=dtype), requires_grad=False))


def flat(model: nn.Module) -> torch.Tensor:
    """All weights as one float64 vector."""
    return torch.cat([p.reshape(-1).double() for p in model.parameters()])


class Rule:
    """A benchmark of one graded item whose score is a function of the weights."""

    tokens_per_batch = 1

    def __init__(self, score: Callable[[torch.Tensor], float]) -> None:
        self._score, self.calls = score, 0
        self.identity = BenchmarkIdentity(
            name="rule", items=1, scoring="rule", graded=True, chance=0.0, digest=D, tokens=D
        )

    def score(self, model: nn.Module, items: Sequence[int] | None = None) -> list[float]:
        self.calls += 1
        return [self._score(flat(model))]


class Loss:
    """A surrogate that is a function of the weights."""

    name = "rule"

    def __init__(self, loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._loss = loss

    def parts(self, model: nn.Module) -> Iterator[torch.Tensor]:
        yield self._loss(flat(model))


def half_space(edge: float) -> Terrain:
    """Score 1 while the first weight is at most ``edge``, else 0."""
    return Terrain(Weights(), Rule(lambda x: float(x[0] <= edge)), None, SEED)


STIFF, SOFT = 9.0, 1.0
WIDTH = 2.0


def bowl(dtype: torch.dtype = torch.float64) -> Terrain:
    """Score 1 - (|x| / (WIDTH sqrt d))^2, cut at 0; loss (1/2) x'Hx, H = 9 on the first three weights, else 1."""
    curvature = torch.full((sum(SIZES.values()),), SOFT, dtype=torch.float64)
    curvature[:3] = STIFF

    def score(x: torch.Tensor) -> float:
        return max(0.0, 1.0 - float(x @ x) / (WIDTH * ROOT) ** 2)

    return Terrain(Weights(dtype), Rule(score), Loss(lambda x: 0.5 * (curvature * x * x).sum()), SEED)


def moved(norm: float, dtype: torch.dtype = torch.float64) -> tuple[Weights, SftCase]:
    """A checkpoint at a displacement of ``norm`` from the base, along all weights alike, and its record."""
    model = Weights(dtype)
    for p in model.parameters():
        p.data.fill_(norm / ROOT)
    identity = ModelIdentity(name="moved", weights=D, companions={}, parameters=4096, dtypes=("F64",))
    return model, SftCase(checkpoint=identity, delta_norm=norm, dimension=4096)


def bits(model: nn.Module) -> list[bytes]:
    """Every weight's bytes, and where they lie."""
    return [p.data.numpy().tobytes() + str(p.data_ptr()).encode() for p in model.parameters()]


def lengths(terrain: Terrain, draws: int, stream: str) -> list[torch.Tensor]:
    """The Gaussian directions themselves, drawn by the numpy text of the generator."""
    from certify.noise import NormalStream

    source = NormalStream(terrain.seed.integer, stream)
    return [
        torch.cat([torch.from_numpy(source.normals(i, rank, SIZES[name])) for rank, name in enumerate(sorted(SIZES))])
        for i in range(draws)
    ]


def half_way(a: float) -> float:
    """Score of the bowl at distance a sqrt(d)."""
    return max(0.0, 1.0 - (a / WIDTH) ** 2)


assert math.isclose(ROOT, math.sqrt(sum(SIZES.values())))
