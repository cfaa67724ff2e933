"""One small run: paths and records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import models
import torch

from certify.documents import Certificate, Measurement
from certify.evidence import KINDS, Requirement
from certify.measuring import Base, PlannedDraws, check, measure_base


@dataclass
class World:
    """Paths and records of one small run."""

    base: Path
    checkpoint: Path
    benchmark: Path
    measurement: Measurement
    certificates: dict[str, Certificate]


def make_world(folder: Path) -> World:
    """A base, a checkpoint and their certificates."""
    model = models.llama()
    base_path = models.save_folder(folder / "base", model)

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] += 1e-4

    checkpoint = models.variant(base_path, folder / "tuned", nudge)
    benchmark = models.write_jsonl(folder / "own.jsonl", models.own_answers(model, 100))
    base = Base.open(base_path, benchmark)
    requirement = Requirement(limit=0.1)
    measurement = measure_base(base, planned=[PlannedDraws(base.weight_law(1e-4), 60)], grid=(1e-4, 1e-3))
    found = check(base, checkpoint, kinds=tuple(KINDS), requirement=requirement, measurement=measurement, draws=40)
    return World(base_path, checkpoint, benchmark, measurement, {c.evidence.kind: c for c in found})
