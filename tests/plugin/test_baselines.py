"""`--basin-update`, `--basin-update-new-only`, `--basin-compare`, `--basin-compare-fail` and `--basin-missing`."""

import json
import shutil

import pytest

from certify import differences, read_document

pytest_plugins = ["pytester"]

LOOSE = """
import pytest

@pytest.mark.basin(benchmarks=["digits"], max_drop=0.5)
def test_loose(basin_bound):
    assert basin_bound <= basin_bound.required
"""
TWO = LOOSE + LOOSE.replace("test_loose", "test_other")
COMPARE = ["--basin-compare", "--basin-missing=skip"]


@pytest.fixture
def recorded(project):
    """A project with the baseline of the unchanged checkpoint."""
    project.run("same", "--basin-update", test=LOOSE).assert_outcomes(passed=1)
    return project


def baselines(project, folder="__basin__"):
    """The baseline files, by name."""
    return {file.name: file.read_text() for file in sorted((project.pytester.path / folder).glob("*.json"))}


class TestUpdate:
    """Writing."""

    def test_writes_a_certificate_beside_the_test_file(self, recorded):
        """What is written verifies like any certificate, and is named after its test."""
        (name,) = baselines(recorded)
        assert name.startswith("test_gate.py-test_loose-digits-point-")
        document = read_document(recorded.pytester.path / "__basin__" / name)
        assert document.verdict == "certified"
        assert differences(document) == []

    def test_says_what_was_written(self, project):
        """One line after the table."""
        result = project.run("same", "--basin-update", test=TWO)
        result.stdout.fnmatch_lines([" 2 baselines written in __basin__"])

    def test_refreshes(self, recorded):
        """Another checkpoint replaces the record; the same one leaves the file as it is, to the byte."""
        before = baselines(recorded)
        recorded.run("same", "--basin-update", test=LOOSE)
        assert baselines(recorded) == before
        recorded.run("near", "--basin-update", test=LOOSE)
        assert baselines(recorded).keys() == before.keys()
        assert baselines(recorded) != before

    def test_never_touches_records_of_deselected_tests(self, project):
        """Neither deletes nor refreshes what did not run."""
        project.run("same", "--basin-update", test=TWO)
        before = baselines(project)
        project.run("near", "--basin-update", "-k", "other", test=TWO)
        after = baselines(project)
        assert after.keys() == before.keys()
        assert [name for name in after if after[name] != before[name]] == [name for name in after if "other" in name]

    def test_records_a_refuted_gate_when_asked(self, project):
        """An explicit update writes whatever was measured."""
        project.run("broken", "--basin-update", test=LOOSE).assert_outcomes(failed=1)
        assert len(baselines(project)) == 1

    def test_ends_no_comparison_in_a_failure(self, recorded):
        """To update is to accept."""
        result = recorded.run("near", "--basin-update", "--basin-compare-fail=drop:0", test=LOOSE)
        result.assert_outcomes(passed=1)

    def test_new_only_leaves_what_is_there(self, recorded):
        """A second test gets its record; the first keeps its own."""
        before = baselines(recorded)
        recorded.run("near", "--basin-update-new-only", test=TWO)
        after = baselines(recorded)
        assert len(after) == 2
        assert before.items() <= after.items()

    def test_both_at_once_are_a_usage_error(self, project):
        """They contradict each other."""
        result = project.run("same", "--basin-update", "--basin-update-new-only")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "give one of basin_update and basin_update_new_only" in result.stderr.str()

    def test_several_checkpoints_in_one_test_have_files_of_their_own(self, project):
        """The second gate of a kind in a test does not overwrite the first."""
        project.configure(measurement=[str(project.files.measurement)])
        test = f"""
def test_two(basin):
    assert basin.checkpoint in basin
    assert {str(project.files.broken)!r} not in basin
"""
        project.run("same", "--basin-update", "--basin-cert-dir=certs", test=test).assert_outcomes(passed=1)
        assert len(baselines(project)) == len(baselines(project, "certs")) == 2


