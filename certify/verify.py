"""Recompute a certificate, a measurement or a gate record from what it stores, without torch, weights or benchmark."""

from __future__ import annotations

from typing import Any

from certify.certificate import AnyDocument, BasinRecord, Certificate, GateRecord, Measurement
from certify.errors import InvalidPlan
from certify.evidence import DistanceEvidence, PointEvidence, PositionEvidence, SmoothedEvidence
from certify.evidence.distance import BaseDraws
from certify.evidence.position import Basin, BasinLevel
from certify.evidence.sequential import gate_seed
from certify.evidence.width import WidthEvidence
from certify.records import Seed, derive_seed, order_of

# Recomputed floats may differ in the last bits between machines' special functions, never more.
TOLERANCE = 1e-9

PROOF_LIMIT = "Recomputed from the stored counts; this does not prove that the counts came from these models."


def differences(document: AnyDocument) -> list[str]:
    """Return one line for each thing in ``document`` that its own content contradicts; empty when it is valid.

    Checks every bound, distance and verdict, every seed, and the record's digest.
    """
    if isinstance(document, Measurement):
        lines = _measurement_seeds(document)
    elif isinstance(document, GateRecord):
        lines = _gate(document)
    elif isinstance(document, BasinRecord):
        lines = _basin(document)
    else:
        fresh = document.evidence.judge(document.benchmark, document.requirement, document.alpha)
        lines = list(_compare("judgement", document.judgement.model_dump(mode="json"), fresh.model_dump(mode="json")))
        lines += _certificate_seeds(document) + _declared(document)
    lines += _order(document)
    if document.digest != document.own_digest():
        lines.append(f"digest: recorded {document.digest}, recomputed {document.own_digest()}")
    return lines


def _order(document: AnyDocument) -> list[str]:
    """Check that graded items were taken in the order that the benchmark fixes; version 1 took that of the file."""
    if isinstance(document, GateRecord) or document.version == 1:
        return []
    evidence = document.basin if isinstance(document, Measurement) else document.evidence
    held: list[tuple[str, Seed | None]] = []
    if isinstance(evidence, PointEvidence):
        held.append(("evidence.scores.order", evidence.scores.order))
    elif isinstance(evidence, PositionEvidence | WidthEvidence):
        held.append(("evidence.basin.order", evidence.basin.order))
    elif isinstance(evidence, Basin):
        held.append(("basin.order", evidence.order))
    expected = order_of(document.benchmark)
    return [f"{where}: recorded {_short(found)}, the benchmark gives {_short(expected)}" for where, found in held
            if found != expected]  # fmt: skip


def _short(order: Seed | None) -> str:
    return "none" if order is None else f"{order.value[:16]}..."


def _compare(where: str, recorded: Any, fresh: Any) -> list[str]:
    if isinstance(recorded, dict) and isinstance(fresh, dict):
        keys = [*recorded, *(k for k in fresh if k not in recorded)]
        return [line for k in keys for line in _compare(f"{where}.{k}", recorded.get(k), fresh.get(k))]
    if isinstance(recorded, float) and isinstance(fresh, float):
        same = abs(recorded - fresh) <= TOLERANCE * max(1.0, abs(fresh))
    else:
        same = recorded == fresh
    return [] if same else [f"{where}: recorded {recorded!r}, recomputed {fresh!r}"]


def _seed(where: str, recorded: Seed, expected: Seed) -> list[str]:
    if recorded.value == expected.value:
        return []
    return [f"{where}.seed: recorded {recorded.value[:16]}..., the measured identities give {expected.value[:16]}..."]


def _draws_seed(where: str, draws: BaseDraws, document: AnyDocument) -> list[str]:
    expected = derive_seed(
        "pairs" if draws.design == "pairs" else "distance",
        draws.law,
        document.benchmark,
        document.base,
        n=draws.n,
        user_seed=draws.seed.user_seed,
        attempt=draws.seed.attempt,
    )
    return _seed(where, draws.seed, expected)


def _level_seed(where: str, level: BasinLevel, document: AnyDocument) -> list[str]:
    expected = derive_seed(
        "basin",
        level.law,
        document.benchmark,
        document.base,
        n=len(level.scores),
        user_seed=level.seed.user_seed,
        attempt=level.seed.attempt,
    )
    return _seed(where, level.seed, expected)


