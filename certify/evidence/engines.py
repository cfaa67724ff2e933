"""What a claim must say of the engine that showed the noise: which function was certified, on which premise."""

from __future__ import annotations

from collections.abc import Sequence

from certify.records import ActivationIdentity, EngineIdentity

UNROUNDED_LIMIT = (
    "Noise was shown in activation space: what is certified under noise is the function of the unrounded weights, "
    "base + noise."
)


def engine_limits(engines: Sequence[EngineIdentity], decisions: int) -> tuple[str, ...]:
    """Return the limits that ``engines`` put on a claim; ``decisions`` were made by all of them together."""
    shown = [engine for engine in engines if isinstance(engine, ActivationIdentity)]
    if not shown:
        return ()
    guard, coupling = max(e.guard for e in shown), max(e.coupling for e in shown)
    return UNROUNDED_LIMIT, guard_premise(guard, coupling, sum(e.guarded for e in shown), decisions)


def guard_premise(guard: float, coupling: float, guarded: int, decisions: int) -> str:
    """Say what scores from activation space take for granted about floating point."""
    return (
        f"Premise: float error (of layers and of normals) is below the guard of {guard:.3g} in every margin (coupling "
        f"error {coupling:.1e} measured on this model); {guarded} of {decisions} decisions lay within it and count "
        "against the claim."
    )