class TestCompare:
    """Reading."""

    def test_shows_what_was_lost_and_fails_nothing(self, recorded):
        """Without a margin the comparison informs."""
        result = recorded.run("near", "--basin-compare", test=LOOSE)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([" since the baseline  metric  lost * lower * upper * allowed  verdict",
                                     " loose[[]digits[]] * drop * 0.0* 0.0* 0.1* -"])  # fmt: skip

    def test_certified_within_the_margin(self, recorded):
        """Nothing lost on 120 items is shown to be a loss of at most 0.1."""
        result = recorded.run("same", "--basin-compare-fail=retention:0.1", test=LOOSE)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([" loose[[]digits[]] * retention * 0.000 * 0.1 * CERTIFIED"])

    def test_undecided_is_no_pass(self, recorded):
        """120 items cannot show a loss of at most 0.02, so the test is undecided, and fails."""
        result = recorded.run("same", "--basin-compare-fail=retention:0.02", test=LOOSE)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            [
                "UNDECIDED against its baseline  loose[[]digits[]]",
                "  retention lost since same: -0.0* to 0.0*, at most 0.02 allowed  (point, 95 % *, 120 items)",
                "  items lost since then: 0, gained: 0",
                "  baseline: __basin__/test_gate.py-test_loose-digits-point-*.json",
                "  replay: pytest *--basin-compare-fail=retention:0.02",
                "*1 undecided*",
            ]
        )

    def test_undecided_follows_its_option(self, recorded):
        """As an undecided gate does."""
        fail = ["--basin-compare-fail=retention:0.02"]
        recorded.run("same", *fail, "--basin-undecided=xfail", test=LOOSE).assert_outcomes(xfailed=1)
        recorded.run("same", *fail, "--basin-undecided=warn", test=LOOSE).assert_outcomes(warnings=1)

    def test_refuted_beyond_the_margin(self, recorded):
        """A wreck fails although its own gate is lax enough to let it through."""
        test = LOOSE.replace("0.5", "1.0")
        recorded.run("same", "--basin-update", test=test)
        result = recorded.run("broken", "--basin-compare-fail=drop:0.1", test=test)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["REFUTED against its baseline  loose*", " loose* drop * 0.1 * REFUTED"])

    def test_every_margin_must_hold(self, recorded):
        """The stricter of two decides."""
        arguments = ["--basin-compare-fail=drop:0.5", "--basin-compare-fail=retention:0.001"]
        assert recorded.run("same", *arguments, test=LOOSE).ret == pytest.ExitCode.TESTS_FAILED

    def test_a_gate_that_is_undecided_excuses_no_refuted_baseline(self, project):
        """What the baseline refutes fails, whatever is done about undecided gates."""
        project.configure(measurement=[str(project.files.measurement)], max_drop=1.0)
        test = "def test_in(basin):\n    assert basin.checkpoint in basin"
        project.run("same", "--basin-update", test=test)
        result = project.run("broken", "--basin-compare-fail=drop:0.1", "--basin-undecided=warn", test=test)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["REFUTED against its baseline  in: digits"])

    def test_margin_of_another_unit_is_not_applied(self, project):
        """What must be absent is not held to what must be kept, but shown in its own unit."""
        test = LOOSE.replace("max_drop=0.5", "max_score=0.5")
        project.run("broken", "--basin-update", test=test)
        result = project.run("broken", "--basin-compare-fail=drop:0.0", test=test)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([" loose* absence * 0.000 * -"])

    def test_a_capability_that_came_back(self, project):
        """For absence a rise is a loss."""
        test = LOOSE.replace("max_drop=0.5", "max_score=1.0")
        project.run("broken", "--basin-update", test=test)
        result = project.run("same", "--basin-compare-fail=absence:0.1", test=test)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["  score regained since broken: 0.* to 1.*, at most 0.1 allowed *"])

    def test_smoothed_gates_compare_by_their_draws(self, project):
        """The noise-averaged scores of two checkpoints, each drawn beside the base."""
        project.configure(sigma=1e-4)
        test = LOOSE.replace("max_drop=0.5", "max_drop=0.99, evidence='smoothed', draws=60")
        project.run("same", "--basin-update", test=test).assert_outcomes(passed=1)
        project.run("same", "--basin-compare-fail=drop:0.3", test=test).assert_outcomes(passed=1)
        result = project.run("broken", "--basin-compare-fail=retention:0.3", test=test)
        result.stdout.fnmatch_lines(["REFUTED against its baseline  loose[[]digits[]]"])

    def test_distance_gates_are_not_compared(self, project):
        """They speak of every checkpoint at once; the table says so."""
        project.configure(measurement=[str(project.files.measurement)])
        test = LOOSE.replace("max_drop=0.5", "max_drop=0.5, evidence='distance'")
        project.run("same", "--basin-update", test=test).assert_outcomes(passed=1)
        result = project.run("same", "--basin-compare-fail=drop:0.0", test=test)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([" *not compared: distance evidence speaks of every checkpoint at once"])

    def test_changed_by_hand_is_an_error(self, recorded):
        """A record that does not fit its digest is no record."""
        (file,) = (recorded.pytester.path / "__basin__").iterdir()
        file.write_text(file.read_text().replace('"alpha": 0.05', '"alpha": 0.06'))
        result = recorded.run("same", "--basin-compare", test=LOOSE)
        result.assert_outcomes(errors=1)
        assert "the baseline was changed by hand; make a new one with --basin-update" in result.stdout.str()

    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("device", "cuda (NVIDIA H100)", "kernels was cuda, is cpu"),
            ("torch", "1.13.0", "torch was 1.13, is "),
        ],
    )
    def test_another_meaning_is_not_comparable(self, recorded, field, value, told):
        """Kernels and torch's minor version change what a score means: undecided, with the way out."""
        rewrite(recorded, field, value)
        result = recorded.run("same", "--basin-compare-fail=drop:0.2", test=LOOSE)
        result.stdout.fnmatch_lines(
            [f"  not comparable: {told}*(--basin-update makes a new baseline)", "*1 undecided*"]
        )

    @pytest.mark.parametrize(("field", "value"), [("numpy", "1.0"), ("platform", "Plan9 mips"), ("python", "3.9.0")])
    def test_another_machine_is_a_warning(self, recorded, field, value):
        """Other differences should change nothing, and are said."""
        rewrite(recorded, field, value)
        result = recorded.run("same", "--basin-compare-fail=drop:0.2", test=LOOSE)
        result.assert_outcomes(passed=1, warnings=1)
        result.stdout.fnmatch_lines(
            [f"*BasinWarning: loose*since its baseline the machine changed: {field} was {value}*"]
        )


