"""How long do the numbers take? Clopper-Pearson, layer cake, calibration, import.

Run `python benchmarks/numerics.py` for a table, add `--json FILE` for a record with machine data. Each time is the
minimum of several repeats: noise only ever adds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy

from certify import statistics
from certify.statistics import ranks


def fastest(call, repeats):
    """The minimum wall time of a call, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def calibration(n):
    """Exact calibration from scratch, without the cache."""
    ranks._calibrated.cache_clear()
    return statistics.local_level(n, 0.01)


def import_time(statement, repeats):
    """Wall time of an import statement in a fresh interpreter, start of the interpreter excluded."""
    probe = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    runs = (
        subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        for _ in range(repeats)
    )
    return min(float(run.stdout) for run in runs)


def measure():
    """(name, seconds, limit in seconds) of each question."""
    rng = np.random.default_rng(0)
    n = rng.integers(1, 5000, 100_000)
    k = (rng.random(100_000) * (n + 1)).astype(int)
    scores, radii = rng.beta(9, 2, 10_000), np.linspace(0, 4, 100)
    statistics.local_level(10_000, 0.01)  # measured on its own below
    gate_scores = rng.beta(9, 2, 1000)
    return [
        (
            "Clopper-Pearson, one of 100,000 values",
            fastest(lambda: statistics.clopper_pearson_lower(k, n, 0.01), 5) / 1e5,
            1e-5,
        ),
        (
            "layer cake, n = 10,000, 100 radii",
            fastest(lambda: statistics.score_band(scores, 0.01).mean_lower(radii), 20),
            0.05,
        ),
        ("calibration, n = 1000", fastest(lambda: calibration(1000), 5), 0.5),
        ("calibration, n = 20,000", fastest(lambda: calibration(20_000), 3), 10.0),
        ("betting bound, n = 1000", fastest(lambda: statistics.betting_lower(gate_scores, 0.01), 10), 0.05),
        ("import certify.statistics", import_time("import certify.statistics", 7), 0.35),
        ("import scipy.special, for comparison", import_time("import scipy.special", 7), None),
    ]


def machine():
    """What the times depend on."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def main():
    """Print the table, and write the record if asked."""
    parser = argparse.ArgumentParser(description="Time the statistical core.")
    parser.add_argument("--json", type=Path, help="write a record with machine data to this file")
    record = parser.parse_args().json
    rows = measure()
    for name, seconds, limit in rows:
        against = "" if limit is None else f"   limit {limit:g} s, {'met' if seconds <= limit else 'MISSED'}"
        print(f"{name:42} {seconds:12.3g} s{against}")
    if record:
        results = [{"name": name, "seconds": seconds, "limit": limit} for name, seconds, limit in rows]
        record.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
