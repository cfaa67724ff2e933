"""Scores of draws that were written into folders, brought back as a measurement of their base."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from certify.documents import DrawnWeights, Measurement, read_draw
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence.distance import BaseDraws
from certify.evidence.paired_items import bounded_by, kept
from certify.evidence.position import Basin
from certify.evidence.smoothed import DrawScores
from certify.logs.log import Log, listed
from certify.logs.pairing import Paired, brought_here, pair
from certify.logs.reading import read_logs
from certify.records import BroughtIdentity, identity_key
from certify.text import shortened

TABLES = "scores.*"
"""What a table of scores in a folder is called; logs of other tools keep their own names."""
LISTED = 10
"""Differences of logs that a record names."""


@dataclass(frozen=True)
class _Scored:
    """One draw, the folder that it was written to, and its scores beside the base's."""

    folder: Path
    drawn: DrawnWeights
    log: Log
    paired: Paired


def collect(
    folders: Sequence[Path],
    base: Path,
    *,
    metrics: Sequence[str] = (),
    chance: float | None = None,
    cluster: str | None = None,
) -> Measurement:
    """Return the measurement that the scores in ``folders``, one of each draw, make with those of the ``base``.

    Each folder holds the file that says which draw it is, and the draw's scores; its weights may be gone. Every draw
    that is declared must be there, of every sigma of the grid: the plan is taken whole. No more is read than files:
    that it was declared before any score was looked at, and that scores and weights belong together, rests on trust,
    and the record says so. ``base``: its log, or a folder that holds one as a draw's folder does.

    Raises:
        InvalidInput: a folder without its draw or with other scores than the base's log has; a draw or folder twice.
        InvalidPlan: draws of several plans, or some of one that are missing.
    """
    if twice := [folder for folder, count in Counter(folder.resolve() for folder in folders).items() if count > 1]:
        raise InvalidInput(f"{twice[0]}: is named twice; name the folder of each draw once")
    logs = _logs_in(base, cluster)
    if len(logs) > 1:
        raise InvalidInput(f"{base}: holds logs of {len(logs)} tasks ({listed(list(logs))}); name the file of one")
    (unnoised,) = logs.values()
    plan = _planned({folder: read_draw(folder) for folder in folders})
    found = {folder: _log_of(folder, unnoised, cluster) for folder in plan}
    scored = [
        _Scored(folder, plan[folder], log, pair(unnoised, log, metrics, chance, drawn=True))
        for folder, log in found.items()
    ]
    _refuse_mixed_up(scored, unnoised)
    benchmark = max((each.paired.benchmark for each in scored), key=lambda found: found.graded)
    scores = scored[0].paired.scores.base
    first = scored[0].drawn
    by_sigma = [[each for each in scored if each.drawn.sigma == sigma] for sigma in first.grid]
    return Measurement.seal(
        base=first.base,
        benchmark=benchmark,
        basin=Basin(**bounded_by(benchmark), base=scores, levels=()),
        draws=tuple(_draws(each, unnoised, math.fsum(kept(scores)) / len(scores)) for each in by_sigma),
        environment=brought_here(),
    )


def _planned(found: Mapping[Path, DrawnWeights]) -> dict[Path, DrawnWeights]:
    """Return the draws in the order of their plan.

    Raises:
        InvalidInput: there is none, or one is there twice.
        InvalidPlan: they are of several plans, or some of theirs are missing.
    """
    (folder, first), *others = found.items()
    for other, drawn in others:
        for what, ours, theirs in (
            ("bases", identity_key(first.base), identity_key(drawn.base)),
            ("grids of sigmas", first.grid, drawn.grid),
            ("numbers of draws", first.draws, drawn.draws),
            ("user seeds", first.seed.user_seed, drawn.seed.user_seed),
            ("confidences", first.alpha, drawn.alpha),
        ):
            if ours != theirs:
                raise InvalidPlan(f"{folder} and {other} are draws of different {what}: collect those of one plan")
    places: dict[tuple[float, int], Path] = {}
    for place, drawn in found.items():
        twice = places.setdefault((drawn.sigma, drawn.draw), place)
        if twice != place:
            raise InvalidInput(f"{twice} and {place} are both draw {drawn.draw} of sigma {drawn.sigma:g}: name one")
    for sigma in first.grid:
        missing = [str(draw) for draw in range(first.draws) if (sigma, draw) not in places]
        if missing:
            raise InvalidPlan(
                f"sigma {sigma:g}: {len(missing)} of the {first.draws} draws that were planned are missing "
                f"({listed(missing)}): write and score them too, since a choice among draws would be no sample"
            )
    return {places[key]: found[places[key]] for key in sorted(places)}


