"""What is printed: the table, its levels of detail, and nothing at all without basin tests."""

import re
import shlex
from types import SimpleNamespace

import pytest

from pytest_basin.explain import CHARACTERS, LINES, fit, size
from pytest_basin.options import Setting, Settings
from pytest_basin.terminal import summary_lines

pytest_plugins = ["pytester"]

BOTH = """
import pytest

@pytest.mark.basin(max_drop=0.1)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required

@pytest.mark.basin(min_retention=0.7)
def test_retained(basin_bound):
    assert basin_bound >= basin_bound.required
"""

RESULT = {
    "item": "kept[arc]", "benchmark": "arc", "evidence": "point", "verdict": "certified", "unit": "retention",
    "value": 0.98, "lower": 0.96099, "upper": 0.99101, "need": 0.95, "n": 2000, "of": "items", "alpha": 0.05,
    "certificate": "", "claim": "With 95 % confidence ...", "settings": "min_retention 0.95 (marker)", "seconds": 41.26,
    "notes": [], "layers": [], "baselines": [],
}  # fmt: skip


def test_table_rounds_lower_bounds_down_and_upper_bounds_up():
    """No printed bound claims more than was shown."""
    columns = [line.split("  ") for line in summary_lines([RESULT], 0)]
    assert [[cell.strip() for cell in row if cell] for row in columns] == [
        ["item", "evidence", "bound", "required", "estimate", "n", "verdict", "time"],
        ["kept[arc]", "point", "retention at least 0.960", "retention at least 0.95", "0.980", "2000 items",
         "CERTIFIED", "41.3 s"],
        ["1 certified"],
    ]  # fmt: skip


def test_table_shows_missing_numbers_as_dashes():
    """Distance has no estimate and no lower bound on a drop."""
    distance = RESULT | {"unit": "drop", "evidence": "distance", "value": None, "lower": None, "of": "draws"}
    assert (
        " kept[arc]  distance  drop at most 0.992  drop at most 0.95  -         2000 draws  CERTIFIED  41.3 s"
        in summary_lines([distance], 0)
    )


def test_verdict_line_alone_with_q():
    """`-q` leaves the count."""
    refuted, undecided = RESULT | {"verdict": "refuted"}, RESULT | {"verdict": "undecided"}
    assert summary_lines([RESULT, refuted, undecided, RESULT], -1) == [" 2 certified, 1 refuted, 1 undecided"]


def test_claims_with_v():
    """`-v` adds each claim and where its settings come from."""
    assert summary_lines([RESULT], 1)[2:4] == [
        " kept[arc]: With 95 % confidence ...", "   min_retention 0.95 (marker)",
    ]  # fmt: skip


COMPARED = {
    "metric": "retention", "value": 0.01, "lower": -0.0051, "upper": 0.0301, "margin": 0.02, "verdict": "undecided",
    "note": "", "file": "b.json", "state": "compared",
}  # fmt: skip
ROWS = [
    RESULT | {"baselines": [COMPARED], "notes": ["owner: data team"]},
    RESULT | {"item": "kept[mmlu]", "verdict": "refuted", "lower": 0.8, "upper": 0.9, "value": 0.85,
              "layers": [["layers.0.mlp.up_proj.weight", 0.4123], ["lm_head.weight", 0.2]]},
    RESULT | {"item": "far[arc]", "evidence": "distance", "unit": "drop", "value": None, "lower": None, "upper": 1.0,
              "need": 0.05, "verdict": "undecided", "of": "draws", "certificate": "certs/a.json"},
    RESULT | {"item": "lost[arc]", "verdict": "undecided", "value": None, "lower": None, "upper": None, "n": 0,
              "baselines": [COMPARED | {"margin": None, "verdict": "", "upper": None, "lower": None, "value": None,
                                        "note": "not comparable: torch was 2.13, is 2.15"}]},
]  # fmt: skip


@pytest.mark.parametrize("verbosity", [-1, 0, 2])
def test_summary_of_every_kind_of_row(snapshot, verbosity):
    """Units apart, dashes for what is not known, comparisons below, details as asked."""
    snapshot(f"summary{verbosity}", summary_lines(ROWS, verbosity))


def test_every_bound_names_its_unit(project):
    """Drops and retentions stand in one table, each with its own word."""
    result = project.run("same", test=BOTH)
    result.stdout.fnmatch_lines(
        [
            "-* basin -*",
            " item * evidence  bound * required * estimate  n * verdict * time",
            " kept[[]digits[]] * point * drop at most * drop at most 0.1 * 0.000 * 120 items  CERTIFIED *",
            " retained[[]digits[]] * point * retention at least * retention at least 0.7 * 1.000 * CERTIFIED *",
            " 2 certified",
        ]
    )


def test_nothing_is_printed_without_basin_tests(project):
    """Configured and installed, but unused: not one line."""
    lines = project.run("same", "-v", test="def test_other(): pass").outlines
    after = lines[next(i for i, line in enumerate(lines) if line.startswith("collecting")) :]
    assert len(after) == 5
    assert not any("basin" in line for line in after)


def test_context_line_only_if_basin_tests_are_left(project):
    """Deselected basin tests do not count."""
    test = BOTH + "\ndef test_other(): pass"
    project.run("same", "-k", "kept", test=test).stdout.fnmatch_lines(["basin: base *, checkpoint *, seed 0"])
    project.run("same", "-k", "other", test=test).stdout.no_fnmatch_line("basin: *")


