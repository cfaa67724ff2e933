"""Engine A: weight noise shown in activation space, exact in law, many draws in one batch."""

from certify.noise.activation.engine import ActivationEngine
from certify.noise.activation.layout import Layout
from certify.noise.activation.oracle import TRUSTED, Exactness, examine
from certify.noise.activation.pairs import ActivationPairs, Audit
from certify.noise.activation.questions import Question, questions
from certify.noise.activation.refusals import refusals

__all__ = [
    "TRUSTED",
    "ActivationEngine",
    "ActivationPairs",
    "Audit",
    "Exactness",
    "Layout",
    "Question",
    "examine",
    "questions",
    "refusals",
]
