"""What lm-eval makes of a generated answer: the filters of its task, then ``exact_match`` with its arguments.

Written anew from what lm-eval does, so that gates need no lm-eval; held to it item by item in a lane of its own. Each
pattern has the time that patterns of one's own have.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from typing import Any

from certify.benchmarks.items import (
    ChoicesFilter,
    FilterStep,
    Item,
    MapFilter,
    RepeatsFilter,
    TaskFilter,
    TaskScoring,
)
from certify.benchmarks.judges import Judge, found, replaced


def filtered(scoring: TaskScoring, text: str, lettered: Sequence[str] = ()) -> str | None:
    """Return what the filters make of an answer to an item with these lettered choices, None where a map has nothing.

    Raises:
        BenchmarkError: a pattern takes too long on it.
    """
    left: str | None = text
    for step in scoring.filters:
        if left is None:
            return None
        left = _filtered(step, left, lettered)
    return left


def judge_by(scoring: TaskScoring) -> Judge:
    """Return the judge that finds an answer right where lm-eval's ``exact_match`` with a target is 1."""
    ignored = [word for word in ("case", "punctuation", "numbers") if getattr(scoring, f"ignore_{word}")]
    ignored += [f"{len(scoring.regexes_to_ignore)} patterns"] * bool(scoring.regexes_to_ignore)
    through = ", ".join(step.function for step in scoring.filters)
    words = f", exact_match of lm-eval{f' through {through}' * bool(through)}"
    alike = " of one answer in place of its repeats" * scoring.has("take_first_k", "majority_vote")
    without = f", ignoring {', '.join(ignored)}" if ignored else ""

    def score(answer: str, targets: Sequence[str], item: Item) -> float:
        own = compared(scoring, answer)
        return float(any(own == compared(scoring, target) for target in targets))

    return Judge(f"{words}{alike}{without}", False, score)


def compared(scoring: TaskScoring, text: str) -> str:
    """Return what is left of a text without what ``exact_match`` ignores."""
    text = _without(scoring.regexes_to_ignore, scoring.ignore_case, text)
    ignored = string.punctuation * scoring.ignore_punctuation + string.digits * scoring.ignore_numbers
    return text.translate(str.maketrans("", "", ignored))


def _without(patterns: Sequence[str], ignore_case: bool, text: str) -> str:
    for pattern in patterns:
        text = replaced(pattern, text)
    return text.lower() if ignore_case else text


def _filtered(step: FilterStep, text: str, lettered: Sequence[str]) -> str | None:
    match step:
        case ChoicesFilter():
            return _letter(step, text, lettered)
        case MapFilter():
            return step.mapping_dict.get(text, step.default_value)
        case RepeatsFilter():
            return text  # of answers that are all the same
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
    match = _selected(step.regex_pattern, step.group_select, text)
    if match is None:
        return step.fallback
    held = _held(match)
    return (step.fallback if held is None else held).strip()


def _letter(step: ChoicesFilter, text: str, lettered: Sequence[str]) -> str:
    """Return what the pattern finds, or in brackets the letter of the choice that the text holds or names."""

    def found_by(pattern: str, where: str) -> str:
        match = _selected(pattern, step.group_select, where)
        return "" if match is None else (_held(match) or "").strip()

    letters = [chr(ord("A") + place) for place in range(len(lettered))]
    choices = [_ignoring(step, choice.strip()) for choice in lettered]
    any_choice = "|".join(sorted(map(re.escape, choices), key=len, reverse=True))  # as lm-eval: the longest first
    if found_first := found_by(step.regex_pattern, text):
        return found_first
    if choice := found_by(any_choice, _ignoring(step, text)):
        return dict(zip(choices, (f"({letter})" for letter in letters), strict=True)).get(choice, choice)
    letter = found_by(rf":\s*({'|'.join(letters)})", text)
    return f"({letter})" if letter else step.fallback


def _ignoring(step: ChoicesFilter, text: str) -> str:
    text = _without(step.regexes_to_ignore, step.ignore_case, text)
    if not step.ignore_punctuation:
        return text
    return "".join(character for character in text if not unicodedata.category(character).startswith("P"))


def _selected(pattern: str, place: int, text: str) -> Any:
    """Return the match that is asked for, from the end where the place is negative; None where it is not there."""
    matches = list(found(pattern, text))
    return matches[place] if -len(matches) <= place < len(matches) else None


def _held(match: Any) -> str | None:
    """Return what a match holds: of several groups the first that holds something, None where none does."""
    if match.re.groups < 2:
        return match[match.re.groups] or ""
    return next(filter(None, match.groups()), None)
