"""`--basin-seed`: a number, or `random`, drawn once and always printed."""

import random
import re
import shlex

import pytest

pytest_plugins = ["pytester"]


def seeds(result):
    """Every seed that was printed, in the context line and in commands."""
    return re.findall(r"(?:seed |--basin-seed=)(\w+)", result.stdout.str())


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_a_random_seed_is_drawn_once_and_printed(project, quiet):
    """In the context line, with -q too, and in the command that repeats the test; another run draws another."""
    state = random.getstate()
    first, second = (seeds(project.run("broken", "--basin-seed=random", *quiet)) for _ in range(2))
    assert len(first) == 2
    assert len(set(first)) == 1
    assert first[0].isdigit()
    assert first[0] != second[0]
    assert random.getstate() == state


def test_a_seed_that_is_known_is_no_news_with_q(project):
    """A number that somebody wrote is not repeated to who asked for quiet."""
    project.run("same", "-q").stdout.no_fnmatch_line("basin: base*")
    project.run("same", "-q", "--basin-seed=5").stdout.no_fnmatch_line("basin: base*")


def test_a_given_seed_is_printed(project):
    """As it is written."""
    assert set(seeds(project.run("broken", "--basin-seed=17"))) == {"17"}


def test_the_ini_file_holds_a_number(project):
    """A seed that nobody wrote down has no place in a file."""
    project.configure(seed=5)
    assert set(seeds(project.run("broken"))) == {"5"}
    project.configure(seed="random")
    assert project.run("broken").ret == pytest.ExitCode.USAGE_ERROR


def test_neither_number_nor_random_is_a_usage_error(project):
    """One line."""
    assert project.run("same", "--basin-seed=dice").ret == pytest.ExitCode.USAGE_ERROR


def test_the_printed_command_repeats_a_random_run_to_the_digit(project):
    """Draws are taken anew, from the seed that was printed; any other seed gives other numbers."""
    project.configure(sigma=0.05)
    test = """
import pytest

@pytest.mark.basin(evidence="smoothed", draws=30, max_drop=0.15)
def test_smooth(basin_bound):
    assert basin_bound <= basin_bound.required
"""

    def explanation(result):
        return [line for line in result.outlines if line.startswith("E  ")]

    first = project.run("broken", "--basin-seed=random", "--basin-resume=off", test=test)
    command = next(line for line in explanation(first) if "replay: " in line).partition("replay: ")[2]
    words = shlex.split(command)
    again = project.pytester.runpytest_inprocess(*words[1:])
    assert explanation(again) == explanation(first) != []
    other = project.pytester.runpytest_inprocess(*words[1:], "--basin-seed=1")
    assert explanation(other)[1:3] != explanation(first)[1:3]
