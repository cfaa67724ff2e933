"""How does certify take hostile input? Counts for each thing that can be damaged, and every case that breaks the rule.

    python benchmarks/fuzz.py --cases 100000 --seed 0 --workers 2 > fuzz.log
    python benchmarks/fuzz.py --table fuzz.log

The cases, and the rule, are those of tests/fuzz/hostile.py; each has a number from which it can be made again
(`--again config.json 70`). First come those that broke the rule once (tests/fuzz/found.py). Every hundred cases a
worker writes what came of them, so that a run that was stopped says what it did; the second command adds up what one
or more runs wrote, as a table of Markdown.
"""

import argparse
import json
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a process that forks must have no threads
TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "fuzz")]
import found  # noqa: E402
import hostile  # noqa: E402

BLOCK = 100
ONCE = "found before"
NO_CASE = "no case"  # the job's own fault


def run(cases):
    """Run cases; write every one that breaks the rule, and counts after each block; return how many broke it."""
    counts, start, broken = Counter(), time.monotonic(), 0
    for number, (target, case) in enumerate(cases, 1):
        try:
            what, details = found.FOUND[case].again() if target == ONCE else hostile.one(target, case)
        except Exception:
            what, details = NO_CASE, traceback.format_exc()
        counts[target, what] += 1
        if details:
            broken += 1
            say({"broken": what, "target": target, "case": case, "details": details})
        if number % BLOCK == 0 or number == len(cases):
            say({"counts": [[*key, n] for key, n in counts.items()], "seconds": round(time.monotonic() - start, 1)})
            counts.clear()
    return broken


def say(what):
    """Write one line of JSON at once: workers share the log."""
    os.write(sys.stdout.fileno(), (json.dumps(what) + "\n").encode())


def in_workers(cases, workers):
    """Run every so many-th case in each of several copies of this process; return how each ended, 0 if all is well."""
    children = []
    for i in range(workers):
        if (child := os.fork()) == 0:
            code = 1
            try:
                code = int(run(cases[i::workers]) > 0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


def counted(logs):
    """Return what came of all cases of the logs, by target."""
    found = {}
    for line in (line for log in logs for line in Path(log).read_text().splitlines()):
        for target, what, n in json.loads(line).get("counts", ()) if line.startswith("{") else ():
            found.setdefault(target, Counter())[what] += n
    return found


def table(found):
    """Return counts as a table of Markdown; what broke the rule is listed by its kind, nothing where nothing did."""
    heads = ["tried", hostile.REFUSED, hostile.ACCEPTED, *hostile.BROKEN, NO_CASE]
    together = sum(found.values(), Counter())
    lines = [f"| damaged | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    for name, counts in [*sorted(found.items()), ("together", together)]:
        numbers = [counts.total(), *(counts[head] for head in heads[1:])]
        lines.append(f"| {name} | {' | '.join(f'{n:,}' for n in numbers)} |")
    return "\n".join(lines)


def main():
    """Run the cases, target by target in turn, or print the table of cases that were run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, help="1000, or none with --again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--target", choices=hostile.TARGETS, action="append")
    parser.add_argument("--again", nargs=2, metavar=("TARGET", "SEED"), action="append", help="run this case, too")
    parser.add_argument("--table", nargs="+", metavar="LOG", help="print what these runs wrote, and run nothing")
    asked = parser.parse_args()
    if asked.table:
        print(table(counted(asked.table)))
        return
    targets, again = asked.target or list(hostile.TARGETS), asked.again or []
    number = asked.cases if asked.cases is not None else 0 if again else 1000
    cases = [(ONCE, i) for i in range(0 if asked.target or again else len(found.FOUND))]
    cases += [(targets[i % len(targets)], asked.seed + i) for i in range(number)]
    cases += [(target, int(seed)) for target, seed in again]
    world = hostile.world()
    try:
        ended = in_workers(cases, asked.workers)
    finally:
        shutil.rmtree(world.parent)
    say({"ended": len(cases), "by": ended})
    sys.exit(any(ended))


if __name__ == "__main__":
    main()
