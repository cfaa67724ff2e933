"""What a benchmark item asks of a batch: rows of tokens, scored places, and how logits become a decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from certify.benchmarks.batches import Batch, Batching, Continuation, Row, batch_of
from certify.benchmarks.items import Item, MultipleChoiceItem
from certify.noise.activation.layout import Layout, same_prefix

TOKENS_PER_LIMIT = 25  # a margin over more scored tokens than this adds up their errors, and so does its guard


@dataclass(frozen=True)
class Question:
    """One item: its continuations, and for multiple choice the index of the right one (None: exact match)."""

    continuations: tuple[Continuation, ...]
    answer: int | None
    length_normalised: bool = False

    @property
    def guard_factor(self) -> float:
        """How many times the model's guard a margin of this item must exceed (1 up to 25 scored tokens a row)."""
        if self.answer is None:  # the smallest of the tokens' margins: errors do not add up
            return 1.0
        return max(1.0, max(len(c.ids) - c.start for c in self.continuations) / TOKENS_PER_LIMIT)

    def is_guarded(self, margin: float, guard: float) -> bool:
        """Whether the margin is within the guard of this item: float error could turn its sign."""
        return abs(margin) <= guard * self.guard_factor

    def decide(self, margin: float, guard: float) -> float | None:
        """Return 1.0 for right, 0.0 for wrong, None where the margin is NaN or within the guard."""
        return None if margin != margin or self.is_guarded(margin, guard) else float(margin > 0)


def questions(
    items: Sequence[Item], continuations: Iterable[Continuation], length_normalised: bool = False
) -> tuple[Question, ...]:
    """Return the items of a benchmark with the continuations that its scorer encoded, in item order."""
    own: list[list[Continuation]] = [[] for _ in items]
    for continuation in continuations:
        own[continuation.item].append(continuation)
    return tuple(
        Question(tuple(c), item.answer if isinstance(item, MultipleChoiceItem) else None, length_normalised)
        for item, c in zip(items, own, strict=True)
    )


ONE_EACH = Batching("", 1)
"""A row of its own for each continuation, in their order: how draws were scored before rows were trees."""


def rows_of(asked: Sequence[Question], batching: Batching = ONE_EACH, first: int = 0) -> list[Row]:
    """Return the rows of one draw's questions; their continuations are numbered on from ``first``."""
    numbered = list(enumerate((c for question in asked for c in question.continuations), first))
    if not batching.way:
        return [Row().with_continuation(*each, shared=0) for each in numbered]
    return batching.rows(numbered)


@dataclass(frozen=True)
class Sheet:
    """Right-padded rows of some questions, one group per draw, with the places whose next token is scored."""

    groups: tuple[tuple[Question, ...], ...]
    layout: Layout
    batch: Batch
    inputs: dict[str, Any]


def sheet(
    model: nn.Module,
    draws: Sequence[int],
    groups: Sequence[Sequence[Question]],
    device: torch.device,
    batching: Batching = ONE_EACH,
) -> Sheet:
    """Lay out the questions of each draw; rows go by draw."""
    rows, group, numbered = list[Row](), list[int](), 0
    for g, own in enumerate(groups):
        more = rows_of(own, batching, numbered)
        rows, group = rows + more, group + [g] * len(more)
        numbered += sum(len(question.continuations) for question in own)
    batch = batch_of(rows, str(device))
    width = batch.ids.shape[1]
    real = torch.arange(width) < torch.tensor([len(row.tokens) for row in rows])[:, None]
    marks = (torch.tensor(group), real, same_prefix(group, rows, width))
    of_row, is_real, alike = (mark.to(device) for mark in marks)
    layout = Layout(tuple(draws), of_row, is_real, (batch.row, batch.column), alike)
    return Sheet(tuple(tuple(own) for own in groups), layout, batch, batch.inputs(next(model.parameters()).dtype))


def margins(asked: Sheet, logits: torch.Tensor) -> list[float]:
    """Return each question's margin, in group order: right where positive, no answer where NaN.

    Exact match: the smallest lead of a target token over all others, of the target that leads best. Multiple choice:
    the lead of the right continuation's log-likelihood (per character if so normalised) over the best other one.
    ``logits`` are those of the sheet's nodes, shape (nodes, vocabulary).
    """
    every = [question for own in asked.groups for question in own]
    places, at, target = logits.float(), asked.batch.at, asked.batch.target
    own = places[at, target]
    likelihood = lead = own.double()
    if any(question.answer is not None for question in every):
        likelihood = (own - places.logsumexp(1)[at]).double()
    if any(question.answer is None for question in every):
        others = places[at].scatter(1, target[:, None], -torch.inf).amax(1)
        lead = torch.where((own + others).isnan(), torch.nan, (own - others).double()).double()
    found = [(list[float](), list[float]()) for question in every for _ in question.continuations]
    for owner, *values in zip(asked.batch.owner.tolist(), likelihood.tolist(), lead.tolist(), strict=True):
        for own_values, value in zip(found[owner], values, strict=True):
            own_values.append(value)
    out, end = list[float](), 0
    for question in every:
        start, end = end, end + len(question.continuations)
        likelihoods, leads = zip(*found[start:end], strict=True)
        out.append(_lead(leads) if question.answer is None else _choice(question, likelihoods))
    return out


def _lead(values: Sequence[Sequence[float]]) -> float:
    """Return the lead of the target that leads best, any of which is right; NaN if one has none."""
    return float("nan") if any(v != v for each in values for v in each) else max(map(min, values))


def _choice(question: Question, likelihoods: Sequence[Sequence[float]]) -> float:
    sums = [sum(each) for each in likelihoods]
    if any(v != v for v in sums):
        return float("nan")
    if question.length_normalised:
        sums = [v / c.characters for v, c in zip(sums, question.continuations, strict=True)]
    assert question.answer is not None
    return sums[question.answer] - max(v for k, v in enumerate(sums) if k != question.answer)
