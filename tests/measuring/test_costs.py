"""What work takes is counted, timed on a little of it, told before the first draw, and kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import models
import pytest

from certify.errors import InvalidPlan
from certify.measuring import Base, PlannedDraws, Run, check, measure_base
from certify.measuring import costs as module
from certify.measuring.costs import Costs, Load, duration, foretell, noise_writing, pilot_costs

COSTS = Costs(draw=2.0, alone=0.5, together=0.1, weights=10**9, memory=3 * 10**9)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    where = tmp_path_factory.mktemp("costs")
    model = models.base_same_and_wreck(where)
    return Base.open(where / "base", models.write_jsonl(Path(where / "own.jsonl"), models.own_answers(model, 70)))


def test_loads_are_counts() -> None:
    """Of each verb, in draws written, items alone and items together; what several kinds ask for is scored once."""
    assert Load.at_base(100, 5) == Load(draws=500, alone=500, together=100)
    assert Load.at_base(100, 1, [(7, "table"), (9, "pairs")]) == Load(draws=116, alone=109, together=800)
    assert Load.of_check(["distance"], 100) == Load()
    assert Load.of_check(["point"], 100) == Load(together=200, models=1)
    assert Load.of_check(["point", "position"], 100, points=4) == Load(together=500, models=1)
    assert Load.of_check(["position"], 100, points=4, known=True) == Load(together=400, models=1)
    assert Load.of_check(["smoothed"], 100, 20) == Load(draws=40, together=4200, models=1)
    assert Load.of_check(["audit"], 100, known=True) == Load(together=100, models=1, most=True)


def test_time_memory_and_money_follow_from_the_counts() -> None:
    """Seconds of an hour's price, shared by processes; another engine's seconds stand in for those of writing."""
    load = Load(draws=1800, alone=0, together=0, models=1)
    assert COSTS.seconds(load) == 3600.0
    assert COSTS.describe(load, price=2.5) == "about 60.0 min, 4 GB of memory, 2.5 at 2.5 an hour"
    assert COSTS.describe(load, price=2.5, processes=4) == "about 15.0 min, 4 GB of memory, 0.62 at 2.5 an hour"
    assert COSTS.describe(Load(together=100, most=True), seconds=30.0) == "at most 30 s, 3 GB of memory"


def test_what_is_timed_is_there_and_kept(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cost of what is asked for is positive, nothing is written where nothing is to be, and it is done once."""
    assert pilot_costs(base, Run()).draw == 0.0
    law = base.weight_law(1e-3)
    first = pilot_costs(base, Run(ledgers=tmp_path), noise_writing(base, law))
    assert min(first.draw, first.alone, first.together) > 0
    assert first.weights == 4 * sum(base.sizes.values()) < first.memory
    monkeypatch.setattr(module, "_timed", lambda *_: pytest.fail("timed again"))
    assert pilot_costs(base, Run(ledgers=tmp_path), noise_writing(base, law)) == first


def test_few_items_are_timed_where_one_takes_long(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches double until one takes a quarter of a second, so a large model is asked two items and not all."""
    sizes: list[int] = []
    monkeypatch.setattr(base.scorer, "score", lambda _, items: sizes.append(len(items)))
    clock = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    assert pilot_costs(base, Run()).alone == 1.0
    assert sizes == [1, 1]
    monkeypatch.setattr(module.time, "perf_counter", lambda: 0.0)
    pilot_costs(base, Run())
    assert sizes[2:] == [1, 1, 2, 4, 8, 16, 32, 64, 70]


def test_nobody_is_told_what_nobody_asks(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a listener, or with nothing to do, nothing is timed."""
    monkeypatch.setattr(module, "_timed", lambda *_: pytest.fail("timed"))
    foretell(base, Run(), Load(together=10))
    foretell(base, Run(tell=lambda _: pytest.fail("told")), Load())


def test_it_is_told_after_refusals_and_before_draws(base: Base, asked: list[Any]) -> None:
    """One line of each verb; what is refused times nothing."""
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        asked.clear()  # what was timed

    run = Run(tell=tell, price_per_hour=2.0)
    with pytest.raises(InvalidPlan, match="distance evidence rests on a measurement"):
        next(check(base, base.checkpoint.path.parent / "same", kinds=["distance"], run=run))
    assert not lines and not asked
    measured = measure_base(base, planned=[PlannedDraws(base.weight_law(1e-3), 110)], grid=(1e-3,), run=run)
    assert (len(lines), len(asked)) == (1, 1 + 70 + 110)  # all that was scored without being timed
    assert re.fullmatch(
        r"estimate: about \S+ (ms|s), \S+ GB of memory, \S+ at 2 an hour; explicit engine on cpu", lines[0]
    )
    lines.clear()
    same = base.checkpoint.path.parent / "same"
    for kinds in (["point"], ["position"], ["smoothed"], ["audit"], ["distance"]):
        list(check(base, same, kinds=kinds, measurement=measured, draws=70, run=run))
    assert [line.split(",")[0].rpartition(" ")[0].rpartition(" ")[0] for line in lines] == [
        "estimate: about", "estimate: about", "estimate: about", "estimate: at most"
    ]  # fmt: skip
    assert duration(0.5) == "500 ms"
