"""Two logs of one task, paired item by item: what point evidence rests on where another tool scored."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from certify._version import version_of
from certify.benchmarks.clusters import numbered
from certify.documents import ScoresRecord
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import PointEvidence, Requirement
from certify.evidence.feasibility import infeasible_pool, require_feasible
from certify.evidence.paired_items import Items, PairedScores, bounded_by
from certify.logs.log import Log, count_of, listed
from certify.records import BenchmarkIdentity, BroughtScores, Environment, Groups, digest
from certify.text import shortened


@dataclass(frozen=True)
class Paired:
    """The scores of one task at the base and at the checkpoint, in the order of the base's log."""

    base: BroughtScores
    checkpoint: BroughtScores
    benchmark: BenchmarkIdentity
    scores: PairedScores
    differences: tuple[str, ...]

    def judge(self, requirement: Requirement, alpha: float, items: Items = "population") -> ScoresRecord:
        """Return the record of what these scores prove.

        Raises:
            InvalidPlan: so few items could certify the requirement under no outcome.
        """
        if items == "population":
            asked = self.benchmark
            if asked.pool is not None and (problem := infeasible_pool(asked, requirement, alpha)):
                raise InvalidPlan(problem)
            if asked.pool is None:
                require_feasible("point", asked.items, requirement, alpha, asked.chance, groups=asked.groups)
        return ScoresRecord.make(
            base=self.base,
            checkpoint=self.checkpoint,
            benchmark=self.benchmark,
            requirement=requirement,
            alpha=alpha,
            evidence=PointEvidence(items=items, scores=self.scores),
            differences=self.differences,
            environment=brought_here(),
        )


def brought_here() -> Environment:
    """Return what a record of scores that were brought may depend on: no model was run."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages={name: version_of(name) for name in ("pytest-basin", "numpy", "scipy")},
    )


def pair(
    base: Log, checkpoint: Log, metrics: Sequence[str] = (), chance: float | None = None, *, drawn: bool = False
) -> Paired:
    """Pair two logs by the ids of their items, in the one of ``metrics`` that they have, or the only one they have.

    Items are right or wrong where all scores of both logs are 0 or 1, which the claim then says it takes for granted;
    else they are graded. ``chance`` is that of the log unless given: the mean of 1 / (answers to choose from), 0 where
    the model writes its own. ``drawn``: the checkpoint is the base under noise, so that their logs may be alike.

    Raises:
        InvalidInput: the two are one file, of other tasks or versions, or hold other items or groups of them; no metric
            fits both.
    """
    if chance is not None and not 0.0 <= chance < 1.0:
        raise InvalidInput(f"chance {chance:g}: must be at least 0 and below 1")
    if base.digest == checkpoint.digest and not drawn:
        raise InvalidInput(f"{base.file} and {checkpoint.file} hold the same bytes: name the scores of the checkpoint")
    _refuse_unlike(base, checkpoint)
    chosen = base.metric(metrics)
    if chosen not in checkpoint.metrics:
        there = ", ".join(map(shortened, checkpoint.metrics))
        raise InvalidInput(f"{checkpoint.file}: has no metric {shortened(chosen)}; there are {there}")
    names = list(base.items)
    ours, theirs = (tuple(log.score(name, chosen) for name in names) for log in (base, checkpoint))
    graded = any(score not in (0.0, 1.0, None) for score in (*ours, *theirs))
    content = [[name, base.items[name].content] for name in names]
    benchmark = BenchmarkIdentity(
        name=base.task,
        items=len(names),
        scoring=_scoring(base, chosen),
        graded=graded,
        chance=_chance(base) if chance is None else chance,
        digest=digest({"tool": base.tool, "task": base.task, "items": content}),
        tokens=None,
        groups=_groups(base),
    )
    return Paired(
        base=_brought(base),
        checkpoint=_brought(checkpoint),
        benchmark=benchmark,
        scores=PairedScores(**bounded_by(benchmark), base=ours, checkpoint=theirs),
        differences=tuple(_differences(base, checkpoint)),
    )


def _brought(log: Log) -> BroughtScores:
    name = log.model.rstrip("/")
    local = name.startswith(("/", ".", "~")) or "\\" in name  # a folder's last part; a hub's name as it is
    short = name.replace("\\", "/").rpartition("/")[2] if local else name
    return BroughtScores(
        name=short or log.file.stem,
        tool=log.tool,
        version=log.version,
        task=log.task,
        task_version=log.task_version,
        model=log.model,
        file=log.file.name,
        digest=log.digest,
    )


def _groups(log: Log) -> Groups:
    try:
        return numbered({name: item.cluster for name, item in log.items.items()})
    except ValueError as error:
        raise InvalidInput(f"{log.file}: {error}") from None


def _scoring(log: Log, metric: str) -> str:
    version = f" (version {log.task_version})" if log.task_version else ""
    shots = "" if log.shots is None else f", {log.shots}-shot"
    return f"{metric} of {log.tool}, task {log.task}{version}{shots}"


def _chance(log: Log) -> float:
    return sum(1 / item.choices if item.choices else 0.0 for item in log.items.values()) / len(log.items)


def _refuse_unlike(base: Log, checkpoint: Log) -> None:
    where = f"{base.file} and {checkpoint.file}"
    for word, one, other in (
        ("tools", base.tool, checkpoint.tool),
        ("tasks", base.task, checkpoint.task),
        ("versions of the task", base.task_version, checkpoint.task_version),
        ("numbers of examples", base.shots, checkpoint.shots),
    ):
        if one != other:
            named = " (the task stands in the file's name, samples_TASK_DATE.jsonl)" * (word == "tasks")
            raise InvalidInput(f"{where} are of different {word}: {one or 'unknown'} and {other or 'unknown'}{named}")
    for log, others in ((base, checkpoint), (checkpoint, base)):
        if alone := [name for name in log.items if name not in others.items]:
            raise InvalidInput(
                f"{where} do not pair: {count_of(alone, 'item')} of {log.file.name} not in the other: {listed(alone)}"
            )
    if unlike := [name for name, item in base.items.items() if item.content != checkpoint.items[name].content]:
        raise InvalidInput(f"{where}: {count_of(unlike, 'id')} name different items in the two: {listed(unlike)}")
    if moved := [name for name, item in base.items.items() if item.cluster != checkpoint.items[name].cluster]:
        raise InvalidInput(f"{where}: {count_of(moved, 'item')} of another cluster in the two: {listed(moved)}")


def _differences(base: Log, checkpoint: Log) -> Iterator[str]:
    """Yield what is not alike, and may be: it is part of what was scored, so it is said."""
    if base.version != checkpoint.version:
        yield f"{base.tool} {base.version or 'of unknown version'} and {checkpoint.version or 'of unknown version'}"
    if base.model and base.model == checkpoint.model:
        yield f"both logs name the same model, {shortened(base.model)}"
    for name in sorted({*base.asked, *checkpoint.asked}):
        if base.asked.get(name) != checkpoint.asked.get(name):
            yield f"{name} differs"
    others = [name for name, item in base.items.items() if item.prompt != checkpoint.items[name].prompt]
    if others:
        yield f"{count_of(others, 'item')} of {len(base.items)} asked with other words"
    yield from dict.fromkeys((*base.notes, *checkpoint.notes))
