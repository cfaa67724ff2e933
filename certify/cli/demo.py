"""``certify demo``: the whole line on the models that ship with the package."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.check import answers, say_verdicts
from certify.cli.exits import Exit
from certify.cli.output import say
from certify.cli.progress import progress_bars
from certify.writing import refuse_unwritable_folder

if TYPE_CHECKING:
    from certify.documents import Certificate, Measurement
    from certify.evidence import Requirement
    from certify.measuring import Base
    from certify.measuring.run import Track
    from certify.noise import Subspace

# Fixed on pilot draws (printed by examples/demo_models/make.py), before any draw that is judged here.
BENCHMARK = "addition"
SIGMA = 0.06
GRID = (0.02, 0.03, 0.045, 0.06, 0.09)
SUBSPACE_SIGMA = 22.0
WEIGHT_DRAWS = 300  # enough to show that no number of them would help on 77,376 weights
SUBSPACE_DRAWS = 1500
SMOOTHED_DRAWS = 100
ALPHA = 0.05
KINDS = ("point", "position", "smoothed", "distance")  # four columns fit a terminal; an audit asks what point asks
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


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for records and figures.")] = Path(
        "basin-demo"
    ),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print every claim in full, too.")] = False,
) -> None:
    """Run everything on a small base and five fine-tunes that ship with the package (CPU, a minute or two)."""
    import torch

    from certify.demo import DATA
    from certify.evidence import Requirement
    from certify.measuring import Base, check
    from certify.measuring.run import Run
    from certify.noise import open_subspace

    torch.set_num_threads(1)  # at this size a second thread costs more than it brings
    refuse_unwritable_folder(output)
    started, requirement = time.perf_counter(), Requirement()
    base = Base.open(DATA / "base", DATA / "benchmarks" / f"{BENCHMARK}.jsonl")
    subspace = open_subspace(DATA / "subspace" / "basis.safetensors")
    say(f"base: {base.checkpoint.identity.parameters:,} weights; benchmark: {BENCHMARK}, {len(base.scores)} items")
    with progress_bars() as track:
        measurement = _measure(base, subspace, requirement, track)
        certificates = [
            certificate
            for name in ORDER
            for certificate in check(
                base,
                DATA / "checkpoints" / name,
                kinds=KINDS[:1],  # what a gate asks for unless told otherwise
                informational=KINDS[1:],
                requirement=requirement,
                alpha=ALPHA,
                measurement=measurement,
                subspaces=[subspace],
                draws=SMOOTHED_DRAWS,
                run=Run(track),
            )
        ]
    written = _write(output, measurement, certificates, requirement)
    say_verdicts(certificates, claims=verbose)
    if not verbose:
        _say_why_vacuous(certificates)
    say(*answers(certificates, ALPHA))
    _say_folders(written)
    _report(output)
    problems = [*_contradictions(written), *_surprises(certificates)]
    say(*problems, f"finished in {time.perf_counter() - started:.0f} s")
    if not problems:
        say(
            "next:",
            f"    open {output / 'report.html'} in a browser: the same as a page",
            f"    certify verify {shlex.quote(str(output))}/certificates/*.json  # recompute them; no models, no torch",
            "    certify init --help  # a gate on models of your own",
        )
    raise typer.Exit(Exit.REFUTED if problems else Exit.CERTIFIED)


def _measure(base: Base, subspace: Subspace, requirement: Requirement, track: Track) -> Measurement:
    from certify.measuring import PlannedDraws, measure_base, subspace_law
    from certify.measuring.run import Run

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
    written += [c.file_in(folder / "certificates") for c in certificates]
    figures = {
        "basin": basin_figure(measurement, certificates, requirement, ALPHA),
        "segments": segment_figure(certificates, requirement),
        "distance": distance_figure(measurement, certificates, ALPHA),
    }
    for name, figure in figures.items():
        written += save(figure, folder / "figures", name)
    return written


def _say_why_vacuous(certificates: list[Certificate]) -> None:
    """Say once why evidence says nothing, of the first for which it is so."""
    first = next((c for c in certificates if c.judgement.vacuous), None)
    if first is not None:
        say(f"{first.evidence.kind} of {first.checkpoint.name} is {first.judgement.notes[0]}")


def _report(folder: Path) -> None:
    """Write the page of all certificates in the folder."""
    from certify.cli.report import report

    report([folder / "certificates"], kind="html", output=folder / "report.html", title="The demo")


def _say_folders(written: list[Path]) -> None:
    for folder in dict.fromkeys(path.parent for path in written):
        names = [path.name for path in written if path.parent == folder]
        many = f"{len(names)} certificates" if folder.name == "certificates" else ", ".join(names)
        say(f"wrote {folder}: {many}")


def _contradictions(written: list[Path]) -> list[str]:
    """Verify every record that was written, from the file."""
    from certify.documents import read_document
    from certify.verify import differences

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
