"""The law of the noise that draws were taken from."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from certify.records.record import Digest, NonNegative, Positive, Record


class WeightNoise(Record):
    """Independent Gaussian noise on weights: standard deviation ``sigma[name]`` for each tensor.

    A tensor with sigma 0 is frozen: a checkpoint that moved it is at distance infinity. Names are those of
    ``named_parameters()``, tied tensors once; ``sizes`` holds their numbers of elements.
    """

    kind: Literal["weights"] = "weights"
    sigma: dict[str, NonNegative]
    sizes: dict[str, Annotated[int, Field(gt=0)]]

    @model_validator(mode="after")
    def _a_size_for_each_sigma(self) -> WeightNoise:
        if unsized := sorted(self.sigma.keys() - self.sizes.keys()):
            raise ValueError(f"sizes: none is given for {unsized[0]}, which has a sigma")
        return self

    @property
    def dimension(self) -> int:
        """Number of noised coordinates."""
        return sum(self.sizes[name] for name, sigma in self.sigma.items() if sigma > 0)

    @property
    def noise_norm(self) -> float:
        """Root mean square norm of one draw, in weight units."""
        return math.hypot(*(math.sqrt(self.sizes[name]) * s for name, s in self.sigma.items()))

    def describe(self) -> str:
        """Return the law in words."""
        values = sorted({s for s in self.sigma.values() if s > 0})
        spread = f"sigma = {values[0]:g}" if len(values) == 1 else f"sigma from {values[0]:g} to {values[-1]:g}"
        frozen = sum(1 for s in self.sigma.values() if s == 0)
        rest = f", {frozen} tensors frozen" if frozen else ""
        return f"Gaussian noise on {self.dimension:,} weights, {spread}{rest}"


class SubspaceNoise(Record):
    """Gaussian noise on k coordinates a of the map a -> base + sum_i a_i v_i, fixed before any draw."""

    kind: Literal["subspace"] = "subspace"
    sigma: Annotated[tuple[Positive, ...], Field(min_length=1)]
    basis: Digest

    @property
    def dimension(self) -> int:
        """Number of noised coordinates, k."""
        return len(self.sigma)

    @property
    def noise_norm(self) -> float:
        """Root mean square norm of one draw, in coordinate units."""
        return math.hypot(*self.sigma)

    def describe(self) -> str:
        """Return the law in words."""
        values = sorted(set(self.sigma))
        spread = f"sigma = {values[0]:g}" if len(values) == 1 else f"sigma from {values[0]:g} to {values[-1]:g}"
        return f"Gaussian noise on {self.dimension} coordinates of a fixed subspace, {spread}"


NoiseLaw = Annotated[WeightNoise | SubspaceNoise, Field(discriminator="kind")]
