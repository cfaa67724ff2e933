"""The box that a cover lays windows over."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from certify.records.record import Positive, Record


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
