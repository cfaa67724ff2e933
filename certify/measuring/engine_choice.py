"""The planner: time both engines on pilot draws and choose one for trials of one item each, before any is drawn.

What it settles is work, never a bound: engine and batch size. Items per draw is 1 in the designs it serves; k items
per draw would need a bound for their mean (theory §4.1, betting), which no record holds yet. Pilot draws come from
streams of their own and enter no claim.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from certify.errors import ActivationRefused
from certify.evidence.trials import Trials
from certify.measuring.at_base import PlannedDraws, planned_trials
from certify.measuring.base import Base
from certify.measuring.costs import duration, wait_for_device
from certify.measuring.environment import environment
from certify.measuring.item_trials import EngineChoice, prove_widest
from certify.measuring.run import Run
from certify.measuring.scores import checked
from certify.measuring.world import World
from certify.noise import noised
from certify.records import WeightNoise, identity_key, items_key

if TYPE_CHECKING:
    from certify.noise.activation import Exactness

EngineName = Literal["auto", "explicit", "activation", "vllm"]
DRAWS, ITEMS = 20, 20  # of the table that shows the correlation within a draw, where so many cost little
ALONE = 3  # items that are timed in a batch of their own
SHARE = 0.05  # of the predicted time: what timing larger batches may cost, and as much again what timing draws may
BATCHES = (512, 2048, 8192)  # tokens
LEAST_CORRELATION = 0.005  # what 20 draws cannot tell from none


@dataclass(frozen=True)
class _Writing:
    """The explicit engine in seconds: one draw written (c_p), one item alone, one item among ``items`` (c_e).

    ``correlation`` of two items' correctness under one draw, not below what the pilot can see; None where as many draws
    as show it would cost too much of the job. ``whole``: all items of the benchmark, timed only where whole benchmarks
    are planned.
    """

    draw: float
    alone: float
    together: float
    items: int
    correlation: float | None
    whole: float = 0.0

    @property
    def trial(self) -> float:
        """One draw for one item."""
        return self.draw + self.alone

    @property
    def noise_share(self) -> float:
        """The share of that which writes noise: c_p / (c_p + m c_e) at m = 1."""
        return self.draw / self.trial

    def effective(self, m: int) -> float:
        """Seconds for what one independent trial is worth, with m items per draw: (c_p/m + c_e)(1 + (m - 1) rho)."""
        item = self.alone if m == 1 else self.together
        return (self.draw / m + item) * (1 + (m - 1) * (self.correlation or 0.0))

    def best_m(self, items: int) -> int:
        """Return the cheapest number of items per draw among the powers of two."""
        return min((1 << k for k in range(items.bit_length())), key=self.effective)


@dataclass(frozen=True)
class _Showing:
    """The activation engine in seconds: one pair at the benchmark's lengths in batches of so many tokens, one proof."""

    pair: float
    tokens_per_batch: int
    proof: float


@dataclass(frozen=True)
class Runs:
    """What is to be drawn: trials of one item each, proven exact ``proofs`` times; ``law`` is that of the pilot.

    A basin is proven once, under its largest sigma, and each planned run of pairs by itself.
    """

    law: WeightNoise
    proofs: int
    trials: int

    def seconds(self, shown: _Showing) -> float:
        """Return what all of them take in activation space."""
        return self.trials * shown.pair + self.proofs * shown.proof


def choose_engine(
    base: Base,
    planned: Sequence[PlannedDraws],
    grid: Sequence[float],
    *,
    engine: EngineName = "auto",
    user_seed: int = 0,
    run: Run | None = None,
) -> EngineChoice:
    """Return the engine that a measurement's basin and pairs are drawn by; ``auto`` times both and takes the faster.

    The choice is kept beside the finished draws, so that a killed run resumes with it and several processes share it.
    """
    if base.layout is not None or engine == "vllm":
        return EngineChoice(asked=True, reasons=(f"engine: {base.engine}, as asked",))
    run = run or Run()
    if engine != "auto":
        asked = EngineChoice(engine=engine, asked=True, reasons=(f"engine: {engine}, as asked",))
        if engine == "explicit" or run.tell is None:
            return asked  # draws that are written are timed where they are foretold
    identity = {
        "choice": "engine" if engine == "auto" else f"{engine} engine, as asked",
        "planned": [[plan.law.model_dump(mode="json"), plan.n, plan.design] for plan in planned],
        "grid": list(grid),
        "user_seed": user_seed,
        "weights": identity_key(base.checkpoint.identity),
        "benchmark": items_key(base.scorer.identity),
        "device": base.device,
        "environment": environment(base.device).model_dump(mode="json"),
    }
    alone = replace(run, world=World(), crew=None)  # a choice is made by one process
    found = run.settled(lambda: _timed(base, planned, grid, user_seed, engine, alone), EngineChoice, identity)
    return found if engine == "auto" else asked.model_copy(update={"seconds": found.seconds})