@pytest.mark.parametrize("checkpoint", ["near", "broken"])
def test_text_of_a_failing_gate_of_every_kind_and_unit(project, snapshot, checkpoint):
    """No line says None, each has its unit, and the bound that decides; refuted, undecided and vacuous ones."""
    project.configure(measurement=[str(project.files.measurement)], sigma=1e-4, resume="off")
    gates, limits = "import pytest\n", {"drop": "max_drop=0.05", "retention": "min_retention=0.9",
                                        "absence": "max_score=0.05"}  # fmt: skip
    for kind in ("point", "position", "smoothed", "distance", "audit"):
        more = ", draws=100" if kind == "smoothed" else ""
        for unit, limit in limits.items():
            side = ">=" if unit == "retention" else "<="
            gates += (
                f"@pytest.mark.basin(evidence={kind!r}, {limit}{more})\ndef test_{kind}_{unit}(basin_bound):\n"
                f"    assert basin_bound {side} basin_bound.required\n"
            )
    lines = explanation(project.run(checkpoint, test=gates))
    assert len([line for line in lines if line.startswith("assert ")]) >= 9
    assert not any("None" in line for line in lines)
    snapshot(f"failing-{checkpoint}", [re.sub(r"replay: .*", "replay: ...", line) for line in lines])


def explanation(result):
    """The failure text as pytest holds it: the lines after `E`."""
    lines = [line[8:] for line in result.outlines if line.startswith("E       ")]
    return [line.strip() for line in lines]


@pytest.mark.parametrize("checkpoint", ["near", "broken"])
@pytest.mark.parametrize("name", ["kept", "retained"])
def test_failure_text_fits(project, checkpoint, name):
    """At most 8 lines and 640 characters, verdict first, replay command last, nothing cut by pytest."""
    test = BOTH.replace("max_drop=0.1", "max_drop=0.04").replace("min_retention=0.7", "min_retention=0.94")
    result = project.run(checkpoint, "-k", name, test=test)
    lines = explanation(result)
    assert 4 <= len(lines) <= LINES
    assert sum(map(len, lines)) + 3 * len(lines) <= CHARACTERS
    assert lines[0].startswith(f"assert {name}[digits] ")
    assert lines[1].split()[0] in ("REFUTED", "UNDECIDED")
    assert any(line.startswith("layers: moved ") for line in lines)
    assert lines[-1].startswith(f'replay: pytest "test_gate.py::test_{name}[digits]" --basin-seed=0')
    assert "truncated" not in result.stdout.str()


def stub(arguments):
    """As much of a session as the layout needs."""
    config = SimpleNamespace(
        get_verbosity=lambda: 0, getoption=lambda name: None, invocation_params=SimpleNamespace(dir="/"),
        option=SimpleNamespace(inifilename=None),
    )  # fmt: skip
    settings = Settings({"seed": Setting(0, "default", 0)})
    settings.command_line = lambda: arguments
    item = SimpleNamespace(parent=SimpleNamespace(nodeid="t.py"), name="test_kept[arc]", path="/t.py")
    return SimpleNamespace(config=config, settings=settings, item=item)


@pytest.mark.parametrize("arguments", [[], ["--basin-base=" + "x" * 200], ["--basin-base=" + "x" * 2000]])
@pytest.mark.parametrize("width", [10, 150, 400])
def test_any_failure_text_fits(arguments, width):
    """Whatever there is to say, verdict and replay command are kept and the budget holds."""
    for count in range(12):
        lines = fit(stub(arguments), "h" * width, "REFUTED " + "v" * width, ["d" * width] * count)
        assert len(lines) <= LINES
        assert size(lines) <= CHARACTERS
        assert lines[1].startswith("REFUTED")
        assert lines[-1].startswith('replay: pytest "t.py::test_kept[arc]" --basin-seed=0')


def test_nothing_is_cut_with_vv():
    """Whoever asks for everything gets it."""
    loud = stub(["--basin-base=" + "x" * 2000])
    loud.config.get_verbosity = lambda: 2
    lines = fit(loud, "h", "v", ["d" * 400] * 9)
    assert lines[2:-1] == ["d" * 400] * 9
    assert lines[-1].endswith("x" * 2000)


def test_options_too_long_for_the_text_are_left_out_of_the_replay_command():
    """Details matter more than a command of half a page."""
    assert fit(stub(["--basin-base=" + "x" * 2000]), "h", "v", ["d"])[-1].endswith("--basin-seed=0")
    assert fit(stub(["--basin-base=y"]), "h", "v", ["d"])[-1].endswith("--basin-seed=0 --basin-base=y")


def test_replay_command_runs_the_failed_test_again(project):
    """The command in the text, run as it stands, fails the same way; ini overrides are part of it."""
    result = project.run("broken", "-o", "basin_max_drop=0.3")
    command = next(line for line in explanation(result) if line.startswith("replay: "))
    words = shlex.split(command)
    assert words[1] == "pytest"
    assert "basin_max_drop=0.3" in words
    again = project.pytester.runpytest_inprocess(*words[2:])
    assert explanation(again) == explanation(result)
