"""Point certificates of one base on one benchmark, made by hand."""

from __future__ import annotations

from certify.documents import Certificate
from certify.evidence import PointEvidence, Requirement
from certify.evidence.paired_items import PairedScores
from certify.records import BenchmarkIdentity, Environment, ModelIdentity


def identity(name: str, mark: str) -> ModelIdentity:
    """A model whose digests are all of one digit."""
    return ModelIdentity(
        name=name,
        weights=f"sha256:{mark * 64}",
        companions={"config": f"sha256:{'c' * 64}"},
        parameters=10,
        dtypes=("F32",),
    )


BENCHMARK = BenchmarkIdentity(
    name="own", items=400, scoring="exact match", chance=0.0, digest=f"sha256:{'d' * 64}", tokens=f"sha256:{'e' * 64}"
)


def certificate(wrong: int, mark: str = "1", **more: object) -> Certificate:
    """A point certificate of a checkpoint that gets the first ``wrong`` of 400 items wrong; the base gets 390 right."""
    checkpoint = (0.0,) * wrong + (1.0,) * (400 - wrong)
    scores = PairedScores(base=(1.0,) * 390 + (0.0,) * 10, checkpoint=checkpoint)
    fields: dict[str, object] = {
        "base": identity("base", "b"),
        "checkpoint": identity(f"step-{mark}", mark),
        "benchmark": BENCHMARK,
        "requirement": Requirement(),
        "alpha": 0.05,
        "evidence": PointEvidence(scores=scores),
        "environment": Environment(python="3.12", platform="Linux", packages={"torch": "2.13.0"}),
    }
    return Certificate.make(**{**fields, **more})  # type: ignore[arg-type]
