"""Trials of one item each: item j_i under draw i, scored by either engine. They serve claims about a mean."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from certify.errors import ActivationRefused, CertifyWarning
from certify.evidence.paired_items import ItemScores
from certify.evidence.trials import Trials
from certify.measuring.base import Base
from certify.measuring.ledger import Entry
from certify.measuring.run import Run
from certify.measuring.scores import one_item_each
from certify.noise import Subspace, noised
from certify.records import EngineIdentity, NoiseLaw, Record, WeightNoise, identity_key, items_key

if TYPE_CHECKING:
    from certify.noise.activation import ActivationPairs, Exactness


TOKENS_PER_BATCH = 8192


class EngineChoice(Record):
    """Which engine draws the trials of one item each, settled before the first certifying draw.

    ``asked``: somebody named the engine, so a refusal is an error and no reason to take the other. ``reasons`` say in
    words why, ``seconds`` what the whole measurement is foreseen to take, where a pilot timed it.
    """

    engine: Literal["explicit", "activation"] = "explicit"
    tokens_per_batch: Annotated[int, Field(gt=0)] = TOKENS_PER_BATCH
    asked: bool = False
    reasons: tuple[str, ...] = ()
    seconds: float | None = None


EXPLICIT = EngineChoice()


@dataclass(frozen=True)
class _Tried:
    """The scores of a run in draw order (None: no answer, or a decision within the guard), and who scored them."""

    engine: EngineIdentity
    scores: ItemScores


def carry_out_trials(
    base: Base, runs: Sequence[Trials], choice: EngineChoice, run: Run, subspace: Subspace | None = None
) -> list[_Tried]:
    """Score every run by the chosen engine, all of them by one; ``subspace`` is that of their law, if it has one.

    In activation space runs are proven exact before the first draw, those of a grid under its largest sigma. A refusal
    then spends none, so the explicit engine may take over under the same seeds, with a warning that says why.

    Raises:
        ActivationRefused: the activation engine was asked for by name.
    """
    if choice.engine == "activation":

        try:
            proven = prove_widest(base, [trials.law for trials in runs], run)
            opened = [open_in_activation_space(base, trials, choice.tokens_per_batch, proven) for trials in runs]
        except ActivationRefused as refusal:
            if choice.asked:
                raise
            warnings.warn(f"{refusal}, which takes over", CertifyWarning, stacklevel=2)
        else:
            return [_activation_scores(base, *each, run) for each in zip(runs, opened, strict=True)]
    return [_explicit_scores(base, trials, run, subspace) for trials in runs]


def _explicit_scores(base: Base, trials: Trials, run: Run, subspace: Subspace | None = None) -> _Tried:
    """Score each trial under weights that were written for it."""
    assert trials.items is not None
    identity = {**base.run_identity(trials.seed), "design": _design(trials)}
    assert trials.law is not None  # an audit runs no trials under noise
    with noised(base.model, trials.law, trials.seed, subspace=subspace) as engine:
        return _Tried(base.engine, one_item_each(engine, base.scorer, trials.items, run, trials.label, identity))


def _design(trials: Trials) -> str:
    return "one-pass" if trials.purpose == "basin" else trials.purpose


class _Proof(Record):
    """What a proof of exactness found, kept beside the finished draws; or why there is none."""

    coupling: float = 0.0
    gram: float = 0.0
    noise: float = 0.0
    effect: float = 0.0
    logit: float = 0.0
    dtype: Literal["float32", "float64"] = "float32"
    refused: tuple[str, ...] = ()


def open_in_activation_space(
    base: Base, trials: Trials, tokens_per_batch: int, proven: Exactness | None = None
) -> ActivationPairs:
    """Return what scores ``trials`` in activation space, ``proven`` exact on this model before, or now.

    Raises:
        ActivationRefused: naming what it cannot show exactly. No certifying draw was spent.
    """
    from certify.noise.activation import ActivationPairs

    if not isinstance(trials.law, WeightNoise):
        raise ActivationRefused("noise in a subspace is written, not shown")
    return ActivationPairs(
        base.model, trials.law, trials.seed, base.questions, tokens_per_batch=tokens_per_batch, proven=proven,
        batching=base.batching(base.model),
    )  # fmt: skip


def prove_widest(base: Base, laws: Sequence[NoiseLaw | None], run: Run) -> Exactness | None:
    """Prove the engine exact on this model under the largest of ``laws``, once for all that are kept in one folder.

    Laws of one sigma for all weights differ in scale alone, and rounding grows with it. None for other laws: each is
    proven by itself.

    Raises:
        ActivationRefused: naming what it cannot show exactly.
    """
    import torch

    from certify.noise.activation import ActivationPairs, Exactness

    flat = [law for law in laws if isinstance(law, WeightNoise) and len(set(law.sigma.values())) == 1]
    if len(flat) < len(laws):
        return None
    widest = max(flat, key=lambda law: max(law.sigma.values()))

    def prove() -> _Proof:
        try:
            seed = base.trials("pilot", widest, len(base.questions)).seed
            ways = base.batching(base.model)
            pairs = ActivationPairs(base.model, widest, seed, base.questions, pilot=True, batching=ways)
            found = pairs.exactness
        except ActivationRefused as refusal:
            return _Proof(refused=refusal.reasons)
        return _Proof(**{**vars(found), "dtype": str(found.dtype).removeprefix("torch.")})

    identity = {
        "choice": "proof",
        "law": widest.model_dump(mode="json"),
        "weights": identity_key(base.checkpoint.identity),
        "benchmark": items_key(base.scorer.identity),
        "environment": base.environment_of(base.loaded).model_dump(mode="json"),
    }
    kept = run.settled(prove, _Proof, identity)
    if kept.refused:  # by every process, of which one has tried
        raise ActivationRefused(kept.refused)
    return Exactness(**{**kept.model_dump(exclude={"refused"}), "dtype": getattr(torch, kept.dtype)})


def _activation_scores(base: Base, trials: Trials, pairs: ActivationPairs, run: Run) -> _Tried:
    """Score the trials in activation space, in batches that depend on the items' lengths and the settings alone.

    A ledger's second number is 1 here for a decision within the guard.
    """
    items = trials.items or ()
    table = [(draw, (item,)) for draw, item in enumerate(items)]

    def score(batch: Sequence[int]) -> list[Entry]:
        entries = []
        for draw, (margin,) in zip(batch, pairs.margins(table, batch), strict=True):
            question = pairs.items[items[draw]]
            entries.append((question.decide(margin, pairs.guard), float(question.is_guarded(margin, pairs.guard))))
        return entries

    identity = {**base.run_identity(trials.seed, engine=pairs.identity), "design": _design(trials), "draws": trials.n}
    found = run.carry_out_batches(pairs.plan(table), score, trials.label, identity)
    entries = [found[draw] for draw in range(len(table))]
    guarded = sum(1 for _, inside in entries if inside)
    return _Tried(pairs.identity.model_copy(update={"guarded": guarded}), tuple(s for s, _ in entries))
