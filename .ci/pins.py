"""What pyproject.toml declares, as lanes need it: ``python .ci/pins.py oldest|light``. Needs ``packaging``."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
WEIGHTS = {"torch", "transformers", "accelerate", "safetensors"}  # needed from certify/checkpoints up


def declared() -> list[Requirement]:
    """Every requirement of the package, of models, signatures and tests, which ask for the package itself with both."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["models"], *extras["sign"], *extras["test"]]
    found = [Requirement(line) for line in named]
    return [each for each in found if each.name != project["name"]]


def oldest() -> list[str]:
    """Each at the lowest release that its range admits; every range states one."""
    floors = {r.name: [s.version for s in r.specifier if s.operator == ">="] for r in declared()}
    if missing := [name for name, floor in floors.items() if len(floor) != 1]:
        raise SystemExit(f"pyproject.toml: no lowest version of {', '.join(missing)}")
    return [f"{name}=={floor}" for name, (floor,) in floors.items()]


def light() -> list[str]:
    """Those without which no file can be verified and no test collected: all but what opens weights."""
    return [str(r) for r in declared() if r.name not in WEIGHTS]


if __name__ == "__main__":
    (which,) = sys.argv[1:]
    sys.stdout.write("\n".join({"oldest": oldest, "light": light}[which]()) + "\n")
