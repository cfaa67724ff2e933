"""The five kinds of evidence: what was counted for each, and what may be claimed from it.

``distance``, ``position``, ``point``, ``smoothed`` and ``audit`` each have one module with the record of its counts,
its rule of judgement, its row in reports and what its perfect outcome would show. They are never merged into one
number.
``Evidence`` is the only list of kinds; everything else asks the classes in it.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from certify.evidence.audit import AuditEvidence
from certify.evidence.distance import DistanceEvidence
from certify.evidence.judgement import Judgement, Requirement, Verdict, alpha_of, requirement_of
from certify.evidence.point import PointEvidence
from certify.evidence.position import BasinLevel, PositionEvidence, SegmentPoint
from certify.evidence.smoothed import SmoothedEvidence

Evidence = Annotated[
    DistanceEvidence | PositionEvidence | PointEvidence | SmoothedEvidence | AuditEvidence, Field(discriminator="kind")
]
KINDS: dict[str, type[DistanceEvidence | PositionEvidence | PointEvidence | SmoothedEvidence | AuditEvidence]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(get_args(Evidence)[0])
}

__all__ = [
    "KINDS",
    "AuditEvidence",
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
