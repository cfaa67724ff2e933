"""Documents: the files that certify writes, sealed by their digests.

A :class:`Measurement` holds what was counted at a base, once. A :class:`Certificate` holds what is claimed about one
checkpoint, with everything needed to recompute the claim without torch, weights or benchmark. Of the other documents
that judge, each holds the same of something else: a sequential gate, the basin of a base, those of several skills, a
family of checkpoints.
"""

from certify.documents.certificate import (
    BROUGHT,
    BasinRecord,
    Certificate,
    CoverRecord,
    GateRecord,
    ScoresRecord,
    SkillsRecord,
)
from certify.documents.document import VERSION, Document, read_as
from certify.documents.drawn_weights import DRAW_FILE, DrawnWeights, read_draw
from certify.documents.judged import Judged, charged_alpha
from certify.documents.measurement import Measurement
from certify.documents.reading import DOCUMENTS, AnyDocument, read_document, read_measurement

__all__ = [
    "BROUGHT",
    "DOCUMENTS",
    "DRAW_FILE",
    "VERSION",
    "AnyDocument",
    "BasinRecord",
    "Certificate",
    "CoverRecord",
    "Document",
    "DrawnWeights",
    "GateRecord",
    "Judged",
    "Measurement",
    "ScoresRecord",
    "SkillsRecord",
    "charged_alpha",
    "read_as",
    "read_document",
    "read_draw",
    "read_measurement",
]
