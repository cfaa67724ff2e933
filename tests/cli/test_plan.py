"""``certify plan``: floors, power, distances, gates and minutes, before anything is drawn."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import models
import pytest
from scipy.stats import binom

from certify.__main__ import main
from certify.benchmarks import open_pool_or_benchmark
from certify.cli import output, plan_lines
from certify.cli.plan_lines import down_to_digits, largest_subspace
from certify.evidence import Requirement
from certify.evidence.feasibility import infeasible_pool
from certify.statistics import clopper_pearson_upper, tolerated_ratio

FLOORS = {
    "point": "59 items", "position": "59 items", "smoothed": "68 draws", "distance": "101 draws", "audit": "65 items",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, its benchmark, a checkpoint close by, one far away, and one with another config."""
    where = tmp_path_factory.mktemp("plan")
    model = models.llama()
    models.save_folder(where / "base", model)
    models.variant(where / "base", where / "near", lambda t: t["model.norm.weight"].add_(1e-5))
    models.variant(where / "base", where / "far", lambda t: t["model.norm.weight"].add_(1.0))
    other = models.variant(where / "base", where / "other", lambda t: None)
    models.edit_config(other, rms_norm_eps=0.5)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 100))
    return where


@pytest.fixture
def plan(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run ``certify plan`` in the folder; return its exit code and what it said, each line unwrapped."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(output.out, "width", 200)
        monkeypatch.setattr(sys, "argv", ["certify", "plan", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return run


def rows(out: str) -> dict[str, list[str]]:
    """The table's cells by kind."""
    cells = [[c.strip() for c in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in cells}


def test_every_kind_has_its_floor(plan) -> None:  # type: ignore[no-untyped-def]
    """Without options: the floors of a drop of .05 at 95 %, and how far 1000 draws reach."""
    code, out, _ = plan()
    assert code == 0
    assert {kind: row[0] for kind, row in rows(out).items()} == FLOORS
    assert "the requirement holds up to r = 0.89 sigma" in out
    assert "an event (a score that half of all draws keep) is certified up to r = 2.74 sigma" in out


def test_only_the_named_kinds_are_planned(plan) -> None:  # type: ignore[no-untyped-def]
    """--evidence chooses and orders; an unknown kind is named."""
    assert list(rows(plan("--evidence", "smoothed,point")[1])) == ["smoothed", "point"]
    code, _, err = plan("--evidence", "vibes")
    assert code == 2
    assert "unknown evidence vibes; choose from point, position, smoothed, distance, audit" in err


def test_numbers_that_suffice_are_said_to(plan) -> None:  # type: ignore[no-untyped-def]
    """Items for point, position and audit, draws for the others."""
    code, out, _ = plan("--items", "65", "--draws", "101")
    assert code == 0
    assert [row[1:] for row in rows(out).values()] == [["65", "yes"]] * 2 + [["101", "yes"]] * 2 + [["65", "yes"]]


def test_numbers_that_can_never_pass_are_refused_with_those_that_would(plan) -> None:  # type: ignore[no-untyped-def]
    """Exit 2 after the table, one line, the n that would do."""
    code, out, err = plan("--items", "58", "--draws", "101", "--evidence", "point,distance")
    assert code == 2
    assert rows(out)["point"][2] == "no"
    assert rows(out)["distance"][2] == "yes"
    assert err.startswith("certify: error: point: this gate cannot pass with 58 items: 59 are needed")
    assert err.count("\n") == 1


def test_a_requirement_out_of_reach_has_no_floor(plan) -> None:  # type: ignore[no-untyped-def]
    """A drop of zero takes more than a million items."""
    assert rows(plan("--max-drop", "0", "--evidence", "point")[1])["point"][0] == "more than a million items"


def test_power_for_an_expected_loss(plan) -> None:  # type: ignore[no-untyped-def]
    """90 % power at 1 % lost: 181 items for point; position pays for four points; draws depend on the scores."""
    code, out, _ = plan("--true-lost", "0.01")
    assert code == 0
    assert [row[-1] for row in rows(out).values()][:3] == ["181 items", "234 items", "depends on the scores: pilot"]
    assert "for 90 % power if 1 % are lost" in out
    assert "exact binomial, each item lost, none gained with probability 0.01" in out
    code, _, err = plan("--true-lost", "0.06")
    assert code == 2
    assert "lost = 0.06: must be below what the requirement allows, 0.05" in err


def test_a_benchmark_brings_its_items_and_chance(plan) -> None:  # type: ignore[no-untyped-def]
    """--benchmark fills in the items that are at hand."""
    code, out, _ = plan("-b", "own.jsonl", "--evidence", "point")
    assert code == 0
    assert rows(out)["point"][1:] == ["100", "yes"]


def test_a_sequential_gate_is_planned_exactly(plan) -> None:  # type: ignore[no-untyped-def]
    """Level, power and expected draws of the gate, and the fixed test beside it."""
    code, out, _ = plan("--p1", "0.98", "--evidence", "smoothed")
    assert code == 0
    said = re.search(r"passes wrongly with probability (\S+) \(allowed 0.05\), rightly at 0.98 with (\S+)", out)
    assert said is not None
    assert float(said[1]) <= 0.05
    assert 0.85 < float(said[2]) < 0.95
    assert "a fixed test of power 0.9 needs 361" in out
    assert re.search(r"refutes wrongly with probability 0.0\d+ \(allowed 0.05\), rightly at 0.92 with", out)
    assert out.index("refutes wrongly") < out.index("giving up as undecided (--futility)")
    assert plan("--p1", "0.9")[0] == 2
    assert "does not go with --max-score" in plan("--p1", "0.98", "--max-score", "0.1")[2]


def test_a_far_checkpoint_is_vacuous_and_the_way_out_is_named(plan) -> None:  # type: ignore[no-untyped-def]
    """r, the verdict on n draws, the budget and the size of subspace; weights are read, no model is run."""
    arguments = ("--from-distance", "--base", "base", "--sigma", "0.01")
    code, out, _ = plan(*arguments, "--checkpoint", "far")
    assert code == 0
    assert "||delta|| = 4 over" in out  # 16 weights moved by 1
    assert "r = 400.1 sigma" in out  # norms are rounded up
    assert "vacuous: 1,000 perfect draws at the base would show a score of at least 0.000" in out
    assert "for ||delta|| up to 0.00897 at this sigma; the checkpoint's is 4" in out
    assert "subspace: none; ||delta|| is" in out
    _, out, _ = plan(*arguments, "--checkpoint", "near")
    assert "vacuous" not in out
    assert "would show a score of at least 0.994" in out


def test_other_differences_make_the_distance_infinite(plan) -> None:  # type: ignore[no-untyped-def]
    """What noise does not reach is named."""
    code, out, _ = plan("--from-distance", "--base", "base", "--checkpoint", "other", "--sigma", "0.01")
    assert code == 0
    assert "r is infinite: config differs: rms_norm_eps is 0.5, the base's 1e-06" in out
    assert "vacuous" in out


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.3, 0.7, 2.0, 3.0])
def test_the_subspace_is_the_largest_that_is_within_reach(ratio: float) -> None:
    """At k coordinates the tolerated ratio covers ||delta||, at k + 1 it does not."""
    k = largest_subspace(ratio, 1000, 0.05, 10**6)
    assert k == 0 or tolerated_ratio(1000, 0.05, k) >= ratio
    assert tolerated_ratio(1000, 0.05, k + 1) < ratio
    assert largest_subspace(ratio, 1000, 0.05, 3) <= 3


def test_a_budget_is_never_printed_larger_than_it_is() -> None:
    """Significant digits, rounded down."""
    assert [down_to_digits(x) for x in (0.053879, 123.99, 1.999e-5, 0.0)] == ["0.0538", "123", "1.99e-05", "0"]


def test_minutes_are_foreseen_from_a_pilot(plan) -> None:  # type: ignore[no-untyped-def]
    """A named base is timed on its benchmark; without the benchmark that is refused."""
    code, out, _ = plan("base", "-b", "own.jsonl")
    assert code == 0
    assert "to write a draw" in out
    takes = r"(about|at most) [\d.]+ (ms|s|min), [\d.]+ GB of memory"
    assert re.search(rf"measure: {takes} \(basin at 5 sigmas\)", out)
    for kind in ("point", "position", "smoothed", "audit"):
        assert re.search(rf"check by {kind}, beside reading weights: {takes}\n", out)
    assert "check by distance, beside reading weights: reads weights only" in out
    code, _, err = plan("base")
    assert code == 2
    assert "give --benchmark" in err


def test_a_cover_is_planned_by_its_windows(plan) -> None:  # type: ignore[no-untyped-def]
    """What `certify cover` refuses is what is planned: the draws of a window, and of all; a share by none lost."""
    code, out, _ = plan("--windows", "10", "--evidence", "point", "--true-lost", "0.01", "--draws", "1000")
    assert code == 0
    least = math.ceil(math.log(0.05 / 10) / math.log1p(-0.05))
    assert f"cover of 10 windows: one takes {least} draws if nothing is lost: {10 * least:,} in all on average" in out
    assert f"{1000:,} draws put about 100 into each window: too few" in out
    every = int(re.search(r"average, ([\d,]+) for every window", out)[1].replace(",", ""))  # type: ignore[index]
    short = [10 * binom.cdf(least - 1, n, 0.1) for n in (every, every - 1)]
    assert short[0] <= 0.1 < short[1]
    assert re.search(r"where 1 % is lost everywhere, for 90 % power, a window takes \d+:", out)
    shown = int(re.search(r"of one of 10 that is shown by ([\d,]+) draws", out)[1].replace(",", ""))  # type: ignore[index]
    bounds = [clopper_pearson_upper(0, n, 0.05) / 0.05 for n in (shown, shown - 1)]
    assert bounds[0] <= 0.1 + 1e-9 < bounds[1] + 2e-9
    assert "no window can be called kept" in plan("--windows", "4", "--max-drop", "0", "--evidence", "point")[1]


def test_a_pool_is_planned_by_the_items_of_each(plan, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Point and audit evidence, in items of each benchmark; what cannot pass is refused, other kinds are named."""
    model = models.llama()
    models.write_jsonl(folder / "few.jsonl", models.own_answers(model, 40))
    (folder / "suite.toml").write_text('[pool]\n"own.jsonl" = 2\n"few.jsonl" = 1\n')
    code, out, _ = plan("-b", "suite.toml", "--true-lost", "0.01", "--max-drop", "0.2")
    assert code == 0
    found = re.search(r"point: can pass; if nothing is lost it takes (\d+) of own, (\d+) of few", out)
    assert found is not None
    of_own, of_few = map(int, found.groups())
    assert of_few < of_own < 100
    pool = open_pool_or_benchmark(folder / "suite.toml").identity
    asked = Requirement(limit=0.2), 0.05
    enough = math.ceil(of_own)  # hundredths of 100 items
    assert infeasible_pool(plan_lines._resized(pool, enough), *asked) is None
    assert infeasible_pool(plan_lines._resized(pool, enough - 1), *asked) is not None
    assert re.search(r"audit: decided after \d+ of 140 items in half of 20 simulated orders, \d+ at most, if not", out)
    assert "if 1 % of them are lost, none gained" in out
    code, out, err = plan("-b", "suite.toml", "--max-drop", "0.001", "--evidence", "point")
    assert code == 2
    assert "point: cannot pass" in out
    assert "cannot pass on suite" in err
    code, _, err = plan("-b", "suite.toml", "--evidence", "position")
    assert code == 2
    assert "a pool is judged by point and audit evidence; plan position for each" in err
    for option, value in (("--windows", "3"), ("--p1", "0.9"), ("--items", "50")):
        code, out, err = plan("-b", "suite.toml", option, value)
        assert (code, out) == (2, "")
        assert f"suite.toml is a pool, for which {option} plans nothing; name one benchmark" in err
    code, out, _ = plan("base", "-b", "suite.toml", "--max-drop", "0.2", "--price-per-hour", "2")
    assert code == 0
    assert re.search(r"check by point, beside reading weights: about \S+ m?s, \S+ GB of memory, \S+ at 2 an hour", out)
    assert "to write a draw" not in out


@pytest.mark.parametrize("price", ["inf", "nan", "-1"])
def test_a_price_is_a_number(plan, price: str) -> None:  # type: ignore[no-untyped-def]
    """One line, before anything is planned."""
    code, out, err = plan("--price-per-hour", price)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--price-per-hour" in err


def test_from_distance_needs_all_three(plan) -> None:  # type: ignore[no-untyped-def]
    """What is missing is named."""
    code, _, err = plan("--from-distance", "--base", "base", "--sigma", "0.01")
    assert code == 2
    assert "--from-distance needs --base, --checkpoint and --sigma" in err


def test_planning_without_a_base_imports_no_torch() -> None:
    """The table, the gate and the distances are arithmetic."""
    script = (
        "import sys, runpy; sys.argv = ['certify', 'plan', '--true-lost', '0.01', '--p1', '0.98']\n"
        "try: runpy.run_module('certify', run_name='__main__')\n"
        "finally: assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PAGE = Path(__file__).parents[2] / "docs" / "planning.md"
PRINTED = re.findall(r"```console\n\$ certify plan (.*)\n([^`]*)```", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("command", "said"), PRINTED, ids=[c[:30] for c, _ in PRINTED])
def test_the_page_shows_what_is_printed(  # type: ignore[no-untyped-def]
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every example of docs/planning.md prints what stands below it; of timings, the words."""
    monkeypatch.chdir(PAGE.parents[1])
    monkeypatch.setattr(output.out, "width", 80)
    monkeypatch.setattr(sys, "argv", ["certify", "plan", *command.split()])
    with pytest.raises(SystemExit):
        main()
    streams = capsys.readouterr()
    found = "\n".join(line.rstrip() for line in (streams.out + streams.err).splitlines()) + "\n"
    timed = r"[\d.,e+-]+ ?((ms|s|min)\b|(?=GB|tokens|%))" if "base --benchmark" in command else r"(?!)"
    assert re.sub(timed, "_ ", found) == re.sub(timed, "_ ", said)


def test_the_page_has_its_examples() -> None:
    """The check above looks at something."""
    assert len(PRINTED) == 7
