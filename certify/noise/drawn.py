"""Base + one draw, written as a folder that whatever loads checkpoints can load: the explicit engine's own bits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from certify.checkpoints import Checkpoint, open_checkpoint
from certify.checkpoints.bits import bits_of, same_bits
from certify.checkpoints.checkpoint import TORCH_NAMES, WIDTHS
from certify.checkpoints.files import INDEX, SINGLE, TensorInfo
from certify.documents import DRAW_FILE, DrawnWeights
from certify.errors import CheckpointError, InvalidInput
from certify.noise.contract import Place
from certify.noise.held import check_draw, unmoved, warn_if_still
from certify.noise.law import check_sigma, weight_noise
from certify.noise.perturbation import WeightPerturbation
from certify.writing import whole_folder

LATTICE_BITS = 12
"""Those of the explicit engine, and of :class:`certify.documents.DrawnWeights`."""


def write_draw(
    base: Checkpoint,
    folder: Path,
    sigma: float,
    draw: int,
    *,
    draws: int,
    grid: tuple[float, ...] = (),
    alpha: float = 0.05,
    user_seed: int = 0,
) -> DrawnWeights:
    """Write base + draw number ``draw`` of ``draws`` to ``folder``, with all that lies beside the base's weights.

    Guarantee: the weights have the bits that the explicit engine gives a model loaded from ``base`` at this draw, under
    the names and in the files that the base has them in, cast to its dtype of computation. The folder is there as a
    whole or not at all. Peak memory: two tensors, and what hashing takes.

    ``grid``: all sigmas that are planned, ``draws`` of each (this one alone unless given); ``alpha``: the failure
    probability of what will be claimed from one benchmark's scores of them. They are written down with the draw.

    Raises:
        CheckpointError: the base is a single file, a draw itself, or stored otherwise than its model computes.
        InvalidInput: a sigma, draw or folder that cannot be.
    """
    grid = grid or (sigma,)
    for each in (sigma, *grid):
        check_sigma(each)
    if sigma not in grid or list(grid) != sorted(set(grid)):
        raise InvalidInput(f"sigma {sigma:g} must be one of the planned grid, which must ascend: got {list(grid)}")
    if not 0 <= draw < draws:
        raise InvalidInput(f"draw {draw}: the {draws} draws that are planned are numbered from 0 to {draws - 1}")
    check_draw(draw)
    names = _names_of_stored(base)
    law = weight_noise({name: p.size for name, p in base.parameters.items() if not p.buffer}, sigma)
    seed = DrawnWeights.seed_of(base.identity, law, draws, user_seed)
    planned = {
        "base": base.identity, "law": law, "seed": seed, "draw": draw, "draws": draws, "grid": grid,
        "alpha": alpha,
    }  # fmt: skip
    noised = _Noised(base, names, WeightPerturbation(law, seed.integer, LATTICE_BITS), draw)
    with whole_folder(folder) as aside:
        base.copy_companions(aside)
        for file, tensors in noised.files().items():
            noised.write(aside / file, tensors)
        noised.write_index(aside)
        warn_if_still(noised.still, noised.written)
        drawn = DrawnWeights.seal(**planned, weights=open_checkpoint(aside).identity.weights)
        drawn.to_json(aside / DRAW_FILE)
    return drawn


def _names_of_stored(base: Checkpoint) -> dict[str, str]:
    """Return by each name in the files the parameter that it holds, as the model calls it; tied ones by their owner's.

    Raises:
        CheckpointError: a tensor is not stored as the model holds it, so that noise on the model has no place in files.
    """
    if not base.written or (base.beside / DRAW_FILE).is_file():
        why = "is a draw already; name its base" if base.written else "a single file has no config; name its folder"
        raise CheckpointError(f"{base.path}: {why}")
    found = {}
    for group in base.plan.groups:
        stored = {source: torch.empty(base.tensors[source].shape, device="meta") for source in group.sources}
        made = group.convert(stored.__getitem__) if len(stored) == 1 else {}
        if list(map(id, made.values())) != list(map(id, stored.values())):
            raise CheckpointError(
                f"{base.path}: {group.sources[0]!r} is converted when the model is loaded, so a draw of the model "
                "cannot be written under the names of the files"
            )
        (target,) = made
        found[group.sources[0]] = base.plan.aliases.get(target, target)
    return found


class _Noised:
    """The stored tensors of a base at one draw, each made when it is written.

    Of ``written`` noised numbers ``still`` did not move.
    """

    def __init__(self, base: Checkpoint, names: dict[str, str], noise: WeightPerturbation, draw: int) -> None:
        self._base, self._names, self._noise, self._draw = base, names, noise, draw
        self._dtype = getattr(torch, base.computed_in)
        self._kept = next(name for name, torch_name in TORCH_NAMES.items() if torch_name == base.computed_in)
        self.still = self.written = 0

    def files(self) -> dict[str, dict[str, TensorInfo]]:
        """Return the tensors of each file, as they will lie there; of weights that lie in no file in a single one."""
        found: dict[str, dict[str, TensorInfo]] = {}
        for name, info in sorted(self._base.tensors.items(), key=lambda each: -WIDTHS.get(each[1].dtype, 1)):  # aligned
            file = SINGLE if self._base.held is not None else info.file.name
            dtype = self._kept if self._moves(name) else info.dtype
            found.setdefault(file, {})[name] = TensorInfo(info.file, dtype, info.shape)
        return found

    def write(self, path: Path, tensors: dict[str, TensorInfo]) -> None:
        """Write one file of safetensors, tensor after tensor, in the order of their names."""
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        start = 0
        for name, info in tensors.items():
            size = info.size * WIDTHS.get(info.dtype, 1)
            header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [start, start + size]}
            start += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with path.open("xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in tensors:
                file.write(bits_of(self._tensor(name)).data)
            file.flush()
            os.fsync(file.fileno())

    def write_index(self, folder: Path) -> None:
        """Write which tensor lies in which file, where there are several or the base says it, too."""
        files = self.files()
        if list(files) == [SINGLE]:
            return
        size = sum((folder / file).stat().st_size for file in files)
        where = {name: file for file, tensors in files.items() for name in tensors}
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    def _moves(self, name: str) -> bool:
        return self._names.get(name) in self._noise.names

    def _tensor(self, name: str) -> torch.Tensor:
        """Return one stored tensor at the draw.

        Raises:
            CheckpointError: its dtype of computation cannot hold it.
        """
        stored = self._base.read_stored(name)
        if not self._moves(name):
            return stored
        tensor = stored.to(self._dtype).contiguous()
        if stored.dtype != tensor.dtype and not same_bits(tensor.to(stored.dtype), stored):
            raise CheckpointError(
                f"{self._base.path}: tensor {name!r} is stored in {stored.dtype} and computed in {tensor.dtype}, which "
                "cannot hold its values exactly: cast the checkpoint to one dtype yourself"
            )
        del stored
        work = torch.full_like(tensor, float("nan"))
        place = Place(self._names[name], tensor.view(-1), work.view(-1))
        self._noise.writer([place])(self._draw)
        self.still += unmoved(place.base, place.work)
        self.written += place.work.numel()
        return work
