"""Certified basins of fine-tuned language models: bounds, evidence, certificates.

What stands here is what users import, and ``docs/api.md`` lists it; every other module may change in any release. Names
load their module when first used, so that reading a certificate never imports torch.
"""

from typing import TYPE_CHECKING

from certify._lazy import on_first_use

if TYPE_CHECKING:
    from certify._version import __version__
    from certify.benchmarks import Benchmark, open_benchmark
    from certify.checkpoints import Checkpoint, open_checkpoint
    from certify.comparison import compare
    from certify.documents import (
        BasinRecord,
        Certificate,
        CoverRecord,
        GateRecord,
        Measurement,
        SkillsRecord,
        read_document,
    )
    from certify.errors import (
        BenchmarkError,
        CertificateMismatch,
        CertifyError,
        CertifyWarning,
        CheckpointChanged,
        CheckpointError,
        InvalidInput,
        InvalidPlan,
        UnsupportedSchema,
    )
    from certify.evidence import Judgement, Requirement, Verdict
    from certify.measuring import Base, PlannedDraws, certify, check, measure_base
    from certify.verify import differences

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "Base": "certify.measuring",
        "BasinRecord": "certify.documents",
        "Benchmark": "certify.benchmarks",
        "BenchmarkError": "certify.errors",
        "Certificate": "certify.documents",
        "CertificateMismatch": "certify.errors",
        "CertifyError": "certify.errors",
        "CertifyWarning": "certify.errors",
        "Checkpoint": "certify.checkpoints",
        "CheckpointChanged": "certify.errors",
        "CheckpointError": "certify.errors",
        "CoverRecord": "certify.documents",
        "GateRecord": "certify.documents",
        "InvalidInput": "certify.errors",
        "InvalidPlan": "certify.errors",
        "Judgement": "certify.evidence",
        "Measurement": "certify.documents",
        "PlannedDraws": "certify.measuring",
        "Requirement": "certify.evidence",
        "SkillsRecord": "certify.documents",
        "UnsupportedSchema": "certify.errors",
        "Verdict": "certify.evidence",
        "__version__": "certify._version",
        "certify": "certify.measuring",
        "check": "certify.measuring",
        "compare": "certify.comparison",
        "differences": "certify.verify",
        "measure_base": "certify.measuring",
        "open_benchmark": "certify.benchmarks",
        "open_checkpoint": "certify.checkpoints",
        "read_document": "certify.documents",
    },
)

__all__ = [
    "Base",
    "BasinRecord",
    "Benchmark",
    "BenchmarkError",
    "Certificate",
    "CertificateMismatch",
    "CertifyError",
    "CertifyWarning",
    "Checkpoint",
    "CheckpointChanged",
    "CheckpointError",
    "CoverRecord",
    "GateRecord",
    "InvalidInput",
    "InvalidPlan",
    "Judgement",
    "Measurement",
    "PlannedDraws",
    "Requirement",
    "SkillsRecord",
    "UnsupportedSchema",
    "Verdict",
    "__version__",
    "certify",
    "check",
    "compare",
    "differences",
    "measure_base",
    "open_benchmark",
    "open_checkpoint",
    "read_document",
]
