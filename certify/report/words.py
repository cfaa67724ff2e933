"""Certificates and measurements in words."""

from __future__ import annotations

from collections.abc import Iterator

from certify.certificate import Certificate, Measurement
from certify.evidence.judgement import down, percent, up
from certify.evidence.paired_items import kept


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
    for draws in m.draws:
        share, lower, upper = draws.draws.strict_share(draws.base_score, draws.alpha, draws.eta)
        yield (
            f"{draws.n} draws of {draws.law.describe()}: mean score {draws.draws.mean:.3f}, lowest "
            f"{min(draws.draws.scores):.3f}, declared at {percent(draws.alpha)}"
        )
        yield (
            f"    share of directions that lose nothing at all: {share:.3f}, between {down(lower)} and {up(upper)} "
            f"({percent(draws.alpha)}, two-sided)"
        )
    yield "No claim is made here: `certify check` judges a checkpoint against these counts."
    yield f"base: {m.base.weights}"
    yield f"benchmark: {m.benchmark.digest}"
