"""``certify basin``: how wide the basin of a base is, and where checkpoints lie beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from certify.certificate import BasinRecord
from certify.cli.measure import parse_grid
from certify.cli.progress import carried_out
from certify.errors import InvalidPlan
from certify.evidence import alpha_of, requirement_of
from certify.measuring import Base, choose_engine, measure_width, pilot_grid
from certify.measuring.at_base import check_grid
from certify.measuring.plan import EngineName
from certify.report.basin import basin_table, summary_lines


def run_basin(
    out: Console,
    *,
    base: Path,
    benchmark: Path,
    output: Path,
    checkpoints: Sequence[Path],
    grid: str | None,
    draws: int,
    engine: EngineName,
    confidence: float,
    max_drop: float | None,
    min_retention: float | None,
    seed: int,
    device: str,
    processes: int,
    draws_dir: Path | None,
    overwrite: bool,
) -> BasinRecord:
    """Measure the basin, print what it says, and write the record with its figure beside it."""
    if output.exists() and not overwrite:
        raise InvalidPlan(f"{output} exists; name another file or pass --overwrite")
    requirement, alpha = requirement_of(max_drop, min_retention), alpha_of(confidence)
    stated = None if grid is None else parse_grid(grid)
    if stated is not None:
        check_grid(stated)
    opened = Base.open(base, benchmark, device)
    with carried_out(processes, device, draws_dir) as run:
        levels = stated if stated is not None else pilot_grid(opened, requirement, seed, run.track)
        record = measure_width(
            opened,
            levels,
            requirement=requirement,
            alpha=alpha,
            draws=draws,
            checkpoints=checkpoints,
            user_seed=seed,
            run=run,
            grid_origin="given" if stated is not None else "pilot",
            engine=choose_engine(opened, [], levels, engine=engine, user_seed=seed, run=run),
        )
    if run.world.rank == 0:
        _report(out, record, output)
    return record


def _report(out: Console, record: BasinRecord, output: Path) -> None:
    from certify.report.basin_figure import basin_record_figure
    from certify.report.figures import save

    out.print(basin_table(record))
    for line in summary_lines(record):
        out.print(line, markup=False)
    for path in (record.to_json(output), *save(basin_record_figure(record), output.parent, output.stem)):
        out.print(f"wrote {path}", markup=False)
