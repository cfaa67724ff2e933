"""Random directions that a seed stands for: made from the noise streams when needed, never stored.

Training in such a subspace is how the intrinsic dimension of a task is measured (Li et al. 2018,
arXiv 1804.08838). The basis file is a few lines of JSON: element e of tensor t in direction i is
float32(z / sqrt(d)), with z the ``strict`` normal of (seed, stream V, draw i, tensor t, element e), t the rank of
the tensor's name and d the number of all elements that move. So each direction has expected squared length 1 and a
length of 1 up to about 1/sqrt(2 d); two of them have an inner product of about 1/sqrt(d). The first k directions
of a seed do not depend on k.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from certify.checkpoints import Checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.noise.backend import backend_for
from certify.noise.philox import CHUNK, noise_key
from certify.noise.subspace.columns import Block, Directions
from certify.parsing import read_json, validated
from certify.records import Record, digest
from certify.writing import write_whole

STREAM = "V"
CACHED_BYTES = 1 << 29  # directions are kept as a k x d matrix of float32 if it is no larger
RUN_BYTES = 1 << 26  # else they are made again at each use, in runs of this size
NORMALS_PER_THREAD = 1 << 20  # a thread's start costs about 0.1 ms, this many normals 3 ms


class Recipe(Record):
    """Everything that decides the directions, as the basis file holds it."""

    kind: Literal["seeded directions"] = "seeded directions"
    version: Literal[1] = 1
    sampler: Literal["strict"] = "strict"
    norm: Literal["expected 1"] = "expected 1"
    seed: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    k: Annotated[int, Field(gt=0, lt=1 << 32)]
    tensors: Annotated[dict[str, tuple[Annotated[int, Field(gt=0)], ...]], Field(min_length=1)]


class SeededDirections(Directions):
    """k random directions of expected length 1, as values of float32."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._kept: dict[str, torch.Tensor] = {}

    @property
    def k(self) -> int:
        """Number of directions."""
        return self.recipe.k

    @cached_property
    def digest(self) -> str:
        """Digest of the recipe: seed, k, sampler, norm, tensor names and shapes."""
        return digest(self.recipe.model_dump(mode="json"))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that move and their shapes, sorted by name."""
        return dict(sorted(self.recipe.tensors.items()))

    @cached_property
    def dimension(self) -> int:
        """Number of weights that move, d."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def resident(self) -> bool:
        """Whether the k x d matrix is within the bound of memory."""
        return 4 * self.k * self.dimension <= CACHED_BYTES

    def blocks(self, name: str) -> Iterator[Block]:
        """Yield the directions of one tensor: whole if they are kept, else in runs of some chunks."""
        size, indices = math.prod(self.shapes[name]), np.arange(self.k)
        if self.resident:
            if name not in self._kept:
                self._kept[name] = self.rows(name, 0, size)
            yield Block(0, indices, self._kept[name])
            return
        step = max(1, RUN_BYTES // (4 * self.k * CHUNK)) * CHUNK
        for start in range(0, size, step):
            yield Block(start, indices, self.rows(name, start, min(size, start + step)))

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Return elements ``start`` (a multiple of 2048) to ``stop`` of every direction, shape (k, stop - start)."""
        from certify.noise import kernels

        backend_for(torch.device("cpu"), torch.float32)  # refuses a machine whose kernels give other bits
        out = np.empty((self.k, stop - start), np.float32)
        tensor = (list(self.shapes).index(name), *noise_key(int(self.recipe.seed, 16), STREAM))
        scale = 1.0 / math.sqrt(self.dimension)

        def fill(first: int, rows: NDArray[np.float32]) -> None:
            kernels.scaled_normals(rows, first, start // CHUNK, *tensor, scale)

        shares = max(1, min(torch.get_num_threads(), self.k, out.size // NORMALS_PER_THREAD))
        firsts = [self.k * i // shares for i in range(shares)]
        with ThreadPoolExecutor(shares) as pool:
            list(pool.map(fill, firsts, np.split(out, firsts[1:])))
        return torch.from_numpy(out)


def save_seeded(
    path: Path, base: Checkpoint, k: int, *, seed: int = 0, names: Sequence[str] | None = None
) -> SeededDirections:
    """Write the recipe of k random directions in ``base``'s tensors (all of them, or ``names``) and return them.

    Raises:
        InvalidInput: k or the seed out of range, or a name that is no tensor of the base (tied ones count once).
    """
    free = [name for name, parameter in base.parameters.items() if not parameter.buffer]
    chosen = free if names is None else names
    unknown = sorted(set(chosen) - set(free))
    if unknown:
        raise InvalidInput(f"{base.path}: no tensor {unknown[0]!r} to move; there are {len(free)}, e.g. {free[0]!r}")
    if not chosen:
        raise InvalidInput("names must hold at least one tensor, or be None for all")
    if not 0 <= seed < 1 << 256:
        raise InvalidInput(f"seed must be in [0, 2^256), got {seed}")
    if not 0 < k < 1 << 32:
        raise InvalidInput(f"k must be in [1, 2^32), got {k}")
    tensors = {name: base.parameters[name].shape for name in sorted(chosen)}
    recipe = Recipe(seed=f"{seed:064x}", k=k, tensors=tensors)
    write_whole(path, json.dumps(recipe.model_dump(mode="json"), indent=1) + "\n")
    return SeededDirections(recipe)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        CertifyError: it cannot be read as JSON; a CheckpointError if it is no recipe.
    """
    value = read_json(path)
    return validated(Recipe, value, f"{path}: not a recipe of seeded directions", CheckpointError)
