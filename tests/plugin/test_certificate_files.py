"""`--basin-cert-dir`: one certificate per gate, named after its test, that verifies."""

import re

import pytest

from certify import differences, read_document
from pytest_basin.results import certificate_name

pytest_plugins = ["pytester"]


def test_certificates_are_written_and_verify(project):
    """Refuted and undecided gates leave certificates too."""
    result = project.run("near", "--basin-cert-dir=certs")
    (file,) = (project.pytester.path / "certs").iterdir()
    certificate = read_document(file)
    assert certificate.verdict == "undecided"
    assert differences(certificate) == []
    assert re.fullmatch(r"test_gate\.py-test_kept-digits-point-[0-9a-f]{8}-[0-9a-f]{8}\.json", file.name)
    result.stdout.fnmatch_lines([f"E *certificate: certs/{file.name}", " 1 undecided; 1 certificate in *certs"])


def test_folder_in_the_ini_file_is_relative_to_it(project):
    """Like every path in an ini file."""
    project.configure(cert_dir="out/certs")
    project.run("same").assert_outcomes(passed=1)
    assert len(list((project.pytester.path / "out" / "certs").iterdir())) == 1


def test_nothing_is_written_unasked(project):
    """Without the option no certificate appears anywhere."""
    project.run("same", "-p", "no:cacheprovider")
    assert not list(project.pytester.path.rglob("*.json"))


def test_names_are_safe_and_differ():
    """Any test id gives a name of letters, digits, dot, dash and underscore; equal-looking ids stay apart."""
    tests = ["a/b.py::test[x]", "a-b.py::test[x]", "ü/../..::test[a b\\n*]", "t.py::" + "x" * 500]
    names = {certificate_name(test, benchmark, "point") for test in tests for benchmark in ("b1", "b2")}
    assert len(names) == 8
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}\.json", name)


def test_certificates_of_an_earlier_checkpoint_are_set_aside(project):
    """The old one is renamed so that no `*.json` finds it, and that is said; the new one stands alone."""
    project.run("near", "--basin-cert-dir=certs")
    (old,) = (project.pytester.path / "certs").iterdir()
    result = project.run("same", "--basin-cert-dir=certs")
    (new,) = (project.pytester.path / "certs").glob("*.json")
    assert new.name != old.name
    assert sorted(each.name for each in new.parent.iterdir()) == sorted([new.name, old.name + ".stale"])
    result.stdout.fnmatch_lines([f" {old.name} is of an earlier run and no longer of this gate: renamed to *.stale"])


def test_a_gate_without_a_certificate_leaves_none(project):
    """A vetoed gate does not leave the certificate of the run before it."""
    project.run("same", "--basin-cert-dir=certs")
    project.pytester.makeconftest("def pytest_basin_veto(config, result):\n    return 'not today'\n")
    project.run("same", "--basin-cert-dir=certs")
    assert [each.suffix for each in (project.pytester.path / "certs").iterdir()] == [".stale"]


def test_a_gate_in_error_leaves_none(project):
    """Nor does one that could not be judged at all."""
    project.run("same", "--basin-cert-dir=certs")
    result = project.run(None, "--basin-cert-dir=certs", "--basin-checkpoint=absent")
    assert [each.suffix for each in (project.pytester.path / "certs").iterdir()] == [".stale"]
    result.stdout.fnmatch_lines(["* is of an earlier run and no longer of this gate: renamed to *.stale"])


@pytest.mark.parametrize("name", ["x" * 300, "pytest.toml/certs"])
def test_a_folder_that_cannot_be_is_a_usage_error_before_anything_runs(project, name):
    """One line, and no gate is measured for nothing."""
    result = project.run("same", f"--basin-cert-dir={name}")
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    said = result.stdout.str() + result.stderr.str()
    assert "basin_cert_dir: " in said
    assert "INTERNALERROR" not in said
