"""Two checkpoints of one base: what their certificates prove about the change between them. Never needs torch."""

from certify.comparison.changes import change_in_retention, change_in_score
from certify.comparison.compare import Comparison, Metric, compare
from certify.comparison.likeness import incomparable

__all__ = ["Comparison", "Metric", "change_in_retention", "change_in_score", "compare", "incomparable"]
