"""The basins of all skills of the demo's base and of a fine-tune, and which lies inside which, at four retentions.

    python examples/figures/skills.py figures       # about two minutes on one core

Each record is judged at the first retention, which also placed its refined sigmas; the others are declared here, before
any draw, and each is a statement of its own with its own alpha.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from certify.benchmarks import PooledBenchmark, open_benchmark
from certify.demo import DATA
from certify.documents import SkillsRecord
from certify.evidence import Requirement
from certify.evidence.judgement import no_less_than
from certify.evidence.position import level_text
from certify.measuring import Base
from certify.measuring.skills import measure_skills
from certify.report.figures import save
from certify.report.skills_figure import skills_figure

GRID = (0.03, 0.05, 0.065, 0.08, 0.1, 0.13)
RETENTIONS = (0.95, 0.9, 0.7, 0.5)
SKILLS = {
    "base": ("addition", "reversal", "prose"),
    "checkpoints/full": ("addition", "reversal", "prose", "subtraction"),
}


def main(folder: Path, draws: int = 1000, grid: tuple[float, ...] = GRID) -> list[Path]:
    """Measure each model once, and say what holds at each retention."""
    written = []
    for model, skills in SKILLS.items():
        pool = PooledBenchmark.alike([open_benchmark(DATA / "benchmarks" / f"{skill}.jsonl") for skill in skills])
        first = Requirement(unit="retention", limit=RETENTIONS[0])
        record = measure_skills(Base.open(DATA / model, pool), grid, requirement=first, draws=draws, refine=1)
        for retention in RETENTIONS:
            _say(record.under(Requirement(unit="retention", limit=retention)))
        name = f"skills-{Path(model).name}"
        written += [record.to_json(folder / f"{name}.json"), *save(skills_figure(record), folder, name)]
    return written


def _say(record: SkillsRecord) -> None:
    said = record.said
    widths = []
    for skill in said.skills:
        below = "-" if skill.refuted_from is None else no_less_than(skill.refuted_from)
        widths.append(f"{skill.name} [{level_text(skill.sigma_star)}, {below})")
    nested = "; ".join(f"{pair.inner} inside {pair.outer}" for pair in said.inside) or "no pair shown"
    print(f"{record.base.name}, retention {said.need:g}: {', '.join(widths)}: {nested}")


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    for path in main(Path(sys.argv[1])):
        print(path)
