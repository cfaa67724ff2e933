"""How does certify take hostile input? Counts for each thing that can be damaged, and every case that breaks the rule.

    python benchmarks/fuzz.py --cases 100000 --seed 0

The cases, and the rule, are those of tests/fuzz/hostile.py; each has a number from which it can be made again
(`--again config.json 70`).
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a process that forks must have no threads
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fuzz"))
import hostile


def main():
    """Run the cases, target by target in turn, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, help="1000, or none with --again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=hostile.TARGETS, action="append")
    parser.add_argument("--again", nargs=2, metavar=("TARGET", "SEED"), action="append", help="run this case, too")
    asked = parser.parse_args()
    targets, again = asked.target or list(hostile.TARGETS), asked.again or []
    number = asked.cases if asked.cases is not None else 0 if again else 1000
    cases = [(targets[i % len(targets)], asked.seed + i) for i in range(number)]
    cases += [(target, int(seed)) for target, seed in again]
    found = {target: Counter() for target, _ in cases}
    with tempfile.TemporaryDirectory() as temporary:
        world = hostile.make_world(Path(temporary) / "world")
        for target, seed in cases:
            what, details = hostile.one(world, target, seed)
            found[target][what] += 1
            if details:
                print(f"--- {what}: {target}, seed {seed}\n{details}", flush=True)
    total = sum(found.values(), Counter())
    kinds = sorted({what for counts in found.values() for what in counts})
    for name, counts in {**found, "together": total}.items():
        print(f"{name:24}" + "".join(f"  {counts[kind]:6} {kind}" for kind in kinds))
    sys.exit(0 if total.keys() <= {hostile.ACCEPTED, hostile.REFUSED} else 1)


if __name__ == "__main__":
    main()
