"""Cover a family of checkpoints: random points of a box with one random item each, scored on the models they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from certify.checkpoints.difference import companion_differences
from certify.checkpoints.family import Family
from certify.documents import CoverRecord, charged_alpha
from certify.errors import CheckpointError, InvalidPlan
from certify.evidence import Requirement
from certify.evidence.cover import CoverEvidence, too_few_draws
from certify.evidence.trials import Subject, Trials, random_points
from certify.measuring.attempts import attempt
from certify.measuring.base import Base
from certify.measuring.costs import Load, Writing, foretell
from certify.measuring.ledger import Entry
from certify.measuring.replay import spread
from certify.measuring.run import Run
from certify.measuring.scores import checked
from certify.noise.walk import Walk
from certify.records import Axis, Seed, items_key

if TYPE_CHECKING:
    from certify.noise.contract import Place


def measure_cover(
    base: Base,
    family: Family,
    box: Sequence[Axis],
    *,
    draws: int = 3000,
    requirement: Requirement | None = None,
    alpha: float = 0.05,
    chosen: Sequence[float] | None = None,
    user_seed: int = 0,
    run: Run | None = None,
) -> CoverRecord:
    """Say where in ``box``, fixed beforehand with its windows, the family keeps what the base can do.

    Another number of draws, box, window or user seed at the same family is another attempt, and pays for it. Finished
    draws are kept as by every other run. ``chosen`` is marked, and decides nothing; unless given it is the checkpoint
    itself, where that lies in the box.

    Guarantee: that of :meth:`certify.evidence.cover.CoverEvidence.judge`.

    Raises:
        CheckpointError: the family's tokenizer or settings of generation are not the base's.
        InvalidPlan: so few draws that no window could be certified whatever they showed; a box of another number of
            coefficients, or a choice outside it; a pool of benchmarks.
    """
    requirement, run, identity = requirement or Requirement(), run or Run(), base.scorer.identity
    marked = _marked(family, box, chosen)
    if identity.pool is not None:
        raise InvalidPlan(f"{identity.name} is a pool of benchmarks: cover each of them")
    _refuse_asked_otherwise(base, family)
    subject = Subject(identity, base.checkpoint.identity, family=family.identity)

    def planned(j: int) -> Trials:
        return Trials("cover", subject, None, draws, user_seed, j, box=tuple(box))

    load = Load(together=identity.items) + Load.single(draws)
    foretell(base, run, load, writing=_family_writing(base, family, box))
    scores = base.kept_scores(run)

    def seed_of(j: int) -> Seed:
        share = charged_alpha(alpha, j)  # an attempt that could certify nothing is refused, and not counted
        _refuse_out_of_reach(base, box, draws, requirement, share)
        return planned(j).seed

    number = attempt(run, "cover", subject, seed_of)
    trials = planned(number)
    _refuse_out_of_reach(base, box, draws, requirement, charged_alpha(alpha, number))  # where no attempts are kept
    items, points = trials.items or (), random_points(trials.seed, box, draws)
    with Walk(base.model, _Members(family)) as walk:

        def score(draw: int) -> Entry:
            model = walk.at(tuple(points[draw].tolist()))
            (found,) = checked(base.scorer.score(model, [items[draw]]), 1, identity.graded)
            return found, float(found is None)

        key = {
            "design": "cover", "draws": draws, "seed": trials.seed.value, "benchmark": items_key(identity),
            "environment": base.environment_of(base.loaded).model_dump(mode="json"),
        }  # fmt: skip
        entries = run.carry_out(range(draws), score, f"cover of {family.identity.title}", key)
    evidence = CoverEvidence(
        graded=identity.graded,
        family=family.identity,
        box=tuple(box),
        chosen=marked,
        seed=trials.seed,
        base=scores,
        scores=tuple(found for found, _ in entries),
    )
    return CoverRecord.make(
        base=base.checkpoint.identity,
        benchmark=identity,
        requirement=requirement,
        alpha=alpha,
        evidence=evidence,
        environment=base.environment,
    )


def redrawn(record: CoverRecord, base: Base, family: Family, draws: int) -> list[str]:
    """Make and score ``draws`` of a record's draws again; return what differs.

    Raises:
        CheckpointError: the family is not the recorded one.
    """
    evidence, lines = record.evidence, []
    if family.identity.fingerprint != evidence.family.fingerprint:
        raise CheckpointError(f"{family.checkpoint.path}: is not the family that was covered")
    base = base.scored_as(record.environment.batching)
    items, points = evidence.items, evidence.points
    with Walk(base.model, _Members(family)) as walk:
        for i in spread(evidence.n, draws):
            model = walk.at(tuple(points[i].tolist()))
            (found,) = checked(base.scorer.score(model, [items[i]]), 1, evidence.graded)
            if found != evidence.scores[i]:
                lines.append(f"replay: draw {i}: recorded {evidence.scores[i]}, drawn again {found}")
    return lines


def _family_writing(base: Base, family: Family, box: Sequence[Axis]) -> Writing:
    """Return models of the family at the ends of the box as something to time."""
    ends = [tuple(axis.low for axis in box), tuple(axis.high for axis in box)]

    @contextmanager
    def opened() -> Iterator[Callable[[int], object]]:
        with Walk(base.model, _Members(family)) as walk:
            yield lambda i: walk.at(ends[i])

    return Writing(family.identity.fingerprint, opened)


class _Members:
    """The way of a walk whose points are those of a family."""

    def __init__(self, family: Family) -> None:
        self.names, self._family = family.names, family

    def writer(self, places: Sequence[Place]) -> Callable[[Sequence[float]], None]:
        def write(point: Sequence[float]) -> None:
            for place in places:
                place.work.copy_(self._family.tensor(place.name, point).reshape(-1))

        return write


def _refuse_asked_otherwise(base: Base, family: Family) -> None:
    """Refuse a family whose models would be asked, or would answer, otherwise than the base."""
    checkpoint = family.checkpoint
    generated = getattr(base.scorer, "generates", True)
    differ = companion_differences(base.checkpoint, checkpoint, generated=generated)
    if checkpoint.has_tokenizer and base.encode(checkpoint).identity.tokens != base.scorer.identity.tokens:
        differ.append("tokenizer differs: the items have other token ids")
    if differ:
        raise CheckpointError(f"{checkpoint.path}: differs from the base in more than weights: {'; '.join(differ)}")


def _refuse_out_of_reach(base: Base, box: Sequence[Axis], draws: int, requirement: Requirement, alpha: float) -> None:
    """Refuse draws that leave so few to a window that none could be called kept if nothing were lost."""
    score = sum(each or 0.0 for each in base.scores) / len(base.scores)
    if problem := too_few_draws(draws, box, requirement, alpha, base.benchmark.chance, score):
        raise InvalidPlan(problem)


def _marked(family: Family, box: Sequence[Axis], chosen: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return the point to mark in a box that fits the family: the chosen one, else the family's own if it is inside."""
    names = family.identity.coefficients
    if len(box) != len(names):
        takes = f"{family.identity.title} takes {len(names)} ({' and '.join(names)})"
        raise InvalidPlan(f"range: {len(box)} given, and {takes}")
    point = tuple(family.own if chosen is None else chosen)
    said = f"chosen {','.join(f'{a:g}' for a in point)}"
    if len(point) != len(names):
        raise InvalidPlan(f"{said}: must be {len(names)} number{'s' * (len(names) > 1)}, one for each coefficient")
    if all(axis.low <= a <= axis.high for axis, a in zip(box, point, strict=True)):
        return point
    if chosen is not None:
        raise InvalidPlan(f"{said}: lies outside the box, of which alone something is learnt")
    return None
