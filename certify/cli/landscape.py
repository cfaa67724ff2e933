"""``certify landscape``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from certify.cli.measure import number
from certify.cli.progress import carried_out
from certify.landscape.survey import Settings, explore
from certify.measuring import Base
from certify.report.figures import save
from certify.report.landscape import landscape_figures
from certify.report.landscape_table import print_landscape


def run_landscape(
    out: Console,
    *,
    base: Path,
    benchmark: Path,
    checkpoints: Sequence[Path],
    cases: Sequence[str] | None,
    directions: int,
    span: float | None,
    points: int,
    refine: int,
    side: int,
    attack_at: str,
    steps: int,
    restarts: int,
    max_drop: float,
    seed: int,
    device: str,
    draws_dir: Path | None,
    output: Path,
) -> None:
    """Look around a base; write the record and its figures, and print what was found in words."""
    settings = Settings(
        directions=directions,
        span=span,
        points=points,
        refine=refine,
        side=side,
        attack_at=tuple(number("--attack-at", part) for part in attack_at.split(",") if part.strip()),
        steps=steps,
        restarts=restarts,
        tau=max_drop,
    )
    opened = Base.open(base, benchmark, device)
    with carried_out(1, device, draws_dir) as run:
        landscape = explore(
            opened, checkpoints=checkpoints, cases=cases, settings=settings, user_seed=seed, run=run
        )  # fmt: skip
    written = [landscape.to_json(output / "landscape.json")]
    for name, figure in landscape_figures(landscape).items():
        written += save(figure, output, name)
    print_landscape(out, landscape)
    out.print(f"wrote {output}: {', '.join(path.name for path in written)}", markup=False)
