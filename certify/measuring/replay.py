"""Draw some of a record's draws again, to see whether its scores came from these weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from certify.certificate import Certificate, Measurement
from certify.errors import InvalidPlan
from certify.evidence import DistanceEvidence, PointEvidence, PositionEvidence, SmoothedEvidence
from certify.evidence.distance import BaseDraws
from certify.evidence.position import Basin
from certify.measuring.base import Base
from certify.measuring.run import Run
from certify.measuring.scores import all_items, checked, item_scores
from certify.noise import Subspace, noised
from certify.records import EngineIdentity, NoiseLaw, Seed


@dataclass(frozen=True)
class Stored:
    """Scores in a record that came from one seed and law at the base."""

    where: str
    law: NoiseLaw
    seed: Seed
    engine: EngineIdentity
    scores: Sequence[float | None]
    one_item_each: bool


def replay(
    document: Certificate | Measurement, base: Base, draws: int, subspaces: Sequence[Subspace] = ()
) -> list[str]:
    """Score the base without noise and ``draws`` of every stored run at it again; return what differs.

    On another processor or version logits may round differently and single items may flip: a difference
    calls for a look, agreement shows that the counts came from these weights.

    Raises:
        InvalidPlan: a run in a subspace whose basis was not given.
    """
    lines = []
    unnoised = _unnoised(document)
    if unnoised is not None and tuple(unnoised) != (fresh := item_scores(base.model, base.scorer)):
        changed = sum(a != b for a, b in zip(unnoised, fresh, strict=True))
        lines.append(f"replay: {changed} of {len(fresh)} item scores of the base without noise differ")
    for stored in _runs(document):
        lines += _again(stored, base, draws, subspaces)
    return lines


def _again(stored: Stored, base: Base, draws: int, subspaces: Sequence[Subspace]) -> Iterator[str]:
    subspace = None
    if stored.law.kind == "subspace":
        subspace = next((s for s in subspaces if s.digest == stored.law.basis), None)
        if subspace is None:
            raise InvalidPlan(f"{stored.where} was drawn in the subspace {stored.law.basis}: name its basis file")
    with noised(base.model, stored.law, stored.seed, subspace=subspace) as engine:
        for i in spread(len(stored.scores), draws):
            if stored.one_item_each:
                fresh = checked(base.scorer.score(engine.at(i), [i]), 1, base.scorer.identity.graded)[0]
            else:
                fresh = all_items(engine, base.scorer, [i], Run(), "", {}).scores[0]
            if fresh != stored.scores[i]:
                yield f"replay: {stored.where}, draw {i}: recorded {stored.scores[i]}, drawn again {fresh}"


def spread(n: int, k: int) -> list[int]:
    """Return ``k`` indices spread evenly over ``n``, first and last included; all of them if k >= n."""
    if k >= n:
        return list(range(n))
    return sorted({round(j * (n - 1) / max(1, k - 1)) for j in range(k)})


def _unnoised(document: Certificate | Measurement) -> Sequence[float | None] | None:
    if isinstance(document, Measurement):
        return document.basin.base
    if isinstance(document.evidence, PositionEvidence):
        return document.evidence.basin.base
    return document.evidence.scores.base if isinstance(document.evidence, PointEvidence) else None


def _runs(document: Certificate | Measurement) -> Iterator[Stored]:
    """Yield every run at the base that the record stores."""
    if isinstance(document, Measurement):
        yield from _levels(document.basin)
        for i, draws in enumerate(document.draws):
            yield _table(f"draws.{i}", draws)
        return
    evidence = document.evidence
    if isinstance(evidence, PositionEvidence):
        yield from _levels(evidence.basin)
    elif isinstance(evidence, DistanceEvidence):
        yield _table("evidence.draws", evidence.draws)
    elif isinstance(evidence, SmoothedEvidence):
        e = evidence
        yield Stored("evidence.base", e.law, e.seed, e.engine, e.base.scores, one_item_each=False)


def _levels(basin: Basin) -> Iterator[Stored]:
    for level in basin.levels:
        where = f"basin, sigma {level.sigma:g}"
        yield Stored(where, level.law, level.seed, level.engine, level.scores, one_item_each=True)


def _table(where: str, draws: BaseDraws) -> Stored:
    return Stored(where, draws.law, draws.seed, draws.engine, draws.draws.scores, one_item_each=False)
