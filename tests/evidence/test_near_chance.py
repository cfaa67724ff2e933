"""A base that may know nothing: its checkpoint can lose little, and whoever reads the green verdict is told."""

from __future__ import annotations

import pytest
from test_vacuous import BENCH, ENGINE, SEED, law, point, position, weak_basin

from certify.evidence import Requirement, SmoothedEvidence, Verdict
from certify.evidence.judgement import NEAR_CHANCE, Shown
from certify.evidence.smoothed import DrawScores
from certify.report.markdown import render_markdown
from certify.report.rows import Row

TIGHT = Requirement(limit=0.02)


def shown(evidence: object, requirement: Requirement = TIGHT) -> tuple[Verdict, Shown]:
    """The verdict at 95 %, and what a report says beside it."""
    judgement = evidence.judge(BENCH, requirement, 0.05)  # type: ignore[attr-defined]
    return judgement.verdict, evidence.shown(BENCH, requirement, 0.05, judgement)  # type: ignore[attr-defined]


def smoothed(base: float, checkpoint: float) -> SmoothedEvidence:
    draws = {name: DrawScores(scores=(score, min(1.0, 2 * score), 0.0) * 10)
             for name, score in (("base", base), ("checkpoint", checkpoint))}  # fmt: skip
    return SmoothedEvidence(law=law(0.01), engine=ENGINE, seed=SEED, base_unnoised=base, checkpoint_unnoised=checkpoint,
                            **draws)  # fmt: skip


EVIDENCE = {
    "point": lambda right: point(right, right),
    "position": lambda right: position(weak_basin(right, right), right),
    "smoothed": lambda right: smoothed(right / 300, right / 300),
}


@pytest.mark.parametrize("kind", EVIDENCE)
def test_said_where_the_base_is_not_shown_to_be_above_chance(kind: str) -> None:
    """84 of 300 right at chance 0.25 may be luck, 150 are none."""
    weak, strong = (shown(EVIDENCE[kind](right))[1].notes for right in (84, 150))
    assert sum(note.startswith(f"{NEAR_CHANCE} 0.25 (its score is at least 0.") for note in weak) == 1
    assert not any(NEAR_CHANCE in note for note in strong)


def test_it_changes_no_verdict_and_is_no_part_of_the_record() -> None:
    """The gate stays green: a small drop is what was asked. Records made before it say the same to their digests."""
    evidence = point(84, 84)
    verdict, _ = shown(evidence)
    assert verdict is Verdict.CERTIFIED
    assert evidence.judge(BENCH, TIGHT, 0.05).notes == ()


def test_the_bound_decides_and_not_the_score() -> None:
    """The first number of right answers whose lower bound is above chance is the first without a note."""
    for right in range(80, 110):
        evidence = point(right, right)
        lower = evidence.scores.base_score(0.05).lower
        assert lower is not None
        said = any(NEAR_CHANCE in note for note in shown(evidence, Requirement(limit=0.01))[1].notes)
        assert said == (lower <= 0.25), right


def test_not_said_where_something_stronger_is() -> None:
    """A vacuous requirement claims nothing; retention abstains; of fixed items the base's score is known; a score that
    must be low needs no base."""
    assert not any(NEAR_CHANCE in note for note in shown(point(84, 84), Requirement())[1].notes)
    assert not any(NEAR_CHANCE in note for note in shown(point(84, 84, items="fixed"))[1].notes)
    for unit, limit in (("retention", 0.5), ("absence", 0.5)):
        notes = shown(point(84, 84), Requirement(unit=unit, limit=limit))[1].notes
        assert not any(NEAR_CHANCE in note for note in notes)


def test_a_summary_of_green_gates_names_them() -> None:
    """A step summary shows paragraphs of failing gates alone."""
    note = f"{NEAR_CHANCE} 0.25 (its score is at least 0.2)"
    green = Row(item="kept", checkpoint="run", benchmark="0", evidence="point", verdict="certified", unit="drop",
                value=0.0, lower=0.0, upper=0.01, need=0.02, n=300)  # fmt: skip
    rows = [
        green.model_copy(update={"item": f"kept[{i}]", "benchmark": str(i), "notes": (note,) * (i > 0)})
        for i in range(13)
    ]
    text = render_markdown(rows)
    assert f"Note: {NEAR_CHANCE} in `kept[1]`, " in text
    assert "`kept[10]` and 2 more" in text
    assert NEAR_CHANCE not in render_markdown(rows[:1])
