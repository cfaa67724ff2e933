"""The basins of several skills as a table and in words. Nothing is computed here that is claimed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from certify.documents import SkillsRecord
from certify.evidence.judgement import down, no_less_than, percent, up
from certify.evidence.position import level_text
from certify.report.table import STYLES, plain


def skills_table(record: SkillsRecord) -> Table:
    """Return one row for each skill at each sigma, and how wide its basin is."""
    said, requirement = record.said, record.requirement
    caption = (
        f"widths, in the last two columns, hold all at once with {percent(record.failure_probability)} confidence; the "
        f"bounds of a sigma hold alone, each with {percent(said.share)}"
    )
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=0, caption=plain(caption))
    for name in ("skill", "sigma", "lost", "gained", f"{requirement.quantity}\n>=", "<=", "alone", "sigma*", "from"):
        table.add_column(name, justify="left" if name in ("skill", "alone") else "right", no_wrap=True)
    for skill in said.skills:
        for i, level in enumerate(skill.levels):
            bounds, last = level.bounds, i == len(skill.levels) - 1
            table.add_row(
                Text(skill.name if i == 0 else ""),
                f"{level.sigma:g}",
                f"{level.lost}",
                f"{level.gained}",
                down(bounds.lower),
                up(bounds.upper),
                Text(level.verdict.value, style=STYLES[level.verdict]),
                level_text(skill.sigma_star) if i == 0 else "",
                ("none" if skill.refuted_from is None else no_less_than(skill.refuted_from)) if i == 0 else "",
                end_section=last,
            )
    return table


def skills_lines(record: SkillsRecord) -> Iterator[str]:
    """Yield verdict, claim and notes."""
    said = record.said
    yield f"{said.verdict.value.upper()}  basins of {record.base.name} on {record.benchmark.name}: {said.claim}"
    for note in said.notes:
        yield f"note: {note}"


def nesting_lines(record: SkillsRecord) -> Iterator[str]:
    """Yield how wide each basin is, and what is said of each pair: most often nothing."""
    said = record.said
    for skill in said.skills:
        above = "nowhere refuted" if skill.refuted_from is None else f"refuted from {no_less_than(skill.refuted_from)}"
        yield f"{skill.name}: scores {skill.base_score:.3f}, sigma* {level_text(skill.sigma_star)}, {above}"
        for level in skill.levels:
            yield (
                f"    sigma {level.sigma:g}: {level.lost} of {record.evidence.n} draws lost, {level.gained} gained; "
                f"{record.requirement.quantity} {down(level.bounds.lower)} to {up(level.bounds.upper)}"
            )
    for pair in said.inside:
        yield (
            f"{pair.inner} inside {pair.outer}: below {no_less_than(pair.below)}, and at least "
            f"{level_text(pair.reaches)}"
        )
