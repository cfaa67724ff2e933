"""``certify gate``: a sequential gate on one checkpoint, planned, drawn and decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.exits import of_verdict
from certify.cli.options import (
    ASKED,
    WORK,
    BaseOption,
    BenchmarkOption,
    CheckpointArgument,
    ConfidenceOption,
    ConfigOption,
    EngineName,
    OverwriteOption,
    Work,
    Workers,
    parse_sigma,
    spread,
)
from certify.cli.output import refuse_to_replace, say, say_written
from certify.cli.progress import carried_out
from certify.errors import InvalidPlan

if TYPE_CHECKING:
    from certify.evidence.sequential import ScoreRequirement
    from certify.measuring import Base


@spread()
def gate(
    checkpoint: CheckpointArgument,
    *,
    base: BaseOption,
    benchmark: BenchmarkOption,
    sigma: Annotated[list[str], typer.Option(help="Noise on weights: a number, or PATTERN=NUMBER for chosen tensors.")],
    p1: Annotated[
        float,
        typer.Option(
            help="Noise-averaged score at which the gate should pass.", show_default=False, rich_help_panel=ASKED
        ),
    ],
    at_least: Annotated[
        float | None, typer.Option(help="Required noise-averaged score.", rich_help_panel=ASKED)
    ] = None,
    min_retention: Annotated[
        float | None,
        typer.Option(
            help="Required share of the base's score without noise, above chance, instead.", rich_help_panel=ASKED
        ),
    ] = None,
    confidence: ConfidenceOption = 0.95,
    power: Annotated[
        float, typer.Option(help="Wanted probability of a pass at --p1; sets the cap.", rich_help_panel=ASKED)
    ] = 0.9,
    cap: Annotated[
        int | None, typer.Option(min=1, help="Most draws (1.5 times those of a fixed test with that power if absent).")
    ] = None,
    futility: Annotated[
        bool, typer.Option("--futility", help="Give up as undecided when --p1 looks unlikely, instead of refuting.")
    ] = False,
    engine: Annotated[
        EngineName,
        typer.Option(help="auto: in activation space, many draws a batch, where that is exact.", rich_help_panel=WORK),
    ] = "auto",
    config: ConfigOption = None,
    work: Work,
    workers: Workers,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the record.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw until it is decided whether one checkpoint keeps a score under noise. Exit 0, 1, 2, 3 as `check`."""
    from certify.checkpoints import open_checkpoint
    from certify.cli.plan_lines import gate_plan_lines
    from certify.documents import charged_alpha
    from certify.evidence import alpha_of
    from certify.evidence.judgement import percent
    from certify.evidence.sequential import gate_plan
    from certify.measuring import Base
    from certify.measuring.attempts import attempt
    from certify.measuring.candidate import Candidate
    from certify.measuring.item_trials import EngineChoice
    from certify.measuring.sequential import PlannedGate
    from certify.report.words import document_lines

    if output is not None:
        refuse_to_replace(output, overwrite)
    stated = parse_sigma(sigma)
    assert stated is not None  # --sigma is required
    opened = Base.open(base, benchmark, work.device, workers.layout(engine, work))
    candidate = Candidate(opened, open_checkpoint(checkpoint, opened.checkpoint, config=config))
    law, requirement = opened.weight_law(stated), _requirement(opened, at_least, min_retention)
    identity = opened.scorer.identity
    alpha, level = alpha_of(confidence), requirement.level(identity.chance)

    def planned(number: int) -> PlannedGate:
        share, eta = charged_alpha(alpha, number), opened.engine.eta(law)
        plan = gate_plan(level, p1, alpha=share, power=power, cap=cap, futility=futility, eta=eta)
        return PlannedGate(candidate.subject, law, requirement, plan, work.seed, number)

    planned(0)  # refuses what no first attempt could do
    # Timing both engines, as `measure` does, would cost as much as many a gate: auto takes the one that batches draws.
    choice = EngineChoice(engine="explicit" if engine in ("explicit", "vllm") else "activation", asked=engine != "auto")
    with carried_out(work, filed=None if output is None else output.parent) as run:
        number = attempt(run, "sequential", candidate.subject, lambda j: planned(j).trials.seed)
        plan = planned(number).plan
        if run.world.rank == 0:
            again = f"attempt {number + 1} at this checkpoint: judged at {percent(plan.alpha)} confidence"
            say(*[again] * bool(number))
            say(
                f"gate on E J({candidate.checkpoint.identity.name} + noise): {requirement.describe(identity.chance)}, "
                f"{percent(plan.alpha)} confidence",
                f"at most {plan.cap:,} draws of {law.describe()}, each with one of {identity.items} items",
                *gate_plan_lines(plan, power),
            )
        record = candidate.sequential(
            law, requirement, plan, engine=choice, user_seed=work.seed, attempt=number, run=run
        )
    if run.world.rank == 0:
        say(*document_lines(record))
        if output is not None:
            say_written([record.to_json(output)])
    raise typer.Exit(of_verdict(record.judgement.verdict))


def _requirement(base: Base, at_least: float | None, min_retention: float | None) -> ScoreRequirement:
    """Return what was required in the one form that was given.

    Raises:
        InvalidPlan: none or both were given, or a value outside [0, 1].
    """
    from certify.evidence.sequential import ScoreRequirement

    if (at_least is None) == (min_retention is None):
        raise InvalidPlan("give one of --at-least (a score) and --min-retention (a share of the base's score)")
    name, value = ("--at-least", at_least) if at_least is not None else ("--min-retention", min_retention)
    if value is None or not 0.0 <= value <= 1.0:
        raise InvalidPlan(f"{name} must lie in [0, 1], got {value}")
    if at_least is not None:
        return ScoreRequirement(unit="score", limit=value)
    return ScoreRequirement(unit="retention", limit=value, base=base.scores)
