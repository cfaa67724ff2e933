"""What a benchmark item asks of a batch: rows of tokens, scored places, and how logits become a decision."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from certify.benchmarks.batches import Continuation
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
    def width(self) -> int:
        """Tokens of the longest row: the last token of a continuation is never an input."""
        return max(len(c.ids) for c in self.continuations) - 1

    @property
    def rows(self) -> int:
        """Rows of a batch that it takes."""
        return len(self.continuations)

    @property
    def scored(self) -> int:
        """Scored places over all rows."""
        return sum(len(c.ids) - c.start for c in self.continuations)

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


@dataclass(frozen=True)
class Sheet:
    """Right-padded rows of some questions, one group per draw, with the places whose next token is scored."""

    groups: tuple[tuple[Question, ...], ...]
    layout: Layout
    inputs: dict[str, Any]
    target: torch.Tensor


def sheet(model: nn.Module, draws: Sequence[int], groups: Sequence[Sequence[Question]], device: torch.device) -> Sheet:
    """Lay out the questions of each draw; rows go by draw, question, continuation."""
    rows = [(g, c) for g, own in enumerate(groups) for q in own for c in q.continuations]
    width = max(len(c.ids) for _, c in rows) - 1
    real = torch.zeros(len(rows), width, dtype=torch.bool)
    scored = torch.zeros(len(rows), width, dtype=torch.bool)
    ids, target = [], list[int]()
    for r, (_, c) in enumerate(rows):
        # Causal models never look right, so any token may pad; repeating one needs no pad token.
        ids.append([*c.ids[:-1], *[c.ids[-1]] * (width - len(c.ids) + 1)])
        real[r, : len(c.ids) - 1] = True
        scored[r, c.start - 1 : len(c.ids) - 1] = True
        target += c.ids[c.start :]
    group, tokens, columns = torch.tensor([g for g, _ in rows]), torch.tensor(ids), torch.arange(width)
    inputs: dict[str, Any] = {"input_ids": tokens.to(device), "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        columns = scored.any(0).nonzero().squeeze(1)
        inputs["logits_to_keep"] = columns.to(device)
    marks = (group, real, scored[:, columns], columns, same_prefix(group, tokens))
    layout = Layout(tuple(draws), *(mark.to(device) for mark in marks))
    return Sheet(tuple(tuple(own) for own in groups), layout, inputs, torch.tensor(target, device=device))


def margins(asked: Sheet, logits: torch.Tensor) -> list[float]:
    """Return each question's margin, in group order: right where positive, no answer where NaN.

    Exact match: the smallest lead of a target token over all others, of the target that leads best. Multiple choice:
    the lead of the right continuation's log-likelihood (per character if so normalised) over the best other one.
    """
    assert asked.layout.kept is not None
    places = logits[asked.layout.kept].float()
    own = places.gather(1, asked.target[:, None]).squeeze(1)
    likelihood = (own - places.logsumexp(1)).double().tolist()
    others = places.scatter(1, asked.target[:, None], -torch.inf).amax(1)
    lead = torch.where((own + others).isnan(), torch.nan, (own - others).double()).tolist()
    out, at = list[float](), 0
    for question in (q for own_questions in asked.groups for q in own_questions):
        spans = []
        for c in question.continuations:
            spans.append(slice(at, at + len(c.ids) - c.start))
            at += len(c.ids) - c.start
        out.append(_lead(question, spans, lead) if question.answer is None else _choice(question, spans, likelihood))
    return out


def _lead(question: Question, spans: list[slice], lead: list[float]) -> float:
    values = [lead[span] for span in spans]  # one target for each: any of them is right
    return float("nan") if any(v != v for each in values for v in each) else max(map(min, values))


def _choice(question: Question, spans: list[slice], likelihood: list[float]) -> float:
    sums = [sum(likelihood[s]) for s in spans]
    if any(v != v for v in sums):
        return float("nan")
    if question.length_normalised:
        sums = [v / c.characters for v, c in zip(sums, question.continuations, strict=True)]
    assert question.answer is not None
    return sums[question.answer] - max(v for k, v in enumerate(sums) if k != question.answer)
