"""Cores: every chosen matrix W moves to W + B R A, with frozen factors B, A and the entries of R as coordinates.

This is the shape of LoRA-XS (Balazy et al. 2024, arXiv 2405.17604). ``cores.safetensors`` holds the factors as
``left.<tensor name>`` (B, shape (out, r)) and ``right.<tensor name>`` (A, shape (r, in)). The map is linear in R:
coordinate (p, q) of a matrix moves it along column p of B times row q of A. Coordinates are counted matrix by
matrix in the order of the names, each core row by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.noise.philox import NormalStream
from certify.noise.subspace.map import Subspace, rounded
from certify.writing import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from certify.noise.contract import Backend, Move, Place
    from certify.noise.philox import Floats

SIDES = ("left", "right")
STREAM = "cores"
Factors = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


class Cores(Subspace):
    """base + B R A in some matrices: float64, B R summed over the columns of B, then over the rows of A, in order."""

    def __init__(self, file: Checkpoint) -> None:
        self.file = file
        self._names = _names(file)
        self._first: dict[str, int] = {}
        self._count = 0
        for name in self._names:
            self._first[name] = self._count
            self._count += math.prod(self._core(name))

    @property
    def k(self) -> int:
        """Number of entries of all cores."""
        return self._count

    @property
    def digest(self) -> str:
        """Digest over the factors' names, dtypes, shapes and bytes."""
        return self.file.identity.weights

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The matrices that move and their shapes, sorted by name."""
        sides = self.file.tensors
        return {n: (sides[f"left.{n}"].shape[0], sides[f"right.{n}"].shape[1]) for n in self._names}

    @cached_property
    def factors(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """B and A of each matrix, float64."""
        return {n: (self._read("left", n), self._read("right", n)) for n in self._names}

    def combine(self, name: str, coordinates: Floats | Sequence[float]) -> torch.Tensor:
        """Return B R A of one matrix: float64, flat."""
        return product(*self.factors[name], self._part(name, np.asarray(coordinates, np.float64))).reshape(-1)

    def mover(self, place: Place, backend: Backend) -> Move:
        """Return the writer, in torch's operations on the place's device (a backend has nothing faster)."""
        left, right = (side.to(place.base.device) for side in self.factors[place.name])

        def move(coordinates: NDArray[np.float64]) -> None:
            moved = product(left, right, self._part(place.name, coordinates)).reshape(-1)
            place.work.copy_(rounded(place.base.to(torch.float64) + moved, place.work.dtype))

        return move

    def pull_back(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return B^T G A^T at the matrix's own coordinates and zero elsewhere, shape (k,), float64."""
        left, right = (side.to(gradient.device) for side in self.factors[name])
        out = torch.zeros(self.k, dtype=torch.float64, device=gradient.device)
        slope = left.T @ gradient.reshape(self.shapes[name]).to(torch.float64) @ right.T
        out[self._first[name] :][: slope.numel()] = slope.reshape(-1)
        return out

    def _core(self, name: str) -> tuple[int, int]:
        return self.file.tensors[f"left.{name}"].shape[1], self.file.tensors[f"right.{name}"].shape[0]

    def _part(self, name: str, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        p, q = self._core(name)
        return coordinates[self._first[name] :][: p * q].reshape(p, q)

    def _read(self, side: str, name: str) -> torch.Tensor:
        return self.file.read(f"{side}.{name}").to(torch.float64)


def product(left: torch.Tensor, right: torch.Tensor, core: NDArray[np.float64]) -> torch.Tensor:
    """Return B R A in float64, by sums in index order from zero: a matrix product would order them as it likes."""
    inner = torch.zeros(len(left), core.shape[1], dtype=torch.float64, device=left.device)
    for column, row in zip(left.T, torch.from_numpy(core).to(left.device), strict=True):
        inner = inner + column[:, None] * row
    out = torch.zeros(len(left), right.shape[1], dtype=torch.float64, device=left.device)
    for column, row in zip(inner.T, right, strict=True):
        out = out + column[:, None] * row
    return out


def save_cores(path: Path, factors: Factors) -> Cores:
    """Write frozen factors, (B, A) for each matrix, and open the subspace of their cores."""
    from safetensors.torch import save_file

    pairs = ((f"{side}.{n}", t) for n, both in factors.items() for side, t in zip(SIDES, both, strict=True))
    with whole(path) as aside:
        save_file({key: t.contiguous() for key, t in pairs}, aside)
    return Cores(open_checkpoint(path))


def random_factors(
    base: Checkpoint, names: Iterable[str], rank: int, *, seed: int = 0
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return Gaussian factors, float32, of expected squared column (B) and row (A) length 1.

    Entries are ``strict`` normals of (seed, stream ``cores``, draw 0 for B and 1 for A, rank of the name), scaled.

    Raises:
        InvalidInput: a tensor that is no matrix of the base, or a rank that does not fit it.
    """
    stream, out = NormalStream(seed, STREAM), {}
    for tensor, name in enumerate(sorted(names)):
        rows, columns = _matrix(base, name, rank)
        left = stream.normals(0, tensor, rows * rank).reshape(rows, rank) * (1.0 / math.sqrt(rows))
        right = stream.normals(1, tensor, rank * columns).reshape(rank, columns) * (1.0 / math.sqrt(columns))
        out[name] = (torch.from_numpy(left).to(torch.float32), torch.from_numpy(right).to(torch.float32))
    return out


def svd_factors(base: Checkpoint, names: Iterable[str], rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the leading singular vectors of each matrix, float32: B = U_r, A = V_r^T.

    Without the singular values that LoRA-XS puts into a factor: every coordinate then moves the weights by its own
    length, and equal noise on all of them is noise of equal size.

    Raises:
        InvalidInput: a tensor that is no matrix of the base, or a rank that does not fit it.
    """
    out = {}
    for name in sorted(names):
        _matrix(base, name, rank)
        u, _, v = torch.linalg.svd(base.read(name).to(torch.float64), full_matrices=False)
        out[name] = (u[:, :rank].to(torch.float32), v[:rank].to(torch.float32))
    return out


def _matrix(base: Checkpoint, name: str, rank: int) -> tuple[int, int]:
    shape = base.parameters[name].shape if name in base.parameters else None
    if shape is None or len(shape) != 2:
        what = "no tensor of its own" if shape is None else f"of shape {shape}, no matrix"
        raise InvalidInput(f"{base.path}: {name!r} is {what}, so it takes no core")
    if not 0 < rank <= min(shape):
        raise InvalidInput(f"rank must be in [1, {min(shape)}] for {name!r} of shape {shape}, got {rank}")
    return shape[0], shape[1]


def _names(file: Checkpoint) -> list[str]:
    """Return the matrices of a file of factors, sorted, after checking that each has two that fit together."""
    names = {side: {key[len(side) + 1 :] for key in file.tensors if key.startswith(f"{side}.")} for side in SIDES}
    odd = names["left"] ^ names["right"]
    if odd or 2 * len(names["left"]) != len(file.tensors):
        what = f"{min(odd)!r} has one factor" if odd else "tensors beside left.<name> and right.<name>"
        raise CheckpointError(f"{file.path}: not a file of core factors: {what}")
    for name in names["left"]:
        if any(len(file.tensors[f"{side}.{name}"].shape) != 2 for side in SIDES):
            raise CheckpointError(f"{file.path}: the factors of {name!r} must be matrices")
    return sorted(names["left"])
