"""`evidence="audit"`: a gate on exactly these items, in the order of a seed that may be drawn when the gate runs."""

import json

import pytest

from certify.documents import read_document
from certify.verify import differences

pytest_plugins = ["pytester"]

TEST = """
import pytest

@pytest.mark.basin(evidence="audit", max_drop=0.2)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""


@pytest.mark.parametrize(("checkpoint", "passed"), [("same", 1), ("broken", 0)])
def test_a_good_checkpoint_passes_and_a_bad_one_fails(project, checkpoint, passed):
    """With a certificate that verifies, of fewer items than there are."""
    result = project.run(checkpoint, "--basin-cert-dir=certs", "--basin-cache-dir=draws", test=TEST)
    result.assert_outcomes(passed=passed, failed=1 - passed)
    (file,) = project.pytester.path.glob("certs/*.json")
    found = read_document(file)
    assert differences(found) == []
    assert found.evidence.kind == "audit"
    assert found.evidence.n < found.evidence.m
    assert not found.evidence.seed_drawn


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["here", "xdist"])
def test_a_random_seed_is_recorded_as_drawn(project, workers):
    """By a worker of xdist, too, which was handed the number."""
    options = ["--basin-cert-dir=certs", "--basin-cache-dir=draws", "--basin-seed=random", *workers]
    result = project.run("same", *options, test=TEST)
    result.assert_outcomes(passed=1)
    (file,) = project.pytester.path.glob("certs/*.json")
    assert read_document(file).evidence.seed_drawn
    assert "in the order of a seed drawn when the gate ran" in json.loads(file.read_text())["judgement"]["claim"]


def test_the_plan_says_how_many_items_it_takes(project):
    """Of those there are, and how many may be lost: as many as the limit says."""
    result = project.run("same", "--basin-plan", test=TEST)
    result.stdout.re_match_lines([r".*audit.* drop at most 0\.2 .* 120 items +1\d items +24 of 120 +at most 1 x 120.*"])


def test_a_population_is_refused(project):
    """In one line, naming what to do."""
    result = project.run("same", "--basin-items=population", test=TEST)
    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line("*interrupted*")
    result.stdout.fnmatch_lines(["*audit evidence speaks of exactly these items, not of a population*"])
