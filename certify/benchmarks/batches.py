"""Batches that compute once what continuations share: a row is a tree of tokens, and a token sees its ancestors alone.

Sorted by their tokens, continuations that begin alike stand side by side. A row takes one after the other: tokens that
it holds are not computed again, so identical rows fall together, a prompt is computed once for all its endings, and a
few-shot prefix once for many items. Positions count from the root; the vocabulary head runs where a score needs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from certify.checkpoints.probes import rows_independent, same_logits
from certify.records import WAYS, Way

if TYPE_CHECKING:
    from torch import nn

TOKENS_PER_BATCH = 8192
SHORTEST_SHARED = 16  # tokens: for fewer a mask costs more than it saves in a narrow model
WIDE = 512  # numbers in a hidden state: from here on it saves more from the first token on (docs/scale.md)
LONGEST_TREE = 8192  # tokens: a mask in float32 takes 256 MiB
WIDER = 1.25  # the widest row of a batch may be so many times the narrowest, once the batch is not a small one
LOGITS = 1 << 26  # of a batch: 256 MiB in float32
WORKING_SET = 1 << 19  # numbers: hidden states of a batch that a processor's caches hold (measured: docs/scale.md)
OTHER_LOGITS = "gives other logits in a {}"
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "attention_window")


@dataclass(frozen=True)
class Continuation:
    """Token ids of one prompt followed by one continuation; ``start`` is the continuation's first token."""

    item: int
    ids: tuple[int, ...]
    start: int
    characters: int


Numbered = tuple[int, Continuation]


