"""Stored tensors in the model's own names: which of them make which parameter or buffer.

Files keep the names and shapes of the release that wrote them; transformers renames, fuses, splits and reorders them
while it loads. The plan here is made from the same published conversions before anything is read, so that identity,
distance and the check after loading all speak of the parameters that compute.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from certify.checkpoints.config import explained
from certify.checkpoints.files import TensorInfo
from certify.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Read = Callable[[str], "torch.Tensor"]
Conversion = Callable[[Read], dict[str, "torch.Tensor"]]

OBSOLETE = (r"rotary_emb\.inv_freq$", r"(^|\.)position_ids$")
"""Buffers that older releases stored; every model computes them from its config now."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of the model, or a buffer that is stored: dtype in the files, shape in the model."""

    dtype: str
    shape: tuple[int, ...]
    size: int
    buffer: bool


@dataclass(frozen=True)
class Group:
    """Stored tensors that one conversion turns into tensors of the model; most often one into one."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    convert: Conversion

    @property
    def plain(self) -> bool:
        """Whether one stored tensor is taken as it is, be it under another name."""
        made: Any = self.convert
        made = made.args[0] if made.func is _renamed else made
        return made.func is _as_stored


@dataclass(frozen=True)
class Plan:
    """How stored tensors become the model's.

    ``groups`` make ``parameters``, by name. ``aliases`` are tied names that are stored as well: they must equal the
    parameters that they map to. ``ignored`` are stored tensors that the architecture computes by itself.
    """

    groups: tuple[Group, ...]
    parameters: dict[str, Parameter]
    aliases: dict[str, str]
    ignored: tuple[str, ...] = ()


def plain_plan(tensors: Mapping[str, TensorInfo]) -> Plan:
    """Return the plan of tensors that belong to no known model: each stands for itself."""
    groups = tuple(Group((name,), (name,), partial(_as_stored, name, name)) for name in sorted(tensors))
    return Plan(groups, {n: Parameter(i.dtype, i.shape, i.size, False) for n, i in sorted(tensors.items())}, {})


def plan_for(model: PreTrainedModel, tensors: Mapping[str, TensorInfo], where: object) -> Plan:
    """Return how ``tensors`` become those of ``model``, which may be empty. ``where`` names the checkpoint in errors.

    Raises:
        CheckpointError: tensors that the model has no place for, lacks or holds in another shape, or that claim the
            same place.
    """
    with explained(f"{where}: its tensors cannot be brought into the names of {type(model).__name__}"):
        groups = _groups(model, tensors)
        made = {g: {n: (i, g) for n, i in _outline(g, tensors).items()} for g in groups}
    expected, owners = model.state_dict(keep_vars=True), tied_names(model)
    ignored = [g for g in groups if not expected.keys() & made[g].keys() and _is_obsolete(model, made[g])]
    stored = {name: info for g in groups if g not in ignored for name, (info, _) in made[g].items()}
    _same_names(model, stored, owners, where)
    aliases = {n: owners[n] for n in stored if n in owners and owners[n] in stored}
    buffers, parameters = dict(model.named_buffers()), {}
    for name, info in sorted(stored.items()):
        if info.shape != tuple(expected[name].shape):
            raise CheckpointError(
                f"{where}: tensor {name!r} has shape {info.shape}, config.json describes {tuple(expected[name].shape)}"
            )
        if name not in aliases:
            parameters[owners.get(name, name)] = Parameter(info.dtype, info.shape, info.size, name in buffers)
    kept = tuple(_under_owners(g, tuple(made[g]), owners, aliases) for g in groups if g not in ignored)
    return Plan(kept, dict(sorted(parameters.items())), aliases, tuple(s for g in ignored for s in g.sources))


def _groups(model: Any, tensors: Mapping[str, TensorInfo]) -> list[Group]:
    """Sort the stored tensors by the conversion that takes them, as transformers does when it loads."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    published = get_model_conversion_mapping(model)
    renamings = [each for each in published if isinstance(each, WeightRenaming)]
    converters = [each for each in published if isinstance(each, WeightConverter)]
    by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
    prefix, state = model.base_model_prefix, model.state_dict()
    parts: dict[str, list[tuple[str | None, str]]] = {}
    for source in sorted(tensors, key=dot_natural_key):
        name, pattern = rename_source_key(source, renamings, converters, prefix, state)
        if name not in state and source in state:
            name, pattern = rename_source_key(source, [], [], prefix, state)
        parts.setdefault(name, []).append((pattern, source))
    groups = []
    for name, taken in parts.items():
        pattern, source = taken[0]
        if pattern is not None and name in state:
            convert: Conversion = partial(_converted, by_pattern[pattern], name, tuple(taken), model)
        elif len(taken) > 1:
            raise CheckpointError(f"two stored tensors claim {name!r}: {', '.join(s for _, s in taken[:3])}")
        else:
            convert = partial(_as_stored, source, name)
        groups.append(Group(tuple(s for _, s in taken), (name,), convert))
    return groups


