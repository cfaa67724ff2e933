"""How many things the house names: `python benchmarks/house.py`.

Concepts are folders, modules and public top-level classes and functions (a name that is overloaded counts once); they
are set against lines. Fewer concepts for the same features are easier to hold in one's head.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("certify", "pytest_basin")


def public_names(text: str) -> set[str]:
    """Return the public classes and functions that a module defines at its top level."""
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.parse(text).body if isinstance(node, kinds) and not node.name.startswith("_")}


def concepts(root: Path = ROOT) -> dict[str, float]:
    """Return the counts, and concepts per 1,000 lines."""
    files = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    folders = len({file.parent for file in files})
    modules = sum(file.name != "__init__.py" for file in files)
    texts = [file.read_text(encoding="utf-8") for file in files]
    names, lines = sum(len(public_names(text)) for text in texts), sum(len(text.splitlines()) for text in texts)
    return {
        "folders": folders, "modules": modules, "public names": names, "lines": lines,
        "concepts per 1,000 lines": round(1000 * (folders + modules + names) / lines, 1),
    }  # fmt: skip


def main() -> None:
    """Print the counts."""
    for what, count in concepts().items():
        print(f"{what}: {count:,}")


if __name__ == "__main__":
    main()
