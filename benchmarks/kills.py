"""Do runs that are killed at any moment lose anything? `python benchmarks/kills.py --points 200 --seed 0`.

Each point starts a run in an empty folder, ends it after a share of the time that an undisturbed run takes, looks at
what lies there, and starts the same run again. The rule: the records of a killed run are those of the undisturbed one,
byte for byte, or are not there; an interrupt ends in one line and its own exit code; the second run ends as the
undisturbed one did, with its records, and nothing half written is left.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import models  # noqa: E402

CERTIFY = [sys.executable, "-m", "certify"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "certify"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_kept.py"]
SMOOTHED = ["check", "../tuned", "--base", "../base", "-b", "../own.jsonl", "--require", "smoothed", "--sigma", "1e-4",
            "-n", "150", "--max-drop", "0.5", "--draws-dir", "draws", "-o", "out"]  # fmt: skip
MEASURE = ["measure", "../base", "-b", "../own.jsonl", "--sigma", "0.05", "--grid", "0.01", "-n", "150", "--max-drop",
           "0.5", "--draws-dir", "draws", "--engine", "explicit", "-o", "out/base.json", "--overwrite"]  # fmt: skip
RUNS = {
    "certify check": [*CERTIFY, *SMOOTHED],
    "certify measure": [*CERTIFY, *MEASURE],
    "torchrun": [*TWO, *MEASURE, "--processes", "2"],
    "pytest": PYTEST,
    "pytest -n 2": [*PYTEST, "-n", "2"],
}
SIGNALS = {"SIGKILL": [signal.SIGKILL], "SIGTERM": [signal.SIGTERM], "SIGINT": [signal.SIGINT],
           "SIGINT twice": [signal.SIGINT] * 2}  # fmt: skip
TESTS = """
import pytest

@pytest.mark.basin(evidence="smoothed", max_drop=0.5)
def test_kept(basin_bound):
    assert basin_bound <= 0.5

@pytest.mark.basin(evidence="smoothed", max_drop=0.4)
def test_kept_more(basin_bound):
    assert basin_bound <= 0.4
"""
INI = """
[pytest]
basin_base = ../base
basin_checkpoint = ../tuned
basin_benchmark = ../own.jsonl
basin_sigma = 1e-4
basin_draws = 100
basin_cert_dir = out
basin_cache_dir = draws
"""


def make_world(where):
    """Write a base, a checkpoint and ten items."""
    model = models.llama()

    def nudge(tensors):
        tensors["model.norm.weight"] += 1e-4

    models.variant(models.save_folder(where / "base", model), where / "tuned", nudge)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 10))


def run(name, place, after=None, signals=()):
    """Run in ``place``, signal the whole process group ``after`` seconds; return exit code, output, seconds taken."""
    place.mkdir(exist_ok=True)
    (place / "test_kept.py").write_text(TESTS)
    (place / "pytest.ini").write_text(INI)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    start = time.monotonic()
    process = subprocess.Popen(
        RUNS[name], cwd=place, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        output = process.communicate(timeout=after if signals else 300)
    except subprocess.TimeoutExpired:
        for each in signals:
            os.killpg(process.pid, each)
            time.sleep(0.1)
        try:
            output = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate(), time.monotonic() - start
    return process.returncode, output, time.monotonic() - start


def records(place):
    """Return the records that lie in the folder, by name."""
    return {path.name: path.read_bytes() for path in (place / "out").glob("*.json")}


def allowed(name, signals, code, undisturbed):
    """Return whether a process that was signalled may end by ``code``: what it was told, or done before it heard."""
    told = {-each for each in signals} | {128 + each for each in signals}
    if name.startswith("pytest"):
        told |= {2, 3} if signal.SIGINT in signals else set()  # pytest's own codes for an interrupt
    if name == "torchrun":
        told |= {1}  # the launcher's code for workers that were signalled
    return code == undisturbed or code in told


def one(world, name, kind, after, expected):
    """Kill one run and repeat it; return what is wrong with either, nothing where nothing is."""
    code, output, _ = run(name, world / "place", after, SIGNALS[kind])
    undisturbed, whole = expected
    found, wrong = records(world / "place"), []
    if code is None:
        wrong.append("it still ran a minute later")
    elif not allowed(name, SIGNALS[kind], code, undisturbed):
        wrong.append(f"exit code {code}")
    if not found.items() <= whole.items():
        wrong.append(f"a record of another content: {sorted(found.items() - whole.items())}"[:300])
    if kind == "SIGINT" and name.startswith("certify") and "Traceback" in output[1]:
        wrong.append(output[1][-600:])
    if "SIGKILL" not in kind and (parts := [*(world / "place").rglob(".part-*")]):
        wrong.append(f"parts: {parts}")
    code, output, _ = run(name, world / "place")
    if code != undisturbed or records(world / "place") != whole:
        wrong.append(f"the second run: exit code {code}\n{output[1][-3000:]}")
    if parts := [*(world / "place").rglob(".part-*")]:
        wrong.append(f"parts after the second run: {parts}")
    return wrong


def main():
    """Kill runs at seeded moments, and print counts and every point that breaks the rule."""
    import shutil

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", choices=RUNS, action="append")
    asked = parser.parse_args()
    rng, counts, broken = random.Random(asked.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as temporary:
        world = Path(temporary)
        make_world(world)
        expected, seconds = {}, {}
        for name in asked.run or RUNS:
            code, output, seconds[name] = run(name, world / "whole")
            expected[name] = code, records(world / "whole")
            if not expected[name][1]:
                sys.exit(f"{name}: the undisturbed run wrote nothing (exit code {code}): {output}")
            shutil.rmtree(world / "whole")
        for point in range(asked.points):
            name = list(expected)[point % len(expected)]
            kind, share = rng.choice(list(SIGNALS)), rng.random()
            wrong = one(world, name, kind, share * seconds[name], expected[name])
            shutil.rmtree(world / "place")
            counts[name, kind] += 1
            broken += bool(wrong)
            for each in wrong:
                when = f"{kind} after {share:.3f} of {seconds[name]:.1f} s"
                print(f"--- point {point}: {name}, {when}: {each}", flush=True)
    for name in expected:
        print(f"{name:16}" + "".join(f"  {counts[name, kind]:4} {kind}" for kind in SIGNALS))
    print(f"{asked.points} points, {broken} broke the rule")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
