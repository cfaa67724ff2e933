"""Draw some of a record's draws again, to see whether its scores came from these weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from certify.checkpoints import Checkpoint
from certify.documents import AnyDocument, Certificate
from certify.errors import InvalidPlan
from certify.evidence import AuditEvidence, PointEvidence, PositionEvidence, SmoothedEvidence
from certify.evidence.displacement import Displacement
from certify.evidence.paired_items import ItemScores
from certify.evidence.trials import RecordedRun
from certify.measuring.base import Base
from certify.measuring.candidate import Candidate
from certify.measuring.item_trials import open_in_activation_space
from certify.measuring.run import Run
from certify.measuring.scores import all_items, checked, item_scores, mean
from certify.noise import Subspace, noised
from certify.records import ActivationIdentity, AnyEngine, ExplicitIdentity, VllmIdentity

if TYPE_CHECKING:
    from certify.noise.activation import ActivationPairs, Audit


def replay(document: AnyDocument, base: Base, draws: int, subspaces: Sequence[Subspace] = ()) -> list[str]:
    """Score the base without noise and ``draws`` of every stored run at it again; return what differs.

    The draws of a gate lie at its checkpoint: give that, opened on the same benchmark, in the place of ``base``.

    On another processor or version logits may round differently and single items may flip: a difference calls for a
    look, agreement shows that the counts came from these weights. In activation space the draws share a batch of
    their own, whose shape moves digits on the same machine, too: by less than the guard, so that no decision turns,
    but one at the guard's edge may be left open or not.

    Raises:
        InvalidPlan: a run in a subspace whose basis was not given.
    """
    lines, base = [], base.scored_as(document.environment.batching)
    unnoised = document.unnoised
    if unnoised is not None and tuple(unnoised) != (fresh := item_scores(base.model, base.scorer)):
        changed = sum(a != b for a, b in zip(unnoised, fresh, strict=True))
        lines.append(f"replay: {changed} of {len(fresh)} item scores of the base without noise differ")
    for stored in document.runs:
        if stored.trials.law is None:  # an audit: what it scored lies at the checkpoint, which `repeat` scores again
            continue
        again = _shown_again if isinstance(stored.engine, ActivationIdentity) else _written_again
        for i, fresh_score in again(stored, base, spread(len(stored.scores), draws), subspaces):
            recorded = stored.scores[i]
            lines.append(f"replay: {stored.where}, draw {i}: recorded {recorded}, drawn again {fresh_score}")
    return lines


def repeat(
    certificate: Certificate, base: Base, checkpoint: Checkpoint, draws: int, subspaces: Sequence[Subspace] = ()
) -> tuple[list[str], list[str]]:
    """Repeat what a certificate says was found at its checkpoint; return what differs, and what was repeated, in words.

    Point: every item. Position: every item at every point of the segment, and the displacement. Smoothed: ``draws`` of
    the paired draws. Distance: the displacement, streamed from both sets of weights. Audit: every item that it scored.
    """
    base, evidence = base.scored_as(certificate.environment.batching), certificate.evidence
    candidate = Candidate(base, checkpoint)
    if isinstance(evidence, PointEvidence):
        lines = _scored_again("the checkpoint", evidence.scores.checkpoint, candidate.scores)
        return lines, ["the checkpoint on every item"]
    if isinstance(evidence, AuditEvidence):
        found = candidate.scores_of(evidence.order[: evidence.n])
        lines = _scored_again("the checkpoint", evidence.checkpoint, found)
        return lines, [f"the checkpoint on the {evidence.n} items that were scored"]
    if isinstance(evidence, PositionEvidence):
        lines = _moved_again(evidence.displacement, candidate.displacement())
        for recorded, fresh in zip(evidence.points, candidate.segment(), strict=True):
            lines += _scored_again(f"the point {recorded.fraction:g}", recorded.scores, fresh.scores)
        return lines, ["every point of the segment on every item", "the distance of the weights"]
    if isinstance(evidence, SmoothedEvidence):
        lines = list(_drawn_there(evidence, candidate, spread(evidence.n, draws)))
        for name, old, model in (("base", evidence.base_unnoised, base.scores),
                                 ("checkpoint", evidence.checkpoint_unnoised, candidate.scores)):  # fmt: skip
            if mean(model) != old:
                lines.append(f"replay: evidence.{name}_unnoised: recorded {old}, now {mean(model)}")
        return lines, [f"{min(draws, evidence.n)} of {evidence.n} draws", "both scores without noise"]
    return (
        _moved_again(evidence.displacement, candidate.displacement(evidence.draws.law, subspaces)),
        ["the distance of the weights"],
    )


def _scored_again(where: str, recorded: ItemScores, fresh: ItemScores) -> list[str]:
    changed = sum(a != b for a, b in zip(recorded, fresh, strict=True))
    return [f"replay: {changed} of {len(fresh)} item scores of {where} differ"] if changed else []


def _moved_again(recorded: Displacement, fresh: Displacement) -> list[str]:
    """Compare two displacements; sums of squares may differ in the last digits between machines, and no more."""
    pairs: dict[str, tuple[float | None, float]] = {"delta_norm": (recorded.delta_norm, fresh.delta_norm)}
    pairs |= {f"norms.{name}": (recorded.norms.get(name), norm) for name, norm in fresh.norms.items()}
    lines = [
        f"replay: evidence.displacement.{name}: recorded {old!r}, now {new!r}"
        for name, (old, new) in pairs.items()
        if old is None or not math.isclose(old, new, rel_tol=1e-8)
    ]
    if recorded.differences != fresh.differences:
        lines.append(
            f"replay: evidence.displacement.differences: recorded {list(recorded.differences)}, now "
            f"{list(fresh.differences)}"
        )
    return lines


def _drawn_there(evidence: SmoothedEvidence, candidate: Candidate, draws: Sequence[int]) -> Iterator[str]:
    scorer = _as_recorded(candidate.base, evidence.engine).scorer
    with noised(candidate.model, evidence.law, evidence.seed) as engine:
        for i in draws:
            fresh = all_items(engine, scorer, [i], Run(), "", {}).scores[0]
            if fresh != (old := evidence.checkpoint.scores[i]):
                yield f"replay: draw {i} at the checkpoint: recorded {old}, drawn again {fresh}"


def audit(document: AnyDocument, base: Base, draws: int) -> dict[str, Audit]:
    """Re-run ``draws`` draws of every activation-space run as ordinary models with completed weights.

    Returns for each run the largest difference of a scored logit, beside what rounding explains.

    Raises:
        ActivationRefused: the engine that the record names cannot serve this model.
    """
    return {
        stored.where: _opened(stored, base).audit(_table(stored), min(draws, len(stored.scores)))
        for stored in document.runs
        if isinstance(stored.engine, ActivationIdentity)
    }


def audit_lines(found: Mapping[str, Audit], draws: int) -> Iterator[tuple[str, bool]]:
    """Yield what an audit of ``draws`` draws of each run found, in words, and whether it is only rounding."""
    if not found:
        yield "audit: no run was drawn in activation space", True
    for where, each in found.items():
        yield (
            f"audit: {where}, {draws} draws as ordinary models: logits differ by at most {each.difference:.1e} "
            f"(limit {each.limit:.1e})",
            each.passed,
        )


def _written_again(
    stored: RecordedRun, base: Base, draws: Sequence[int], subspaces: Sequence[Subspace]
) -> Iterator[tuple[int, float | None]]:
    """Yield the draws whose score by the explicit engine is not the recorded one."""
    subspace = None
    law, items = stored.trials.law, stored.trials.items
    assert law is not None
    if law.kind == "subspace":
        subspace = next((s for s in subspaces if s.digest == law.basis), None)
        if subspace is None:
            raise InvalidPlan(f"{stored.where} was drawn in the subspace {law.basis}: name its basis file")
    base = _as_recorded(base, stored.engine)
    with noised(base.model, law, stored.seed, subspace=subspace) as engine:
        for i in draws:
            fresh: float | None
            if items is not None:
                asked = base.scorer.score(engine.at(i), [items[i]])
                fresh = checked(asked, 1, base.scorer.identity.graded)[0]
                fresh = stored.unanswered if fresh is None else fresh
            else:
                fresh = all_items(engine, base.scorer, [i], Run(), "", {}).scores[0]
            if fresh != stored.scores[i]:
                yield i, fresh


def _as_recorded(base: Base, engine: AnyEngine | None) -> Base:
    """Return the base with the scorer that the engine's draws had: other batches may turn an item at a tie."""
    if isinstance(engine, ExplicitIdentity | ActivationIdentity):
        return base.scored_as(engine.batching)
    return base.scored_as(str(engine)) if isinstance(engine, VllmIdentity) else base


