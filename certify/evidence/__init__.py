"""The four kinds of evidence: what was counted for each, and what may be claimed from it.

``distance``, ``position``, ``point`` and ``smoothed`` each have one module with the record of its counts and
its rule of judgement. They are never merged into one number.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from certify.evidence.distance import DistanceEvidence
from certify.evidence.judgement import Judgement, Requirement, Verdict, alpha_of, requirement_of
from certify.evidence.point import PointEvidence
from certify.evidence.position import BasinLevel, PositionEvidence, SegmentPoint
from certify.evidence.smoothed import SmoothedEvidence

Evidence = Annotated[
    DistanceEvidence | PositionEvidence | PointEvidence | SmoothedEvidence, Field(discriminator="kind")
]
KINDS = ("distance", "position", "point", "smoothed")

__all__ = [
    "KINDS",
    "BasinLevel",
    "DistanceEvidence",
    "Evidence",
    "Judgement",
    "PointEvidence",
    "PositionEvidence",
    "Requirement",
    "SegmentPoint",
    "SmoothedEvidence",
    "Verdict",
    "alpha_of",
    "requirement_of",
]
