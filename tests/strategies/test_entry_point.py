"""What every ``import hypothesis`` pays for this library: next to nothing, and no import of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

HEAVY = ("torch", "transformers", "scipy", "numpy", "pydantic", "certify.records", "certify.strategies")
BUDGET = 0.030
"""Seconds that the entry point may add to ``import hypothesis``, the same as the pytest plugin's own budget."""


def probe(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout.strip()


def loaded_after(code: str) -> set[str]:
    """The heavy modules that a fresh interpreter has loaded after the code."""
    found = probe(f"{code}\nimport sys\nprint(','.join(m for m in {HEAVY!r} if m in sys.modules))")
    return {name for name in found.split(",") if name}


def test_the_entry_point_is_declared_as_hypothesis_wants_it() -> None:
    """Group ``hypothesis``, any name, a function without arguments; and the installed package has it."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["hypothesis"] == {"_": "certify._hypothesis:setup"}
    assert probe("import hypothesis, sys; print('certify._hypothesis' in sys.modules)") == "True"


def test_importing_hypothesis_loads_nothing_heavy() -> None:
    """Not even this library's records."""
    assert loaded_after("import hypothesis, hypothesis.strategies") == set()


def test_loading_something_heavy_is_noticed() -> None:
    """The check above can fail."""
    assert "pydantic" in loaded_after("import hypothesis, certify.records")


def test_the_entry_point_is_quick() -> None:
    """Best of three fresh interpreters; Hypothesis itself is imported before the clock starts."""
    code = (
        "import hypothesis, time\nstart = time.perf_counter()\n"
        "from certify._hypothesis import setup\nsetup()\nprint(time.perf_counter() - start)"
    )
    took = [float(probe(code, HYPOTHESIS_NO_PLUGINS="1")) for _ in range(3)]
    assert min(took) < BUDGET, took


IMPORTS = "from hypothesis import Phase, find, settings; from hypothesis.strategies import from_type"
RECORDS = "from certify.records import WeightNoise"
FIND = (
    "quick = settings(database=None, max_examples=100, phases=[Phase.generate])\n"
    "try: found = find(from_type(WeightNoise), lambda law: law.dimension > 1 and len(law.sigma) > 1, settings=quick)\n"
    "except Exception as error: print(type(error).__name__)\n"
    "else: print('found')"
)


@pytest.mark.parametrize("order", [(IMPORTS, RECORDS), (RECORDS, IMPORTS)], ids=["hypothesis first", "certify first"])
def test_types_are_registered_whichever_is_imported_first(order: tuple[str, str]) -> None:
    """The type becomes known when both are there."""
    assert probe("\n".join((*order, FIND))) == "found"


def test_without_the_entry_point_the_type_is_unknown() -> None:
    """The check above can fail: what Hypothesis makes up by itself is no law."""
    assert probe(f"{IMPORTS}\n{RECORDS}\n{FIND}", HYPOTHESIS_NO_PLUGINS="1") != "found"


def test_modules_are_loaded_as_ever() -> None:
    """The watch leaves loaders, specs and sources as the other finders give them."""
    code = (
        "import hypothesis, inspect, certify.records as r, certify.documents as c\n"
        "print(type(r.__loader__).__name__, r.__spec__.origin == r.__file__, 'WeightNoise' in inspect.getsource(r), "
        "c.Certificate.__module__)"
    )
    assert probe(code) == "SourceFileLoader True True certify.documents.certificate"


def test_the_gpu_profile_is_there() -> None:
    """No deadline, few examples; nothing changes until it is loaded."""
    profile = settings.get_profile("basin-gpu")
    assert profile.deadline is None
    assert profile.max_examples == 25
    assert HealthCheck.too_slow in profile.suppress_health_check
    assert settings.default is not None
    assert settings.default.max_examples != 25


def test_modules_that_share_a_loader_are_left_alone(tmp_path: Path) -> None:
    """pytest's assertion rewriting loads every module of an installed plugin by one loader."""
    (tmp_path / "conftest.py").write_text("import pytest\n\npytest.register_assert_rewrite('certify')\n")
    body = f"{IMPORTS}\n{RECORDS}\n{FIND}\n\n\ndef test_found():\n    assert found.dimension > 1\n"
    (tmp_path / "test_types.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