def _logs_in(place: Path, cluster: str | None) -> dict[str, Log]:
    """Return the logs in a file or a folder, by task; a folder's table of scores goes before them.

    Raises:
        InvalidInput: there are none, or two tables.
    """
    tables = sorted(place.glob(TABLES)) if place.is_dir() else []
    if len(tables) > 1:
        raise InvalidInput(f"{place}: two files of scores for one model: {tables[0].name} and {tables[1].name}")
    return read_logs(tables[0] if tables else place, cluster)


def _log_of(folder: Path, base: Log, cluster: str | None) -> Log:
    """Return the scores in a draw's folder: a table, or the log of the base's task.

    Raises:
        InvalidInput: there are none or several.
    """
    logs = _logs_in(folder, cluster)
    log = logs.get(base.task) or next(iter(logs.values()))
    if len(logs) > 1 and log.task != base.task:
        raise InvalidInput(f"{folder}: has logs of {listed(list(logs))}, and none of the base's {shortened(base.task)}")
    return log


def _refuse_mixed_up(scored: Sequence[_Scored], base: Log) -> None:
    """Refuse a log that names the base or another draw's folder as its model, and one log for two models.

    Raises:
        InvalidInput: naming both.
    """
    names = {each.folder.resolve().name: each.folder for each in scored}
    alike: dict[str, list[Log]] = {base.digest: [base]}
    for each in scored:
        alike.setdefault(each.log.digest, []).append(each.log)
    for each in scored:
        log, own, said = each.log, each.folder.resolve().name, _last_part(each.log.model)
        where = f"{log.file}: says that it scored {shortened(log.model)}"
        if log.model and (log.model == base.model or said == _last_part(base.model) != own):
            raise InvalidInput(
                f"{where}, as the base's log {base.file} does, and lies in {each.folder}: score base + draw there"
            )
        if len(names) == len(scored) and said in names and said != own:
            raise InvalidInput(f"{where}, and lies in {each.folder}")
        # A small sigma may leave every answer as it was. Of lm-eval the results, which have its version, say the model.
        told = not log.file.samefile(base.file) if log.tool == "table" else said == own and log.version
        twin = next((other for other in alike[log.digest] if other is not log), None)
        if twin and not told:
            raise InvalidInput(
                f"{twin.file} and {log.file} hold the same bytes: the scores of one model, twice, unless the log says "
                f"that its model is {each.folder} (lm-eval: in the results beside it): score that folder"
            )


def _last_part(model: str) -> str:
    return model.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def _draws(scored: Sequence[_Scored], base: Log, base_score: float) -> BaseDraws:
    """Return what all items gave under the draws of one sigma."""
    drawn = scored[0].drawn
    tables = [each.paired.scores.checkpoint for each in scored]
    failed = tuple(table.count(None) / len(table) for table in tables)
    unlike = dict.fromkeys(line for each in scored for line in each.paired.differences)
    return BaseDraws(
        law=drawn.law,
        engine=BroughtIdentity(
            tool=base.tool,
            version=base.version,
            base=base.digest,
            draws=tuple((each.drawn.weights, each.log.digest) for each in scored),
            differences=tuple(unlike)[:LISTED],
        ),
        seed=drawn.seed,
        alpha=drawn.alpha,
        ladder=len(drawn.grid),
        draws=DrawScores(
            scores=tuple(math.fsum(kept(table)) / len(table) for table in tables), failed=failed if any(failed) else ()
        ),
        base_score=base_score,
    )
