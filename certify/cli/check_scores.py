"""``certify check --scores BASE --scores-of CHECKPOINT``: judged by scores that another tool made. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.errors import InvalidPlan

if TYPE_CHECKING:
    from certify.documents import ScoresRecord
    from certify.evidence import Requirement
    from certify.evidence.paired_items import Items

BROUGHT = "Scores made elsewhere"


@dataclass(frozen=True)
class Brought:
    """Logs of other tools, in the place of models."""

    scores: Annotated[
        Path | None,
        typer.Option(
            help="The base's scores, instead of models: a log of lm-eval, Inspect or LightEval, a folder of them, or a "
            "table with the columns id and score.",
            rich_help_panel=BROUGHT,
        ),
    ] = None
    scores_of: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint's scores of the same items; repeatable.", rich_help_panel=BROUGHT),
    ] = None
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metric of the logs, where they hold several; one for each task.", rich_help_panel=BROUGHT),
    ] = None
    chance: Annotated[
        float | None,
        typer.Option(
            help="Score of a model that knows nothing (from the number of choices if absent).",
            rich_help_panel=BROUGHT,
        ),
    ] = None  # fmt: skip

    cluster: Annotated[
        str | None,
        typer.Option(
            help="Field of the logged documents (or column) that names the group an item comes in.",
            rich_help_panel=BROUGHT,
        ),
    ] = None

    @property
    def given(self) -> bool:
        """Whether any of them was given."""
        return any(value is not None for value in self.__dict__.values())


def judge_scores(
    brought: Brought, pools: Sequence[Path], requirement: Requirement, alpha: float, items: Items | None
) -> list[ScoresRecord]:
    """Return a record for each checkpoint and task of its logs, or each of the pools of tasks that were named.

    Raises:
        InvalidPlan: only one of the two was named, a checkpoint twice, or so few items could certify nothing.
        InvalidInput: the logs cannot be read or do not pair.
    """
    from certify.logs import Paired, pair, pool, read_logs, together

    if brought.scores is None or not brought.scores_of:
        raise InvalidPlan("scores made elsewhere come in pairs: name the base's with --scores, the checkpoint's with "
                          "--scores-of")  # fmt: skip
    places = [path.resolve() for path in brought.scores_of]
    if twice := next((path for path in brought.scores_of if places.count(path.resolve()) > 1), None):
        raise InvalidPlan(f"--scores-of {twice}: these scores are named twice, and would count as two gates")
    of_base, judged = read_logs(brought.scores, brought.cluster), list[Paired]()
    for path in brought.scores_of:
        both = together(of_base, read_logs(path, brought.cluster))
        pairs = [pair(*logs, brought.metric or (), brought.chance) for logs in both]
        judged += [pool(pairs, file) for file in pools] or pairs
    return [each.judge(requirement, alpha, items or "population") for each in judged]
