"""Families: checkpoints that one or two coefficients make of a base. Their point in, the checkpoint's tensors out.

A segment from the base to a checkpoint, an adapter at any scale, a merge with any weights. Whatever they are made of is
read once; a tensor at a point is made anew when it is asked for, and nothing else of that point is ever stored.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from certify.checkpoints.adapter import scaled_layers, unmerged
from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.difference import difference
from certify.checkpoints.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, is_adapter
from certify.checkpoints.merge import Merged
from certify.checkpoints.opening import open_checkpoint
from certify.checkpoints.recipe import SUFFIXES
from certify.checkpoints.source import locate
from certify.errors import CheckpointError
from certify.records import FamilyIdentity, digest, identity_key

if TYPE_CHECKING:
    import torch

FamilyKind = Literal["segment", "adapter", "merge"]
FAMILIES: tuple[FamilyKind, ...] = get_args(FamilyKind)


@dataclass(frozen=True, eq=False)
class Family(ABC):
    """One checkpoint for each point: :meth:`tensor` is a pure function of the name and the point.

    ``checkpoint`` is the one that was trained or written, at ``own``; ``names`` are the parameters, by the model's
    names, that are not the base's everywhere.
    """

    identity: FamilyIdentity
    checkpoint: Checkpoint
    own: tuple[float, ...]
    names: tuple[str, ...]

    @abstractmethod
    def tensor(self, name: str, point: Sequence[float]) -> torch.Tensor:
        """Return one parameter of the checkpoint at ``point``, in its own dtype; good until the next call."""


def open_family(kind: FamilyKind, source: str | Path, base: Checkpoint) -> Family:
    """Open the models that ``source`` spans with ``base``.

    ``segment``: base + a (checkpoint - base), summed in float64 and rounded once, as position evidence has it.
    ``adapter``: what PEFT's merge makes of a LoRA adapter in ``base`` when its scaling is multiplied by a. ``merge``:
    what the recipe's merge is with other weights, one for each of its models beside the base (SLERP: its t).

    Memory, beside the base: a segment, its two ends; an adapter, the base twice; a merge, its models.

    Raises:
        CheckpointError: it is of another kind, cannot be opened, differs from the base in more than weights, or moves
            none; or a merge has more than two weights.
    """
    path = locate(source)
    adapter, recipe = path.is_dir() and is_adapter(path), path.suffix in SUFFIXES and not path.is_dir()
    found: FamilyKind = "adapter" if adapter else "merge" if recipe else "segment"
    if path.exists() and found != kind:
        raise CheckpointError(f"{path}: is no {_MADE_OF[kind]} but {_MADE_OF[found]}: --family {found}:{path}")
    checkpoint = open_checkpoint(source, base).like(base)
    _refuse_unlike(base, checkpoint)
    if kind == "segment":
        return _segment(checkpoint, base)
    return _adapter(checkpoint, base) if kind == "adapter" else _merge(checkpoint)


_MADE_OF = {"segment": "folder of weights", "adapter": "folder of an adapter", "merge": "recipe of a merge"}


def _refuse_unlike(base: Checkpoint, checkpoint: Checkpoint) -> None:
    found = difference(base, checkpoint, identify=checkpoint.held is None)
    if found.differences:
        raise CheckpointError(
            f"{checkpoint.path}: differs from the base in more than weights, so nothing lies between them: "
            f"{'; '.join(found.differences)}"
        )
    if checkpoint.computed_in != base.computed_in:
        raise CheckpointError(
            f"{checkpoint.path}: computes in {checkpoint.computed_in}, the base in {base.computed_in}: cast one of them"
        )
    if found.delta_norm == 0:
        raise CheckpointError(f"{checkpoint.path}: has the weights of the base: there is nothing between them")


@dataclass(frozen=True, eq=False)
class _Segment(Family):
    ends: Mapping[str, tuple[torch.Tensor, torch.Tensor]]

    def tensor(self, name: str, point: Sequence[float]) -> torch.Tensor:
        import torch

        base, end = self.ends[name]
        wide = base.to(torch.float64)
        moved = point[0] * (end.to(torch.float64) - wide) + wide
        return (moved if base.dtype == torch.float64 else moved.to(torch.float32)).to(base.dtype)


def _segment(end: Checkpoint, base: Checkpoint) -> Family:
    both = {name: (base.read(name), end.read(name)) for name, part in base.parameters.items() if not part.buffer}
    moved = {name: ends for name, ends in both.items() if not _same(*ends)}
    members = (("end", digest(identity_key(end.identity))),)
    identity = FamilyIdentity(kind="segment", name=end.name, coefficients=("a",), members=members)
    return _Segment(identity, end, (1.0,), tuple(sorted(moved)), moved)


@dataclass(frozen=True, eq=False)
class _Adapter(Family):
    """PEFT itself merges each layer anew, from its own copy of the base's weights.

    ``layers`` are those that a parameter belongs to, each with its scaling as trained; ``parameters`` are PEFT's, with
    the values of the base beside them. What an adapter replaces as a whole has no layer, and no scale.
    """

    layers: Mapping[str, Sequence[tuple[Any, Mapping[str, float]]]]
    parameters: Mapping[str, tuple[torch.nn.Parameter, torch.Tensor]]

    def tensor(self, name: str, point: Sequence[float]) -> torch.Tensor:
        if name not in self.layers:
            return self.checkpoint.read(name)
        parameter, base = self.parameters[name]
        parameter.data.copy_(base)
        for layer, scaling in self.layers[name]:
            layer.scaling = {adapter: point[0] * own for adapter, own in scaling.items()}
            layer.merged_adapters.clear()
            layer.merge()
        return parameter.data


def _adapter(merged: Checkpoint, base: Checkpoint) -> Family:
    folder = merged.path
    model = unmerged(folder, base)
    own = {id(p): name.replace(".base_layer.", ".") for name, p in model.base_model.model.named_parameters()}
    layers, parameters = defaultdict(list), {}
    for layer in scaled_layers(folder, model):
        if hasattr(layer, "parameter_name"):
            raise CheckpointError(f"{folder}: adapts a bare parameter ({layer.parameter_name}), which has no scale")
        scaling = dict(layer.scaling)
        for parameter in layer.get_base_layer().parameters(recurse=False):
            layers[own[id(parameter)]].append((layer, scaling))
            parameters[own[id(parameter)]] = (parameter, parameter.data.clone())
    replaced = {n for n, p in base.parameters.items() if not p.buffer and not _same(base.read(n), merged.read(n))}
    members = tuple((name, _file_digest(folder / name)) for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG))
    identity = FamilyIdentity(kind="adapter", name=merged.name, coefficients=("scale",), members=members)
    return _Adapter(identity, merged, (1.0,), tuple(sorted({*layers, *replaced})), layers, parameters)


@dataclass(frozen=True, eq=False)
class _Merge(Family):
    """``latest``: the merge at the point that was asked for last, of which the next tensor is most likely wanted."""

    merged: Merged
    latest: dict[tuple[float, ...], Merged] = field(default_factory=dict)

    def tensor(self, name: str, point: Sequence[float]) -> torch.Tensor:
        at = tuple(point)
        if at not in self.latest:
            self.latest.clear()
            self.latest[at] = replace(self.merged, recipe=self.merged.recipe.at(at))
        return self.latest[at][name]


def _merge(checkpoint: Checkpoint) -> Family:
    merged = checkpoint.held
    assert isinstance(merged, Merged)
    recipe, opened = merged.recipe, tuple(_in_memory(each) for each in merged.opened)
    if len(recipe.varied) > 2:
        raise CheckpointError(
            f"{recipe.path}: {len(recipe.varied)} models have a weight, and a family has one or two coefficients: "
            "merge those that stay as they are beforehand"
        )
    fixed = recipe.at([0.0] * len(recipe.varied))
    written = {
        "method": recipe.method, "base": [recipe.is_base(each) for each in recipe.inputs], "dtype": recipe.dtype,
        "models": [[each.parameters, each.scale] for each in fixed.inputs], "shared": fixed.shared,
        "out_dtype": recipe.out_dtype,
    }  # fmt: skip
    members = [("recipe", digest(written))]
    members += [(model.source, digest(identity_key(each.identity)))
                for model, each in zip(recipe.inputs, opened, strict=True)]  # fmt: skip
    identity = FamilyIdentity(
        kind="merge", name=checkpoint.name, coefficients=recipe.varied, members=tuple(members)
    )
    names = sorted(name for name, part in checkpoint.parameters.items() if not part.buffer)
    return _Merge(identity, checkpoint, recipe.own_point, tuple(names), replace(merged, opened=opened))


def _in_memory(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose files are read once, and not again for every point."""
    if checkpoint.held is not None:
        return checkpoint
    return replace(checkpoint, held={name: checkpoint.read_stored(name) for name in checkpoint.tensors})


def _same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    from certify.checkpoints.bits import same_bits

    return same_bits(ours, theirs.to(ours.dtype))


def _file_digest(file: Path) -> str:
    return "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
