"""Directions that a file holds: spans of task vectors, merge coefficients, any vectors fixed beforehand.

``basis.safetensors`` holds them as ``direction.<i>.<tensor name>`` (a tensor without an entry does not move along
that direction).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from certify.checkpoints import Checkpoint, difference, open_checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.noise.subspace.columns import Block, Directions
from certify.writing import whole

Vector = Mapping[str, torch.Tensor]
NAMED = re.compile(r"direction\.(0|[1-9][0-9]{0,8})\.(.+)")  # one way to write each index, so none hides another
DEPENDENT = 1e-6  # what is left of a vector, as a share of it, below which only rounding is left


class StoredDirections(Directions):
    """k directions in weight space, read from a basis file."""

    resident = True

    def __init__(self, file: Checkpoint) -> None:
        self.file = file
        self._keys = _keys(file)
        self._shapes = {name: _shape(file, name, keys.values()) for name, keys in self._keys.items()}

    @property
    def k(self) -> int:
        """Number of directions."""
        return len({i for keys in self._keys.values() for i in keys})

    @property
    def digest(self) -> str:
        """Digest over the directions' names, dtypes, shapes and bytes."""
        return self.file.identity.weights

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that move along some direction and their shapes, sorted by name."""
        return self._shapes

    def blocks(self, name: str) -> Iterator[Block]:
        """Yield one block: all directions that move the tensor."""
        yield self._blocks[name]

    @cached_property
    def _blocks(self) -> dict[str, Block]:
        return {name: Block(0, np.array(sorted(keys)), self._rows(keys)) for name, keys in self._keys.items()}

    def _rows(self, keys: Mapping[int, str]) -> torch.Tensor:
        """One tensor's directions in index order; float32 where it holds them exactly: the kernel reads k of them."""
        rows = [self.file.read(keys[i]).reshape(-1) for i in sorted(keys)]
        exact = (torch.float32, torch.bfloat16, torch.float16)
        wide = torch.float32 if all(row.dtype in exact for row in rows) else torch.float64
        return torch.stack([row.to(wide) for row in rows])


def _keys(file: Checkpoint) -> dict[str, dict[int, str]]:
    """Return, for each tensor name, sorted, the file's key of each direction that moves it."""
    found: dict[str, dict[int, str]] = {}
    for key in file.tensors:
        parts = NAMED.fullmatch(key)
        if parts is None:
            raise CheckpointError(
                f"{file.path}: tensor {key[:80]!r} is not named direction.<i>.<tensor> with i = 0, 1, 2 ... in plain "
                "digits; not a basis file"
            )
        found.setdefault(parts[2], {})[int(parts[1])] = key
    indices = {i for keys in found.values() for i in keys}
    if indices != set(range(len(indices))):
        raise CheckpointError(
            f"{file.path}: directions must be numbered 0 to {len(indices) - 1}, got {sorted(indices)}"
        )
    return dict(sorted(found.items()))


def _shape(file: Checkpoint, name: str, keys: Iterable[str]) -> tuple[int, ...]:
    shapes = {file.tensors[key].shape for key in keys}
    if len(shapes) > 1:
        raise CheckpointError(f"{file.path}: directions of {name!r} differ in shape: {sorted(shapes)}")
    return shapes.pop()


def save_basis(path: Path, directions: Sequence[Vector]) -> StoredDirections:
    """Write directions (tensor name to tensor, each a vector v_i) as a basis file and open it."""
    from safetensors.torch import save_file

    tensors = {f"direction.{i}.{n}": t.contiguous() for i, v in enumerate(directions) for n, t in v.items()}
    with whole(path) as aside:
        save_file(tensors, aside)
    return StoredDirections(open_checkpoint(path))


def task_vectors(base: Checkpoint, checkpoints: Sequence[Checkpoint]) -> list[dict[str, torch.Tensor]]:
    """Return checkpoint - base of each checkpoint in float64, without tensors that did not move.

    Where these differences are exact in float64 (float32 and 16-bit weights of ordinary sizes), coordinates
    (1, 0, ...) are the first checkpoint itself, bit for bit, and other coordinates are the merges of a merging tool.

    Raises:
        CheckpointError: another architecture, shape, or values that the base's dtype cannot hold.
        InvalidInput: a checkpoint that equals the base.
    """
    out = []
    for checkpoint in checkpoints:
        moved = [name for name, norm in difference(base, checkpoint).norms.items() if norm > 0]
        if not moved:
            raise InvalidInput(f"{checkpoint.path}: its weights are the base's own, so it gives no direction")
        out.append({n: checkpoint.read(n).to(torch.float64) - base.read(n).to(torch.float64) for n in moved})
    return out


def orthonormal(vectors: Sequence[Vector]) -> list[dict[str, torch.Tensor]]:
    """Return an orthonormal basis of the span, by Gram-Schmidt in float64 in the order given, as float32.

    Raises:
        InvalidInput: a vector that lies in the span of those before it.
    """
    done: list[dict[str, torch.Tensor]] = []
    for i, vector in enumerate(vectors):
        rest = {name: v.to(torch.float64) for name, v in vector.items()}
        length = math.sqrt(_inner(rest, rest))
        for _ in range(2):  # a second pass removes what rounding left in the first
            for earlier in done:
                along = _inner(rest, earlier)
                rest = {name: _or_zero(rest, earlier, name) - along * _or_zero(earlier, rest, name)
                        for name in rest.keys() | earlier.keys()}  # fmt: skip
        left = math.sqrt(_inner(rest, rest))
        if left <= DEPENDENT * length:
            raise InvalidInput(f"vector {i} lies in the span of those before it: leave it out")
        done.append({name: v / left for name, v in sorted(rest.items())})
    return [{name: v.to(torch.float32) for name, v in vector.items()} for vector in done]


def _inner(left: Vector, right: Vector) -> float:
    return math.fsum(float((left[name] * right[name]).sum()) for name in left.keys() & right.keys())


def _or_zero(vector: Vector, other: Vector, name: str) -> torch.Tensor:
    return vector[name] if name in vector else torch.zeros_like(other[name])
