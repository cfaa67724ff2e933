"""Gates: sequential tests of one requirement, planned before the first draw.

A gate tests the null hypothesis "the mean is at most p0" with draws that no other decision has used. It may
pass at any draw; futility ends it as undecided, without error control; refutation needs its own process and
its own alpha. The checkpoint must be fixed before the gate's draws, and the same draws never gate a second
checkpoint: for many checkpoints use a band. Source: docs/theory.md, "Gates".
"""

from certify.gates.fixed import curtailed, holm, layer_cake_looks
from certify.gates.plan import Decision, GatePlan, Outcome, SprtBoundaries, sprt_boundaries
from certify.gates.stepwise import BernoulliGate, ScoreGate

__all__ = [
    "BernoulliGate",
    "Decision",
    "GatePlan",
    "Outcome",
    "ScoreGate",
    "SprtBoundaries",
    "curtailed",
    "holm",
    "layer_cake_looks",
    "sprt_boundaries",
]
