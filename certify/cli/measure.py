"""``certify measure``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from certify.cli.progress import carried_out
from certify.errors import InvalidInput, InvalidPlan
from certify.evidence import alpha_of, requirement_of
from certify.measuring import Base, PlannedDraws, measure_base, pilot_sigma, sigma_grid, subspace_law
from certify.noise import open_subspace
from certify.report.words import measurement_lines


def run_measure(
    out: Console,
    *,
    base: Path,
    benchmark: Path,
    output: Path,
    sigma: Sequence[str],
    grid: str | None,
    subspaces: Sequence[Path],
    subspace_sigma: float | None,
    n: int,
    confidence: float,
    max_drop: float | None,
    min_retention: float | None,
    max_score: float | None,
    seed: int,
    device: str,
    processes: int,
    draws_dir: Path | None,
    overwrite: bool,
) -> None:
    """Measure a base and write the measurement; what can be refused is refused before the first draw."""
    if output.exists() and not overwrite:
        raise InvalidPlan(f"{output} exists; name another file or pass --overwrite")
    requirement, alpha = requirement_of(max_drop, min_retention, max_score), alpha_of(confidence)
    stated = parse_sigma(sigma)
    levels: Sequence[float] | None = None if grid is None else parse_grid(grid)
    if bool(subspaces) != (subspace_sigma is not None):
        raise InvalidPlan("--subspace and --subspace-sigma go together")
    opened = Base.open(base, benchmark, device)
    with carried_out(processes, device, draws_dir) as run:
        chosen = stated if stated is not None else pilot_sigma(opened, user_seed=seed, track=run.track)
        if levels is None:
            levels = sigma_grid(
                chosen if isinstance(chosen, float) else pilot_sigma(opened, user_seed=seed, track=run.track)
            )
        planned = [PlannedDraws(opened.weight_law(chosen), n)]
        for path in subspaces:
            space = open_subspace(path)
            planned.append(PlannedDraws(subspace_law(space, subspace_sigma or 0.0), n, space))
        measurement = measure_base(
            opened,
            planned=planned,
            grid=levels,
            alpha=alpha,
            requirement=requirement,
            user_seed=seed,
            run=run,
        )
    if run.world.rank > 0:
        return
    measurement.to_json(output)
    for line in measurement_lines(measurement):
        out.print(line, markup=False)
    out.print(f"wrote {output}", markup=False)


def parse_sigma(texts: Sequence[str]) -> float | dict[str, float] | None:
    """Return the sigma of ``--sigma``: one number, or numbers by name pattern.

    Raises:
        InvalidInput: not a number, or a plain number beside patterns.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return number("--sigma", texts[0])
    out = {}
    for text in texts:
        pattern, equals, value = text.rpartition("=")
        if not equals or not pattern:
            raise InvalidInput(f"--sigma {text}: with several, each must be PATTERN=NUMBER")
        out[pattern] = number("--sigma", value)
    return out


def parse_grid(text: str) -> list[float]:
    """Return the numbers of a comma-separated list."""
    return [number("--grid", part) for part in text.split(",")]


def number(option: str, text: str) -> float:
    """Return ``text`` as a number.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{option}: {text!r} is not a number") from None