def _as_stored(source: str, name: str, read: Read) -> dict[str, torch.Tensor]:
    return {name: read(source)}


def _converted(
    converter: Any, name: str, parts: tuple[tuple[str | None, str], ...], model: Any, read: Read
) -> dict[str, torch.Tensor]:
    fresh = copy.deepcopy(converter)
    for pattern, source in parts:
        fresh.add_tensor(name, source, pattern, read(source))
    made = fresh.convert(name, model=model, config=model.config)
    return {target: value[0] if isinstance(value, list) else value for target, value in made.items()}


def _outline(group: Group, tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Return what a group makes, from the headers alone; an element's dtype is that of its first source."""
    import torch

    first = tensors[group.sources[0]]
    if len(group.sources) == 1 and group.convert.func is _as_stored:  # type: ignore[attr-defined]
        return {group.targets[0]: first}
    made = group.convert(lambda source: torch.empty(tensors[source].shape, device="meta"))
    return {name: TensorInfo(first.file, first.dtype, tuple(value.shape)) for name, value in made.items()}


def _under_owners(group: Group, made: tuple[str, ...], owners: Mapping[str, str], aliases: Mapping[str, str]) -> Group:
    names = {name: name if name in aliases else owners.get(name, name) for name in made}
    if all(name == own for name, own in names.items()):
        return Group(group.sources, made, group.convert)
    return Group(group.sources, tuple(names.values()), partial(_renamed, group.convert, names))


def _renamed(convert: Conversion, names: Mapping[str, str], read: Read) -> dict[str, torch.Tensor]:
    return {names[name]: value for name, value in convert(read).items()}


def tied_names(model: PreTrainedModel) -> dict[str, str]:
    """Map each further name of a tied parameter to its first one."""
    first = {id(p): name for name, p in model.named_parameters()}
    names = ((name, first[id(p)]) for name, p in model.named_parameters(remove_duplicate=False))
    return {name: owner for name, owner in names if name != owner}


def _same_names(model: Any, stored: Mapping[str, TensorInfo], owners: Mapping[str, str], where: object) -> None:
    expected = model.state_dict(keep_vars=True)
    have = {owners.get(name, name) for name in stored}
    optional = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_missing or ()]
    needed = {owners.get(name, name) for name in expected if not any(p.search(name) for p in optional)}
    missing, extra = sorted(needed - have), sorted(name for name in stored if name not in expected)
    if missing or extra:
        raise CheckpointError(
            f"{where}: its weights do not fit config.json ({type(model).__name__}): missing {missing[:5]}, "
            f"extra {extra[:5]}"
        )


def _is_obsolete(model: Any, names: Mapping[str, Any]) -> bool:
    known = [*(model._keys_to_ignore_on_load_unexpected or ()), *OBSOLETE]
    return all(any(re.search(pattern, name) for pattern in known) for name in names)
