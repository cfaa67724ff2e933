"""What a report says first: whether to release each checkpoint, which gate decides, and what that rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from certify.evidence.judgement import up
from certify.report.rows import Context, Outcome, Row, worst_first
from certify.statistics import holm

OF_NONE = ("basin", "skills", "cover")
"""Evidence about no checkpoint: the base's basins; a cover's means over a family, in which one point may be lost."""


class Answer(StrEnum):
    """What a headline says, worst first."""

    REFUSE = "Do not release"
    WAIT = "Not enough data"
    RELEASE = "Release"

    @property
    def outcome(self) -> Outcome:
        """The outcome of a gate that looks like it."""
        return {Answer.REFUSE: Outcome.REFUTED, Answer.RELEASE: Outcome.CERTIFIED}.get(self, Outcome.UNDECIDED)


@dataclass(frozen=True)
class Headline:
    """One checkpoint's answer, why, the gate that decides (None where none does), and all its gates."""

    checkpoint: str
    answer: Answer
    because: str
    gate: Row | None
    rows: tuple[Row, ...]

    def cells(self, benchmark: str, evidence: str) -> list[Row]:
        """Return its gates of one column of the matrix, worst first."""
        return worst_first(row for row in self.rows if (row.benchmark, row.evidence) == (benchmark, evidence))

    @property
    def p(self) -> float:
        """The p-value of "it meets every requirement": the largest of its gates' (intersection-union)."""
        return max((_p(row) for row in self.rows if not row.informational), default=1.0)


def headlines(rows: Sequence[Row], about: Context) -> list[Headline]:
    """Return a headline for each checkpoint, worst first; none where every row is about a base or a family.

    Guarantee: "Release" stands only where every required gate of the checkpoint is certified, and its baseline kept.
    Of one checkpoint, or where all are released, that is one conjunction: it is wrong with probability at most the
    largest alpha of its gates, without a correction. Where some are released and others are not, Holm's procedure
    over the checkpoints bounds the probability that any of them is released wrongly by ``about.alpha``. Which of the
    two applies depends on the results: over both the probability is at most the sum of these alphas.
    Source: docs/reports.md, "What a headline rests on".
    """
    judged = [row for row in rows if row.evidence not in OF_NONE]
    named = dict.fromkeys(row.checkpoint for row in judged if row.checkpoint)
    of_all = [row for row in judged if not row.checkpoint]  # gates that failed before they knew their checkpoint
    groups = {name: [row for row in judged if row.checkpoint == name] + of_all for name in named}
    if of_all and not groups:
        groups = {about.checkpoint: of_all}
    found = [_headline(name, worst_first(some), about) for name, some in groups.items()]
    passed = [each for each in found if each.answer is Answer.RELEASE]
    if len(passed) < len(found):
        together = holm([each.p if each in passed else 1.0 for each in found], about.alpha)
        found = [_together(each, len(found), about.alpha) if each in passed and not holds else each
                 for each, holds in zip(found, together, strict=True)]  # fmt: skip
    return sorted(found, key=lambda each: list(Answer).index(each.answer))


def rests_on(found: Sequence[Headline], about: Context) -> str:
    """Return in a sentence or two what the headlines rest on together."""
    released = [each for each in found if each.answer is Answer.RELEASE]
    if not released:
        return ""
    alpha = max(row.alpha or 0.0 for each in found for row in each.rows if not row.informational)
    if len(released) == len(found):
        what = "Release says" if len(found) == 1 else f"Release of all {len(found)} says"
        more = f" {_either(alpha, about)}" if len(found) > 1 else ""
        return (
            f"{what} that every required gate is certified: one statement, wrong with probability at most {alpha:g}, "
            f"which needs no correction for the number of gates.{more}"
        )
    return (
        f"Some of {len(found)} checkpoints are released and others not, so Release is said where Holm's procedure over "
        f"the checkpoints holds, each by its weakest gate: with probability at least {1 - about.alpha:g} none of them "
        f"misses a requirement. {_either(alpha, about)}"
    )


def _either(alpha: float, about: Context) -> str:
    """Say what holds whichever rule the results select: releasing all without a correction, or some with it."""
    return (
        "Whether all or only some are released depends on the results: over both ways a wrong Release has probability "
        f"at most {alpha + about.alpha:g}."
    )


