"""Tasks of two models' logs judged as one, by the weighted mean of their scores, as a pool's file declares it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from certify.benchmarks.pool import declared_pool, pooled
from certify.errors import InvalidInput
from certify.evidence.paired_items import PairedScores, bounded_by
from certify.logs.log import listed
from certify.logs.pairing import Paired
from certify.parsing import first_problem
from certify.records import BroughtScores, Part, digest
from certify.text import refuse_unseen


def pool(pairs: Sequence[Paired], file: Path) -> Paired:
    """Return the tasks that ``file`` names as one pair of scores, whose means are weighted as it says.

    Raises:
        BenchmarkError: the file is no pool.
        InvalidInput: the logs hold no such task, a task twice under two names, or are of several models.
    """
    refuse_unseen("the pool", file.name)
    weights = declared_pool(file)
    known = {each.benchmark.name: each for each in pairs}
    if missing := [name for name in weights if name not in known]:
        raise InvalidInput(f"{file}: the logs hold no task called {listed(missing)}; they hold {listed(list(known))}")
    of_each = [known[name] for name in weights]
    asked = [each.benchmark for each in of_each]
    try:
        parts = [Part(weight=weights[each.name], **each.model_dump(include={"name", "items", "chance", "digest"}))
                 for each in asked]  # fmt: skip
        scoring, graded = "; ".join(each.scoring for each in asked), any(each.graded for each in asked)
        groups = [(each.groups, each.items) for each in asked]
        benchmark = pooled(file.stem, parts, groups, scoring=scoring, graded=graded)
    except ValidationError as error:
        raise InvalidInput(f"{file}: {first_problem(error)}") from None
    return Paired(
        base=_one_model([each.base for each in of_each], file),
        checkpoint=_one_model([each.checkpoint for each in of_each], file),
        benchmark=benchmark,
        scores=PairedScores(
            **bounded_by(benchmark),
            base=tuple(chain.from_iterable(each.scores.base for each in of_each)),
            checkpoint=tuple(chain.from_iterable(each.scores.checkpoint for each in of_each)),
        ),
        differences=tuple(f"{each.benchmark.name}: {line}" for each in of_each for line in each.differences),
    )


def _one_model(logs: Sequence[BroughtScores], file: Path) -> BroughtScores:
    """Return the logs of one model as one; its digest is over theirs, in the order of the pool."""
    first = logs[0]
    if other := next((log for log in logs if (log.tool, log.model) != (first.tool, first.model)), None):
        raise InvalidInput(
            f"{file}: its tasks are of several models, as their logs say: {first.file} of {first.tool}, "
            f"{first.model or 'not named'}; {other.file} of {other.tool}, {other.model or 'not named'}"
        )
    versions = ", ".join(dict.fromkeys(log.version for log in logs))
    files, digests = FILES.join(log.file for log in logs), digest([log.digest for log in logs])
    return first.model_copy(
        update={"version": versions, "task": file.stem, "task_version": "", "file": files, "digest": digests}
    )


FILES = " / "
"""Between the names of a pool's logs: no file's name has a slash."""
