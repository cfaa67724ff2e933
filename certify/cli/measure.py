"""``certify measure``: a base, measured once for every checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.options import (
    WORK,
    Asked,
    BaseArgument,
    BenchmarkOption,
    DesignOption,
    EngineName,
    OverwriteOption,
    SubspaceOption,
    Work,
    Workers,
    parse_grid,
    parse_sigma,
    spread,
)
from certify.cli.output import refuse_to_replace, say, say_written
from certify.cli.progress import carried_out
from certify.errors import CertificateMismatch, InvalidPlan

DRAWS = 1000  # in a subspace

if TYPE_CHECKING:
    from certify.documents import Measurement
    from certify.measuring import Base


@spread()
def measure(
    base: BaseArgument,
    *,
    benchmark: BenchmarkOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    sigma: Annotated[
        list[str] | None,
        typer.Option(
            help="Noise on weights: a number, or PATTERN=NUMBER for chosen tensors; a pilot chooses if absent."
        ),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Ascending sigmas of the basin, comma-separated; around the pilot's if absent.")
    ] = None,
    subspace: SubspaceOption = None,
    subspace_sigma: Annotated[float | None, typer.Option(help="Noise on each coordinate of the subspaces.")] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws",
            "-n",
            min=0,
            help="Draws for distance evidence, of each law; 0: the basin alone. If absent 1000 in each subspace, and "
            "none on all weights, where real distances lie out of reach.",
        ),
    ] = None,
    design: DesignOption = "table",
    engine: Annotated[
        EngineName,
        typer.Option(help="Engine of basin and pairs; auto times both on pilot draws.", rich_help_panel=WORK),
    ] = "auto",
    audit: Annotated[
        int,
        typer.Option(
            min=0,
            help="Re-run this many activation-space draws of each run as ordinary models.",
            rich_help_panel=WORK,
        ),
    ] = 0,
    asked: Asked,
    work: Work,
    workers: Workers,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure a base once: its basin, and draws that serve every checkpoint."""
    from certify.measuring import Base, choose_engine, measure_base, pilot_sigma, sigma_grid
    from certify.measuring.at_base import PlannedDraws, check_plan, subspace_law
    from certify.measuring.costs import duration
    from certify.measuring.pilot import allowed_drop
    from certify.noise import open_subspace
    from certify.report.words import measurement_lines

    # What can be refused is refused before the first draw.
    refuse_to_replace(output, overwrite)
    requirement, alpha = asked.requirement, asked.alpha
    stated, levels = parse_sigma(sigma or ()), parse_grid(grid)
    if bool(subspace) != (subspace_sigma is not None):
        raise InvalidPlan("--subspace and --subspace-sigma go together")
    if draws == 0 and subspace:
        raise InvalidPlan("--subspace with -n 0: noise in a subspace serves distance evidence alone, and none is drawn")
    opened = Base.open(base, benchmark, work.device, workers.layout(engine, work))
    spaces = [open_subspace(path) for path in subspace or ()]
    with carried_out(work) as run:

        def by_pilot() -> float:
            opened.kept_scores(run)
            return pilot_sigma(opened, allowed_drop(opened, requirement), work.seed, run)

        chosen = by_pilot() if stated is None and (draws or levels is None) else stated
        if levels is None:
            levels = sigma_grid(chosen if isinstance(chosen, float) else by_pilot())
        planned = []
        if draws and chosen is not None:
            planned += [PlannedDraws(opened.weight_law(chosen), draws, design=design)]
        elif chosen is not None:
            opened.weight_law(chosen)  # refuses what is no law, asked for or not
        in_each = DRAWS if draws is None else draws
        planned += [PlannedDraws(subspace_law(s, subspace_sigma or 0.0), in_each, s, design) for s in spaces]
        check_plan(opened, planned, levels, alpha, requirement)
        choice = choose_engine(opened, planned, levels, engine=engine, user_seed=work.seed, run=run)
        if run.world.rank == 0:
            say(*choice.reasons)
        started = time.perf_counter()
        measurement = measure_base(
            opened,
            planned=planned,
            grid=levels,
            grid_origin="given" if grid is not None or isinstance(stated, float) else "pilot",
            alpha=alpha,
            requirement=requirement,
            user_seed=work.seed,
            run=run,
            engine=choice,
        )
        took = time.perf_counter() - started
    if run.world.rank > 0:
        return
    foreseen = "" if choice.seconds is None else f"; predicted {duration(choice.seconds)} for all of it"
    say(f"measured in {duration(took)}{foreseen}")
    if audit:
        say(*_audited(measurement, opened, audit))
    measurement.to_json(output)
    say(*measurement_lines(measurement))
    say_written([output])


def _audited(measurement: Measurement, base: Base, draws: int) -> list[str]:
    """Audit the measurement before it is written.

    Raises:
        CertificateMismatch: a difference that is not rounding.
    """
    from certify.measuring.replay import audit, audit_lines

    lines = list(audit_lines(audit(measurement, base, draws), draws))
    wrong = [line for line, passed in lines if not passed]
    if wrong:
        raise CertificateMismatch("; ".join(wrong))
    return [line for line, _ in lines]
