"""``certify demo``: the whole line on the models that ship with the package."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from certify.certificate import Certificate, Measurement, read_document
from certify.cli.check import print_claims
from certify.cli.exits import Exit
from certify.cli.progress import progress_bars
from certify.demo import DATA
from certify.evidence import KINDS, Requirement
from certify.measuring import Base, PlannedDraws, check, measure_base, subspace_law
from certify.measuring.run import Run, Track
from certify.noise import Subspace, open_subspace
from certify.verify import differences

# Fixed on pilot draws (printed by examples/demo_models/make.py), before any draw that is judged here.
BENCHMARK = "addition"
SIGMA = 0.06
GRID = (0.02, 0.03, 0.045, 0.06, 0.09)
SUBSPACE_SIGMA = 22.0
WEIGHT_DRAWS = 300  # enough to show that no number of them would help on 77,376 weights
SUBSPACE_DRAWS = 1500
SMOOTHED_DRAWS = 100
ALPHA = 0.05
ORDER = ("benign", "full", "adversarial", "subspace", "merge")

# What the demo is meant to show. It is compared with what was computed, and decides the exit code.
EXPECTED = {
    ("benign", "point"): "certified",
    ("benign", "position"): "certified",
    ("benign", "smoothed"): "certified",
    ("adversarial", "point"): "refuted",
    ("adversarial", "position"): "refuted",
    ("adversarial", "smoothed"): "refuted",
    ("full", "distance"): "vacuous",
    ("subspace", "distance"): "not vacuous",
}


def run_demo(out: Console, folder: Path) -> Exit:
    """Measure the base, check the five checkpoints, write records and figures, and verify what was written."""
    import torch

    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    started, requirement = time.perf_counter(), Requirement()
    base = Base.open(DATA / "base", DATA / "benchmarks" / f"{BENCHMARK}.jsonl")
    subspace = open_subspace(DATA / "subspace" / "basis.safetensors")
    out.print(
        f"base: {base.checkpoint.identity.parameters:,} weights; benchmark: {BENCHMARK}, {len(base.scores)} items"
    )
    with progress_bars() as track:
        measurement = _measure(base, subspace, requirement, track)
        certificates = [
            certificate
            for name in ORDER
            for certificate in check(
                base,
                DATA / "checkpoints" / name,
                kinds=tuple(KINDS),
                requirement=requirement,
                alpha=ALPHA,
                measurement=measurement,
                subspaces=[subspace],
                draws=SMOOTHED_DRAWS,
                run=Run(track),
            )
        ]
    written = _write(folder, measurement, certificates, requirement)
    _report(out, certificates, written)
    problems = [*_contradictions(written), *_surprises(certificates)]
    for problem in problems:
        out.print(problem, markup=False)
    out.print(f"finished in {time.perf_counter() - started:.0f} s")
    return Exit.REFUTED if problems else Exit.CERTIFIED


def _measure(base: Base, subspace: Subspace, requirement: Requirement, track: Track) -> Measurement:
    return measure_base(
        base,
        planned=[
            PlannedDraws(base.weight_law(SIGMA), WEIGHT_DRAWS),
            PlannedDraws(subspace_law(subspace, SUBSPACE_SIGMA), SUBSPACE_DRAWS, subspace),
        ],
        grid=GRID,
        alpha=ALPHA,
        requirement=requirement,
        run=Run(track),
    )


def _write(
    folder: Path, measurement: Measurement, certificates: list[Certificate], requirement: Requirement
) -> list[Path]:
    from certify.report.figures import basin_figure, distance_figure, save, segment_figure

    written = [measurement.to_json(folder / "measurement.json")]
    written += [c.to_json(folder / "certificates" / c.file_name) for c in certificates]
    figures = {
        "basin": basin_figure(measurement, certificates, requirement, ALPHA),
        "segments": segment_figure(certificates, requirement),
        "distance": distance_figure(measurement, certificates, ALPHA),
    }
    for name, figure in figures.items():
        written += save(figure, folder / "figures", name)
    return written


def _report(out: Console, certificates: list[Certificate], written: list[Path]) -> None:
    from certify.report.rows import row_of
    from certify.report.table import verdict_table

    rows = [row_of(c) for c in certificates]
    out.print(verdict_table(rows))
    print_claims(out, rows)
    for folder in dict.fromkeys(path.parent for path in written):
        names = [path.name for path in written if path.parent == folder]
        many = f"{len(names)} certificates" if folder.name == "certificates" else ", ".join(names)
        out.print(f"wrote {folder}: {many}", markup=False)


def _contradictions(written: list[Path]) -> list[str]:
    """Verify every record that was written, from the file."""
    lines = []
    for path in written:
        if path.suffix == ".json":
            lines += [f"{path}: {line}" for line in differences(read_document(path))]
    return lines


def _surprises(certificates: list[Certificate]) -> list[str]:
    """Name every verdict that is not what the demo is meant to show."""
    lines = []
    for c in certificates:
        expected = EXPECTED.get((c.checkpoint.name, c.evidence.kind))
        found = c.verdict
        if expected in ("vacuous", "not vacuous"):
            found = "vacuous" if c.judgement.vacuous else "not vacuous"
        if expected is not None and found != expected:
            lines.append(f"unexpected: {c.checkpoint.name}, {c.evidence.kind} is {found}, meant to be {expected}")
    return lines
