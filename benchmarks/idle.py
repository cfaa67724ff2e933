"""What does the installed plugin cost a pytest run without basin tests?

Run `python benchmarks/idle.py` for a table, add `--json FILE` for a record with machine data. One trivial test is run
in turns with the plugin loaded but unused and without it, each run in a process of its own; other plugins are left out
of both, since some take longer to load than all of pytest. The cost is the median of the differences of neighbouring
runs, in wall time and in CPU time; the quartiles show how quiet the machine was.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

TARGET = 0.030  # seconds of wall time, promised
ARMS = {"with": ("-p", "pytest_basin.plugin"), "without": ()}
ALONE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def timed(folder, arguments):
    """Wall and CPU time of one pytest run, in seconds."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, env=ALONE, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds):
    """Times of each arm, interleaved; the first round only compiles and warms caches."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_other.py").write_text("def test_other(): pass\n")
        found = {arm: [] for arm in ARMS}
        for _ in range(rounds + 1):
            for arm, arguments in ARMS.items():
                found[arm].append(timed(folder, arguments))
    return {arm: times[1:] for arm, times in found.items()}


def summary(found, which):
    """Medians of both arms and of their differences, with quartiles, in seconds."""
    times = {arm: [run[which] for run in runs] for arm, runs in found.items()}
    differences = [a - b for a, b in zip(times["with"], times["without"], strict=True)]
    low, middle, high = statistics.quantiles(differences, n=4)
    return {**{arm: statistics.median(runs) for arm, runs in times.items()}, "cost": middle, "quartiles": [low, high]}


def machine():
    """What the times depend on."""
    return {
        "python": platform.python_version(),
        "pytest": pytest.__version__,
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def main():
    """Measure, print a table, and write JSON if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    about, found = machine(), measure(arguments.rounds)
    results = {"wall": summary(found, 0), "cpu": summary(found, 1)}
    for name, r in results.items():
        low, high = (1000 * x for x in r["quartiles"])
        print(
            f"{name:5} with {1000 * r['with']:.0f} ms, without {1000 * r['without']:.0f} ms, "
            f"cost {1000 * r['cost']:.1f} ms (quartiles {low:.1f} to {high:.1f})"
        )
    print(f"promised: under {1000 * TARGET:.0f} ms of wall time")
    if arguments.json:
        record = {"machine": about, "rounds": arguments.rounds, "target": TARGET, "results": results}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
