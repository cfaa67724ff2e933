"""One forward pass in activation space: the modules that own noise, and what is known while they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from certify.errors import ActivationRefused
from certify.noise.activation.factor import Factor, FactorError, factor
from certify.noise.activation.layout import Layout
from certify.noise.activation.normals import GroupNormals


@dataclass(frozen=True)
class Leaf:
    """The noise of one tensor: its id in the streams and its standard deviation (0 = none)."""

    tensor: int
    sigma: float


@dataclass(frozen=True)
class Site:
    """A module that owns noised tensors. ``head``: it makes the logits; ``tied``: with the embedding's weight."""

    name: str
    module: nn.Module
    weight: Leaf
    bias: Leaf
    head: bool
    tied: bool


Recorder = Callable[[Site, Factor, torch.Tensor], None]


class Pass:
    """The state of one forward pass: which modules were read, the last factor, the embedding rows shown."""

    def __init__(self, layout: Layout, normals: GroupNormals, recorder: Recorder | None) -> None:
        self.layout, self.normals, self._recorder = layout, normals, recorder
        self.calls: Counter[str] = Counter()
        self.rows_shown: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self._last: tuple[torch.Tensor, int, Factor] | None = None

    def admit(self, site: Site, kind: str, x: torch.Tensor) -> None:
        """Count the call and refuse inputs whose rows are not the batch's."""
        self.calls[site.name] += 1
        if self.calls[site.name] > 1:
            raise ActivationRefused(f"{site.name} was called twice in one pass: both must see one draw")
        rows, width = (self.layout.head if site.head else self.layout.tokens).shape
        if site.tied and site.weight.sigma > 0 and site.weight.tensor not in self.rows_shown:
            raise ActivationRefused(f"{site.name} was called before the embedding that it is tied to")
        if kind == "rows":
            fits = x.ndim == 2 and x.shape[1] == width and x.shape[0] in (1, rows)
        elif kind == "matrix":
            fits = x.ndim >= 3 and x.shape[:-1] == (rows, *[1] * (x.ndim - 3), width)
        else:
            fits = x.ndim >= 3 and x.shape[0] == rows
        if not fits:
            raise ActivationRefused(
                f"{site.name} got inputs of shape {tuple(x.shape)} in a batch of {rows} rows and {width} places: "
                "generation, routing or regrouping of tokens"
            )

    def factor(self, site: Site, x: torch.Tensor) -> Factor:
        """Return the factor of ``x``, shared by layers that read the same tensor one after the other."""
        packing = self.layout.head if site.head else self.layout.tokens
        if self._last is not None:
            last, version, known = self._last
            if last is x and version == x._version and known.packing is packing:
                return known
        try:
            found = factor(packing.pack(x), packing)
        except FactorError as error:
            raise ActivationRefused(f"the inputs of {site.name}: {error}") from error
        self._last = (x, x._version, found)
        return found

    def by_row(self, site: Site, vectors: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Give each row of a site's ``out`` its group's vector: (groups, d) to (rows, 1, ..., d)."""
        shape = (len(out), *(1 for _ in out.shape[1:-1]), vectors.shape[-1])
        return vectors[self.layout.head_group if site.head else self.layout.group].view(shape)

    def record(self, site: Site, found: Factor, noise: torch.Tensor) -> None:
        """Show the oracle what this layer was shown."""
        if self._recorder is not None:
            self._recorder(site, found, noise)
