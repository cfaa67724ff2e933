"""Learn a new skill without leaving a certified ball: `python examples/budgeted_finetune.py`

The demo's base adds numbers and has never seen `shift` (abc>bcd). It is measured once, under noise on the two
coordinates of a subspace that was fixed beforehand, which says how far a fine-tune may go and still be certified to
add. Then `shift` is trained, on shift items alone, by Adam with a projection onto that ball after each step. (One of
the two directions is an earlier task vector for shift: the fine-tune finds its way, it does not invent one.)

For contrast: the same checkpoint judged under noise on all weights, a fine-tune of all weights held inside the ball
that such noise certifies, and the subspace without a budget. About a minute on one core.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn
from torch.optim import Adam

sys.path.insert(0, str(Path(__file__).parent / "demo_models"))
from training import Classroom, loss_on

from certify.benchmarks import open_benchmark
from certify.checkpoints import Checkpoint, load_model, load_tokenizer
from certify.cli.demo import ALPHA, BENCHMARK, SIGMA, SUBSPACE_SIGMA
from certify.demo import DATA
from certify.documents import Certificate, Measurement
from certify.evidence import Requirement
from certify.measuring import Base, PlannedDraws, check, measure_base, subspace_law
from certify.measuring.candidate import Candidate
from certify.measuring.scores import mean
from certify.noise import Subspace, open_subspace
from certify.training import Budget, SubspaceModel, allowance, coordinate_budget, save_checkpoint, weight_budget

NEW = "shift"
BATCH = 64
BASIS = DATA / "subspace" / "basis.safetensors"


@dataclass(frozen=True)
class Size:
    """How much is drawn and trained, and which drop of the old skill is allowed."""

    max_drop: float = 0.05
    subspace_draws: int = 1500
    weight_draws: int = 300
    steps: int = 120


@dataclass(frozen=True)
class Row:
    """One checkpoint: its scores without noise, and what distance evidence says of the old skill."""

    name: str
    new: float
    old: float
    certificate: Certificate

    def line(self) -> str:
        """The row as text."""
        judgement = self.certificate.judgement
        verdict = "vacuous" if judgement.vacuous else self.certificate.verdict
        r, bound = judgement.quantities["r"], judgement.quantities["bound"]
        return f"{self.name:50} {self.new:6.3f} {self.old:9.3f} {r:8.3f}  {bound:6.3f}  {verdict}"


class School:
    """The base with its old skill and the new one, and the folder that everything is written to."""

    def __init__(self, out: Path, size: Size) -> None:
        self.out, self.size, self.requirement = out, size, Requirement(limit=size.max_drop)
        self.old, self.new = (
            Base.open(DATA / "base", DATA / "benchmarks" / f"{skill}.jsonl") for skill in (BENCHMARK, NEW)
        )
        held_out = frozenset(item.prompt for item in open_benchmark(DATA / "benchmarks" / f"{NEW}.jsonl").items)
        self.classroom = Classroom(load_tokenizer(self.base), held_out)

    @property
    def base(self) -> Checkpoint:
        """The base's files."""
        return self.old.checkpoint

    def measure(self, plan: PlannedDraws) -> Measurement:
        """Draw at the base under one law, and keep the record."""
        measurement = measure_base(self.old, planned=[plan], grid=(SIGMA,), alpha=ALPHA)
        measurement.to_json(self.out / f"measurement-{plan.law.kind}.json")
        return measurement

    def teach(self, trained: nn.Module, learning_rate: float, budget: Budget | None = None) -> None:
        """Adam on the new skill's items alone; with a budget, a projection after each step."""
        optimizer, rng = Adam(trained.parameters(), lr=learning_rate), random.Random(0)
        if budget is not None:
            budget.hold(optimizer)
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
            bar = bars.add_task("", total=self.size.steps)
            for _ in range(self.size.steps):
                optimizer.zero_grad()
                loss_on(trained, *self.classroom.batch({NEW: BATCH}, rng)).backward()
                optimizer.step()
                bars.update(bar, advance=1, description=f"budget used {budget.used:.0%}" if budget else "no budget")

    def row(self, name: str, checkpoint: Checkpoint, measurement: Measurement, *subspaces: Subspace) -> Row:
        """Score both skills, judge the distance, and keep the certificate."""
        new, old = (mean(Candidate(skill, checkpoint).scores) for skill in (self.new, self.old))
        (found,) = check(
            self.old,
            checkpoint,
            kinds=["distance"],
            requirement=self.requirement,
            alpha=ALPHA,
            measurement=measurement,
            subspaces=subspaces,
        )
        found.to_json(self.out / "certificates" / f"{name}.json")
        row = Row(name, new, old, found)
        print(row.line(), flush=True)
        return row


def study(out: Path, size: Size) -> dict[str, Row]:
    """Measure, train, judge; print as it goes."""
    school, subspace = School(out, size), open_subspace(BASIS)
    in_subspace = school.measure(PlannedDraws(subspace_law(subspace, SUBSPACE_SIGMA), size.subspace_draws, subspace))
    on_weights = school.measure(PlannedDraws(school.old.weight_law(SIGMA), size.weight_draws))
    narrow = allowance(in_subspace, school.requirement, subspace=subspace)
    tight = allowance(on_weights, school.requirement)
    for found, law in ((narrow, in_subspace), (tight, on_weights)):
        print(f"{found.law.describe()}, {law.draws[0].n} draws: a drop of at most {found.requirement.limit:g} is")
        print(f"    certified up to {found.radius:.3f} sigma, which is a length of {found.length:.4g}")

    print(f"\n{'':50} {NEW:>6} {BENCHMARK:>9} {'r':>8}  {'bound':>6}  {BENCHMARK} certified?")
    print(f"{'base':50} {mean(school.new.scores):6.3f} {mean(school.old.scores):9.3f}", flush=True)
    rows = []

    space = SubspaceModel(load_model(school.base), subspace)
    school.teach(space, 0.5, coordinate_budget(space.coordinates, school.base, narrow))
    member = space.save(out / "within-budget", school.base)
    rows.append(school.row("subspace, within its budget", member, in_subspace, subspace))
    rows.append(school.row("the same checkpoint, noise on all weights", member, on_weights))

    model = load_model(school.base).requires_grad_(True)
    school.teach(model, 1e-3, weight_budget(model, school.base, tight))
    full = save_checkpoint(out / "all-weights-within-budget", school.base, model)
    rows.append(school.row("all weights, within their budget", full, on_weights))

    free = SubspaceModel(load_model(school.base), subspace)
    school.teach(free, 0.5)
    rows.append(school.row("subspace, no budget", free.save(out / "no-budget", school.base), in_subspace, subspace))
    print(f"\n{rows[0].certificate.claim_text}\n")
    print(f"certify check {member.path} --base {school.base.path} -b {DATA / 'benchmarks' / BENCHMARK}.jsonl \\")
    print(f"    --require distance --measurement {out / 'measurement-subspace.json'} --subspace {BASIS} \\")
    print(f"    --max-drop {size.max_drop}")
    return {row.name: row for row in rows}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("basin-budget"), help="folder for models and records")
    torch.set_num_threads(1)
    study(parser.parse_args().out, Size())


if __name__ == "__main__":
    main()
