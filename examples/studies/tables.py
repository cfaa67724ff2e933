"""The tables of docs/studies.md, from the kept results: `python examples/studies/tables.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

from results import RESULTS, Json

Column = tuple[str, Callable[[Json], float], str]


def optimizers(results: Json) -> Iterator[str]:
    """One row for each method: median over seeds, and the range."""
    columns: list[Column] = [
        ("reversal before", lambda r: r["basins"][-1]["score"], ".3f"),
        ("width certified", lambda r: r["basins"][-1]["lower"], ".3g"),
        ("width below", lambda r: r["basins"][-1]["upper"], ".3g"),
        ("shift learnt", lambda r: r["new"][-1], ".3f"),
        ("reversal kept", lambda r: r["old"][-1], ".3f"),
        ("moved by (alpha*)", lambda r: r["alpha_star"], ".4f"),
    ]
    return _table("method", results["runs"], columns)


def widened(results: Json) -> Iterator[str]:
    """One line: how many times as wide GO's basin is as AdamW's, by medians of the certified widths."""
    go, plain = (
        median(run["basins"][-1]["lower"] for run in results["runs"] if run["key"]["method"] == method)
        for method in ("GO", "AdamW")
    )
    yield f"{go:.3g} against {plain:.3g}, {go / plain:.1f} times"


def losses(results: Json) -> Iterator[str]:
    """One row for each method of the study of losses."""
    columns: list[Column] = [
        ("loss, nats per token", lambda r: r["losses"][-1][1], ".3f"),
        ("width certified", lambda r: r["basin"]["lower"], ".3g"),
        ("width below", lambda r: r["basin"]["upper"], ".3g"),
        ("shift learnt", lambda r: r["new"][-1], ".3f"),
        ("reversal kept", lambda r: r["old"][-1], ".3f"),
        ("its nats before", lambda r: r["old_nll"][0], ".3f"),
        ("its nats after", lambda r: r["old_nll"][-1], ".2f"),
    ]
    return _table("method", results["runs"], columns)


def scale(results: Json) -> Iterator[str]:
    """One row for each size."""
    columns: list[Column] = [
        ("parameters", lambda r: r["parameters"], ",d"),
        ("reversal", lambda r: r["basin"]["score"], ".3f"),
        ("weights (rms)", lambda r: r["size_of_weights"], ".3f"),
        ("width certified", lambda r: r["basin"]["lower"], ".3g"),
        ("width below", lambda r: r["basin"]["upper"], ".3g"),
        ("certified / rms", lambda r: r["basin"]["lower"] / r["size_of_weights"], ".3f"),
    ]
    return _table("hidden", results["runs"], columns)


def _table(key: str, runs: Iterable[Json], columns: list[Column]) -> Iterator[str]:
    groups: dict[Any, list[Json]] = {}
    for run in runs:
        groups.setdefault(run["key"][key], []).append(run)
    yield f"| {key} | " + " | ".join(name for name, *_ in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, group in groups.items():
        cells = (_spread([value(run) for run in group], form) for _, value, form in columns)
        yield f"| {name} | " + " | ".join(cells) + " |"


def _spread(values: list[float], form: str) -> str:
    low, high = min(values), max(values)
    middle = format(median(values), form)
    return middle if low == high else f"{middle} ({low:{form}} to {high:{form}})"


def main() -> None:
    """Print every table, and the line that says what GO widens."""
    for name, table in (("optimizers", optimizers), ("optimizers", widened), ("losses", losses), ("scale", scale)):
        print(*table(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))), "", sep="\n")


if __name__ == "__main__":
    main()
