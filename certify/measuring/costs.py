"""What work costs, foreseen before it is done: counted in draws and items, timed on a few of them at the base.

Draws that are timed come from pilot streams, and no score is looked at. Nothing here enters a claim.
"""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from pydantic import Field

from certify.errors import CertifyWarning
from certify.evidence.distance import DrawDesign
from certify.measuring.base import Base
from certify.measuring.run import Run
from certify.noise import Subspace, noised
from certify.records import NoiseLaw, Record, identity_key, items_key

LONG_ENOUGH = 0.25  # seconds: batches are doubled until one takes so long, or holds all items
Seconds = Annotated[float, Field(ge=0.0)]


@dataclass(frozen=True)
class Load:
    """Work, counted: draws written, items scored alone (each under a draw of its own), items scored together.

    ``models``: how many are held beside the base. ``most``: so much at most, since it may be decided earlier.
    """

    draws: int = 0
    alone: int = 0
    together: int = 0
    models: int = 0
    most: bool = False

    def __add__(self, other: Load) -> Load:
        return Load(
            self.draws + other.draws,
            self.alone + other.alone,
            self.together + other.together,
            max(self.models, other.models),
            self.most or other.most,
        )

    @classmethod
    def tables(cls, draws: int, items: int) -> Load:
        """All items under each of so many draws."""
        return cls(draws=draws, together=draws * items)

    @classmethod
    def single(cls, draws: int) -> Load:
        """One item under each of so many draws: a level of a basin, pairs, a cover, a sequential gate."""
        return cls(draws=draws, alone=draws)

    @classmethod
    def at_base(cls, items: int, levels: int, planned: Sequence[tuple[int, DrawDesign]] = ()) -> Load:
        """The base's own scores, a basin of so many levels, and planned draws."""
        found = sum((cls.single(items) for _ in range(levels)), cls(together=items))
        for n, design in planned:
            found += cls.single(n) if design == "pairs" else cls.tables(n, items)
        return found

    @classmethod
    def of_check(
        cls, kinds: Sequence[str], items: int, draws: int = 0, points: int = 0, *, known: bool = False
    ) -> Load:
        """Evidence about one checkpoint, beside reading its weights; ``known``: the base's own scores are at hand.

        What several kinds ask for, base and checkpoint without noise, is scored once. An audit scores so much at most.
        """
        if set(kinds) <= {"distance"}:
            return cls()
        passes = (1 if known else 2) + (points - 1 if "position" in kinds else 0)
        found = cls(together=passes * items, models=1, most="audit" in kinds)
        return found + cls.tables(2 * draws, items) if "smoothed" in kinds else found


@dataclass(frozen=True)
class Writing:
    """What a draw writes into the model: ``opened`` yields what writes the i-th one; ``name`` names its cost."""

    name: str
    opened: Callable[[], AbstractContextManager[Callable[[int], object]]]


class Costs(Record):
    """Seconds, timed at the base: one draw written (0 if none was), one item alone, one of several in a batch.

    ``weights`` are the bytes of the model, ``memory`` the most that the process had taken when this was timed.
    """

    draw: Seconds
    alone: Seconds
    together: Seconds
    weights: int
    memory: int

    def seconds(self, load: Load) -> float:
        """Return what a load takes, by the explicit engine in one process."""
        return load.draws * self.draw + load.alone * self.alone + load.together * self.together

    def peak(self, load: Load) -> float:
        """Return the memory that a load is foreseen to take, in bytes, beside what a larger batch than timed takes."""
        return self.memory + load.models * self.weights

    def describe(self, load: Load, seconds: float | None = None, price: float | None = None, processes: int = 1) -> str:
        """Say time, memory and, with a ``price`` of an hour, money; ``seconds`` where another engine was timed."""
        took = (self.seconds(load) if seconds is None else seconds) / processes
        words = [f"{'at most' if load.most else 'about'} {duration(took)}", f"{self.peak(load) / 1e9:.2g} GB of memory"]
        if price is not None:
            words.append(f"{price * took / 3600:.2g} at {price:g} an hour")
        return ", ".join(words)


