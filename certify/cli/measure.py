"""``certify measure``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from certify.certificate import Measurement
from certify.cli.progress import carried_out
from certify.errors import CertificateMismatch, InvalidInput, InvalidPlan
from certify.evidence import alpha_of, requirement_of
from certify.evidence.distance import DrawDesign
from certify.measuring import (
    Base,
    PlannedDraws,
    choose_engine,
    measure_base,
    pilot_sigma,
    sigma_grid,
    subspace_law,
)
from certify.measuring.at_base import check_plan
from certify.measuring.pilot import allowed_drop
from certify.measuring.plan import EngineName, duration
from certify.measuring.replay import audit, audit_lines
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
    design: DrawDesign,
    engine: EngineName,
    audited: int,
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

        def by_pilot() -> float:
            return pilot_sigma(opened, allowed_drop(opened, requirement), seed, run.track)

        chosen = by_pilot() if stated is None else stated
        if levels is None:
            levels = sigma_grid(chosen if isinstance(chosen, float) else by_pilot())
        planned = [PlannedDraws(opened.weight_law(chosen), n, design=design)]
        for path in subspaces:
            space = open_subspace(path)
            planned.append(PlannedDraws(subspace_law(space, subspace_sigma or 0.0), n, space, design))
        check_plan(opened, planned, levels, alpha, requirement)
        choice = choose_engine(opened, planned, levels, engine=engine, user_seed=seed, run=run)
        if run.world.rank == 0:
            for reason in choice.reasons:
                out.print(reason, markup=False)
        started = time.perf_counter()
        measurement = measure_base(
            opened,
            planned=planned,
            grid=levels,
            grid_origin="given" if grid is not None or isinstance(stated, float) else "pilot",
            alpha=alpha,
            requirement=requirement,
            user_seed=seed,
            run=run,
            engine=choice,
        )
        took = time.perf_counter() - started
    if run.world.rank > 0:
        return
    foreseen = "" if choice.seconds is None else f"; predicted {duration(choice.seconds)} for all of it"
    out.print(f"measured in {duration(took)}{foreseen}", markup=False)
    for line in _audited(measurement, opened, audited) if audited else ():
        out.print(line, markup=False)
    measurement.to_json(output)
    for line in measurement_lines(measurement):
        out.print(line, markup=False)
    out.print(f"wrote {output}", markup=False)


def _audited(measurement: Measurement, base: Base, draws: int) -> list[str]:
    """Audit the measurement before it is written.

    Raises:
        CertificateMismatch: a difference that is not rounding.
    """
    lines = list(audit_lines(audit(measurement, base, draws), draws))
    wrong = [line for line, passed in lines if not passed]
    if wrong:
        raise CertificateMismatch("; ".join(wrong))
    return [line for line, _ in lines]


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
