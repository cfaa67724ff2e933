"""What do k coordinates learn, and what is certified there? `python examples/subspace_sweep.py`

For each subspace of the demo's base, from 1 dimension to all 77,376 weights: how much noise the old skill tolerates
(pilot draws), how far a certificate reaches (draws of their own), what fine-tuning on a new skill learns with and
without staying inside that radius, and where the checkpoints end. Every finished subspace is written to the results
at once, and the same command goes on where it stopped. `python examples/subspace_figure.py` draws what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "demo_models"))
from skills import SKILLS
from training import Classroom, loss_on

from certify.checkpoints import Checkpoint, load_tokenizer, open_checkpoint
from certify.demo import DATA
from certify.documents import Measurement
from certify.errors import InvalidPlan
from certify.evidence import Requirement
from certify.evidence.position import Basin
from certify.measuring import Base, PlannedDraws, check, subspace_law
from certify.measuring.at_base import draws_at_base, measure_basin
from certify.measuring.environment import environment
from certify.measuring.scores import item_scores, mean
from certify.noise import Subspace, noised
from certify.noise.subspace import (
    open_subspace,
    orthonormal,
    random_factors,
    save_basis,
    save_cores,
    save_seeded,
    svd_factors,
    task_vectors,
)
from certify.records import NoiseLaw, derive_seed
from certify.statistics import ScoreBand, score_band
from certify.training import (
    Allowance,
    Budget,
    SubspaceModel,
    allowance,
    coordinate_budget,
    save_checkpoint,
    weight_budget,
)
from certify.writing import write_whole

OLD, NEW = "addition", "shift"
LESSONS = {"addition": 16, "prose": 8, "reversal": 8, "shift": 32}
KS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
CORE_RANKS = (1, 2, 4, 8)
SEEDS = 3
SPANS = {"benign": 1, "benign+full": 2, "scouts": 2}
NOISE_NORM = 0.06 * 77_376**0.5  # the demo's noise on all weights: where the pilot starts to look
STEPS_OF_SIGMA, GRID = 4, 12  # the pilot looks at NOISE_NORM / sqrt(k) * 2^(j/4), j = -12 ... 12
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "subspaces.json"


@dataclass(frozen=True)
class Design:
    """How every subspace is studied."""

    draws: int = 500
    pilot_draws: int = 48
    steps: int = 300
    alpha: float = 0.05
    tau: float = 0.05  # sigma is where pilot draws lose half of it on average
    max_drop: float = 0.2  # what the old skill may lose: the requirement of certificates and budgets
    learning_rate: float = 0.3
    weights_learning_rate: float = 4e-3
    budget_share: float = 0.2  # of the radius that one Adam step may cover, in a budgeted run

    @property
    def requirement(self) -> Requirement:
        """The certificates' and the budgets'."""
        return Requirement(limit=self.max_drop)


@dataclass(frozen=True)
class Arm:
    """One subspace: of seeded directions, of cores, a span of task vectors, or all weights."""

    kind: str
    size: int  # k directions, rank of the cores, or vectors of the span
    seed: int = 0
    name: str = ""

    @property
    def key(self) -> str:
        """What the results call it."""
        return " ".join(str(part) for part in (self.kind, self.name, self.size or "", f"seed {self.seed}") if part)

    def subspace(self, base: Checkpoint, folder: Path) -> Subspace | None:
        """Make it; None stands for all weights."""
        matrices = [name for name in base.parameters if name.endswith("proj.weight")]
        match self.kind:
            case "seeded":
                return save_seeded(folder / "directions.json", base, self.size, seed=self.seed)
            case "cores" if self.name == "svd":
                return save_cores(folder / "cores.safetensors", svd_factors(base, matrices, self.size))
            case "cores":
                factors = random_factors(base, matrices, self.size, seed=self.seed)
                return save_cores(folder / "cores.safetensors", factors)
            case "span" if self.name == "scouts":
                return open_subspace(DATA / "subspace" / "basis.safetensors")
            case "span":
                others = [open_checkpoint(DATA / "checkpoints" / name) for name in self.name.split("+")]
                return save_basis(folder / "basis.safetensors", orthonormal(task_vectors(base, others)))
            case "weights":
                return None
            case _:
                raise ValueError(f"no such kind of subspace: {self.kind}")


def arms(ks: Iterable[int], ranks: Iterable[int], spans: Mapping[str, int], seeds: int) -> list[Arm]:
    """All weights, the spans, the cores (one seed), and the seeded directions with every seed."""
    return [
        Arm("weights", 0),
        *(Arm("span", size, name=name) for name, size in spans.items()),
        *(Arm("cores", rank, name=factors) for factors in ("random", "svd") for rank in ranks),
        *(Arm("seeded", k, seed) for seed in range(seeds) for k in ks),
    ]


class Study:
    """The base, its two benchmarks, and what is done with every arm."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.old = Base.open(DATA / "base", DATA / "benchmarks" / f"{OLD}.jsonl")
        self.new = Base.open(DATA / "base", DATA / "benchmarks" / f"{NEW}.jsonl").scorer
        tokenizer = load_tokenizer(self.old.checkpoint)
        held_out = frozenset(prompt for skill in SKILLS for prompt, _ in _items(skill))
        self.classroom = Classroom(tokenizer, held_out)
        self.questions = self._encoded(_items(NEW))

    @cached_property
    def basin(self) -> Basin:
        """A measurement holds one; it is the same for every arm."""
        return measure_basin(self.old, (0.06,))

    def row(self, arm: Arm) -> dict[str, Any]:
        """Study one arm."""
        started = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            subspace = arm.subspace(self.old.checkpoint, Path(folder))
            sigma, drop = self.tolerated(subspace)
            measurement = self.measured(subspace, sigma)
            law, draws = measurement.draws[0].law, measurement.draws[0]
            band = draws_band(measurement, self.design.alpha)
            k = law.dimension
            return {
                "key": arm.key,
                "kind": arm.kind,
                "name": arm.name,
                "seed": arm.seed,
                "k": k,
                "sigma": sigma,
                "noise_norm": sigma * k**0.5,
                "pilot_drop": drop,
                "mean_under_noise": draws.draws.mean,
                "radius": band.radius_for_mean(draws.base_score - self.design.max_drop),
                "radius_tau": band.radius_for_mean(draws.base_score - self.design.tau),
                "free": self.fine_tuned(subspace, measurement, None, Path(folder) / "free"),
                "budgeted": self.budgeted(subspace, measurement, Path(folder) / "budgeted"),
                "cpu_seconds": round(time.process_time() - started, 1),
            }

    def law(self, subspace: Subspace | None, sigma: float) -> NoiseLaw:
        """Noise on the coordinates, or on all weights."""
        return self.old.weight_law(sigma) if subspace is None else subspace_law(subspace, sigma)

    def tolerated(self, subspace: Subspace | None) -> tuple[float, float]:
        """The largest sigma of the grid whose mean drop under pilot draws is at most tau/2 (by bisection), and it."""
        k = sum(self.old.sizes.values()) if subspace is None else subspace.k
        good, bad, drop = -GRID - 1, GRID + 1, math.nan
        while bad - good > 1:
            middle = (good + bad) // 2
            law = self.law(subspace, NOISE_NORM / k**0.5 * 2 ** (middle / STEPS_OF_SIGMA))
            found = self.pilot_drop(law, subspace)
            good, bad, drop = (middle, bad, found) if found <= self.design.tau / 2 else (good, middle, drop)
        return NOISE_NORM / k**0.5 * 2 ** (good / STEPS_OF_SIGMA), drop

    def pilot_drop(self, law: NoiseLaw, subspace: Subspace | None) -> float:
        """Mean drop over draws of the pilot's own streams, which no certificate uses."""
        base = self.old
        seed = derive_seed("pilot", law, base.scorer.identity, base.checkpoint.identity, n=self.design.pilot_draws)
        with noised(base.model, law, seed, subspace=subspace, pilot=True) as engine:
            draws = [mean(item_scores(engine.at(i), base.scorer)) for i in range(self.design.pilot_draws)]
        return mean(base.scores) - sum(draws) / len(draws)

    def measured(self, subspace: Subspace | None, sigma: float) -> Measurement:
        """The draws that every checkpoint of this arm is judged by."""
        plan = PlannedDraws(self.law(subspace, sigma), self.design.draws, subspace)
        return Measurement.seal(
            base=self.old.checkpoint.identity,
            benchmark=self.old.scorer.identity,
            basin=self.basin,
            draws=(draws_at_base(self.old, plan, self.design.alpha, 1),),
            environment=environment(),
        )

    def budgeted(self, subspace: Subspace | None, measurement: Measurement, folder: Path) -> dict[str, Any] | None:
        """Fine-tune within the radius that is certified for the requirement; None if there is none."""
        try:
            allowed = allowance(measurement, self.design.requirement, subspace=subspace)
        except InvalidPlan:
            return None
        return self.fine_tuned(subspace, measurement, allowed, folder)

    def fine_tuned(
        self, subspace: Subspace | None, measurement: Measurement, allowed: Allowance | None, folder: Path
    ) -> dict[str, Any]:
        """Teach the new skill with replay of the old ones; save, score and certify what came out."""
        design, base = self.design, self.old.checkpoint
        learner: nn.Module
        if subspace is None:
            learner = Base.open(base.path, DATA / "benchmarks" / f"{OLD}.jsonl").model
            learner.requires_grad_(True)
        else:
            learner = SubspaceModel(self.old.model, subspace)
        rate, budget = design.weights_learning_rate if subspace is None else design.learning_rate, None
        if allowed is not None:
            rate = min(rate, design.budget_share * allowed.length / allowed.law.dimension**0.5)
            budget = _budget(learner, base, allowed)
        self._train(learner, rate, budget)
        if isinstance(learner, SubspaceModel):
            checkpoint = learner.save(folder, base)
        else:
            checkpoint = save_checkpoint(folder, base, learner)
        (certificate,) = check(
            self.old,
            checkpoint,
            kinds=("distance",),
            requirement=design.requirement,
            alpha=design.alpha,
            measurement=measurement,
            subspaces=[subspace] if subspace else [],
        )
        found = certificate.judgement.quantities
        tuned = Base.open(checkpoint.path, DATA / "benchmarks" / f"{OLD}.jsonl")
        return {
            "old_score": mean(tuned.scores),
            "new_score": mean(item_scores(tuned.model, self.new)),
            "new_loss": self._loss(tuned.model),
            "delta_norm": found["delta_norm"],
            "r": found["r"],
            "bound": found["bound"],
            "verdict": str(certificate.verdict),
            "vacuous": certificate.judgement.vacuous,
            "budget_used": budget.used if budget else None,
        }

    def _train(self, learner: nn.Module, rate: float, budget: Budget | None) -> None:
        """Adam with a short warm-up and linear decay."""
        rng, steps = random.Random(0), self.design.steps
        optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / 20) * (1 - 0.99 * step / steps)
        )
        if budget is not None:
            budget.hold(optimizer)
        for _ in range(steps):
            optimizer.zero_grad()
            loss_on(learner, *self.classroom.batch(LESSONS, rng)).backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def _loss(self, model: nn.Module) -> float:
        """Mean cross-entropy for each character of the new skill's benchmark answers."""
        return float(loss_on(model, *self.questions))

    def _encoded(self, items: Sequence[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids, and labels on the answers (all items of a skill are equally long)."""
        ids, bos = self.classroom.ids, self.classroom.bos
        inputs = torch.tensor([[bos, *(ids[c] for c in prompt + answer)] for prompt, answer in items])
        labels = inputs.clone()
        labels[:, : 1 + len(items[0][0])] = -100
        return inputs, labels

    def context(self) -> dict[str, Any]:
        """What the results depend on beside the arm."""
        found = environment()
        return {
            "design": asdict(self.design),
            "lessons": LESSONS,
            "base": self.old.checkpoint.identity.weights,
            "benchmark": {"name": OLD, "items": len(self.old.scores), "score": mean(self.old.scores)},
            "new_skill": {"name": NEW, "base_loss": self._loss(self.old.model)},
            "machine": {"platform": found.platform, "processor": processor(), "threads": torch.get_num_threads(),
                        "python": found.python, "packages": found.packages},
        }  # fmt: skip


def draws_band(measurement: Measurement, alpha: float) -> ScoreBand:
    """The band of the base's scores, from which radii are read."""
    draws = measurement.draws[0]
    return score_band(draws.draws.scores, alpha, draws.eta)


def _budget(learner: nn.Module, base: Checkpoint, allowed: Allowance) -> Budget:
    if isinstance(learner, SubspaceModel):
        return coordinate_budget(learner.coordinates, base, allowed)
    return weight_budget(learner, base, allowed)


def _items(skill: str) -> list[tuple[str, str]]:
    """Prompts and answers of a shipped benchmark."""
    lines = (DATA / "benchmarks" / f"{skill}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(item["prompt"], item.get("target", "")) for item in map(json.loads, lines)]


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def sweep(study: Study, chosen: Sequence[Arm], results: Path) -> dict[str, Any]:
    """Study the arms that the results lack, in order; the file is written anew after each."""
    context = study.context()
    stored = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {**context, "rows": []}
    if stored["design"] != context["design"]:
        raise SystemExit(f"{results} holds another design ({stored['design']}): name another file")
    for arm in chosen:
        if arm.key not in {row["key"] for row in stored["rows"]}:
            stored["rows"].append(study.row(arm))
            write_whole(results, json.dumps(stored, indent=1, sort_keys=True) + "\n")
            print(line(stored["rows"][-1]), flush=True)
    return stored


def line(row: Mapping[str, Any]) -> str:
    """One subspace in one line."""
    runs = "  ".join(
        f"{name}: {NEW} {run['new_score']:.3f} ({run['new_loss']:.2f} nats), {OLD} {run['old_score']:.3f}, "
        f"r {run['r']:.2f}, bound {run['bound']:.3f} {run['verdict']}"
        for name in ("free", "budgeted")
        if (run := row[name])
    )
    radius = "none" if row["radius"] is None else f"{row['radius']:.2f}"
    return (
        f"{row['key']:22} k {row['k']:6} sigma {row['sigma']:.3g} drop {row['pilot_drop']:.3f} "
        f"mean {row['mean_under_noise']:.3f} R {radius}  {runs}  ({row['cpu_seconds']:.0f} s)"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="results, also those to go on with")
    parser.add_argument("--ks", type=int, nargs="*", default=KS, help="numbers of seeded directions")
    parser.add_argument("--ranks", type=int, nargs="*", default=CORE_RANKS, help="ranks of the cores")
    parser.add_argument("--spans", nargs="*", choices=SPANS, default=list(SPANS), help="spans of task vectors")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="sets of seeded directions for each k")
    for name, value in asdict(Design()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = parser.parse_args()
    torch.set_num_threads(1)
    design = replace(Design(), **{name: getattr(given, name) for name in asdict(Design())})
    chosen = arms(given.ks, given.ranks, {name: SPANS[name] for name in given.spans}, given.seeds)
    sweep(Study(design), chosen, given.out)


if __name__ == "__main__":
    main()