def rewrite(project, field, value):
    """Change one field of the environment in a baseline, and seal it again."""
    (file,) = (project.pytester.path / "__basin__").iterdir()
    content = json.loads(file.read_text())
    where = (
        content["environment"]["packages"] if field in content["environment"]["packages"] else content["environment"]
    )
    where[field] = value
    changed = type(read_document(file)).model_validate_json(json.dumps(content))
    changed.model_copy(update={"digest": changed.own_digest()}).to_json(file)


class TestMissing:
    """The first run."""

    def test_is_created_and_fails_with_its_path(self, project):
        """And the second run compares."""
        result = project.run("same", "--basin-compare-fail=drop:0.2", test=LOOSE)
        result.assert_outcomes(failed=1)
        (name,) = baselines(project)
        result.stdout.fnmatch_lines(
            ["NO BASELINE  loose[[]digits[]]", f"  __basin__/{name}", "  created: look at it *"]
        )
        project.run("same", "--basin-compare-fail=drop:0.2", test=LOOSE).assert_outcomes(passed=1)

    def test_fails_again_when_rerun(self, project):
        """A retry in the same run does not pass for having created it."""
        result = project.run("same", "--basin-compare", "--reruns=2", test=LOOSE)
        result.assert_outcomes(failed=1)

    def test_created_without_a_failure(self, project):
        """`create` goes on."""
        project.run("same", "--basin-compare", "--basin-missing=create", test=LOOSE).assert_outcomes(passed=1)
        assert len(baselines(project)) == 1

    def test_skipped(self, project):
        """`skip` writes nothing."""
        project.run("same", *COMPARE, test=LOOSE).assert_outcomes(passed=1)
        assert baselines(project) == {}

    @pytest.mark.parametrize("policy", ["fail", "create"])
    def test_a_refuted_gate_makes_no_baseline_by_itself(self, project, policy):
        """A wreck is not what later checkpoints should be measured by."""
        result = project.run("broken", "--basin-compare", f"--basin-missing={policy}", test=LOOSE)
        result.assert_outcomes(failed=1)
        assert baselines(project) == {}

    def test_nothing_is_written_unasked(self, project):
        """Without any of the options no folder appears."""
        project.run("same", test=LOOSE)
        assert not (project.pytester.path / "__basin__").exists()


class TestPlace:
    """Where baselines lie."""

    def test_named(self, project):
        """`--basin-compare=NAME` has a folder of its own, for writing too."""
        project.run("same", "--basin-update", "--basin-compare=v1", test=LOOSE)
        assert len(baselines(project, "__basin__/v1")) == 1
        result = project.run("near", "--basin-compare=v1", test=LOOSE)
        result.stdout.fnmatch_lines([" since the baseline *"])
        project.run("near", *COMPARE, test=LOOSE).stdout.no_fnmatch_line(" since the baseline *")

    def test_folder(self, recorded):
        """`--basin-compare=PATH` reads certificates from anywhere, such as those of an earlier run."""
        recorded.run("same", "--basin-cert-dir=release", test=LOOSE)
        shutil.rmtree(recorded.pytester.path / "__basin__")
        result = recorded.run("near", "--basin-compare=release", test=LOOSE)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([" since the baseline *"])

    def test_one_folder_for_all(self, project):
        """`basin_baseline_dir` in the ini file is relative to it."""
        project.configure(baseline_dir="records")
        project.run("same", "--basin-update", test=LOOSE)
        assert len(baselines(project, "records")) == 1

    def test_a_test_is_not_taken_for_a_name(self, project):
        """`--basin-compare test_gate.py` is a slip, and is called one."""
        result = project.run("same", "--basin-compare", "test_gate.py")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "'test_gate.py' is a test: name it before --basin-compare" in result.stderr.str()

    @pytest.mark.parametrize("text", ["retention", "speed:0.1", "drop:-0.1", "drop:x", "drop:2"])
    def test_margins_are_checked_at_once(self, project, text):
        """Metric, number and range."""
        result = project.run(None, f"--basin-compare-fail={text}", test="def test_other(): pass")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"'{text}' is no METRIC:MARGIN with a metric of retention, drop, absence" in result.stderr.str()
