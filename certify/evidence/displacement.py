"""Where a checkpoint lies relative to its base."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from certify.records import NonNegative, Record


class Displacement(Record):
    """Where a checkpoint lies relative to the base, in the law's own coordinates.

    ``norms``: norm of the difference for each tensor (weight noise) or ``|a_i|`` for each coordinate of the
    subspace. ``differences`` names everything that differs in coordinates without noise: then r is infinite.
    ``delta_norm`` is the plain Euclidean norm over all weights, ``dimension`` their number.
    """

    norms: dict[str, NonNegative]
    differences: tuple[str, ...] = ()
    delta_norm: NonNegative
    dimension: Annotated[int, Field(gt=0)]

    def largest(self, count: int = 5) -> tuple[tuple[str, float], ...]:
        """Return the tensors that moved most, each with its share of the squared distance."""
        longest = max(self.norms.values(), default=0.0)  # in units of it no square underflows to nothing or overflows
        squares = {name: (norm / longest) ** 2 for name, norm in self.norms.items() if norm > 0}
        whole = sum(squares.values())
        moved = sorted(squares.items(), key=lambda entry: (-entry[1], entry[0]))[:count]
        return tuple((name, square / whole) for name, square in moved)
