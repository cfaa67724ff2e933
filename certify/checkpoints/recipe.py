"""Recipes of merges: mergekit's YAML, or the same keys as TOML; read and checked before any weights are opened."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from certify.errors import CertifyWarning, CheckpointError
from certify.parsing import each_key_once, read_text
from certify.text import refuse_unseen, shortened

SUFFIXES = (".toml", ".yaml", ".yml")
LARGEST = 1 << 20  # bytes of a recipe
LONGEST = 255  # bytes of one name, which no usual file system exceeds
DTYPES = ("float32", "float64", "bfloat16", "float16")
METHODS: dict[str, dict[str, Any]] = {
    "linear": {"weight": None, "normalize": True, "int8_mask": False},
    "slerp": {"t": None, "int8_mask": False},
    "task_arithmetic": {"weight": None, "normalize": False, "lambda": 1.0, "int8_mask": False},
    "adapter_cat": {"weight": None},
    "adapter_linear": {"weight": None},
    "ties": {"weight": None, "density": 1.0, "normalize": True, "lambda": 1.0, "int8_mask": False},
}
"""Parameters of each method and what they are unless given (None: must be). int8_mask saves mergekit memory alone."""
COMBINATIONS = {"adapter_cat": "cat", "adapter_linear": "linear"}
"""Methods of ours, which combine LoRA adapters before they are merged, by PEFT's name of the combination."""
OF_EACH = ("weight", "density")  # parameters that each model may have of its own
KEYS = ("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype")
OTHERS = {
    "modules": "parts of a model are not merged each in its own way",
    "tokenizer_source": "the merge has the tokenizer of base_model (without one, of the first model): delete the key",
    "tokenizer": "the merge has the tokenizer of base_model (without one, of the first model): delete the key",
    "chat_template": "the merge has the template of base_model (without one, of the first model): delete the key",
}
"""Keys of mergekit that are not taken over, and why."""

Setting = Any  # a number, a list of them over the layers, or a list of {filter, value}; checked when read


