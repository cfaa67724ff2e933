"""The session fixtures may be overridden in conftest.py."""

import pytest

pytest_plugins = ["pytester"]

KEPT = """
import pytest

@pytest.mark.basin(benchmarks=["mine"], max_drop=0.05)
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""


def conftest(project, *lines):
    """Write a conftest that overrides fixtures."""
    project.pytester.makeconftest("import pytest\n" + "\n".join(lines))


def override(name, value):
    """The source of one overriding fixture."""
    return f"@pytest.fixture(scope='session')\ndef {name}():\n    return {value}\n"


def test_models_from_fixtures(project):
    """Base and checkpoint may be made by the tests themselves, as paths or strings."""
    project.configure(base=None)
    conftest(project, override("basin_base", f"__import__('pathlib').Path({str(project.files.base)!r})"),
             override("basin_checkpoint", repr(str(project.files.broken))))  # fmt: skip
    project.run(None).assert_outcomes(failed=1)


OPENED = """
@pytest.fixture(scope='session')
def basin_{which}():
    from transformers import AutoModelForCausalLM, AutoTokenizer
    import certify
    model = AutoModelForCausalLM.from_pretrained({folder!r})
    return certify.open_checkpoint(model, tokenizer=AutoTokenizer.from_pretrained({folder!r}))
"""


@pytest.mark.parametrize(("name", "passed"), [("same", 1), ("broken", 0)])
def test_a_model_in_memory_from_a_fixture(project, name, passed):
    """A model that training has just left is gated without a folder, as is a base; gates and `in` take it alike."""
    project.configure(base=None, measurement=[str(project.files.measurement)])
    made = (OPENED.format(which=which, folder=str(getattr(project.files, folder)))
            for which, folder in (("base", "base"), ("checkpoint", name)))  # fmt: skip
    conftest(project, *made)
    both = KEPT.replace('benchmarks=["mine"], ', "") + "\ndef test_in(basin):\n    assert basin.checkpoint in basin\n"
    result = project.run(None, test=both)
    result.assert_outcomes(passed=2 * passed, failed=2 - 2 * passed)
    assert passed or "LlamaForCausalLM (in memory) 2 in basin of LlamaForCausalLM (in memory)" in result.stdout.str()


def test_weights_alone_with_the_config_of_a_folder(project):
    """`--basin-config` names where config and tokenizer lie."""
    weights = project.pytester.path / "weights.safetensors"
    weights.write_bytes((project.files.same / "model.safetensors").read_bytes())
    project.configure(checkpoint=str(weights))
    result = project.run(None)
    result.assert_outcomes(errors=1)
    assert "--config" in result.stdout.str()
    project.run(None, f"--basin-config={project.files.base}").assert_outcomes(passed=1)


def test_a_recipe_is_opened_anew_when_a_model_of_it_is_written_anew(tmp_path, project):
    """Its own file does not change."""
    from pytest_basin.sources import _stamp

    recipe = tmp_path / "merge.toml"
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    recipe.write_text('merge_method = "linear"\nmodels = [{model = "model", parameters = {weight = 1.0}}]')
    before = _stamp(recipe)
    assert _stamp(recipe) == before
    (model / "model.safetensors").write_bytes(b"22")
    assert _stamp(recipe) != before


def test_benchmarks_from_a_fixture(project):
    """A project may bring its benchmarks, files or objects, and names them in the marker."""
    project.configure(benchmark=None)
    path = str(project.files.digits)
    for value in (
        repr({"mine": path}),
        f"{{'mine': __import__('certify.benchmarks').benchmarks.open_benchmark({path!r})}}",
    ):
        conftest(project, override("basin_benchmarks", value))
        project.run("same", test=KEPT).assert_outcomes(passed=1)


def test_name_that_the_fixture_lacks(project):
    """The failure lists the names that are there."""
    project.configure(benchmark=None)
    conftest(project, override("basin_benchmarks", repr({"other": str(project.files.digits)})))
    result = project.run("same", test=KEPT)
    result.assert_outcomes(errors=1)
    assert "'mine' is none of the basin_benchmarks: other" in result.stdout.str()


def test_few_items_of_a_fixture_are_undecided_at_run_time(project):
    """What collection cannot know is still never run in vain."""
    project.configure(benchmark=None)
    conftest(project, override("basin_benchmarks", repr({"mine": str(project.files.few)})))
    result = project.run("same", test=KEPT)
    result.stdout.fnmatch_lines(["E *UNDECIDED  this gate cannot pass with 30 items*", "*1 undecided*"])


def test_device_from_a_fixture(project):
    """The device reaches torch."""
    conftest(project, override("basin_device", "'nowhere'"))
    result = project.run("same")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "nowhere" in result.stdout.str()


def test_basin_bound_must_be_an_argument(project):
    """Asked for at run time it has no gate, and says so."""
    test = "def test_kept(request):\n    request.getfixturevalue('basin_bound')"
    result = project.run("same", test=test)
    result.assert_outcomes(failed=1)
    assert "basin_bound makes one item per benchmark: name it among the test's arguments" in result.stdout.str()


def test_basin_may_be_asked_for_at_run_time(project):
    """A late `basin` works; its failure has no command to run again."""
    project.configure(measurement=[str(project.files.measurement)])
    test = """
def test_late(request):
    basin = request.getfixturevalue("basin")
    assert basin.checkpoint in basin
"""
    project.run("same", test=test).assert_outcomes(passed=1)
    result = project.run("broken", test=test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *REFUTED  0 of 1 benchmarks certified*"])


def test_models_are_loaded_once_for_all_benchmarks(project):
    """Two benchmarks share base and checkpoint in memory."""
    project.configure(benchmark=[str(project.files.digits), str(project.files.few)])
    project.pytester.makeconftest(
        """
from certify.checkpoints import load_for_scoring, load_model
from certify.measuring import base, candidate as checkpoint

calls = []

def counted(opened, device="cpu"):
    calls.append(opened.name)
    return load_model(opened, device)

def pytest_configure():
    base.load_model = checkpoint.load_for_scoring = counted

def pytest_unconfigure():
    base.load_model, checkpoint.load_for_scoring = load_model, load_for_scoring
    print("LOADED", calls)
"""
    )
    test = "import pytest\n@pytest.mark.basin(max_drop=0.5)\ndef test_kept(basin_bound):\n    assert basin_bound <= 0.5"
    result = project.run("same", "-s", test=test)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["LOADED [[]'base', 'same'[]]"])
