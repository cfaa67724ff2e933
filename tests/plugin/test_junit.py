"""JUnit: what a gate found stands as properties of its test case, under xdist and reruns too."""

from xml.etree import ElementTree

import pytest

from pytest_basin.results import junit

pytest_plugins = ["pytester"]


def cases(project):
    """Each test case of the written file: its name, its properties, whether it failed."""
    tree = ElementTree.parse(project.pytester.path / "junit.xml")
    return {
        case.get("name"): (
            [(p.get("name"), p.get("value")) for p in case.iter("property")],
            case.find("failure") is not None,
        )
        for case in tree.iter("testcase")
    }


def test_one_error_among_several_gates_is_an_error():
    """Of a test with several gates, whatever the others found."""
    row = {
        "item": "kept[b]", "checkpoint": "c", "base": "d", "benchmark": "b",
        "evidence": "point", "verdict": "certified", "unit": "drop", "value": 0.0,
        "lower": 0.0, "upper": 0.01, "need": 0.05, "n": 100, "of": "items", "alpha": 0.05, "certificate": "",
        "claim": "", "settings": "", "seconds": 1.0, "notes": [], "layers": [], "baselines": [],
    }  # fmt: skip
    assert junit([row, row])[0] == ("basin.verdict", "certified")
    assert junit([row, row | {"error": "lost the GPU"}])[0] == ("basin.verdict", "error")


FIELDS = ["verdict", "evidence", "unit", "value", "lower", "upper", "need", "n", "alpha", "benchmark", "checkpoint",
          "base", "certificate", "bound"]  # fmt: skip


@pytest.mark.parametrize(
    ("checkpoint", "verdict"), [("same", "certified"), ("near", "undecided"), ("broken", "refuted")]
)
def test_properties_of_a_gate(project, checkpoint, verdict):
    """Every number stands unrounded; an undecided gate is a failure."""
    test = "def test_kept(basin_bound):\n    assert basin_bound <= 0.05"
    project.run(checkpoint, "--junitxml=junit.xml", "--basin-cert-dir=certs", test=test)
    properties, failed = cases(project)["test_kept[digits]"]
    assert [name for name, _ in properties] == [f"basin.{field}" for field in FIELDS]
    found = dict(properties)
    assert (found["basin.verdict"], found["basin.benchmark"], found["basin.n"]) == (verdict, "digits", "120")
    assert float(found["basin.lower"]) <= float(found["basin.value"]) <= float(found["basin.upper"])
    assert (project.pytester.path / found["basin.certificate"]).is_file()
    assert failed == (verdict != "certified")


def test_several_gates_in_one_test(project):
    """The overall verdict, then each gate under its evidence and benchmark."""
    project.configure(measurement=[str(project.files.measurement)])
    test = """
def test_both(basin, basin_bound):
    assert basin_bound <= 0.05
    assert basin.checkpoint in basin
"""
    project.run("same", "--junitxml=junit.xml", test=test).assert_outcomes(passed=1)
    properties, _ = cases(project)["test_both[digits]"]
    names = [name for name, _ in properties]
    assert names[0] == "basin.verdict"
    assert names[1:] == [f"basin.{kind}.digits.{field}" for kind in ("point", "position") for field in FIELDS]


def test_other_properties_are_kept(project):
    """A test's own properties stay where they are."""
    test = """
def test_kept(record_property, basin_bound):
    record_property("mine", 1)
    assert basin_bound <= 0.05
"""
    project.run("same", "--junitxml=junit.xml", test=test)
    names = [name for name, _ in cases(project)["test_kept[digits]"][0]]
    assert sorted(names) == sorted(["mine", *(f"basin.{field}" for field in FIELDS)])


def test_properties_of_a_comparison(project):
    """What was lost since the baseline stands beside the gate's own numbers."""
    project.run("same", "--basin-update")
    project.run("near", "--basin-compare-fail=drop:0.2", "--junitxml=junit.xml")
    properties = dict(cases(project)["test_kept[digits]"][0])
    assert properties["basin.baseline.drop.verdict"] == "certified"
    assert properties["basin.baseline.drop.margin"] == "0.2"
    assert float(properties["basin.baseline.drop.lower"]) < float(properties["basin.baseline.drop.upper"]) <= 0.2
    assert (project.pytester.path / properties["basin.baseline.drop.file"]).is_file()


def test_properties_may_be_left_out(project):
    """`--basin-junit=off` leaves the file to pytest."""
    project.run("same", "--junitxml=junit.xml", "--basin-junit=off")
    assert cases(project)["test_kept[digits]"][0] == []
