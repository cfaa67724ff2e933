"""What a claim must say of the engine that showed the noise: which function was certified, on which premises."""

from __future__ import annotations

from collections.abc import Sequence

from certify.evidence.judgement import no_less_than
from certify.records import ActivationIdentity, AnyEngine, BroughtIdentity

UNROUNDED_LIMIT = (
    "Noise was shown in activation space: what is certified under noise is the function of the unrounded weights, "
    "base + noise."
)
BROUGHT_DRAWS = (
    "On trust: that the scores of each draw, and of the base, are those of the weights that were written, and that all "
    "were asked and judged in one way; and that sigmas, seed, number of draws and confidence were declared before any "
    "score was looked at (the same draws can be declared anew afterwards). Nothing here can be replayed."
)


def engine_limits(engines: Sequence[AnyEngine], decisions: int, eta: float) -> tuple[str, ...]:
    """Return the limits that ``engines`` put on a claim; ``decisions`` were made by all of them together.

    ``eta``: the largest total variation that a bound of the claim pays for the sampler.
    """
    shown = [engine for engine in engines if isinstance(engine, ActivationIdentity)]
    if not shown:
        brought = [engine for engine in engines if isinstance(engine, BroughtIdentity)]
        unlike = [f"Of the logs of base and draws: {line}." for engine in brought for line in engine.differences]
        return (sampler_premise(eta), *((BROUGHT_DRAWS,) if brought else ()), *unlike)
    guard, coupling = max(e.guard for e in shown), max(e.coupling for e in shown)
    return UNROUNDED_LIMIT, guard_premise(guard, coupling, sum(e.guarded for e in shown), decisions)


def sampler_premise(eta: float) -> str:
    """Say what draws written into weights take for granted about the strict sampler (theory S8)."""
    return (
        f"Premise: a draw of the strict sampler is within total variation {no_less_than(eta)} of the Gaussian, "
        "a budget from measured rounding errors and not a proof; bounds under noise pay for it."
    )


def guard_premise(guard: float, coupling: float, guarded: int, decisions: int) -> str:
    """Say what scores from activation space take for granted about floating point."""
    return (
        f"Premise: float error (of layers and of normals) is below the guard of {guard:.3g} in every margin (coupling "
        f"error {coupling:.1e} measured on this model); {guarded} of {decisions} decisions lay within it and count "
        "against the claim."
    )