@dataclass(frozen=True)
class Input:
    """One model of a recipe as it is written: where it lies, its own parameters, the layers that are named.

    ``scale`` multiplies what an adapter changes, before it is merged into its base.
    """

    source: str
    parameters: Mapping[str, Setting]
    layers: tuple[int, int] | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read: which models, by which method, with which parameters.

    ``shared`` are the parameters of all models, the ones that come first first.
    """

    path: Path
    method: str
    base: str | None
    models: tuple[Input, ...]
    shared: tuple[Mapping[str, Setting], ...]
    dtype: str | None
    out_dtype: str | None

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """The models in mergekit's order: as listed, then the base if it is not among them."""
        listed = any(self.is_base(model) for model in self.models)
        return self.models if listed or self.base is None else (*self.models, Input(self.base, {}))

    def is_base(self, model: Input) -> bool:
        """Whether a model is the recipe's base."""
        return model.source in self._base_sources

    @cached_property
    def _base_sources(self) -> set[str]:
        sources = {model.source for model in self.models}
        if self.base is None:
            return set()
        return {self.base} | {each for each in sources if self.place(each) == self.place(self.base)}

    def place(self, source: str) -> str:
        """Return where a model lies: paths are relative to the recipe's file."""
        return source if source.startswith("hf:/") else str((self.path.parent / source).resolve())

    def value(self, parameter: str, tensor: str, depth: float, model: Input | None = None) -> Any:
        """Return a parameter for one tensor at ``depth`` (0 first layer, 1 last) of one model, or of all.

        Raises:
            CheckpointError: nothing says it and the method needs it.
        """
        for scope in (*([] if model is None else [model.parameters]), *self.shared):
            found = _at(scope.get(parameter), tensor, depth)
            if found is not None:
                return found
        default = METHODS[self.method][parameter]
        if default is None:
            whose = "" if model is None else f" of {model.source}"
            raise CheckpointError(f"{self.path}: {self.method} needs {parameter}{whose} for tensor {tensor!r}")
        return default

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """What of it a family of merges varies: the weight of each model beside the base, in order; SLERP's t."""
        names = (f"weight of {Path(model.source).name}" for model in self._weighted)
        return ("t",) if self.method == "slerp" else tuple(names)

    @property
    def _weighted(self) -> list[Input]:
        return [model for model in self.models if self.method == "linear" or not self.is_base(model)]

    @cached_property
    def own_point(self) -> tuple[float, ...]:
        """What the recipe itself says of what is varied.

        Raises:
            CheckpointError: it says nothing, or another number for each tensor.
        """
        scopes = [{}] if self.method == "slerp" else [model.parameters for model in self._weighted]
        parameter = "t" if self.method == "slerp" else "weight"
        found = []
        for scope, name in zip(scopes, self.varied, strict=True):
            own = next((each[parameter] for each in (scope, *self.shared) if parameter in each), None)
            if not isinstance(own, float):
                raise CheckpointError(f"{self.path}: {name} must be one number for all tensors, got {_shown(own)}")
            found.append(own)
        return tuple(found)

    def at(self, point: Sequence[float]) -> Recipe:
        """Return the same recipe with other numbers for what is varied."""
        if self.method == "slerp":
            return replace(self, shared=({"t": float(point[0])}, *self.shared))
        given = {id(model): float(a) for model, a in zip(self._weighted, point, strict=True)}
        models = [
            replace(model, parameters={**model.parameters, "weight": given[id(model)]}) if id(model) in given else model
            for model in self.models
        ]
        return replace(self, models=tuple(models))

    def warn_of_idle_filters(self, tensors: Collection[str]) -> None:
        """Warn of a filter that fits no tensor: one for other architectures does no harm, a mistyped one does."""
        for scope in (*(model.parameters for model in self.models), *self.shared):
            for parameter, setting in scope.items():
                listed = setting if isinstance(setting, list) else []
                filters = [each.get("filter") for each in listed if isinstance(each, dict)]
                for part in (each for each in filters if each not in (None, "*")):
                    if not any(part in name for name in tensors):
                        warnings.warn(
                            f"{self.path}: {parameter}: the filter {shortened(repr(part), 60)} is in no tensor's name "
                            f"(one is {next(iter(tensors))!r}) and does nothing",
                            CertifyWarning,
                            stacklevel=3,
                        )

    def role(self, model: Input) -> str:
        """Say what a model is to the merge, as records name it."""
        given = [f"{name} {_shown(value)}" for name, value in sorted(model.parameters.items())]
        given += [f"scale {model.scale:g}"] if model.scale != 1 else []
        role = "base_model" if self.is_base(model) else "model"
        return f"{self.method}: {role} {model.source}" + (f" ({', '.join(given)})" if given else "")


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a file.

    Raises:
        CheckpointError: it is not readable, or no recipe that is understood; one line says where and what to do.
    """
    written = _parsed(path)
    if "merge_method" not in written:
        known = [*KEYS, *OTHERS]
        near = difflib.get_close_matches("merge_method", [k for k in written if k not in known], n=1)
        hint = f"; did you mean merge_method by {near[0]!r}?" if near else ", as a recipe of a merge has"
        raise CheckpointError(f"{path}: no key merge_method{hint}")
    for key, why in OTHERS.items():
        if written.get(key) is not None:
            raise CheckpointError(f"{path}: {key} = {shortened(repr(written[key]), 60)}: {why}")
    _only(path, "", written, KEYS)
    method = _one_of(path, "merge_method", written["merge_method"], METHODS)
    models, shared = _models(path, method, written)
    recipe = Recipe(
        path,
        method,
        None if written.get("base_model") is None else _source(path, "base_model", written["base_model"]),
        models,
        (*shared, _parameters(path, "parameters", method, written.get("parameters"))),
        _dtype(path, "dtype", written.get("dtype")),
        _dtype(path, "out_dtype", written.get("out_dtype")),
    )
    _refuse_unfit(recipe)
    return recipe


def _refuse_unfit(recipe: Recipe) -> None:
    """Refuse what the method cannot do with these models."""
    places = [recipe.place(model.source) for model in recipe.models]
    if len(set(places)) < len(places):
        twice = next(m.source for m, place in zip(recipe.models, places, strict=True) if places.count(place) > 1)
        raise CheckpointError(f"{recipe.path}: {twice} is named twice among the models: give it once, with one weight")
    if recipe.method != "linear" and recipe.base is None:
        raise CheckpointError(f"{recipe.path}: {recipe.method} needs base_model, the model that changes are taken from")
    if recipe.method == "slerp" and len(recipe.inputs) != 2:
        raise CheckpointError(
            f"{recipe.path}: slerp takes base_model and one other model, and {len(recipe.inputs)} are named"
        )
    if recipe.method in COMBINATIONS:
        _refuse_uncombined(recipe)
    if recipe.method in ("task_arithmetic", "ties") and all(recipe.is_base(model) for model in recipe.models):
        raise CheckpointError(f"{recipe.path}: {recipe.method} needs a model beside base_model")


def _refuse_uncombined(recipe: Recipe) -> None:
    """Refuse what a combination of adapters has no place for: each has one number, its weight."""
    if recipe.path.suffix != ".toml":
        raise CheckpointError(f"{recipe.path}: mergekit knows no {recipe.method}: write this recipe as TOML")
    if recipe.dtype or recipe.out_dtype:
        raise CheckpointError(f"{recipe.path}: {recipe.method} merges in the base's own dtype: delete dtype, out_dtype")
    for model in recipe.models:
        weight = recipe.value("weight", "", 0.0, model)
        if model.scale != 1:
            raise CheckpointError(f"{recipe.path}: {model.source}: its weight is its scale: delete scale")
        if any(isinstance(each.get("weight"), list) for each in (model.parameters, *recipe.shared)):
            raise CheckpointError(f"{recipe.path}: {model.source}: an adapter has one weight, got {weight:g} and more")


def _parsed(path: Path) -> dict[str, Any]:
    text = read_text(path, CheckpointError, LARGEST)
    try:
        written = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except RecursionError:
        raise CheckpointError(f"{path}: not readable: nested too deep") from None
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise CheckpointError(f"{path}: not readable {kind}: {shortened(str(error))}") from None
    if not isinstance(written, dict):
        raise CheckpointError(f"{path}: expected keys and values of a recipe, got {type(written).__name__}")
    return written


def _yaml(text: str) -> Any:
    """Return what a text of YAML holds: plain data, no key twice, no aliases.

    Raises:
        ValueError: it is no such text.
    """
    import yaml

    try:
        nodes, seen = [yaml.compose(text, yaml.SafeLoader)], set[int]()
        while nodes:
            node = nodes.pop()
            if id(node) in seen:
                raise ValueError("an alias (*name), which is not read: write the value out")
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                each_key_once([(str(key.value), value) for key, value in node.value])
                nodes += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                nodes += node.value
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _models(path: Path, method: str, written: Mapping[str, Any]) -> tuple[tuple[Input, ...], list[Mapping[str, Any]]]:
    """Return the models, and the parameters of a slice that holds them."""
    if (written.get("models") is None) == (written.get("slices") is None):
        raise CheckpointError(f"{path}: give the models to merge under the one key models")
    if written.get("models") is not None:
        return _inputs(path, "models", method, written["models"]), []
    slices = written["slices"]
    if not isinstance(slices, list) or len(slices) != 1 or not isinstance(slices[0], dict):
        raise CheckpointError(
            f"{path}: slices puts layers together anew, and only a merge of whole models is gated as a recipe: write "
            "it with mergekit and give the folder"
        )
    _only(path, "slices: ", slices[0], ("sources", "parameters"))
    own = _parameters(path, "slices: parameters", method, slices[0].get("parameters"))
    return _inputs(path, "slices: sources", method, slices[0].get("sources")), [own]


def _inputs(path: Path, where: str, method: str, written: Any) -> tuple[Input, ...]:
    if not isinstance(written, list) or not written:
        raise CheckpointError(f"{path}: {where} must be a list of models, got {shortened(repr(written), 60)}")
    found = []
    for i, each in enumerate(written, 1):
        named = f"{where}, number {i}"
        if not isinstance(each, dict) or "model" not in each:
            raise CheckpointError(f"{path}: {named}: must have a key model, got {shortened(repr(each), 60)}")
        known = ("model", "parameters", *(["layer_range"] if where != "models" else []))
        _only(path, f"{named}: ", each, (*known, *(["scale"] if path.suffix == ".toml" else [])))
        found.append(
            Input(
                _source(path, f"{named}: model", each["model"]),
                _parameters(path, f"{named}: parameters", method, each.get("parameters"), of_one=True),
                _layers(path, named, each.get("layer_range")),
                _number(path, f"{named}: scale", each.get("scale", 1.0)),
            )
        )
    return tuple(found)


def _source(path: Path, where: str, written: Any) -> str:
    if not isinstance(written, str) or not written:
        raise CheckpointError(f"{path}: {where} must be the path of a folder, got {shortened(repr(written), 60)}")
    source = refuse_unseen(f"{path}: {where}", written)
    if not source.startswith("hf:/") and not os.path.exists(path.parent / source):  # no error where it is too long
        if any(len(os.fsencode(part)) > LONGEST for part in Path(source).parts):
            raise CheckpointError(f"{path}: {where} {shortened(source, 60)}: a name of more than {LONGEST} bytes")
        if "+" in source:
            raise CheckpointError(
                f"{path}: {where} {source!r}: there is no such folder; an adapter is named alone, and merged into "
                "base_model"
            )
        if re.fullmatch(r"[\w.-]+/[\w.-]+", source):
            raise CheckpointError(
                f"{path}: {where} {source!r}: there is no such folder beside the recipe, and no name is looked up on "
                "the hub: fetch the model and give its folder, or write hf://org/name@revision"
            )
    return source


def _layers(path: Path, where: str, written: Any) -> tuple[int, int] | None:
    if written is None:
        return None
    if isinstance(written, list) and len(written) == 2 and all(type(n) is int for n in written):
        return written[0], written[1]
    raise CheckpointError(f"{path}: {where}: layer_range must be two whole numbers, got {shortened(repr(written), 60)}")


def _parameters(path: Path, where: str, method: str, written: Any, of_one: bool = False) -> dict[str, Setting]:
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise CheckpointError(f"{path}: {where}: expected keys and values, got {shortened(repr(written), 60)}")
    known = METHODS[method]
    _only(path, f"{where}: ", written, [name for name in known if not of_one or name in OF_EACH], f" of {method}")
    return {name: _setting(path, f"{where}: {name}", value, type(known[name])) for name, value in written.items()}


def _setting(path: Path, where: str, written: Any, kind: type) -> Setting:
    """Return a parameter as it is written, each number of it checked."""
    if isinstance(written, dict):
        written = [written]
    if isinstance(written, list) and written and all(isinstance(each, dict) for each in written):
        for each in written:
            _only(path, f"{where}: ", each, ("filter", "value"))
            if not isinstance(each.get("filter", ""), str | None):
                raise CheckpointError(f"{path}: {where}: filter must be a part of a tensor's name")
        return [{**each, "value": _setting(path, where, each.get("value"), kind)} for each in written]
    if kind is bool:
        if not isinstance(written, bool):
            raise CheckpointError(f"{path}: {where} must be true or false, got {shortened(repr(written), 60)}")
        return written
    if isinstance(written, list) and written:
        return [_number(path, where, each) for each in written]
    return _number(path, where, written)


def _number(path: Path, where: str, written: Any) -> float:
    """Return a number; YAML reads 1e-3, without a point, as text."""
    try:
        if isinstance(written, bool):
            raise ValueError
        number = float(written)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise CheckpointError(f"{path}: {where} must be a number, got {shortened(repr(written), 60)}")
    if where.endswith("density") and not 0 <= number <= 1:
        raise CheckpointError(f"{path}: {where} must lie in [0, 1], got {number:g}")
    return number


def _dtype(path: Path, key: str, written: Any) -> str | None:
    return None if written is None else _one_of(path, key, written, DTYPES)


def _one_of(path: Path, key: str, written: Any, known: Collection[str]) -> str:
    if isinstance(written, str) and written in known:
        return written
    near = difflib.get_close_matches(str(written), known, n=1, cutoff=0.65)  # dare_ties is no misspelt ties
    hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
    other = " (of another, write the merge with mergekit and give the folder)" if known is METHODS and not near else ""
    raise CheckpointError(f"{path}: {key} = {shortened(repr(written), 60)} is not known: {hint}{other}")


def _only(path: Path, where: str, written: Mapping[Any, Any], known: Sequence[str], whose: str = "") -> None:
    for key in written:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise CheckpointError(f"{path}: {where}no key {shortened(repr(key), 60)}{whose} is known: {hint}")


def _at(setting: Setting, tensor: str, depth: float) -> Any:
    """Return what a setting says of a tensor, by mergekit's filters and gradients; None where it says nothing."""
    if not isinstance(setting, list):
        return setting
    if isinstance(setting[0], dict):
        fits = (each for each in setting if each.get("filter") in (None, "*") or each["filter"] in tensor)
        return next((_at(each["value"], tensor, depth) for each in fits), None)
    at = depth * (len(setting) - 1)
    low = int(at)
    high, share = min(len(setting) - 1, low + 1), at - low
    return (1 - share) * setting[low] + share * setting[high]


def _shown(setting: Setting) -> str:
    return f"{setting:g}" if isinstance(setting, float) else shortened(str(setting), 100)
