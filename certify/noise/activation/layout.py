"""Which rows of a batch belong to which draw, and where each group's real tokens lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from certify.benchmarks.batches import Row, head_at
from certify.errors import InvalidInput


@dataclass(frozen=True)
class Packing:
    """The distinct real places of each group: group g's r-th is ``place[g, r]`` of the flattened batch.

    ``target`` lists all real places and ``source`` the packed row that each of them shows. All three are None where
    every place is real and distinct and every group has as many rows: then nothing needs to move.
    """

    shape: tuple[int, int]
    counts: tuple[int, ...]
    valid: torch.Tensor
    place: torch.Tensor | None
    target: torch.Tensor | None
    source: torch.Tensor | None

    @staticmethod
    def of(group: torch.Tensor, groups: int, real: torch.Tensor, alike: torch.Tensor | None = None) -> Packing:
        """Find them; ``alike`` (rows, width) names for each place, by one number, what holds the same value."""
        rows, width = real.shape
        target = real.reshape(-1).nonzero().squeeze(1)
        key = target if alike is None else alike.reshape(-1)[target]
        distinct, which = torch.unique(key, return_inverse=True)  # ascending: by group, row and column
        first = torch.full_like(distinct, rows * width).scatter_reduce_(0, which, target, "amin")
        counts = torch.bincount(group[first // width], minlength=groups)
        if int(counts.min()) == 0:
            raise InvalidInput(f"group {int(counts.argmin())} of the batch has no real token")
        most = int(counts.max())
        valid = torch.arange(most, device=real.device) < counts[:, None]
        if len(first) == groups * most == rows * width:
            return Packing((rows, width), tuple(counts.tolist()), valid, None, None, None)
        place = torch.zeros_like(valid, dtype=torch.long)
        place[valid] = first
        source = valid.reshape(-1).nonzero().squeeze(1)[which]
        return Packing((rows, width), tuple(counts.tolist()), valid, place, target, source)

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """Turn (rows, width, d) into (groups, most, d): each group's distinct real places first, then zeros."""
        if self.place is None:
            return x.reshape(*self.valid.shape, x.shape[-1])
        # Padding may hold anything, NaN included, so it is replaced rather than multiplied by zero.
        return x.reshape(-1, x.shape[-1])[self.place].masked_fill_(~self.valid[:, :, None], 0)

    def add(self, out: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
        """Return ``out`` (rows, width, d) with ``sigma`` times the packed noise added at the real places."""
        if self.target is None or self.source is None:
            return out.add_(noise.view(out.shape), alpha=sigma)
        flat = out.reshape(-1, out.shape[-1])
        return flat.index_add_(0, self.target, noise.flatten(0, 1)[self.source], alpha=sigma).view(out.shape)


@dataclass(frozen=True)
class Layout:
    """One batch: ``draws[g]`` is the draw of group g, ``group[row]`` the group of a row (rows of a group adjoin).

    ``real`` (rows, tokens) marks the tokens that are no padding. ``nodes`` are row and column of the places whose
    logits are used, by row, and which alone the output head is given; all real ones unless given.

    ``alike`` (rows, tokens), if given, names for each token the first place of its group, row * width + column, that
    has the same tokens up to there. In a causal model the two are one vector wherever they occur, and enter a factor
    once: options after one prompt cost one prompt. Told apart, they would differ by rounding, in a direction that
    depends on the batch (measured: margins of one draw moved by .05 from one batch plan to another; its law did not).
    """

    draws: tuple[int, ...]
    group: torch.Tensor
    real: torch.Tensor
    nodes: tuple[torch.Tensor, torch.Tensor] | None = None
    alike: torch.Tensor | None = None

    def __post_init__(self) -> None:
        sizes = torch.bincount(self.group, minlength=len(self.draws))
        if len(sizes) != len(self.draws) or len(set(self.draws)) != len(self.draws):
            raise InvalidInput("each group needs a draw of its own: a draw's items share one group")
        if bool((self.group[1:] < self.group[:-1]).any()) or len(self.group) != len(self.real):
            raise InvalidInput("rows of one group must be neighbours, in the order of the draws")
        if self.alike is not None:
            others = self.group[self.alike // self.real.shape[1]]
            if bool((others != self.group[:, None]).any()):
                raise InvalidInput("only tokens of one group can be alike")

    @staticmethod
    def even(
        draws: Sequence[int], items: int, real: torch.Tensor, nodes: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> Layout:
        """Return the layout of ``items`` rows for each draw."""
        group = torch.arange(len(draws), device=real.device).repeat_interleave(items)
        return Layout(tuple(draws), group, real, nodes)

    @cached_property
    def tokens(self) -> Packing:
        """Where every layer but the head finds its real inputs."""
        return Packing.of(self.group, len(self.draws), self.real, self.alike)

    @cached_property
    def head(self) -> Packing:
        """Where the head finds them: each node is a row of its own."""
        if self.nodes is None:
            return self.tokens
        alike = None if self.alike is None else self.alike[self.nodes][:, None]
        real = torch.ones_like(self.nodes[0], dtype=torch.bool)[:, None]
        return Packing.of(self.head_group, len(self.draws), real, alike)

    @cached_property
    def head_group(self) -> torch.Tensor:
        """The group of each row that the head is given."""
        return self.group if self.nodes is None else self.group[self.nodes[0]]

    def scored(self, head: nn.Module | None, call: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the logits of the places that are used, (places, vocabulary), of a model that ``call`` calls."""
        if self.nodes is None:
            return call()[self.real]
        with head_at(head, *self.nodes) as of_nodes:
            return of_nodes(call())

    def of_group(self, g: int) -> tuple[torch.Tensor, torch.Tensor, Layout]:
        """Return one group: its rows, the numbers of its places among those of :meth:`scored`, its own layout."""
        rows = (self.group == g).nonzero().squeeze(1)
        place_groups = self.group[:, None].expand(self.real.shape)[self.real] if self.nodes is None else self.head_group
        places, own = (place_groups == g).nonzero().squeeze(1), self.nodes
        if own is not None:
            own = own[0][places] - rows[0], own[1][places]
        return rows, places, Layout((self.draws[g],), torch.zeros_like(rows), self.real[rows], own)


def same_prefix(group: Sequence[int], rows: Sequence[Row], width: int) -> torch.Tensor:
    """Return for each token of ``rows`` the first place of its group with the same tokens up to and including it.

    A place is row * ``width`` + column. Padding is like itself alone.
    """
    first: dict[tuple[int, int], int] = {}
    out = torch.arange(len(rows) * width).view(len(rows), width)
    for r, (g, row) in enumerate(zip(group, rows, strict=True)):
        path = [-1 - g] * (row.depth + 1)  # groups are told apart before their first token
        for column, (token, depth) in enumerate(zip(row.tokens, row.depths, strict=True)):
            path[depth + 1] = first.setdefault((path[depth], token), r * width + column)  # says the whole prefix
            out[r, column] = path[depth + 1]
    return out
