"""Installed but unused, the plugin imports nothing heavy and costs next to nothing."""

import resource
import statistics
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

HEAVY = ("torch", "certify", "numpy", "transformers", "scipy", "pydantic", "safetensors")
TARGET, REGRESSION = 0.030, 0.100  # seconds: promised, and the bound that a busy machine does not reach by chance

REPORT = """
import sys

def pytest_unconfigure():
    print("HEAVY", sorted({names!r} & sys.modules.keys()))
"""


def heavy_after(code):
    """Which heavy modules a fresh interpreter holds after running some code."""
    report = f"\nimport sys; print(sorted({set(HEAVY)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def modules():
    """Every module of the plugin."""
    import pkgutil

    import pytest_basin

    return [f"pytest_basin.{module.name}" for module in pkgutil.iter_modules(pytest_basin.__path__)]


def test_importing_the_plugin_imports_nothing_heavy():
    """Not even all of its modules together do."""
    assert "pytest_basin.plugin" in modules()
    assert len(modules()) >= 12
    assert heavy_after("\n".join(f"import {name}" for name in modules())) == "[]"


@pytest.mark.parametrize("name", ["certify", "numpy"])
def test_the_purity_check_can_fail(name):
    """The same check does find a module that was imported."""
    assert repr(name) in heavy_after(f"import pytest_basin.plugin\nimport {name}")


@pytest.mark.parametrize(
    ("test", "arguments", "heavy"),
    [
        ("def test_other(): pass", [], "[]"),
        ("def test_kept(basin_bound): pass", ["--help"], "[]"),
        ("def test_kept(basin_bound): pass\ndef test_other(): pass", ["--co"], None),
        ("def test_kept(basin_bound): pass\ndef test_other(): pass", ["-k", "other"], None),
        ("def test_kept(basin_bound): pass", ["--basin-disable"], None),
    ],
)  # fmt: skip
def test_no_torch_until_a_basin_test_runs(project, test, arguments, heavy):
    """Other tests see nothing heavy at all; collecting, deselecting or skipping a gate needs no torch."""
    project.pytester.makeconftest(REPORT.format(names=set(HEAVY)))
    # Hypothesis asks every installed package for its strategies, ours included: that is not the plugin's doing.
    result = project.run_apart(None, "-s", "-p", "no:hypothesispytest", *arguments, test=test)
    assert result.ret == pytest.ExitCode.OK
    line = next(line for line in result.outlines if "HEAVY" in line)
    assert "torch" not in line
    assert "transformers" not in line
    if heavy is not None:
        assert line.endswith(f"HEAVY {heavy}")


def test_the_torch_check_can_fail(project):
    """A run that imports a torch is found out (a file of that name will do)."""
    (project.pytester.path / "torch.py").touch()
    project.pytester.makeconftest(REPORT.format(names=set(HEAVY)))
    result = project.run_apart(None, "-s", test="def test_other():\n    import torch")
    assert any("HEAVY" in line and "'torch'" in line for line in result.outlines)


def test_idle_cost(pytester, capsys, monkeypatch):
    """Median of interleaved runs with and without the plugin alone: 30 ms are promised, 100 ms fail.

    In CPU time, which other work on the machine moves less; benchmarks/idle.py has wall time too.
    """
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # an installed plugin is compiled once
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(pytester.path / "compiled"))
    pytester.makepyfile("def test_other(): pass")

    def run(*arguments):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    run("-p", "pytest_basin.plugin")
    rounds = [(run("-p", "pytest_basin.plugin"), run()) for _ in range(7)]
    cost = statistics.median(with_it - without for with_it, without in rounds)
    with capsys.disabled():
        sys.stdout.write(f"\nidle cost of the plugin: {1000 * cost:.0f} ms (promised: {1000 * TARGET:.0f} ms)\n")
    assert cost < REGRESSION
