"""Hypothesis strategies for what this library counts, assumes and writes: for property-based tests of one's own code.

Needs ``hypothesis``, which is no dependency of the library. The records' types are known to Hypothesis, so
``st.from_type(Certificate)`` works without importing this. See docs/hypothesis.md.
"""

from certify.strategies.documents import certificates, covers, measurements
from certify.strategies.identities import (
    benchmark_identities,
    digests,
    model_identities,
    noise_laws,
    pools,
    requirements,
    subspace_noise,
    weight_noise,
)
from certify.strategies.models import small_models
from certify.strategies.numbers import (
    alphas,
    confidences,
    counts,
    draw_scores,
    item_scores,
    paired_scores,
    score_tables,
)

__all__ = [
    "alphas",
    "benchmark_identities",
    "certificates",
    "confidences",
    "counts",
    "covers",
    "digests",
    "draw_scores",
    "item_scores",
    "measurements",
    "model_identities",
    "noise_laws",
    "paired_scores",
    "pools",
    "requirements",
    "score_tables",
    "small_models",
    "subspace_noise",
    "weight_noise",
]
