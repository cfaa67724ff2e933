"""Certificates, measurements and gate records in words."""

from __future__ import annotations

from collections.abc import Iterator

from certify.documents import (
    AnyDocument,
    BasinRecord,
    Certificate,
    CoverRecord,
    GateRecord,
    Judged,
    Measurement,
    ScoresRecord,
    SkillsRecord,
)
from certify.evidence.distance import BaseDraws
from certify.evidence.engines import engine_limits
from certify.evidence.judgement import down, percent, up
from certify.evidence.paired_items import kept
from certify.evidence.smoothed import mean_of_draws
from certify.records import BroughtIdentity, BroughtScores
from certify.report.basin_table import detail_lines, place_lines
from certify.report.cover_table import window_lines
from certify.report.rows import Row, row_of
from certify.report.skills_table import nesting_lines


def document_lines(document: AnyDocument) -> Iterator[str]:
    """Yield what any record says: verdict, claim, numbers, limits, identities."""
    if not isinstance(document, Judged):
        yield from measurement_lines(document)
        return
    row, b = row_of(document), document.benchmark
    yield f"{row.verdict.value.upper()}  {_about(document, row)}"
    yield f"claim: {row.claim}"
    yield from _numbers(document, row)
    for note in filter(None, (*row.notes, row.settled_by)):
        yield f"note: {note}"
    if isinstance(document, Certificate | ScoresRecord):
        for name, value in row.quantities.items():
            yield f"{name.replace('_', ' ')}: {'none' if value is None else format(value, '.6g')}"
    if isinstance(document, BasinRecord):
        yield from detail_lines(document)
    if isinstance(document, CoverRecord):
        yield from window_lines(document)
    if isinstance(document, SkillsRecord):
        yield from nesting_lines(document)
    for limit in row.limits:
        yield f"not covered: {limit}"
    about = "family" if isinstance(document, CoverRecord) else "checkpoint"
    for part, model in (("base", document.base), (about, document.about)):
        if model:
            log = f", {model.file} of {model.tool} {model.version}".rstrip() if isinstance(model, BroughtScores) else ""
            yield f"{part}: {model.name} {model.fingerprint}{log}"
    yield f"benchmark: {b.name}, {b.items} items, {b.scoring}, chance {b.chance:g}, {b.digest}"


def _about(document: Judged, row: Row) -> str:
    if document.about is None:
        return f"basin of {row.base} on {row.benchmark}"
    if isinstance(document, CoverRecord):
        return f"cover of {row.checkpoint} on {row.benchmark}"
    kind = "sequential gate" if row.evidence == "sequential" else f"{row.evidence} evidence"
    return f"{kind} on {row.benchmark}, checkpoint {row.checkpoint}"


def _numbers(document: Judged, row: Row) -> Iterator[str]:
    """Yield the bound that the verdict rests on, or a gate's plan, or a basin's places."""
    if isinstance(document, GateRecord):
        plan = document.evidence.plan
        refuting = "" if plan.alpha_refute is None else f", refutes at {percent(plan.alpha_refute)}"
        yield (
            f"plan: passes at {percent(plan.alpha)}{refuting}, meant to pass at {plan.p1:g}, cap {plan.cap:,}; "
            f"{row.n:,} trials drawn, each one item under a draw of its own"
        )
    elif isinstance(document, BasinRecord):
        yield from place_lines(document)
    elif isinstance(document, SkillsRecord):
        yield f"widths of {len(document.said.skills)} skills; {len(document.said.inside)} pairs shown to be nested"
    elif isinstance(document, CoverRecord):
        yield f"found: {row.place[0]}, of {len(document.said.windows)} windows; {row.facts}"
    else:
        sure = f" ({row.confidence})" if row.confidence else ""
        estimate = "" if row.value is None else f", estimate of the {row.quantity} {row.estimate}"
        yield f"{row.found}{sure}{estimate}; required: {row.quantity} {row.required}"


def _brought(draws: BaseDraws) -> Iterator[str]:
    """Yield the bound of the mean drop on exactly these items, of which a width can be read, and what is on trust."""
    assert isinstance(draws.engine, BroughtIdentity)
    mean = mean_of_draws(draws.draws.scores, draws.alpha / draws.ladder, draws.eta)
    assert mean.lower is not None
    together = f", all {draws.ladder} sigmas together" * (draws.ladder > 1)
    yield (
        f"    mean drop on exactly these items: {draws.base_score - draws.draws.mean:.3f}, at most "
        f"{up(draws.base_score - mean.lower)} ({percent(draws.alpha)}{together})"
    )
    for limit in engine_limits((draws.engine,), draws.n, draws.eta):
        yield f"    {limit}"


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
            for limit in engine_limits((draws.engine,), draws.n, draws.eta):
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
        if isinstance(draws.engine, BroughtIdentity):
            yield from _brought(draws)
    yield "No claim is made here: `certify check` judges a checkpoint against these counts."
    yield f"base: {m.base.weights}"
    yield f"benchmark: {m.benchmark.digest}"
