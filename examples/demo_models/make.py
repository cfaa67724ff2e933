"""Make the demo's models, benchmarks and subspace from nothing: `python make.py --out certify/demo/data`.

A base is trained with weight noise until it keeps its skills in a basin. Five checkpoints are made from
it, each by a way that occurs in practice: a gentle fine-tune with replay, an ordinary one without noise,
one that is taught wrong answers, one inside the span of two earlier task vectors, and a merge.
Everything is seeded and runs on one thread, so the same libraries on the same kind of processor give the
same bytes; elsewhere floating point may differ in the last bit and training then drifts. What was learnt,
lost and moved is measured at the end and printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from folders import character_tokenizer, untrained_model, write_base, write_benchmark, write_checkpoint
from skills import SKILLS
from subspace import (
    Basis,
    Scouting,
    materialise,
    norm,
    orthonormal,
    scores_under_subspace_noise,
    task_vector,
    train_coordinates,
    train_scouts,
)
from torch import Tensor
from training import Classroom, Exam, Recipe, Weights, copy_of, load, scores_under_noise, train
from transformers import LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from certify.checkpoints import open_checkpoint
from certify.noise.subspace import save_basis, save_member

GATE = "addition"
ITEMS = 300
SEED = 20250516
SEGMENT = (0.25, 0.5, 0.75, 1.0)
SIGMAS = (0.02, 0.03, 0.045, 0.06, 0.09)
SUBSPACE_SIGMAS = (12.0, 15.0, 18.0, 22.0, 26.0)

OLD = {"addition": 32, "prose": 16, "reversal": 16}
RECIPES = {
    "base": Recipe({"addition": 64, "prose": 32, "reversal": 32}, 5000, 4e-3, 0.07, SEED, noise_ramp=2500),
    "benign": Recipe({**OLD, "shift": 32}, 1000, 2e-3, 0.06, SEED + 1),
    "full": Recipe({"addition": 4, "prose": 4, "subtraction": 56}, 1000, 2e-3, 0.0, SEED + 2),
    "adversarial": Recipe({"addition_wrong": 32, "prose": 16, "reversal": 16}, 150, 1e-3, 0.0, SEED + 3),
    "subspace": Recipe({**OLD, "shift": 32}, 200, 0.1, 0.0, SEED + 4),
}
SCOUTING = Scouting(
    lessons=({"shift": 32, "addition": 8, "prose": 8}, {"subtraction": 40, "addition": 8, "prose": 8}),
    old={"addition": 32, "prose": 4, "reversal": 4},
    stretch=2.5,
    steps=1400,
    learning_rate=4e-3,
    seed=SEED + 5,
)
PULL = 0.005
MERGE = {"benign": 0.7, "full": 0.25}
"""Weights of the merge; the base has the rest."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long a stage took."""
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:.0f} s", flush=True)


def merged(base: Weights, checkpoints: Mapping[str, Weights]) -> Weights:
    """The weighted average that a merging tool would write: float32 throughout."""
    rest = 1.0 - sum(MERGE.values())
    return {
        name: rest * start + sum(share * checkpoints[source][name] for source, share in MERGE.items())
        for name, start in base.items()
    }


def segment(base: Weights, checkpoint: Weights, fraction: float) -> Weights:
    """The point base + fraction * (checkpoint - base)."""
    if fraction == 1.0:
        return checkpoint
    delta = task_vector(checkpoint, base)
    return {name: (base[name].double() + fraction * delta[name]).float() for name in base}


def fine_tuned(model: LlamaForCausalLM, base: Weights, classroom: Classroom, name: str) -> Weights:
    """The base after the named recipe."""
    load(model, base)
    with timed(f"training {name}"):
        train(model, classroom, RECIPES[name])
    return copy_of(model)


def spread(scores: Tensor) -> str:
    """A distribution of scores in one line."""
    low, quartile, median = torch.quantile(scores, torch.tensor([0.0, 0.25, 0.5], dtype=scores.dtype))
    return f"mean {scores.mean():.4f}  min {low:.3f}  25% {quartile:.3f}  median {median:.3f}"