def title(found: Sequence[Headline]) -> str:
    """Return the answer where there is one checkpoint, else how many are released."""
    if len(found) == 1:
        return found[0].answer
    number = sum(each.answer is Answer.RELEASE for each in found)
    many = {0: "none of", len(found): "all"}.get(number, f"{number} of")
    return f"Release {many} {len(found)} checkpoints"


def tone(found: Sequence[Headline]) -> Outcome:
    """Return what all headlines look like together: the worst, and open where some are released and others not."""
    mixed = len({each.answer is Answer.RELEASE for each in found}) > 1
    return Outcome.UNDECIDED if mixed else found[0].answer.outcome


def columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the columns of the matrix: for each benchmark the kinds of evidence that judged a checkpoint on it."""
    found: dict[str, list[str]] = {}
    judged = [row for row in rows if row.evidence not in OF_NONE]
    for benchmark, kind in dict.fromkeys((row.benchmark, row.evidence) for row in judged):
        found.setdefault(benchmark, []).append(kind)
    return found


def _headline(name: str, rows: list[Row], about: Context) -> Headline:
    required = [row for row in rows if not row.informational]
    refuted = [row for row in required if Outcome.REFUTED in (row.outcome, row.against_baseline)]
    open_ = [row for row in required if row.failing or row.vacuous]
    if refuted or open_:
        gate = (refuted or open_)[0]
        answer = Answer.REFUSE if refuted else Answer.WAIT
        return Headline(name, answer, _why(gate), gate, tuple(rows))
    unjudged = {"crashed": about.crashed, "not run": about.not_run, "not collected": about.refused}
    if missing := [f"{len(tests)} {what}: {', '.join(tests)}" for what, tests in unjudged.items() if tests]:
        return Headline(name, Answer.WAIT, f"gates were not judged ({'; '.join(missing)})", None, tuple(rows))
    if not required:
        return Headline(name, Answer.WAIT, "nothing was required of it", None, tuple(rows))
    bases = {row.digests.get("base", "") for row in required if "scores" not in row.digests}  # a log is of one task
    if len(bases) > 1:
        why = f"its gates are held against {len(bases)} different bases"
        return Headline(name, Answer.WAIT, why, None, tuple(rows))
    closest = min(required, key=lambda row: row.room)
    several = f"all {len(required)} required gates are certified, the closest" if len(required) > 1 else "certified"
    return Headline(name, Answer.RELEASE, f"{several}: {_why(closest)}", closest, tuple(rows))


def _together(alone: Headline, checkpoints: int, alpha: float) -> Headline:
    """Return the headline of a checkpoint that is certified alone, and not together with the others."""
    weakest = max((row for row in alone.rows if not row.informational), key=_p)
    least = f"{weakest.alpha:g}" if weakest.p is None else up(weakest.p, 4)
    why = (
        f"certified alone, but not as one of {checkpoints} checkpoints of which others fail: {_where(weakest)} is "
        f"certified at a failure probability of {least}, which is not enough to choose among so many; "
        f"{alpha / checkpoints:.4g} would be (a confidence of {1 - alpha / checkpoints:.6g})"
    )
    return Headline(alone.checkpoint, Answer.WAIT, why, weakest, alone.rows)


def _p(row: Row) -> float:
    """Return the least failure probability at which the row is known to be certified; where nothing is random, 0."""
    if row.failing:
        return 1.0
    if row.confidence.startswith("exactly"):
        return 0.0
    return next(x for x in (row.p, row.alpha, 1.0) if x is not None)  # p charges for attempts, alpha is their share


def _where(row: Row) -> str:
    return f"{row.evidence} on {row.benchmark}"


def _why(row: Row) -> str:
    """Say what a gate found against what it requires, or why it did not come to it."""
    if row.error:
        return f"{row.error} ({_where(row)})"
    if row.outcome is not Outcome.REFUTED and row.against_baseline not in (None, Outcome.CERTIFIED):
        problem = next((each.problem for each in row.baselines if each.problem), "")
        return f"{row.against_baseline} against its baseline, {_where(row)}{problem and f': {problem}'}"
    if row.vacuous:
        return f"nothing is shown by {_where(row)}: a model that knows nothing would meet {row.asked}"
    return f"{row.found} by {_where(row)}; {row.asked} required"
