"""Which rows of a batch belong to which draw, and where each group's real tokens lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

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
        """Find them; ``alike`` (rows, width) names for each place a row that holds the same value in that column."""
        rows, width = real.shape
        target = real.reshape(-1).nonzero().squeeze(1)
        key = target if alike is None else alike.reshape(-1)[target] * width + target % width
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

    ``real`` (rows, tokens) marks the tokens that are no padding. ``kept`` (rows, columns), if given, marks the
    places that the output head reads and whose logits will be used; the head's other outputs carry no noise
    and mean nothing. ``columns`` are the tokens' columns that these are.

    ``alike`` (rows, tokens), if given, names for each token a row of its group that has the same tokens up to
    there. In a causal model the two are one vector wherever they occur, and enter a factor once: options after one
    prompt cost one prompt. Told apart, they would differ by rounding, in a direction that depends on the batch
    (measured: margins of one draw moved by .05 from one batch plan to another; its law did not).
    """

    draws: tuple[int, ...]
    group: torch.Tensor
    real: torch.Tensor
    kept: torch.Tensor | None = None
    columns: torch.Tensor | None = None
    alike: torch.Tensor | None = None

    def __post_init__(self) -> None:
        sizes = torch.bincount(self.group, minlength=len(self.draws))
        if len(sizes) != len(self.draws) or len(set(self.draws)) != len(self.draws):
            raise InvalidInput("each group needs a draw of its own: a draw's items share one group")
        if bool((self.group[1:] < self.group[:-1]).any()) or len(self.group) != len(self.real):
            raise InvalidInput("rows of one group must be neighbours, in the order of the draws")
        if self.alike is not None and bool((self.group[self.alike] != self.group[:, None]).any()):
            raise InvalidInput("only tokens of one group can be alike")

    @staticmethod
    def even(draws: Sequence[int], items: int, real: torch.Tensor, kept: torch.Tensor | None = None) -> Layout:
        """Return the layout of ``items`` rows for each draw."""
        group = torch.arange(len(draws), device=real.device).repeat_interleave(items)
        return Layout(tuple(draws), group, real, kept)

    @cached_property
    def tokens(self) -> Packing:
        """Where every layer but the head finds its real inputs."""
        return Packing.of(self.group, len(self.draws), self.real, self.alike)

    @cached_property
    def head(self) -> Packing:
        """Where the head finds them."""
        if self.kept is None:
            return self.tokens
        alike = self.alike
        if alike is not None and self.columns is not None:
            alike = alike[:, self.columns]
        return Packing.of(self.group, len(self.draws), self.kept, alike)


def same_prefix(group: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return for each token the first row of its group with the same ids up to and including it, shape of ``ids``."""
    first: dict[tuple[int, int, int], int] = {}
    out = torch.empty_like(ids)
    for row, (g, own) in enumerate(zip(group.tolist(), ids.tolist(), strict=True)):
        label = -1 - g  # groups are told apart before their first token
        for column, token in enumerate(own):
            label = first.setdefault((label, column, token), row)  # a row and a column say the whole prefix
            out[row, column] = label
    return out
