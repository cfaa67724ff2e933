"""What lm-eval makes of a generated answer: the filters of its task, then ``exact_match`` with its arguments.

Written anew from what lm-eval does, so that gates need no lm-eval; held to it item by item in a lane of its own.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from certify.benchmarks.items import Item, TaskFilter, TaskScoring
from certify.benchmarks.judges import Judge, found, replaced


def filtered(scoring: TaskScoring, text: str) -> str:
    """Return what the filters make of an answer.

    Raises:
        BenchmarkError: a pattern takes too long on it.
    """
    for step in scoring.filters:
        text = _filtered(step, text)
    return text


def judge_by(scoring: TaskScoring) -> Judge:
    """Return the judge that finds an answer right where lm-eval's ``exact_match`` with a target is 1."""
    ignored = [word for word in ("case", "punctuation", "numbers") if getattr(scoring, f"ignore_{word}")]
    ignored += [f"{len(scoring.regexes_to_ignore)} patterns"] * bool(scoring.regexes_to_ignore)
    through = ", ".join(step.function for step in scoring.filters)
    words = f", exact_match of lm-eval{f' through {through}' * bool(through)}"
    without = f", ignoring {', '.join(ignored)}" if ignored else ""

    def score(answer: str, targets: Sequence[str], item: Item) -> float:
        own = compared(scoring, answer)
        return float(any(own == compared(scoring, target) for target in targets))

    return Judge(f"{words}{without}", False, score)


def compared(scoring: TaskScoring, text: str) -> str:
    """Return what is left of a text without what ``exact_match`` ignores."""
    for pattern in scoring.regexes_to_ignore:
        text = replaced(pattern, text)
    if scoring.ignore_case:
        text = text.lower()
    ignored = string.punctuation * scoring.ignore_punctuation + string.digits * scoring.ignore_numbers
    return text.translate(str.maketrans("", "", ignored))


def _filtered(step: TaskFilter, text: str) -> str:
    match step.function:
        case "regex":
            return _extracted(step, text)
        case "remove_whitespace":
            return text.strip()
        case "lowercase":
            return text.lower()
        case "uppercase":
            return text.upper()


def _extracted(step: TaskFilter, text: str) -> str:
    """Return the match that is asked for; of several groups the first that holds something."""
    matches = list(found(step.regex_pattern, text))
    if not -len(matches) <= step.group_select < len(matches):
        return step.fallback
    match = matches[step.group_select]
    if match.re.groups < 2:
        return (match[match.re.groups] or "").strip()
    return next(filter(None, match.groups()), step.fallback).strip()