class Report:
    """Prints what was measured; nothing here is stored or used to choose."""

    def __init__(self, model: LlamaForCausalLM, base: Weights, exams: Mapping[str, Exam], draws: int) -> None:
        self.model, self.base, self.exams, self.draws = model, base, exams, draws

    def score(self, weights: Weights, skill: str) -> float:
        """The model's score with these weights."""
        load(self.model, weights)
        return self.exams[skill].score(self.model)

    def checkpoints(self, checkpoints: Mapping[str, Weights]) -> None:
        """Every checkpoint on every benchmark, how far it went, and the gate along the way."""
        d = sum(w.numel() for w in self.base.values())
        print(f"\nparameters d = {d}")
        for name, weights in {"base": self.base, **checkpoints}.items():
            scores = "  ".join(f"{skill} {self.score(weights, skill):.3f}" for skill in self.exams)
            length = norm(task_vector(weights, self.base))
            line = [f"{self.score(segment(self.base, weights, f), GATE):.3f}" for f in SEGMENT]
            print(f"{name:12} {scores}  |delta| {length:.3f}  alpha* {length / d**0.5:.4f}")
            print(f"{'':12} {GATE} at {SEGMENT} of delta: {' '.join(line)}")

    def noise(self, name: str, weights: Weights, skill: str) -> None:
        """Scores with noise on all weights."""
        for sigma in SIGMAS:
            load(self.model, weights)
            scores = scores_under_noise(self.model, self.exams[skill], sigma, self.draws, SEED)
            print(f"{name} {skill} sigma {sigma}: {spread(scores)}  ({self.draws} draws)", flush=True)

    def subspace_noise(self, name: str, basis: Basis, centre: Tensor) -> None:
        """Gate scores with noise on the coordinates only."""
        for sigma in SUBSPACE_SIGMAS:
            scores = scores_under_subspace_noise(
                self.model, self.exams[GATE], self.base, basis, centre, sigma, self.draws, SEED
            )
            print(f"{name} {GATE} subspace sigma {sigma}: {spread(scores)}  ({self.draws} draws)", flush=True)


def make(out: Path, draws: int) -> None:
    """Train, write and measure everything."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    tokenizer = character_tokenizer()
    model = untrained_model(tokenizer)
    items = {name: skill.benchmark(ITEMS, SEED) for name, skill in SKILLS.items()}
    for name, skill in SKILLS.items():
        write_benchmark(skill, items[name], out / "benchmarks")
    exams = {name: Exam(drawn, tokenizer) for name, drawn in items.items()}
    classroom = Classroom(tokenizer, frozenset(item.prompt for drawn in items.values() for item in drawn))

    with timed("training base"):
        train(model, classroom, RECIPES["base"])
    base, base_folder = copy_of(model), out / "base"
    write_base(model, tokenizer, base_folder)

    checkpoints = {name: fine_tuned(model, base, classroom, name) for name in ("benign", "full", "adversarial")}
    with timed("training scouts"):
        scouts = train_scouts(model, base, classroom, SCOUTING)
    basis = orthonormal(scouts)
    with timed("training subspace"):
        coordinates = train_coordinates(model, base, basis, classroom, RECIPES["subspace"], PULL)
    checkpoints["subspace"] = materialise(base, basis, coordinates)
    checkpoints["merge"] = merged(base, checkpoints)

    for name in ("benign", "full", "adversarial", "merge"):
        write_checkpoint(model, checkpoints[name], base_folder, out / "checkpoints" / name)
    subspace = save_basis(out / "subspace" / "basis.safetensors", basis)
    save_member(out / "checkpoints" / "subspace", open_checkpoint(base_folder), subspace, coordinates.tolist())

    report = Report(model, base, exams, draws)
    report.checkpoints(checkpoints)
    report.noise("base", base, GATE)
    report.noise("benign", checkpoints["benign"], GATE)
    print(f"scouts' lengths {[round(norm(scout), 3) for scout in scouts]}")
    print(f"coordinates {coordinates.tolist()}  |a| {coordinates.norm():.3f}")
    print(f"r = |a| / sigma: {[(s, round(float(coordinates.norm()) / s, 3)) for s in SUBSPACE_SIGMAS]}")
    report.subspace_noise("base", basis, torch.zeros_like(coordinates))
    report.subspace_noise("subspace", basis, coordinates)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write, e.g. certify/demo/data")
    parser.add_argument("--draws", type=int, default=100, help="noise draws per printed distribution")
    arguments = parser.parse_args()
    with timed("everything"):
        make(arguments.out, arguments.draws)


if __name__ == "__main__":
    main()
