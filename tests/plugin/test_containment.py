"""`assert basin.checkpoint in basin`: position evidence on every configured benchmark."""

import pytest

pytest_plugins = ["pytester"]

IN = """
def test_stays(basin):
    assert basin.checkpoint in basin
"""


@pytest.fixture
def measured(project):
    """A project that names the base's measurement."""
    project.configure(measurement=[str(project.files.measurement)])
    return project


def test_same_weights_are_in_the_basin(measured):
    """A checkpoint that did not move lies inside."""
    result = measured.run("same", test=IN)
    result.assert_outcomes(passed=1)
    bounds = "drop at most 0.0* drop at most 0.05  0.000 * 120 items  CERTIFIED*"
    result.stdout.fnmatch_lines([f" stays: digits  position  {bounds}"])


def test_broken_checkpoint_is_refuted(measured):
    """The failure names the benchmark, both widths, the layers that moved, and the command to run again."""
    result = measured.run("broken", test=IN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *assert broken in basin of base",
            "E *REFUTED  0 of 1 benchmarks certified  (position, *",
            "E *digits: REFUTED  drop * alpha[*] 1.0*, sigma[*] 0.0001*",
            "E *layers: moved *.mlp.*%*",
            'E *replay: pytest "test_gate.py::test_stays" --basin-seed=0 --basin-checkpoint=*broken',
        ]
    )


def test_outside_the_width_is_undecided(measured):
    """Farther than the measured width nothing is certified, even if little is lost."""
    result = measured.run("near", test=IN)
    result.stdout.fnmatch_lines(["E *outside the measured width*", "*1 undecided*"])


def test_missing_measurement_says_the_command(project):
    """Without a measurement the test fails with the command that makes one."""
    result = project.run("same", test=IN)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "run `certify measure " in text
    assert " --benchmark " in text
    assert "-o digits.measurement.json` once" in text
    assert "Traceback" not in text
    assert "During handling" not in text


def test_every_configured_benchmark_needs_its_measurement(measured):
    """A second benchmark without a measurement is not skipped."""
    both = [str(measured.files.digits), str(measured.files.few)]
    measured.configure(measurement=[str(measured.files.measurement)], benchmark=both)
    result = measured.run("same", test=IN)
    result.assert_outcomes(failed=1)
    assert "no measurement of this benchmark was given" in result.stdout.str()


def test_two_measurements_of_one_benchmark_are_refused(measured):
    """Which one counts is never guessed."""
    twin = measured.pytester.path / "twin.json"
    twin.write_text(measured.files.measurement.read_text())
    measured.configure(measurement=[str(measured.files.measurement), str(twin)])
    result = measured.run("same", test=IN)
    assert "two measurements are of the benchmark 'digits'" in result.stdout.str()


def test_any_path_may_be_asked_about(measured):
    """Strings and paths name checkpoints; anything else is a TypeError."""
    test = f"""
import pathlib, pytest

def test_other(basin):
    assert pathlib.Path({str(measured.files.broken)!r}) not in basin
    assert {str(measured.files.same)!r} in basin
    with pytest.raises(TypeError, match="named by a str or Path, or opened by certify.open_checkpoint; got int"):
        3 in basin
"""
    measured.run("same", test=test).assert_outcomes(passed=1)


def test_basin_knows_its_models(measured):
    """`basin.base` and `basin.checkpoint` are the fixtures' values."""
    test = """
def test_names(basin, basin_base, basin_checkpoint):
    assert (basin.base, basin.checkpoint) == (basin_base, basin_checkpoint)
    assert basin.checkpoint in basin
"""
    measured.run("same", test=test).assert_outcomes(passed=1)


@pytest.mark.parametrize("evidence", ["position", "distance"])
def test_bound_with_measured_evidence(measured, evidence):
    """A gate may require the kinds that rest on a measurement; distance certifies weights that did not move."""
    test = f"""
import pytest

@pytest.mark.basin(evidence={evidence!r}, max_drop=0.1)
def test_kept(basin_bound):
    assert basin_bound.certificate.evidence.kind == {evidence!r}
    assert basin_bound <= basin_bound.required
"""
    measured.run("same", test=test).assert_outcomes(passed=1)


def test_smoothed_evidence_with_draws_and_sigma(project):
    """A marker's draws and an ini sigma reach the certificate."""
    project.configure(sigma=1e-5)
    test = """
import pytest

@pytest.mark.basin(evidence="smoothed", draws=100, max_drop=0.2)
def test_kept(basin_bound):
    assert basin_bound.certificate.evidence.n == 100
    assert basin_bound <= basin_bound.required
"""
    project.run("same", test=test).assert_outcomes(passed=1)
