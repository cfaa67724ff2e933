"""What one log says: one task of one model, each item with what every metric gave it."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certify.errors import InvalidInput
from certify.text import shortened

ROUNDING = 1e-9
"""How far beyond 0 or 1 a score may lie: a sum of probabilities does, by rounding."""


@dataclass(frozen=True)
class ScoredItem:
    """One item as a tool logged it.

    ``content`` and ``prompt`` tell whether two logs hold the same question, and asked it alike; empty where the log
    does not say. ``metrics`` maps each metric to its value, None where the answer is missing. ``choices``: number of
    answers to choose from, 0 where the model writes its own. ``cluster`` names the group that it comes in, empty where
    the log does not say.
    """

    where: str
    content: str = ""
    prompt: str = ""
    choices: int = 0
    cluster: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """One task of one model, as ``tool`` scored it. What a tool does not write stays empty or None."""

    file: Path
    digest: str
    tool: str
    task: str
    items: Mapping[str, ScoredItem]
    version: str = ""
    model: str = ""
    task_version: str = ""
    shots: int | None = None
    lower_is_better: frozenset[str] = frozenset()
    """Metrics of which the log says that a smaller value is the better one."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """What beside the items decides how they were asked, in words."""
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """The metrics that some item has, in order of appearance."""
        return list(dict.fromkeys(name for item in self.items.values() for name in item.metrics))

    def metric(self, asked: Sequence[str]) -> str:
        """Return the full name of the one metric that was asked for, or of the only one there is.

        What stands before a comma is enough where only one filter was used.

        Raises:
            InvalidInput: none fits, or several do.
        """
        fits = [name for name in self.metrics if not asked or {name, name.partition(",")[0]} & {*asked}]
        if len(fits) == 1:
            self._refuse_turned(fits[0])
            return fits[0]
        short = Counter(name.partition(",")[0] for name in self.metrics)
        held = [head if short[head := name.partition(",")[0]] == 1 else name for name in self.metrics]
        found = " or ".join(repr(shortened(name, 60)) for name in held) or "a log that has numbers: here are none"
        named = ", ".join(repr(shortened(name, 60)) for name in asked)
        why = f"{named} {'fits several' if fits else 'is none'} of its metrics" if asked else "it has several metrics"
        raise InvalidInput(f"{self.file}: {why}; name one (--metric, in pytest --basin-metric): {found}")

    def _refuse_turned(self, metric: str) -> None:
        if metric.partition(",")[0] in self.lower_is_better:
            raise InvalidInput(
                f"{self.file}: lower is better for {shortened(metric, 60)}, says the log, and a gate keeps what is "
                "high: give a table of 1 - score"
            )

    def score(self, name: str, metric: str) -> float | None:
        """Return one item's value of a metric as a score, None without an answer.

        Raises:
            InvalidInput: it is no number from 0 to 1.
        """
        item = self.items[name]
        value = item.metrics.get(metric)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if -ROUNDING <= value <= 1.0 + ROUNDING:
            return min(1.0, max(0.0, float(value)))
        raise InvalidInput(f"{item.where}: {metric} is {value!r}; a score lies from 0 to 1, so name another metric")


def text(value: Any) -> str:
    """Return what a log says of itself as text; half a character, which JSON can hold, becomes a question mark."""
    return "" if value is None else str(value).encode(errors="replace").decode()


def hash_of(value: Any) -> str:
    """Return a digest of any JSON value, half characters included."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that can be scores: numbers, truth values, and nothing (an answer that is missing)."""
    return {name: value for name, value in values.items() if value is None or isinstance(value, bool | int | float)}


def once(pairs: Iterable[tuple[str, ScoredItem]], file: Path) -> dict[str, ScoredItem]:
    """Return the items by their ids.

    Raises:
        InvalidInput: an id is there twice, or there is no item.
    """
    found: dict[str, ScoredItem] = {}
    twice: dict[str, None] = {}
    for name, item in pairs:
        if name in found:
            twice[name] = None
        found[name] = item
    if twice:
        raise InvalidInput(f"{file}: {count_of(twice, 'id')} stand there twice: {listed(list(twice))}")
    if not found:
        raise InvalidInput(f"{file}: holds no items")
    return found


def count_of(things: Sequence[Any] | Mapping[str, Any], word: str) -> str:
    """Return a number and its noun."""
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def listed(names: Sequence[str]) -> str:
    """Return at most ten names, and how many more there are."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(shortened(name, 60) for name in names[:10]) + more
