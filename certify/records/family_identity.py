"""Which family of models, and the box of its coefficients that a cover lays windows over."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from certify.records.record import Digest, Positive, Record, digest


class FamilyIdentity(Record):
    """Which models a cover speaks of: one for each point in the space of ``coefficients``, which name its axes.

    ``members`` are what these models are made of, in the order of the coefficients, each with its digest: the end of a
    segment; the weights and the config of an adapter; the recipe of a merge without what varies, and its models.
    """

    kind: Literal["segment", "adapter", "merge"]
    name: str
    coefficients: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    members: Annotated[tuple[tuple[str, Digest], ...], Field(min_length=1)]

    @property
    def title(self) -> str:
        """What it is, in words."""
        return {"segment": "the segment from the base to ", "adapter": "the scales of ", "merge": "the merges of "}[
            self.kind
        ] + self.name

    @property
    def fingerprint(self) -> str:
        """What tells it from others of its name: the digest of what it is made of, and how."""
        return digest([self.kind, len(self.coefficients), [each for _, each in self.members]])


class Axis(Record):
    """One coefficient of a cover: its range, and the windows of one ``width`` that lie evenly spaced along it.

    They are fixed before any draw and leave no gap; those wider than range/count overlap.
    """

    low: float
    high: float
    windows: Annotated[int, Field(gt=0, le=1000)]
    width: Positive

    @model_validator(mode="after")
    def _covered(self) -> Axis:
        span = self.high - self.low
        if not 0.0 < span < math.inf:
            raise ValueError(f"a range goes from a number to a larger one, got {self.low:g} to {self.high:g}")
        if not span / self.windows <= self.width * (1 + 1e-9) or self.width > span:
            raise ValueError(
                f"{self.windows} windows of width {self.width:g} must cover the range from {self.low:g} to "
                f"{self.high:g} and lie in it: a width from {span / self.windows:.6g} to {span:.6g}"
            )
        return self

    @property
    def places(self) -> tuple[tuple[float, float], ...]:
        """Both ends of each window."""
        step = (self.high - self.low - self.width) / max(1, self.windows - 1)
        starts = [self.low + i * step for i in range(self.windows)]
        return tuple((start, min(self.high, start + self.width)) for start in starts)
