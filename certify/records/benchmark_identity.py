"""Which items, in which groups, in which pool."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from certify.records.record import Digest, Positive, Record, digest


def _numbered_as_they_come(groups: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Hold group numbers to the one way of writing a grouping: from 0, in the order in which groups first appear."""
    new = 0
    for number in groups or ():
        if not 0 <= number <= new:
            raise ValueError(f"groups are numbered from 0 as they first appear; {number} comes where {new} is next")
        new = max(new, number + 1)
    if groups is not None and new == len(groups):
        raise ValueError("groups of one item each are no groups; leave them out")
    return groups


Groups = Annotated[
    tuple[int, ...] | None, AfterValidator(_numbered_as_they_come), Field(exclude_if=lambda groups: groups is None)
]
"""The number of each item's group; None where every item stands for itself, which files then do not say."""


def refuse_ungrouped(groups: Groups, items: int) -> None:
    """Refuse groups of another number of items.

    Raises:
        ValueError: naming both numbers.
    """
    if groups is not None and len(groups) != items:
        raise ValueError(f"groups: {len(groups)} numbers for {items} items")


def units(items: int, groups: Groups) -> int:
    """Return how many independent units ``items`` are: as many, or as there are groups of them."""
    return items if groups is None else max(groups) + 1


def grouping(groups: Groups) -> str:
    """Say how items are grouped, in words that differ where groupings do."""
    if groups is None:
        return "no groups"
    return f"{units(len(groups), groups)} groups of {len(groups)} items ({digest(list(groups))})"


class Part(Record):
    """One benchmark of a pool: which items it has, and the weight that was declared for its mean."""

    name: str
    items: Annotated[int, Field(gt=0)]
    weight: Positive
    chance: Annotated[float, Field(ge=0.0, lt=1.0)]
    digest: Digest


SMALLEST_SHARE = Fraction(1, 1_000_000)
"""A benchmark with less of the weight would be in a pool by name only."""


def _several_and_different(pool: tuple[Part, ...] | None) -> tuple[Part, ...] | None:
    """Hold a pool to at least two benchmarks, none of them twice, each with a share that counts."""
    if pool is None:
        return pool
    if len(pool) < 2:
        raise ValueError("a pool is of two benchmarks or more")
    if small := next((part for part, share in zip(pool, shares(pool), strict=True) if share < SMALLEST_SHARE), None):
        raise ValueError(f"{small.name} has less than a millionth of the weight, so it would not count")
    for what in ("name", "digest"):
        named = [getattr(part, what) for part in pool]
        if again := next((each for each in named if named.count(each) > 1), None):
            raise ValueError(f"a pool counts each benchmark once, and {again} is in it twice")
    return pool


Pool = Annotated[
    tuple[Part, ...] | None, AfterValidator(_several_and_different), Field(exclude_if=lambda pool: pool is None)
]
"""The benchmarks whose weighted mean is judged, their items one after the other; None, which files do not say: one."""


def shares(pool: tuple[Part, ...]) -> tuple[Fraction, ...]:
    """Return the weight of each benchmark of a pool as a share of all weights, exactly as their decimals say."""
    weights = [Fraction(repr(part.weight)) for part in pool]
    return tuple(weight / sum(weights) for weight in weights)


def identity_of_pool(pool: tuple[Part, ...]) -> dict[str, Any]:
    """Return what follows from the benchmarks of a pool and their shares: digest, number of items, chance."""
    of_each = list(zip(pool, shares(pool), strict=True))
    chance = sum(Fraction(repr(part.chance)) * share for part, share in of_each)
    return {
        "digest": digest({"pool": [[part.digest, str(share)] for part, share in of_each]}),
        "items": sum(part.items for part in pool),
        "chance": float(chance),
    }


class BenchmarkIdentity(Record):
    """Which frozen items, scored how. ``tokens`` covers the token ids the base's tokenizer gave them.

    It is None where another tool asked them.

    ``graded``: an item's score may lie between 0 and 1, which decides the bounds that are valid for it.

    ``groups``: which items come together (questions on one passage), so that a claim about a population counts each
    group once. It is no part of ``digest``: the seeds of draws and orders follow from what is asked alone, and nobody
    gets others by grouping the items otherwise.

    ``pool``: the benchmarks that are judged together, by the weighted mean of their scores; digest, items and chance
    are then what follows from them.
    """

    name: str
    items: Annotated[int, Field(gt=0)]
    scoring: str
    graded: bool = False
    chance: Annotated[float, Field(ge=0.0, lt=1.0)]
    digest: Digest
    tokens: Digest | None
    groups: Groups = None
    pool: Pool = None

    @model_validator(mode="after")
    def _a_group_for_each_item(self) -> BenchmarkIdentity:
        refuse_ungrouped(self.groups, self.items)
        return self

    @model_validator(mode="after")
    def _follows_from_its_pool(self) -> BenchmarkIdentity:
        for name, expected in (identity_of_pool(self.pool) if self.pool else {}).items():
            if (found := getattr(self, name)) != expected:
                raise ValueError(f"{name}: {found!r}, but its pool gives {expected!r}")
        return self

    @property
    def spelled(self) -> str:
        """Its name; of a pool also what is in it, and the share of each."""
        if self.pool is None:
            return self.name
        parts = ", ".join(
            f"{share} of {part.name} ({part.items} items)"
            for part, share in zip(self.pool, shares(self.pool), strict=True)
        )
        return f"{self.name}, the weighted mean of {parts}"


def items_key(benchmark: BenchmarkIdentity) -> dict[str, Any]:
    """Return the part of a benchmark's identity that scores depend on: neither what its file is called, nor groups."""
    return benchmark.model_dump(exclude={"name", "groups", "pool"})  # a pool is in its digest