def _shown_again(
    stored: RecordedRun, base: Base, draws: Sequence[int], subspaces: Sequence[Subspace]
) -> Iterator[tuple[int, float | None]]:
    """Yield the draws whose decision in activation space is not the recorded one, by the recorded guard."""
    assert isinstance(stored.engine, ActivationIdentity)
    pairs, guard = _opened(stored, base), stored.engine.guard
    whole = _table(stored)
    table = [whole[i] for i in draws]
    for batch in pairs.plan(table):
        for entry, (margin,) in zip(batch, pairs.margins(table, batch), strict=True):
            question = pairs.items[table[entry][1][0]]
            recorded = stored.scores[draws[entry]]
            fresh = stored.unanswered if math.isnan(margin) else question.decide(margin, guard)
            at_the_edge = None in (recorded, fresh) and question.is_guarded(margin, 2 * guard)
            if fresh != recorded and not at_the_edge:
                yield draws[entry], fresh


def _opened(stored: RecordedRun, base: Base) -> ActivationPairs:
    assert isinstance(stored.engine, ActivationIdentity)
    pairs = open_in_activation_space(
        _as_recorded(base, stored.engine), stored.trials, stored.engine.tokens_per_batch
    )
    if pairs.identity.batching != stored.engine.batching:  # which decides what noise a token is shown
        raise InvalidPlan(
            f"cannot be replayed here: it was drawn with rows as {stored.engine.batching or 'one for each'!r}, and "
            f"the model takes {pairs.identity.batching or 'one for each'!r} on this machine"
        )
    return pairs


def _table(stored: RecordedRun) -> list[tuple[int, tuple[int]]]:
    items = (stored.trials.items or ())[: len(stored.scores)]  # a gate may have stopped before its cap
    return [(draw, (item,)) for draw, item in enumerate(items)]


def spread(n: int, k: int) -> list[int]:
    """Return ``k`` indices spread evenly over ``n``, first and last included; all of them if k >= n."""
    if k >= n:
        return list(range(n))
    return sorted({round(j * (n - 1) / max(1, k - 1)) for j in range(k)})