def foretell(
    base: Base,
    run: Run,
    load: Load,
    *,
    writing: Writing | None = None,
    seconds: float | None = None,
    engine: str = "explicit",
) -> None:
    """Tell ``run`` what ``load`` will take, before it is begun; a run that nobody listens to times nothing.

    ``writing`` is what a draw writes; ``seconds`` where the engine that draws was timed already.
    """
    if run.tell is None or load == Load() or base.layout is not None:
        return  # what vLLM takes cannot be told from a few items: its batches are its own
    costs = pilot_costs(base, run, writing if seconds is None else None)
    said = costs.describe(load, seconds, run.price_per_hour, run.sharers)
    by = f"{engine} engine on" if load.draws else "on"
    kept = "" if run.ledgers is None else ", less what finished draws save"
    run.tell(f"estimate: {said}; {by} {base.device}{kept}")


def pilot_costs(base: Base, run: Run, writing: Writing | None = None) -> Costs:
    """Time a few items at the base, and two pilot draws; kept beside the finished draws, so done once.

    Items are scored in batches of twice as many each, until one takes a quarter of a second.
    """
    identity = {
        "choice": "costs",
        "writes": None if writing is None else writing.name,
        "weights": identity_key(base.checkpoint.identity),
        "benchmark": items_key(base.scorer.identity),
        "environment": base.environment_of(None).model_dump(mode="json"),
    }
    return run.settled(lambda: _timed(base, writing), Costs, identity)


def noise_writing(base: Base, law: NoiseLaw, subspace: Subspace | None = None) -> Writing:
    """Return pilot draws of a law as something to time."""

    @contextmanager
    def opened() -> Iterator[Callable[[int], object]]:
        with noised(base.model, law, base.trials("pilot", law, 2).seed, subspace=subspace, pilot=True) as engine:
            yield engine.at

    return Writing(law.kind, opened)


def duration(seconds: float) -> str:
    """Format a duration to two digits."""
    if seconds < 1.0:
        return f"{1000 * seconds:.{0 if seconds >= 0.01 else 2}{'f' if seconds >= 0.01 else 'g'}} ms"
    return f"{seconds:.2g} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def wait_for_device(base: Base) -> None:
    """Return when the device has done what it was asked, so that a timing is of the work and not of the asking."""
    import torch

    if base.device != "cpu" and torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            torch.cuda.synchronize(device)


def _timed(base: Base, writing: Writing | None) -> Costs:
    scorer, draw = base.scorer, 0.0
    middle = scorer.identity.items // 2
    scorer.score(base.model, [middle])  # warms up, and finds how rows are batched
    alone = _seconds(base, lambda: scorer.score(base.model, [middle]))
    together, size = alone, 1
    while size * together < LONG_ENOUGH and size < scorer.identity.items:
        size = min(2 * size, scorer.identity.items)
        items = [i * scorer.identity.items // size for i in range(size)]
        together = _seconds(base, partial(scorer.score, base.model, items)) / size
    if writing is not None:
        with warnings.catch_warnings(action="ignore", category=CertifyWarning), writing.opened() as at:
            at(0)  # what is to be said of the draws, the draws that count say
            draw = _seconds(base, lambda: at(1))
    weights = sum(p.numel() * p.element_size() for p in base.model.parameters())
    return Costs(draw=draw, alone=alone, together=together, weights=weights, memory=_memory(base))


def _seconds(base: Base, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    wait_for_device(base)
    return time.perf_counter() - start


def _memory(base: Base) -> int:
    """Return the most memory taken so far, in bytes: of the accelerators that hold the model, else of the process."""
    import torch

    if base.device != "cpu" and torch.cuda.is_available():
        return sum(torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count()))
    try:
        import resource
    except ImportError:  # Windows
        return sum(p.numel() * p.element_size() for p in base.model.parameters())
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
