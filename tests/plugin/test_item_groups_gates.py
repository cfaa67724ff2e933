"""Gates on items in groups: groups are what is planned for, warned of and refused, unless the items are fixed."""

import json

import pytest

pytest_plugins = ["pytester"]

TEST = """
import pytest

@pytest.mark.basin(max_drop=0.05)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""


@pytest.fixture
def grouped(project, tmp_path):
    """The 120 items of the benchmark, so many of them to a group."""

    def write(size):
        rows = [json.loads(line) for line in project.files.digits.read_text().splitlines()]
        file = tmp_path / "digits.jsonl"
        file.write_text("".join(json.dumps({**row, "cluster": i // size}) + "\n" for i, row in enumerate(rows)))
        beside = project.files.digits.with_suffix(".toml")
        if beside.is_file():
            file.with_suffix(".toml").write_text(beside.read_text())
        project.configure(benchmark=[str(file)])

    return write


def test_a_plan_counts_groups(grouped, project):
    """What may be lost depends on where, and is not said."""
    grouped(1)
    project.run(None, "--basin-plan", test=TEST).stdout.fnmatch_lines(["*120 items * 59 items * of 120 *"])
    grouped(5)
    result = project.run(None, "--basin-plan", test=TEST)
    result.stdout.fnmatch_lines(["*24 groups * 68 groups * - *"])
    result.stdout.fnmatch_lines(["*BasinWarning: test_kept[[]digits[]]: this gate cannot pass with 24 groups: 68 are*"])


def test_few_groups_are_undecided_and_fixed_items_are_judged(grouped, project):
    """Nothing is scored for a gate that cannot pass."""
    grouped(5)
    result = project.run("same", test=TEST)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*this gate cannot pass with 24 groups: 68 are needed*"])
    assert project.run("same", "--basin-items=fixed", test=TEST).ret == pytest.ExitCode.OK
