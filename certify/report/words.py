"""Certificates, measurements and gate records in words."""

from __future__ import annotations

from collections.abc import Iterator

from certify.certificate import AnyDocument, BasinRecord, Certificate, GateRecord, Measurement
from certify.evidence.engines import engine_limits
from certify.evidence.judgement import down, percent, up
from certify.evidence.paired_items import kept
from certify.report.basin import basin_lines


def document_lines(document: AnyDocument) -> Iterator[str]:
    """Yield what any record says."""
    if isinstance(document, Certificate):
        return certificate_lines(document)
    if isinstance(document, BasinRecord):
        return basin_lines(document)
    return gate_lines(document) if isinstance(document, GateRecord) else measurement_lines(document)


def certificate_lines(certificate: Certificate) -> Iterator[str]:
    """Yield what the certificate says: verdict, claim, numbers, limits, identities."""
    c, j = certificate, certificate.judgement
    yield f"{j.verdict.value.upper()}  {c.evidence.kind} evidence on {c.benchmark.name}, checkpoint {c.checkpoint.name}"
    yield f"claim: {j.claim}"
    yield (
        f"{j.unit}: estimate {'-' if j.value is None else format(j.value, '.3f')}, bounds {down(j.lower)} and "
        f"{up(j.upper)} ({percent(c.alpha)} one-sided each), required: {c.requirement.describe()}"
    )
    for note in j.notes:
        yield f"note: {note}"
    for name, value in j.quantities.items():
        yield f"{name.replace('_', ' ')}: {'none' if value is None else format(value, '.6g')}"
    for limit in j.limits:
        yield f"not covered: {limit}"
    yield f"base: {c.base.name} {c.base.weights}"
    yield f"checkpoint: {c.checkpoint.name} {c.checkpoint.weights}"
    b = c.benchmark
    yield f"benchmark: {b.name}, {b.items} items, {b.scoring}, chance {b.chance:g}, {b.digest}"


def gate_lines(record: GateRecord) -> Iterator[str]:
    """Yield what a gate decided: verdict, claim, plan, limits, identities."""
    g, j, plan = record, record.judgement, record.evidence.plan
    yield f"{j.verdict.value.upper()}  sequential gate on {g.benchmark.name}, checkpoint {g.checkpoint.name}"
    yield f"claim: {j.claim}"
    refuting = "" if plan.alpha_refute is None else f", refutes at {percent(plan.alpha_refute)}"
    yield (
        f"plan: passes at {percent(plan.alpha)}{refuting}, meant to pass at {plan.p1:g}, cap {plan.cap:,}; {j.drawn:,} "
        f"trials drawn, each one item under a draw of its own"
    )
    for note in j.notes:
        yield f"note: {note}"
    for limit in j.limits:
        yield f"not covered: {limit}"
    yield f"base: {g.base.name} {g.base.weights}"
    yield f"checkpoint: {g.checkpoint.name} {g.checkpoint.weights}"
    yield f"benchmark: {g.benchmark.name}, {g.benchmark.items} items, {g.benchmark.scoring}, {g.benchmark.digest}"


def measurement_lines(measurement: Measurement) -> Iterator[str]:
    """Yield what was counted at the base."""
    m = measurement
    yield (
        f"MEASUREMENT of {m.base.name} ({m.base.parameters:,} parameters) on {m.benchmark.name} "
        f"({m.benchmark.items} items)"
    )
    yield f"score without noise: {sum(kept(m.basin.base)) / len(m.basin.base):.3f}, chance {m.benchmark.chance:g}"
    for level in m.basin.levels:
        paired = m.basin.drop_at(level)
        yield (
            f"sigma {level.sigma:g}: {paired.lost} of {paired.m} items lost, {paired.gained} gained "
            "(a draw of its own for each item)"
        )
    for limit in m.basin.limits:
        yield f"    {limit}"
    for draws in m.draws:
        drawn = f"{draws.n} draws of {draws.law.describe()}"
        if draws.design == "pairs":
            yield (
                f"{drawn}, one random item each (design pairs): mean score {draws.draws.mean:.3f}, declared at "
                f"{percent(draws.alpha)}"
            )
            for limit in engine_limits((draws.engine,), draws.n):
                yield f"    {limit}"
            continue
        share, lower, upper = draws.draws.strict_share(draws.base_score, draws.alpha, draws.eta)
        yield (
            f"{drawn}: mean score {draws.draws.mean:.3f}, lowest {min(draws.draws.scores):.3f}, declared at "
            f"{percent(draws.alpha)}"
        )
        yield (
            f"    share of directions that lose nothing at all: {share:.3f}, between {down(lower)} and {up(upper)} "
            f"({percent(draws.alpha)}, two-sided)"
        )
    yield "No claim is made here: `certify check` judges a checkpoint against these counts."
    yield f"base: {m.base.weights}"
    yield f"benchmark: {m.benchmark.digest}"
