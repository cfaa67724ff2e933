"""`--basin-cache-dir` and `--basin-resume`: finished draws are kept, shared, and gone on from."""

import pytest
from filelock import FileLock

from pytest_basin import store
from pytest_basin.options import Setting, Settings

pytest_plugins = ["pytester"]

SMOOTH = """
import pytest

@pytest.mark.basin(evidence="smoothed", draws=15, max_drop={limit})
def test_smooth(basin_bound):
    assert basin_bound <= basin_bound.required
"""
COUNTED = """
import os
from certify.measuring import scores

original = scores.checked
calls = []

def counted(found, expected, graded):
    calls.append(1)
    if len(calls) == int(os.environ.get("STOP_AFTER", "0")):
        raise KeyboardInterrupt
    return original(found, expected, graded)

def pytest_configure():
    scores.checked = counted

def pytest_unconfigure():
    scores.checked = original
    print("SCORED", len(calls))
"""


@pytest.fixture
def counting(project):
    """A project whose runs print how often a model was scored: twice without noise, and once for each draw."""
    project.configure(sigma=1e-5)
    project.pytester.makeconftest(COUNTED)
    return project


def scored(result):
    """How often models were scored."""
    return int(next(line for line in result.outlines if line.startswith("SCORED")).split()[1])


def smooth(project, *arguments, limit=0.8):
    """Run the smoothed gate with its draws in the project's own folder."""
    return project.run("near", "-s", "--basin-cache-dir=draws", *arguments, test=SMOOTH.format(limit=limit))


def test_finished_draws_are_not_repeated(counting):
    """Another run, even of another gate, finds them; with --basin-resume=off nothing is kept or read."""
    assert scored(smooth(counting)) == 32
    assert scored(smooth(counting)) == 2
    assert scored(smooth(counting, limit=0.9)) == 2
    assert scored(smooth(counting, "--basin-resume=off")) == 32
    assert scored(smooth(counting, "--basin-seed=1")) == 32


def test_nothing_is_kept_without_resume(counting):
    """`off` leaves no folder."""
    assert scored(smooth(counting, "--basin-resume=off")) == 32
    assert not (counting.pytester.path / "draws").exists()


def test_ctrl_c_keeps_what_was_finished(counting, monkeypatch):
    """A run that was stopped in the middle goes on from there, to the same certificate."""
    whole = smooth(counting, "--basin-cert-dir=whole", "--basin-cache-dir=elsewhere")
    assert scored(whole) == 32
    monkeypatch.setenv("STOP_AFTER", "20")
    arguments = [*counting.named("near"), "-s", "--basin-cache-dir=draws"]
    result = counting.pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["*- basin -*", " smooth[[]digits[]] was interrupted: finished draws are kept in draws, *"]
    )
    monkeypatch.delenv("STOP_AFTER")
    assert scored(smooth(counting, "--basin-cert-dir=resumed")) == 32 - 19
    certificates = [next((counting.pytester.path / folder).iterdir()) for folder in ("whole", "resumed")]
    assert certificates[0].read_bytes() == certificates[1].read_bytes()


def test_works_without_the_cache_plugin(counting):
    """Draws do not live in pytest's own cache."""
    assert scored(smooth(counting, "-p", "no:cacheprovider")) == 32
    assert scored(smooth(counting, "-p", "no:cacheprovider")) == 2


def test_folder_that_cannot_be_made(project):
    """One line names it and the ways out."""
    project.configure(sigma=1e-5)
    (project.pytester.path / "file").touch()
    result = project.run("same", "--basin-cache-dir=file/draws", test=SMOOTH.format(limit=0.8))
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    assert "finished draws cannot be kept: " in text
    assert "name another place with --basin-cache-dir, or give --basin-resume=off" in text


def test_point_gates_need_no_folder(project):
    """Where nothing is drawn nothing is kept."""
    (project.pytester.path / "file").touch()
    project.run("same", "--basin-cache-dir=file/draws").assert_outcomes(passed=1)


def settings(folder=None):
    """As much of the settings as the store asks for."""
    absent = Setting(None, "", None)
    given = {"cache-dir": Setting(folder, "", folder), "cert-dir": absent, "resume": Setting("on", "", "on")}
    given["wait"] = absent
    return Settings(given)


def test_default_folder_is_the_command_lines(monkeypatch, tmp_path):
    """`certify` and pytest share their draws: the same variable, the same user cache."""
    monkeypatch.setenv("CERTIFY_DRAWS_DIR", str(tmp_path / "named"))
    assert store.folder(settings()) == tmp_path / "named"
    assert store.folder(settings(tmp_path / "own")) == tmp_path / "own"
    monkeypatch.delenv("CERTIFY_DRAWS_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.folder(settings()).parts[-2:] == ("pytest-basin", "draws")


def test_two_runs_do_not_work_on_one_ledger_at_once(tmp_path):
    """The second waits for the first one's lock, and finds the draws done."""
    run = store.run(settings(tmp_path))
    calls = []

    def score(draw):
        (lock,) = tmp_path.glob("*/lock")
        with pytest.raises(TimeoutError):
            FileLock(lock).acquire(timeout=0)
        calls.append(draw)
        return 1.0, 0.0

    assert run.carry_out(range(3), score, "draws", {"of": "a test"}) == [(1.0, 0.0)] * 3
    assert store.run(settings(tmp_path)).carry_out(range(3), score, "draws", {"of": "a test"}) == [(1.0, 0.0)] * 3
    assert calls == [0, 1, 2]
