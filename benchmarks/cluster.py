"""What sharing draws out to actors of Ray costs and saves: no Ray, one actor, two actors, in turn, on this machine.

``OMP_NUM_THREADS=1 python benchmarks/cluster.py`` measures the demo's base on its 300 items of addition, ``--draws``
whole benchmarks, so often with each. Times are from the start of the command to the first draw that is kept (imports,
hashing, loading; with Ray: its start and the actors') and from there to the last. All must write the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT / "certify" / "demo" / "data"
WAYS: dict[str, list[str]] = {
    "no Ray": [],
    "one actor": ["--ray", "local", "--ray-actors", "1"],
    "two actors": ["--ray", "local", "--ray-actors", "2"],
}


def timed(way: str, draws: int, folder: Path) -> tuple[float, float, bytes]:
    """Return seconds to the first draw, seconds from there to the last, and the file."""
    output, ledgers = folder / "base.json", folder / "draws"
    words = ["measure", DATA / "base", "-b", DATA / "benchmarks" / "addition.jsonl", "-o", output, "--draws-dir",
             ledgers, "--sigma", "0.02", "--grid", "0.01", "-n", draws, "--engine", "explicit", *WAYS[way]]  # fmt: skip
    begun, first, last, seen = time.perf_counter(), 0.0, 0.0, 0
    run = subprocess.Popen([sys.executable, "-m", "certify", *map(str, words)], stdout=subprocess.DEVNULL)
    while run.poll() is None:
        now = lines(ledgers, draws)
        if now != seen:
            first, last, seen = first or time.perf_counter(), time.perf_counter(), now
        time.sleep(0.01)
    if run.returncode:
        raise SystemExit(f"{way}: exit code {run.returncode}")
    return first - begun, last - first, output.read_bytes()


def lines(ledgers: Path, draws: int) -> int:
    """Draws of the table that are kept: the ledger that has so many."""
    for file in ledgers.glob("*/ledger.*.jsonl"):
        with file.open("rb") as opened:
            if f'"draws":{draws},'.encode() in opened.readline():
                return sum(1 for _ in opened)
    return 0


def main() -> None:
    """Measure in turn, say and write medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    loads, found, files = [os.getloadavg()[0]], {way: list[tuple[float, float]]() for way in WAYS}, set[bytes]()
    for _ in range(asked.rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                start, drawing, file = timed(way, asked.draws, Path(folder))
            found[way].append((start, drawing))
            files.add(file)
            loads.append(os.getloadavg()[0])
            print(f"{way}: first draw after {start:.1f} s, the others in {drawing:.1f} s; load {loads[-1]:.1f}")
    assert len(files) == 1, "the ways wrote different files"
    medians = {way: [statistics.median(column) for column in zip(*times, strict=True)] for way, times in found.items()}
    base = medians["no Ray"][1]
    for way, (start, drawing) in medians.items():
        print(f"{way}: {start:.1f} s + {drawing:.1f} s, {base / drawing:.2f} of the pace without Ray")
    results: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": loads,
            "python": platform.python_version(), **{name: version(name) for name in ("torch", "ray")},
        },
        "draws": asked.draws, "items": 300, "same_file": True,
        "seconds": {way: [{"to first draw": a, "drawing": b} for a, b in times] for way, times in found.items()},
        "pace": {way: base / drawing for way, (_, drawing) in medians.items()},
    }  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
