"""A study's results: one JSON file with its design, the machine, and a record for each run; a killed study resumes."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from certify.writing import write_whole

Json = dict[str, Any]
RESULTS = Path(__file__).parent / "results"


def carry_out(path: Path, design: Json, keys: Iterable[Json], run: Callable[..., Json]) -> Json:
    """Return the study with ``run(**key)`` for every key; runs that the file at ``path`` holds are not repeated."""
    study: Json = {"design": design, "machine": machine(), "runs": []}
    if path.exists():
        study = json.loads(path.read_text(encoding="utf-8"))
        if study["design"] != design:
            raise SystemExit(f"{path} is of another design: move it away, or name another file")
    done = [run["key"] for run in study["runs"]]
    for key in (key for key in keys if key not in done):
        start = time.perf_counter()
        found = run(**key)
        study["runs"].append({"key": key, "seconds": round(time.perf_counter() - start, 1), **found})
        write_whole(path, json.dumps(study, indent=1) + "\n")
        print(", ".join(f"{k} {v}" for k, v in key.items()), f"({time.perf_counter() - start:.0f} s)", flush=True)
    return study


def machine() -> Json:
    """What the numbers may depend on."""
    return {
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