def _timed(
    base: Base,
    planned: Sequence[PlannedDraws],
    grid: Sequence[float],
    user_seed: int,
    asked_for: EngineName,
    run: Run,
) -> EngineChoice:
    pairs = [plan for plan in planned if plan.design == "pairs" and not plan.subspace]
    runs = planned_trials(base, grid, pairs, user_seed)
    law = base.weight_law(grid[len(grid) // 2])
    refused = _refusal(base, runs)
    if refused:
        return EngineChoice(reasons=(f"engine: explicit; {refused}",))
    asked = Runs(law, 1 + len(pairs), sum(trials.n for trials in runs))
    try:
        start = time.perf_counter()
        proven = prove_widest(base, [base.weight_law(sigma) for sigma in grid], run)
        proof = time.perf_counter() - start
        shown = _time_showing(base, law, user_seed, trials=asked.trials, proven=proven)
        shown = replace(shown, proof=max(proof, shown.proof))  # where nothing was proven together, it was there
    except ActivationRefused as refusal:
        return EngineChoice(reasons=(f"engine: explicit; {refusal}",))
    shows, alone = asked.seconds(shown), _time_alone(base)
    if shows < asked.trials * alone and not any(plan.design == "table" for plan in planned):
        return _without_writing(base, shown, asked, alone)
    tables, allowance = any(plan.design == "table" for plan in planned), SHARE * asked.trials * shown.pair
    written = _time_writing(base, law, user_seed, whole=tables, allowance=allowance)
    return _decide(base, planned, written, shown, asked, asked_for)


def _without_writing(base: Base, shown: _Showing, runs: Runs, alone: float) -> EngineChoice:
    """Choose activation space where scoring the items of written draws would take longer, whatever writing takes."""
    activation = runs.seconds(shown)
    return EngineChoice(
        engine="activation",
        tokens_per_batch=shown.tokens_per_batch,
        reasons=(
            f"engine: activation for {runs.trials:,} trials of one item each; predicted {duration(activation)} in "
            f"activation space, over {duration(runs.trials * alone)} explicitly (for scoring alone)",
            f"pilot, {runs.law.describe()}: {duration(alone)} for an item alone; {duration(shown.pair)} for a pair in "
            f"activation space, {shown.tokens_per_batch:,} tokens a batch",
        ),
        seconds=activation + base.scorer.identity.items * min(alone, shown.pair),
    )


def _time_alone(base: Base) -> float:
    """Time items in calls of their own, after one that warms up."""
    items = _spread(base.scorer.identity.items, ALONE)
    base.scorer.score(base.model, [items[0]])
    start = time.perf_counter()
    for item in items:
        base.scorer.score(base.model, [item])
    return (time.perf_counter() - start) / len(items)


def _decide(
    base: Base,
    planned: Sequence[PlannedDraws],
    written: _Writing,
    shown: _Showing,
    runs: Runs,
    asked_for: EngineName = "auto",
) -> EngineChoice:
    explicit = runs.trials * written.trial
    activation = runs.seconds(shown)
    faster = activation < explicit or asked_for == "activation"
    engine: Literal["explicit", "activation"] = "activation" if faster else "explicit"
    items = base.scorer.identity.items
    whole, m = written.whole or items * written.together, written.best_m(items)
    tables = sum(plan.n for plan in planned if plan.design == "table")
    reasons: tuple[str, ...] = (
        f"engine: {engine} for {runs.trials:,} trials of one item each; predicted {duration(activation)} in activation "
        f"space, {duration(explicit)} explicitly ({written.noise_share:.0%} of that writes noise)",
        f"pilot, {runs.law.describe()}: {duration(written.draw)} to write a draw, {duration(written.alone)} for an "
        f"item alone, {duration(written.together)} for one among {written.items}; {duration(shown.pair)} for a pair in "
        f"activation space, {shown.tokens_per_batch:,} tokens a batch",
    )
    if written.correlation is not None:
        reasons += (
            f"items per draw: 1, for which alone a record has a bound; with {m} the explicit engine would need "
            f"{duration(written.effective(m))} per effective trial (correlation within a draw "
            f"{written.correlation:.3f})",
        )
    return EngineChoice(
        engine=engine,
        tokens_per_batch=shown.tokens_per_batch,
        reasons=reasons,
        seconds=(activation if faster else explicit) + whole + tables * (written.draw + whole),
    )


def _refusal(base: Base, runs: Sequence[Trials]) -> str:
    """Return why activation space cannot serve these runs, as far as reading the model and the benchmark shows."""
    from certify.noise.activation import refusals

    try:
        _ = base.questions
    except ActivationRefused as refusal:
        return str(refusal)
    for trials in runs:
        if isinstance(trials.law, WeightNoise) and (reasons := refusals(base.model, trials.law)):
            return str(ActivationRefused(reasons))
    return ""


def _time_writing(
    base: Base, law: WeightNoise, user_seed: int = 0, *, whole: bool = False, allowance: float = math.inf
) -> _Writing:
    """Time the explicit engine on pilot draws with 20 items each, and on items alone.

    As many draws as ``allowance`` seconds are enough for, at most one that warms up and 20 that count; the first is
    drawn in any case. ``whole``: all items together, too, once.
    """
    scorer = base.scorer
    items = _spread(scorer.identity.items, ITEMS)
    seed = base.trials("pilot", law, DRAWS * ITEMS, user_seed).seed
    written, together, table = list[float](), list[float](), list[list[float]]()
    begun = time.perf_counter()
    with noised(base.model, law, seed, pilot=True) as engine:
        for i in range(DRAWS + 1):
            start = time.perf_counter()
            if i > 0 and (start - begun) * (i + 1) / i > allowance:
                break
            model = engine.at(i)
            wait_for_device(base)
            middle = time.perf_counter()
            scores = checked(scorer.score(model, items), len(items), scorer.identity.graded)
            end = time.perf_counter()
            if i == 1:  # the first warms up, and counts only where it is the only one
                written, together, table = [], [], []
            written.append(middle - start)
            together.append((end - middle) / len(items))
            table.append([s or 0.0 for s in scores])
        alone = _time_alone(base)
        start = time.perf_counter()
        if whole:
            scorer.score(model)
        all_together = time.perf_counter() - start
    return _Writing(
        draw=float(np.median(written)),
        alone=alone,
        together=float(np.median(together)),
        items=len(items),
        correlation=None if len(table) < DRAWS else max(LEAST_CORRELATION, _within_draw_correlation(np.array(table))),
        whole=all_together if whole else 0.0,
    )


def _time_showing(
    base: Base, law: WeightNoise, user_seed: int = 0, trials: int = 0, proven: Exactness | None = None
) -> _Showing:
    """Time the activation engine on pilot pairs, in growing batches while that costs little of what ``trials`` cost.

    One batch at least is timed: the one of median length, after one of a single pair that warms up.

    Raises:
        ActivationRefused: the model or the benchmark cannot be served, or more than 1 % of the pilot's decisions lie
            within the margin guard.
    """
    from certify.noise.activation import ActivationPairs

    items = base.questions
    seed = base.trials("pilot", law, len(items), user_seed).seed
    start = time.perf_counter()
    pairs = ActivationPairs(base.model, law, seed, items, pilot=True, proven=proven, batching=base.batching(base.model))
    proof, spent = time.perf_counter() - start, 0.0
    seen, found, rate, largest = list[tuple[int, float]](), dict[int, float](), 0.0, 0
    for turn, size in enumerate(BATCHES):
        table = [(turn * len(items) + j, (j,)) for j in range(len(items))]
        plan = pairs.plan(table, size)
        padded = [pairs.padded(table, batch) for batch in plan]
        middle = len(plan) // 2
        allowance = SHARE * trials * min(found.values(), default=math.inf)
        if turn > 0 and (padded[middle] <= largest or spent + rate * padded[middle] > allowance):
            break
        if turn == 0:
            pairs.margins(table, plan[middle][:1])
        start = time.perf_counter()
        margins = pairs.margins(table, plan[middle])
        seconds = time.perf_counter() - start
        spent, rate, largest = spent + seconds, seconds / padded[middle], padded[middle]
        found[size] = rate * sum(padded) / len(items)
        seen += [(item, margin) for item, (margin,) in zip(plan[middle], margins, strict=True)]
    pairs.judged(seen).require_clear()
    best = min(found, key=found.__getitem__)
    return _Showing(found[best], best, proof)


def _within_draw_correlation(table: NDArray[np.float64]) -> float:
    """Return the one-way ANOVA estimate of the correlation of two items under one draw; 0 where nothing varies.

    (MSB - MSW) / (MSB + (m - 1) MSW), shape (draws, items). It chooses work and enters no bound.
    """
    n, m = table.shape
    if m < 2:
        return 0.0
    means = table.mean(axis=1)
    between = m * float(means.var(ddof=1))
    inside = float(((table - means[:, None]) ** 2).sum()) / (n * (m - 1))
    total = between + (m - 1) * inside
    return (between - inside) / total if total > 0 else 0.0


def _spread(n: int, k: int) -> list[int]:
    """Return k of n indices, evenly spaced; all of them if k >= n."""
    return sorted({i * n // k for i in range(k)}) if k < n else list(range(n))
