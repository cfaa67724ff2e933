"""Do runs that are killed at any moment lose anything? `python benchmarks/kills.py --points 200 --seed 0`.

Each point starts a run in an empty folder, ends it after a share of the time that an undisturbed run takes, looks at
what lies there, and starts the same run again. The rule: the records of a killed run are those of the undisturbed one,
byte for byte, or are not there; an interrupt ends in one line and its own exit code; the second run ends as the
undisturbed one did, with its records, and nothing half written is left. A run that was over before its signal is no
point: it is run again, by the time that it took. What does not start processes of its own runs in a copy of this one,
which has imported torch, so that no signal falls into that.
"""

import argparse
import contextlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a process that forks must have no threads
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import forked  # noqa: E402
import models  # noqa: E402

PATIENCE = 3600  # seconds, for a loaded machine: whoever waits longer waits for ever
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "certify"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_kept.py"]
SMOOTHED = ["check", "../tuned", "--base", "../base", "-b", "../own.jsonl", "--require", "smoothed", "--sigma", "1e-4",
            "-n", "150", "--max-drop", "0.5", "--draws-dir", "draws", "-o", "out"]  # fmt: skip
MEASURE = ["measure", "../base", "-b", "../own.jsonl", "--sigma", "0.05", "--grid", "0.01", "-n", "150", "--max-drop",
           "0.5", "--draws-dir", "draws", "--engine", "explicit", "-o", "out/base.json", "--overwrite"]  # fmt: skip
RUNS = {
    "certify check": ["certify", *SMOOTHED],
    "certify measure": ["certify", *MEASURE],
    "torchrun": [*TWO, *MEASURE, "--processes", "2"],
    "pytest": PYTEST[2:],
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
    """Run in ``place``, signal the whole process group ``after`` seconds.

    Returns exit code (None: it had to be killed), what it said on stderr, seconds taken, and whether it was signalled.
    """
    place.mkdir(exist_ok=True)
    (place / "test_kept.py").write_text(TESTS)
    (place / "pytest.ini").write_text(INI)
    start = time.monotonic()
    pid, finish = _started(RUNS[name], place)
    ended, told = os.pidfd_open(pid), False
    if signals and not select.select([ended], [], [], after)[0]:
        with contextlib.suppress(ProcessLookupError):  # no session yet
            for each in signals:
                os.killpg(pid, each)
                time.sleep(0.1)
            told = True
    stuck = not select.select([ended], [], [], PATIENCE)[0]
    os.close(ended)
    if stuck:
        os.killpg(pid, signal.SIGKILL)
    code, said = finish()
    return None if stuck else code, said, time.monotonic() - start, told


def _started(command, place):
    """Start a command in a session of its own; return its process and what waits for its exit code and stderr."""
    env = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if command[0] == sys.executable:
        process = subprocess.Popen(
            command, cwd=place, env={**os.environ, **env}, text=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

        def finish():
            _, said = process.communicate()
            return process.returncode, said

        return process.pid, finish
    program = {} if command[0] == "certify" else {"program": pytest_main}
    child = forked.start(*command[1:], cwd=place, env=env, before=os.setsid, **program)

    def finish():
        found = child.finish()
        return found.returncode, found.stderr

    return child.pid, finish


def pytest_main():
    """Run the tests of the folder, as ``python -m pytest`` would."""
    import pytest

    sys.path.insert(0, os.getcwd())
    sys.exit(pytest.main(sys.argv[1:]))


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


def one(world, name, kind, share, seconds, expected):
    """Kill one run and repeat it; return what is wrong with either, nothing where nothing is."""
    told = False
    while not told:
        code, said, took, told = run(name, world / "place", share * seconds[name], SIGNALS[kind])
        if not told:
            seconds[name] = took
            shutil.rmtree(world / "place")
    undisturbed, whole = expected
    found, wrong = records(world / "place"), []
    if code is None:
        wrong.append(f"it still ran {PATIENCE} s later")
    elif not allowed(name, SIGNALS[kind], code, undisturbed):
        wrong.append(f"exit code {code}")
    if not found.items() <= whole.items():
        wrong.append(f"a record of another content: {sorted(found.items() - whole.items())}"[:300])
    if kind == "SIGINT" and name.startswith("certify") and "Traceback" in said:
        wrong.append(said[-600:])
    if "SIGKILL" not in kind and (parts := [*(world / "place").rglob(".part-*")]):
        wrong.append(f"parts: {parts}")
    code, said, _, _ = run(name, world / "place")
    if code != undisturbed or records(world / "place") != whole:
        wrong.append(f"the second run: exit code {code}\n{said[-3000:]}")
    if parts := [*(world / "place").rglob(".part-*")]:
        wrong.append(f"parts after the second run: {parts}")
    return wrong


def main():
    """Kill runs at seeded moments, and print counts and every point that breaks the rule."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", choices=RUNS, action="append")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what runs in the background ignore it
    rng, counts, broken = random.Random(asked.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as temporary:
        world = Path(temporary)
        make_world(world)
        expected, seconds = {}, {}
        for name in asked.run or RUNS:
            code, said, seconds[name], _ = run(name, world / "whole")
            expected[name] = code, records(world / "whole")
            if not expected[name][1]:
                sys.exit(f"{name}: the undisturbed run wrote nothing (exit code {code}): {said}")
            shutil.rmtree(world / "whole")
        for point in range(asked.points):
            name = list(expected)[point % len(expected)]
            kind, share = rng.choice(list(SIGNALS)), rng.random()
            wrong = one(world, name, kind, share, seconds, expected[name])
            shutil.rmtree(world / "place")
            counts[name, kind] += 1
            broken += bool(wrong)
            for each in wrong:
                when = f"{kind} after {share:.3f} of {seconds[name]:.1f} s"
                print(f"--- point {point}: {name}, {when}: {each}", flush=True)
            if (point + 1) % 20 == 0:
                print(f"{point + 1} points, {broken} broke the rule", flush=True)
    print(f"| run | {' | '.join(SIGNALS)} |\n|---|{'--:|' * len(SIGNALS)}")
    for name in expected:
        print(f"| {name} | {' | '.join(str(counts[name, kind]) for kind in SIGNALS)} |")
    print(f"{asked.points} points, {broken} broke the rule")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
