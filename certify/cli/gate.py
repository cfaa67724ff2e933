"""``certify gate``: a sequential gate on one checkpoint, planned, drawn and decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from certify.certificate import GateRecord
from certify.checkpoints import open_checkpoint
from certify.cli.measure import parse_sigma
from certify.cli.plan import gate_plan_lines
from certify.cli.progress import carried_out
from certify.errors import InvalidPlan
from certify.evidence import alpha_of
from certify.evidence.judgement import percent
from certify.evidence.sequential import ScoreRequirement, gate_plan
from certify.measuring import Base
from certify.measuring.checkpoint import Candidate
from certify.measuring.trials import EngineChoice
from certify.report.words import document_lines


def run_gate(
    out: Console,
    *,
    checkpoint: Path,
    base: Path,
    benchmark: Path,
    sigma: Sequence[str],
    at_least: float | None,
    min_retention: float | None,
    p1: float,
    confidence: float,
    power: float,
    cap: int | None,
    futility: bool,
    engine: Literal["auto", "explicit", "activation"],
    seed: int,
    device: str,
    processes: int,
    draws_dir: Path | None,
    output: Path | None,
) -> GateRecord:
    """Plan a gate, print the plan, draw until it is decided, print the outcome, and write it if a file is named."""
    stated = parse_sigma(sigma)
    assert stated is not None  # --sigma is required
    opened = Base.open(base, benchmark, device)
    candidate = Candidate(opened, open_checkpoint(checkpoint))
    law, requirement = opened.weight_law(stated), _requirement(opened, at_least, min_retention)
    identity = opened.scorer.identity
    plan = gate_plan(
        requirement.level(identity.chance),
        p1,
        alpha=alpha_of(confidence),
        power=power,
        cap=cap,
        futility=futility,
        eta=opened.engine.eta(law),
    )
    # Timing both engines, as `measure` does, would cost as much as many a gate: auto takes the one that batches draws.
    choice = EngineChoice(engine="explicit" if engine == "explicit" else "activation", asked=engine != "auto")
    with carried_out(processes, device, draws_dir) as run:
        if run.world.rank == 0:
            out.print(
                f"gate on E J({candidate.checkpoint.identity.name} + noise): {requirement.describe(identity.chance)}, "
                f"{percent(plan.alpha)} confidence",
                markup=False,
            )
            out.print(
                f"at most {plan.cap:,} draws of {law.describe()}, each with one of {identity.items} items", markup=False
            )
            for line in gate_plan_lines(plan, power):
                out.print(line, markup=False)
        record = candidate.sequential(law, requirement, plan, engine=choice, user_seed=seed, run=run)
    if run.world.rank > 0:
        return record
    for line in document_lines(record):
        out.print(line, markup=False)
    if output is not None:
        out.print(f"wrote {record.to_json(output)}", markup=False)
    return record


def _requirement(base: Base, at_least: float | None, min_retention: float | None) -> ScoreRequirement:
    """Return what was required in the one form that was given.

    Raises:
        InvalidPlan: none or both were given, or a value outside [0, 1].
    """
    if (at_least is None) == (min_retention is None):
        raise InvalidPlan("give one of --at-least (a score) and --min-retention (a share of the base's score)")
    name, value = ("--at-least", at_least) if at_least is not None else ("--min-retention", min_retention)
    if value is None or not 0.0 <= value <= 1.0:
        raise InvalidPlan(f"{name} must lie in [0, 1], got {value}")
    if at_least is not None:
        return ScoreRequirement(unit="score", limit=value)
    return ScoreRequirement(unit="retention", limit=value, base=base.scores)
