"""What Hypothesis runs when it is imported: the strategies of the records, registered without importing them.

Every ``import hypothesis`` pays for this module, in projects that never touch this library too, so it imports the
standard library alone. ``register_type_strategy`` wants the type itself: each record offers itself when its class is
made, if this module is loaded by then, and :func:`setup` asks for those that were made before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

STRATEGIES = {
    "certify.records.benchmark_identity": {"BenchmarkIdentity": "benchmark_identities"},
    "certify.records.model_identity": {"ModelIdentity": "model_identities"},
    "certify.records.noise_law": {"SubspaceNoise": "subspace_noise", "WeightNoise": "weight_noise"},
    "certify.evidence.judgement": {"Requirement": "requirements"},
    "certify.evidence.paired_items": {"PairedScores": "paired_scores"},
    "certify.evidence.smoothed": {"DrawScores": "draw_scores"},
    "certify.documents.certificate": {"Certificate": "certificates"},
    "certify.documents.measurement": {"Measurement": "measurements"},
}
"""Module, type, and the function of :mod:`certify.strategies` that makes values of it."""


def setup() -> None:
    """Register the types that are there already, and the settings profile ``basin-gpu``."""
    from hypothesis import HealthCheck, Phase, settings

    # The first example compiles kernels and each one runs a model: no deadline, few examples, no re-runs to explain.
    settings.register_profile(
        "basin-gpu",
        deadline=None,
        max_examples=25,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )
    for module, types in STRATEGIES.items():
        for name in types:
            offer(getattr(sys.modules.get(module), name, None))


def offer(kind: type | None) -> None:
    """Register ``kind`` with Hypothesis if there is a strategy for it."""
    if kind is None:
        return
    strategy = STRATEGIES.get(kind.__module__, {}).get(kind.__name__)
    if strategy:
        from hypothesis.strategies import register_type_strategy

        register_type_strategy(kind, _later(strategy))


def _later(name: str) -> Callable[[Any], Any]:
    """Return a function that Hypothesis calls when somebody asks for the type."""
    return lambda _: getattr(import_module("certify.strategies"), name)()