@dataclass(frozen=True)
class Batching:
    """How continuations become batches: the way, and how many tokens a batch may have, padding included.

    ``places``: of how many a batch may ask logits. ``window``: how far attention reaches back, None for all the way.
    ``why`` no cheaper way was taken. ``shortest``: how many tokens a branch must share.
    """

    way: Way
    tokens: int
    places: int = LOGITS
    window: int | None = None
    why: str = ""
    shortest: int = SHORTEST_SHARED

    @classmethod
    def of(
        cls, model: Any, asked: Sequence[Numbered], device: str, vocabulary: int | None = None, cheapest: Way = WAYS[0]
    ) -> Batching:
        """Return the cheapest way, none before ``cheapest``, in which the model gives the same logits as row by row."""
        why, together = list[str](), rows_independent(model)
        alone = not together
        if together and hasattr(model, "get_output_embeddings"):  # else nothing is known of how it is called
            tokens, places = _tokens(model, device), LOGITS // (vocabulary or 1)
            for way in (way for way in WAYS[WAYS.index(cheapest) :] if way):
                found = cls(way, tokens, places, _window(model), "; ".join(filter(None, why)), _shortest(model))
                refused = found.refusal(model, asked, device)
                if refused is None:
                    return found
                why.append(refused)
                alone |= refused.endswith(OTHER_LOGITS.format(WAYS[1]))  # rows of different lengths disturb each other
        return cls("", 1 if alone else TOKENS_PER_BATCH, why="; ".join(filter(None, why)))

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.way, self.why)))

    def batches(self, asked: Sequence[Numbered], device: str) -> list[Batch]:
        """Return the batches that score ``asked``, numbered continuations; their order is fixed by the tokens."""
        rows = self.rows(asked)
        return [batch_of(group, device) for group in (self._alike(rows) if self.way else self._full(rows))]

    def refusal(self, model: nn.Module, asked: Sequence[Numbered], device: str) -> str | None:
        """Return None where the model gives continuations this way the logits it gives them on their own.

        Else why not, in words (none where nothing branches). Tried on rows that branch and on rows that do not, which
        stand in batches of their own: of the longest and the shortest in one batch, the first and last continuation.
        """
        name, every = type(model).__name__, self.rows(asked)
        kinds = [[row for row in every if row.branches == branching] for branching in (True, False)]
        if self.way == WAYS[0] and not kinds[0]:
            within = self.window is not None and any(r.branches for r in replace(self, window=None).rows(asked))
            return f"attention of {name} reaches back {self.window} tokens only" if within else ""
        for rows in filter(None, kinds):
            tried = [rows[-1], *rows[:1]] if len(rows) > 1 else rows
            chosen = {row.scored[place][2] for row in tried for place in (0, -1)}
            own = [each for each in asked if each[0] in chosen]
            try:
                same = self._same_alone(model, batch_of(tried, device), own, device)
            except Exception as error:  # whatever a model raises that does not know this way of being called
                return f"{name} cannot be called with a {self.way} ({type(error).__name__})"
            if not same:
                return f"{name} {OTHER_LOGITS.format(self.way)}"
        return None

    def _same_alone(self, model: nn.Module, batch: Batch, asked: Sequence[Numbered], device: str) -> bool:
        with torch.inference_mode():
            ours = node_logits(model, batch, self.way)
            for number, continuation in asked:
                (alone,) = Batching("", 1).batches([(number, continuation)], device)
                own = batch.at[batch.owner == number].to(ours.device)
                if not same_logits(model, ours[own], node_logits(model, alone, "")):
                    return False
        return True

    def rows(self, asked: Sequence[Numbered]) -> list[Row]:
        """Return the rows, in the order in which batches take them."""
        if not self.way:
            inputs = sorted(asked, key=lambda each: (len(each[1].ids), each[0]))
            return [Row().with_continuation(*each, shared=0) for each in inputs]
        rows = list[Row]()
        for number, continuation in sorted(asked, key=lambda each: (each[1].ids[:-1], each[0])):
            tokens = continuation.ids[:-1]  # the last token is never an input
            shared = _common(rows[-1].inputs, tokens) if rows else 0
            if not rows or not self._joins(rows[-1], shared, len(tokens)):
                rows.append(Row())
                shared = 0
            rows[-1].with_continuation(number, continuation, shared)
        return sorted(rows, key=lambda row: (row.branches, len(row.tokens), row.first))

    def _joins(self, row: Row, shared: int, length: int) -> bool:
        """Whether a row takes ``length`` more tokens of which it holds the first ``shared``."""
        if shared == len(row.inputs) and not row.branches:
            return True  # goes on where the row ends, or is the same
        if self.way != "prefix tree" or shared < self.shortest:
            return False
        if self.window is not None and max(length, row.depth) > self.window:
            return False  # the mask of a tree knows no window
        more = len(row.tokens) + length - shared
        # Under a mask all pairs of tokens are computed, in a row of its own only those that attention sees: half.
        return more <= LONGEST_TREE and 2 * (more**2 - len(row.tokens) ** 2) <= length**2

    def _alike(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Group rows of one kind and of similar width, within the limits of tokens and of places."""
        group, places = list[Row](), 0
        for row in rows:
            width, first = len(row.tokens), group[0] if group else row
            full = (len(group) + 1) * width > self.tokens or places + len(row.asked) > self.places
            uneven = width > WIDER * len(first.tokens) and 8 * len(group) * width > self.tokens
            if group and (full or uneven or row.branches != first.branches):
                yield group
                group, places = [], 0
            group.append(row)
            places += len(row.asked)
        if group:
            yield group

    def _full(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        group = list[Row]()
        for row in rows:
            if group and (len(group) + 1) * len(row.tokens) > self.tokens:
                yield group
                group = []
            group.append(row)
        if group:
            yield group


class Row:
    """Tokens of some continuations in the order of a walk through their tree: each subtree stands in one piece."""

    def __init__(self) -> None:
        self.inputs: tuple[int, ...] = ()
        self.branches, self.depth = False, 0
        self.tokens, self.depths, self.ends = list[int](), list[int](), list[int]()
        self.asked: dict[int, int] = {}  # node whose logits are needed -> its place among them
        self.scored: list[tuple[int, int, int]] = []  # node, target, continuation
        self.filler = 0
        self._path = list[int]()

    @property
    def first(self) -> int:
        """The lowest number of its continuations."""
        return min(number for _, _, number in self.scored)

    def with_continuation(self, number: int, continuation: Continuation, shared: int) -> Row:
        """Add a continuation whose first ``shared`` inputs are those of the one before it."""
        self.inputs, self.filler = continuation.ids[:-1], continuation.ids[-1]
        size, left, new = len(self.tokens), self._path[shared:], self.inputs[shared:]
        self.branches, self.depth = self.branches or bool(left and new), max(self.depth, len(self.inputs))
        for node in left:
            self.ends[node] = size
        self.tokens += new
        self.depths += range(shared, len(self.inputs))
        self.ends += [-1] * len(new)  # open: what comes next may see them
        self._path = [*self._path[:shared], *range(size, size + len(new))]
        for place in range(continuation.start, len(continuation.ids)):
            node = self._path[place - 1]
            self.asked.setdefault(node, len(self.asked))
            self.scored.append((node, continuation.ids[place], number))
        return self


@dataclass(frozen=True)
class Batch:
    """Right-padded rows, the nodes whose next-token logits are needed, and what is scored by them.

    ``row`` and ``column`` say where the nodes are. ``at``, ``target`` and ``owner`` list what is scored: the node, the
    token that should come next, and the continuation. ``ends`` and ``depths`` are there where rows branch: a token is
    seen by those that come before its end, and stands at its depth.
    """

    ids: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    at: torch.Tensor
    target: torch.Tensor
    owner: torch.Tensor
    ends: torch.Tensor | None
    depths: torch.Tensor | None

    @property
    def continuations(self) -> list[int]:
        """The numbers of its continuations, each once."""
        return list(dict.fromkeys(self.owner.tolist()))

    def inputs(self, dtype: torch.dtype) -> dict[str, Any]:
        """Return what a model is called with; its mask is added to scores of attention, in ``dtype``."""
        inputs: dict[str, Any] = {"input_ids": self.ids, "use_cache": False}
        if self.ends is not None:
            place = torch.arange(self.ids.shape[1], device=self.ids.device)
            seen = (place[:, None] >= place) & (place[:, None] < self.ends[:, None, :])
            mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            inputs["attention_mask"] = mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]
            inputs["position_ids"] = self.depths
        return inputs


def node_logits(model: Any, batch: Batch, way: Way) -> torch.Tensor:
    """Return next-token logits at a batch's nodes, shape (nodes, vocabulary)."""
    if not way:
        return _kept_logits(model, batch)
    dtype = model.get_input_embeddings().weight.dtype

    with head_at(model.get_output_embeddings(), batch.row, batch.column) as of_nodes:
        return of_nodes(model(**batch.inputs(dtype)).logits)


@contextmanager
def head_at(
    head: nn.Module | None, row: torch.Tensor, column: torch.Tensor
) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Let a model's head read these places of the last hidden states alone, each as a row of one token.

    Yields what takes the places' logits, shape (places, vocabulary), from what the model then returns as logits; of a
    model without a head that is known, from those of all places.
    """
    if head is None:
        yield lambda logits: logits[row.to(logits.device), column.to(logits.device)]
        return

    def only(head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return inputs[0][row.to(inputs[0].device), column.to(inputs[0].device)][:, None]

    with head.register_forward_pre_hook(only):
        yield lambda logits: logits[:, 0]


def _window(model: Any) -> int | None:
    """Return how many tokens attention reaches back, where the config says that it is not all."""
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = [getattr(config, name, None) for name in WINDOWS]
    return min((size for size in found if type(size) is int and size > 0), default=None)


def _shortest(model: Any) -> int:
    return SHORTEST_SHARED if model.get_input_embeddings().weight.shape[1] < WIDE else 1


def _tokens(model: Any, device: str) -> int:
    """Return the tokens of a batch: on a processor as many as its caches hold, elsewhere enough to keep it busy."""
    if torch.device(device).type != "cpu":
        return TOKENS_PER_BATCH
    fitting = WORKING_SET // int(model.get_input_embeddings().weight.shape[1])
    return int(min(TOKENS_PER_BATCH, max(512, 1 << (fitting.bit_length() - 1))))


def _kept_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the nodes' logits as they always were: of all rows at every column where one of them is scored."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        columns, column = torch.unique(batch.column, return_inverse=True)
        logits = model(input_ids=batch.ids, logits_to_keep=columns, use_cache=False).logits
    else:
        logits, column = model(input_ids=batch.ids, use_cache=False).logits, batch.column
    kept: torch.Tensor = logits[batch.row.to(logits.device), column.to(logits.device)]
    return kept


def batch_of(rows: Sequence[Row], device: str) -> Batch:
    """Return rows in one batch; with a mask and positions of a tree where one of them branches."""
    width, nodes, scored = max(len(row.tokens) for row in rows), list[tuple[int, int]](), list[tuple[int, int, int]]()
    ids, ends, depths = list[list[int]](), list[list[int]](), list[list[int]]()
    for r, row in enumerate(rows):
        before, padding = len(nodes), width - len(row.tokens)
        # Nothing looks right, so any token may pad; repeating one needs no pad token.
        ids.append([*row.tokens, *[row.filler] * padding])
        ends.append([*(len(row.tokens) if end < 0 else end for end in row.ends), *[width] * padding])
        depths.append([*row.depths, *[0] * padding])
        nodes += [(r, node) for node in row.asked]
        scored += [(before + row.asked[node], target, number) for node, target, number in row.scored]
    row_of, column = torch.tensor(nodes, device=device).unbind(1)
    at, target, owner = torch.tensor(scored, device=device).unbind(1)
    tree = any(row.branches for row in rows)
    return Batch(
        torch.tensor(ids, device=device), row_of, column, at, target, owner,
        ends=torch.tensor(ends, device=device) if tree else None,
        depths=torch.tensor(depths, device=device) if tree else None,
    )  # fmt: skip


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return how many tokens two sequences begin with alike, by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
