"""Rows of the records that certify writes: certificates, gate records and basin records."""

from __future__ import annotations

from typing import Any

from certify.certificate import AnyDocument, BasinRecord, Certificate, GateRecord
from certify.errors import InvalidInput
from certify.evidence import PointEvidence, PositionEvidence, SmoothedEvidence, Verdict
from certify.evidence.distance import Displacement, DistanceEvidence
from certify.records import Seed
from certify.report.rows import Row

LARGEST_LAYERS = 5


def row_of(document: AnyDocument, file: str = "", **more: Any) -> Row:
    """Return the row of a judged record. ``more`` sets what the record does not hold (replay, settings ...).

    Raises:
        InvalidInput: the document is a measurement, which judges nothing.
    """
    if isinstance(document, Certificate):
        own = _certificate(document)
    elif isinstance(document, GateRecord):
        own = _gate(document)
    elif isinstance(document, BasinRecord):
        own = _basin(document)
    else:
        raise InvalidInput(
            f"{file or 'the document'} is a measurement, which makes no claim: `certify show` says it in words"
        )
    judgement, benchmark = document.judgement, document.benchmark
    common: dict[str, Any] = {
        "base": document.base.name,
        "benchmark": benchmark.name,
        "evidence": document.evidence.kind,
        "verdict": judgement.verdict,
        "claim": judgement.claim,
        "limits": judgement.limits,
        "notes": judgement.notes,
        "digests": {
            document.schema_name.rpartition("/")[2]: document.digest,
            "base": document.base.weights,
            **({} if isinstance(document, BasinRecord) else {"checkpoint": document.checkpoint.weights}),
            "benchmark": benchmark.digest,
            "tokens": benchmark.tokens,
        },
        "certificate": file,
        "replay": f"certify verify {file}" if file else "",
    }
    return Row(**{**common, **own, **more})


def layer_shares(displacement: Displacement, largest: int = LARGEST_LAYERS) -> tuple[tuple[str, float], ...]:
    """Return the tensors that moved most, each with its share of the squared distance."""
    squares = {name: norm * norm for name, norm in displacement.norms.items() if norm > 0}
    whole = sum(squares.values())
    moved = sorted(squares.items(), key=lambda entry: (-entry[1], entry[0]))[:largest]
    return tuple((name, square / whole) for name, square in moved)


def _certificate(c: Certificate) -> dict[str, Any]:
    judgement = c.judgement
    return {
        "item": f"{c.checkpoint.name}[{c.benchmark.name}]",
        "checkpoint": c.checkpoint.name,
        "vacuous": judgement.vacuous,
        "unit": judgement.unit,
        "value": judgement.value,
        "lower": judgement.lower,
        "upper": judgement.upper,
        "need": judgement.need,
        "alpha": c.alpha,
        "quantities": judgement.quantities,
        **_counted(c.evidence),
    }


def _counted(evidence: PointEvidence | PositionEvidence | SmoothedEvidence | DistanceEvidence) -> dict[str, Any]:
    """Return what was counted, by which method, from which seeds."""
    if isinstance(evidence, PointEvidence):
        method = _of_items(evidence.scores.graded)
        return {"n": evidence.scores.m, "of": "items", "items": evidence.items, "method": method}
    if isinstance(evidence, PositionEvidence):
        return {
            "n": len(evidence.basin.base),
            "of": "items",
            "items": evidence.items,
            "method": f"{_of_items(evidence.basin.graded)}, at {len(evidence.points)} points of the segment",
            "seeds": {f"basin, sigma {level.sigma:g}": _seed(level.seed) for level in evidence.basin.levels},
            "layers": layer_shares(evidence.displacement),
        }
    if isinstance(evidence, SmoothedEvidence):
        return {
            "n": evidence.n,
            "of": "draws",
            "items": "fixed",
            "method": "draws paired by seed, betting bounds",
            "seeds": {"draws": _seed(evidence.seed)},
        }
    design = "one item each, Clopper-Pearson" if evidence.draws.design == "pairs" else "all items each, rank-grid band"
    return {
        "n": evidence.draws.n,
        "of": "draws",
        "items": evidence.items,
        "method": f"draws at the base, {design}",
        "seeds": {"draws": _seed(evidence.draws.seed)},
        "layers": layer_shares(evidence.displacement) if evidence.draws.law.kind == "weights" else (),
    }


def _seed(seed: Seed) -> str:
    """Return the seed, and what the user chose of it: a seed of one's own and a repetition are never silent."""
    chosen = [f"user seed {seed.user_seed}"] if seed.user_seed else []
    chosen += [f"attempt {seed.attempt}"] if seed.attempt else []
    return f"{seed.value} ({', '.join(chosen)})" if chosen else seed.value


def _of_items(graded: bool) -> str:
    return f"items paired with the base, {'betting' if graded else 'exact one-pass'} bounds"


def _gate(record: GateRecord) -> dict[str, Any]:
    """Return what a sequential gate says: its bound is the required score itself, and a stopped mean is no estimate."""
    judgement, plan = record.judgement, record.evidence.plan
    return {
        "item": f"{record.checkpoint.name}[{record.benchmark.name}]",
        "checkpoint": record.checkpoint.name,
        "unit": "score",
        "lower": plan.p0 if judgement.verdict is Verdict.CERTIFIED else None,
        "upper": plan.p0 if judgement.verdict is Verdict.REFUTED else None,
        "need": plan.p0,
        "n": judgement.drawn,
        "of": "draws",
        "items": "fixed",
        "alpha": plan.alpha,
        "method": f"one random item under each draw, sequential test ({judgement.decision.value})",
        "quantities": {
            "right": float(judgement.right),
            "unclear": float(judgement.unclear),
            "p1": plan.p1,
            "cap": float(plan.cap),
        },
        "seeds": {"draws": _seed(record.evidence.seed)},
    }


def _basin(record: BasinRecord) -> dict[str, Any]:
    judgement, basin = record.judgement, record.evidence.basin
    return {
        "item": f"basin of {record.base.name}[{record.benchmark.name}]",
        "vacuous": judgement.vacuous,
        "unit": judgement.unit,
        "need": judgement.need,
        "n": len(basin.base),
        "of": "items",
        "items": "population",
        "alpha": record.alpha,
        "method": f"one draw for each item, at {len(basin.levels)} sigmas in a fixed sequence",
        "quantities": {"sigma_star": judgement.sigma_star, "refuted_from": judgement.refuted_from},
        "seeds": {f"sigma {level.sigma:g}": _seed(level.seed) for level in basin.levels},
    }
