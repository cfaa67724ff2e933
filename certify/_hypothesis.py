"""What Hypothesis runs when it is imported: the strategies of the records, registered without importing them.

Every ``import hypothesis`` pays for this module, in projects that never touch this library too, so it imports the
standard library alone. ``register_type_strategy`` wants the type itself; each is registered at the moment when its
module is imported, and not before: without the type nobody can ask for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

STRATEGIES = {
    "certify.records": {
        "BenchmarkIdentity": "benchmark_identities",
        "ModelIdentity": "model_identities",
        "SubspaceNoise": "subspace_noise",
        "WeightNoise": "weight_noise",
    },
    "certify.evidence.judgement": {"Requirement": "requirements"},
    "certify.evidence.paired_items": {"PairedScores": "paired_scores"},
    "certify.evidence.smoothed": {"DrawScores": "draw_scores"},
    "certify.certificate": {"Certificate": "certificates", "Measurement": "measurements"},
}
"""Module, type, and the function of :mod:`certify.strategies` that makes values of it."""


def setup() -> None:
    """Register the types, now or when their modules are imported, and the settings profile ``basin-gpu``."""
    from hypothesis import HealthCheck, Phase, settings

    # The first example compiles kernels and each one runs a model: no deadline, few examples, no re-runs to explain.
    settings.register_profile(
        "basin-gpu",
        deadline=None,
        max_examples=25,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )
    for name in STRATEGIES:
        if name in sys.modules:
            _register(sys.modules[name])
    sys.meta_path.insert(0, _Watch())


def _register(module: ModuleType) -> None:
    from hypothesis.strategies import register_type_strategy

    for name, strategy in STRATEGIES[module.__name__].items():
        register_type_strategy(getattr(module, name), _later(strategy))


def _later(name: str) -> Callable[[Any], Any]:
    """Return a function that Hypothesis calls when somebody asks for the type."""
    return lambda _: getattr(import_module("certify.strategies"), name)()


class _Watch(MetaPathFinder):
    """Finds what the other finders find; modules named above register their types once they have run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in STRATEGIES:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self)
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    """Runs a module by its own loader, and registers its types.

    The loader itself is left alone: one may serve many modules, as that of pytest's assertion rewriting does.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