def _measurement_seeds(document: Measurement) -> list[str]:
    lines = []
    for i, level in enumerate(document.basin.levels):
        lines += _level_seed(f"basin.levels.{i}", level, document)
    for i, draws in enumerate(document.draws):
        lines += _draws_seed(f"draws.{i}", draws, document)
    return lines


def _certificate_seeds(document: Certificate) -> list[str]:
    evidence = document.evidence
    if isinstance(evidence, DistanceEvidence):
        return _draws_seed("evidence.draws", evidence.draws, document)
    if isinstance(evidence, PositionEvidence):
        return [
            line
            for i, level in enumerate(evidence.basin.levels)
            for line in _level_seed(f"evidence.basin.levels.{i}", level, document)
        ]
    if isinstance(evidence, SmoothedEvidence):
        seed = evidence.seed
        expected = derive_seed(
            "smoothed",
            evidence.law,
            document.benchmark,
            document.base,
            checkpoint=document.checkpoint,
            n=evidence.n,
            user_seed=seed.user_seed,
            attempt=seed.attempt,
        )
        return _seed("evidence", seed, expected)
    return []


def _gate(document: GateRecord) -> list[str]:
    """Check that the gate's outcomes, draw by draw, give its decision under the plan that its requirement implies."""
    requirement, benchmark, evidence = document.requirement, document.benchmark, document.evidence
    plan, seed = evidence.plan, evidence.seed
    lines = []
    if requirement.base is not None and len(requirement.base) != benchmark.items:
        lines.append(f"requirement.base: {len(requirement.base)} scores, the benchmark has {benchmark.items} items")
    if benchmark.graded:
        lines.append("benchmark: is graded, so a gate on single items has no valid test")
    try:
        lines += _compare("evidence.plan.p0", plan.p0, requirement.level(benchmark.chance))
        fresh = evidence.judge(benchmark, requirement)
        lines += _compare("judgement", document.judgement.model_dump(mode="json"), fresh.model_dump(mode="json"))
    except InvalidPlan as problem:  # decided before its last outcome, or a requirement that says nothing
        lines.append(f"evidence: {problem}")
    names = (evidence.law, benchmark, document.base, document.checkpoint, plan.cap)
    return lines + _seed("evidence", seed, gate_seed(*names, user_seed=seed.user_seed, attempt=seed.attempt))


def _basin(document: BasinRecord) -> list[str]:
    """Recompute the judgement of a basin, and the seeds of its levels and of its whole-benchmark draws."""
    evidence, benchmark = document.evidence, document.benchmark
    fresh = evidence.judge(benchmark, document.requirement, document.alpha)
    lines = list(_compare("judgement", document.judgement.model_dump(mode="json"), fresh.model_dump(mode="json")))
    for i, level in enumerate(evidence.basin.levels):
        lines += _level_seed(f"evidence.basin.levels.{i}", level, document)
    for i, draws in enumerate(evidence.draws):
        lines += _draws_seed(f"evidence.draws.{i}", draws, document)
    if len(evidence.basin.base) != benchmark.items:
        lines.append(f"evidence: {len(evidence.basin.base)} item scores, the benchmark has {benchmark.items} items")
    if evidence.basin.graded != benchmark.graded:
        lines.append(f"evidence: graded is {evidence.basin.graded}, the benchmark's is {benchmark.graded}")
    return lines


def _declared(document: Certificate) -> list[str]:
    """Check what must agree between the evidence and the rest of the certificate."""
    evidence, lines = document.evidence, []
    if isinstance(evidence, DistanceEvidence) and evidence.draws.alpha != document.alpha:
        lines.append(f"alpha: recorded {document.alpha!r}, the draws declared {evidence.draws.alpha!r}")
    if isinstance(evidence, DistanceEvidence) and evidence.draws.design == "pairs" and document.benchmark.graded:
        lines.append("evidence.draws: pairs of a graded benchmark have no valid bound")
    counts, graded = [], document.benchmark.graded
    if isinstance(evidence, PointEvidence):
        counts, graded = [evidence.scores.m], evidence.scores.graded
    elif isinstance(evidence, PositionEvidence):
        counts = [len(evidence.basin.base), *(len(p.scores) for p in evidence.points)]
        graded = evidence.basin.graded
    if graded != document.benchmark.graded:
        lines.append(f"evidence: graded is {graded}, the benchmark's is {document.benchmark.graded}")
    for count in counts:
        if count != document.benchmark.items:
            lines.append(f"evidence: {count} item scores, the benchmark has {document.benchmark.items} items")
    return lines
