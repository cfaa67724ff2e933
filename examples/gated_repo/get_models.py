"""Stands for your model registry: copies a base, a candidate and their benchmarks out of pytest-basin's demo."""

import argparse
import shutil
from pathlib import Path

from certify.demo import DATA

SKILLS = ("addition", "reversal")


def main() -> None:
    """Write models/base, models/candidate and benchmarks/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidate", default="benign", help="benign, full, adversarial, subspace or merge")
    candidate = parser.parse_args().candidate
    models, benchmarks = Path("models"), Path("benchmarks")
    shutil.copytree(DATA / "base", models / "base", dirs_exist_ok=True)
    shutil.rmtree(models / "candidate", ignore_errors=True)
    shutil.copytree(DATA / "checkpoints" / candidate, models / "candidate")
    benchmarks.mkdir(exist_ok=True)
    for skill in SKILLS:
        for suffix in (".jsonl", ".toml"):
            shutil.copyfile(DATA / "benchmarks" / f"{skill}{suffix}", benchmarks / f"{skill}{suffix}")


if __name__ == "__main__":
    main()
