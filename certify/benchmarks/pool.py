"""Several benchmarks judged as one, by the weighted mean of their scores: a TOML file that names files and weights."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from certify.benchmarks.items import Item
from certify.benchmarks.jsonl import JsonlBenchmark, open_benchmark
from certify.benchmarks.protocol import NO_LIMITS, ModelLimits, Scorer
from certify.errors import BenchmarkError
from certify.parsing import first_problem, read_text
from certify.records import BenchmarkIdentity, Groups, Part, Record, identity_of_pool
from certify.text import refuse_unseen, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXPECTED = '[pool] with a line "FILE" = WEIGHT for each benchmark (for scores made elsewhere, "TASK" = WEIGHT)'
Weight = Annotated[float, Field(gt=0.0, allow_inf_nan=False, strict=True)]


class _Declared(Record):
    """What the file of a pool holds: paths, from its own folder, or tasks of logs; and weights."""

    pool: Annotated[dict[str, Weight], Field(min_length=2)]


@dataclass(frozen=True)
class PooledBenchmark:
    """Benchmarks whose weighted mean is one score. Only their shares matter: weights 2 and 1 are 4 and 2."""

    name: str
    benchmarks: tuple[JsonlBenchmark, ...]
    weights: tuple[float, ...]

    @classmethod
    def alike(cls, benchmarks: Sequence[JsonlBenchmark]) -> PooledBenchmark:
        """Return these benchmarks with the same weight each.

        Raises:
            BenchmarkError: one of them twice, by its items or by its name.
        """
        found = cls(" + ".join(each.name for each in benchmarks), tuple(benchmarks), (1.0,) * len(benchmarks))
        try:
            _ = found.identity
        except ValidationError as error:
            raise BenchmarkError(f"{found.name}: {first_problem(error)}") from None
        return found

    @cached_property
    def identity(self) -> BenchmarkIdentity:
        """What records hold of it, as far as it is known before the items are encoded."""
        pool = tuple(
            Part(name=each.name, items=len(each.items), weight=weight, chance=each.chance, digest=each.digest)
            for each, weight in zip(self.benchmarks, self.weights, strict=True)
        )
        return pooled(self.name, pool, [(each.groups, len(each.items)) for each in self.benchmarks])

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of all, one benchmark after the other."""
        return tuple(item for each in self.benchmarks for item in each.items)

    @property
    def digest(self) -> str:
        """Digest over the digests of the benchmarks and their shares."""
        return self.identity.digest

    @property
    def chance(self) -> float:
        """Score without any knowledge: the weighted mean."""
        return self.identity.chance

    @property
    def groups(self) -> Groups:
        """The number of each item's group, those of each benchmark apart; None where no benchmark has groups."""
        return self.identity.groups

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, device: str = "cpu", limits: ModelLimits = NO_LIMITS
    ) -> Scorer:
        """Encode the items of every benchmark, each as it asks for.

        Raises:
            BenchmarkError: items that cannot be answered, or not be told apart, with their benchmark.
        """
        from certify.benchmarks.pool_scoring import PoolScorer

        return PoolScorer(self.identity, self.benchmarks, tokenizer, device, limits)


def pooled(name: str, pool: Sequence[Part], groups: Sequence[tuple[Groups, int]], **said: Any) -> BenchmarkIdentity:
    """Return what records hold of a pool; ``groups``: of each benchmark its groups, if it has any, and its items."""
    numbers: list[int] = []
    for own, items in groups:
        start = max(numbers) + 1 if numbers else 0
        numbers += [start + number for number in own or range(items)]
    grouped = tuple(numbers) if any(own is not None for own, _ in groups) else None
    fields = {"scoring": "", "tokens": None, "groups": grouped, "pool": tuple(pool), **said}
    return BenchmarkIdentity.model_validate({"name": name, **fields, **identity_of_pool(tuple(pool))})


def declared_pool(file: Path) -> dict[str, float]:
    """Return what the TOML of a pool names, and the weight of each.

    Raises:
        BenchmarkError: it is not readable, names fewer than two, or a weight is not a positive number.
    """
    text = read_text(file, BenchmarkError)
    try:
        return _Declared.model_validate(tomllib.loads(text)).pool
    except ValidationError as error:
        raise BenchmarkError(f"{file}: {first_problem(error)}; expected {EXPECTED}") from None
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a ValueError
        raise BenchmarkError(f"{file}: not readable TOML: {shortened(str(error))}") from None


def open_pool_or_benchmark(path: str | Path) -> JsonlBenchmark | PooledBenchmark:
    """Read the file of one benchmark, or of a pool of them: TOML, with a table ``[pool]`` of files and weights.

    Files are named from the folder of the pool's own.

    Raises:
        BenchmarkError: a benchmark that cannot be read; a pool of fewer than two, or of one twice; a weight that is
            not a positive number, or so small that its benchmark would not count.
    """
    file = Path(path)
    if file.suffix != ".toml":
        return open_benchmark(file)
    refuse_unseen("the pool", file.name)
    declared = declared_pool(file)
    found = PooledBenchmark(
        file.stem, tuple(open_benchmark(file.parent / name) for name in declared), tuple(declared.values())
    )
    try:
        _ = found.identity
    except ValidationError as error:
        raise BenchmarkError(f"{file}: {first_problem(error)}; expected {EXPECTED}") from None
    return found
