"""The commands of ``certify``. Each reads its input, calls the library, prints, and returns an exit code."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from certify.cli.exits import OF_VERDICT, Exit, worst

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Did the fine-tuned checkpoint keep what its base could do? Measure, check, verify.",
)
out = Console(highlight=False, soft_wrap=True)


class ItemsAre(StrEnum):
    """What the benchmark's items stand for."""

    population = "population"
    fixed = "fixed"


BenchmarkOption = Annotated[Path, typer.Option("--benchmark", "-b", help="JSONL file of items.", show_default=False)]
ConfidenceOption = Annotated[float, typer.Option(help="Confidence of each statement, strictly between 0 and 1.")]
DropOption = Annotated[float | None, typer.Option(help="Allowed drop in score units (0.05 unless given).")]
RetentionOption = Annotated[float | None, typer.Option(help="Required chance-corrected retention, instead.")]
ScoreOption = Annotated[
    float | None, typer.Option(help="Highest allowed score, instead: the capability must be absent.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="User seed; shown in every record.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda:0 ..., or auto to spread a large model over all devices.")]
ProcessesOption = Annotated[
    int, typer.Option(min=1, help="Processes that share the draws (started by torchrun); refused if fewer run.")
]
DrawsDirOption = Annotated[
    Path | None,
    typer.Option(
        "--draws-dir",
        envvar="CERTIFY_DRAWS_DIR",
        help="Folder where finished draws are kept, so that a killed run resumes (the user's cache if absent).",
    ),
]
SubspaceOption = Annotated[list[Path] | None, typer.Option("--subspace", help="Basis file of a subspace; repeatable.")]


@app.command()
def plan(
    base: Annotated[
        Path | None, typer.Argument(help="Folder (or hub id) of a base to time on --benchmark.", show_default=False)
    ] = None,
    benchmark: Annotated[
        Path | None, typer.Option("--benchmark", "-b", help="JSONL file: its number of items and its chance.")
    ] = None,
    evidence: Annotated[
        str, typer.Option(help="Kinds of evidence to plan for, comma-separated.")
    ] = "point,position,smoothed,distance",
    items: Annotated[int | None, typer.Option(min=1, help="Items at hand (the benchmark's if absent).")] = None,
    draws: Annotated[int | None, typer.Option("--draws", "-n", min=1, help="Draws that can be afforded.")] = None,
    confidence: ConfidenceOption = 0.95,
    max_drop: DropOption = None,
    min_retention: RetentionOption = None,
    max_score: ScoreOption = None,
    true_lost: Annotated[
        float | None, typer.Option(help="Expected share of items lost; adds sizes with power.")
    ] = None,
    power: Annotated[float, typer.Option(help="Wanted probability that a good checkpoint passes.")] = 0.9,
    p1: Annotated[float | None, typer.Option(help="Plan a sequential gate that should pass at this score.")] = None,
    from_distance: Annotated[
        bool, typer.Option("--from-distance", help="Plan for one checkpoint's distance; reads weights only.")
    ] = False,
    of_base: Annotated[Path | None, typer.Option("--base", help="With --from-distance: the base.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="With --from-distance: the checkpoint.")] = None,
    sigma: Annotated[float | None, typer.Option(help="With --from-distance: noise on every weight.")] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Say what a gate needs before anything is drawn. Exit 2 if the given items or draws can never pass."""
    from certify.cli.plan import run_plan, run_plan_from_distance

    if from_distance:
        run_plan_from_distance(
            out,
            base=of_base or base,
            checkpoint=checkpoint,
            sigma=sigma,
            benchmark=benchmark,
            draws=draws,
            confidence=confidence,
            max_drop=max_drop,
            min_retention=min_retention,
            max_score=max_score,
        )
        return
    run_plan(
        out,
        base=base or of_base,
        benchmark=benchmark,
        evidence=_names(evidence),
        items=items,
        draws=draws,
        confidence=confidence,
        max_drop=max_drop,
        min_retention=min_retention,
        max_score=max_score,
        true_lost=true_lost,
        power=power,
        p1=p1,
        device=device,
    )


@app.command()
def measure(
    base: Annotated[Path, typer.Argument(help="Folder (or hub id) of the base.", show_default=False)],
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
    draws: Annotated[int, typer.Option("--draws", "-n", min=1, help="Draws at the base for each law.")] = 1000,
    confidence: ConfidenceOption = 0.95,
    max_drop: DropOption = None,
    min_retention: RetentionOption = None,
    max_score: ScoreOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    processes: ProcessesOption = 1,
    draws_dir: DrawsDirOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the output file if it exists.")] = False,
) -> None:
    """Measure a base once: its basin, and draws that serve every checkpoint."""
    from certify.cli.measure import run_measure

    run_measure(
        out,
        base=base,
        benchmark=benchmark,
        output=output,
        sigma=sigma or [],
        grid=grid,
        subspaces=subspace or [],
        subspace_sigma=subspace_sigma,
        n=draws,
        confidence=confidence,
        max_drop=max_drop,
        min_retention=min_retention,
        max_score=max_score,
        seed=seed,
        device=device,
        processes=processes,
        draws_dir=draws_dir,
        overwrite=overwrite,
    )


@app.command()
def check(
    checkpoint: Annotated[Path, typer.Argument(help="Folder (or hub id) of the checkpoint.", show_default=False)],
    base: Annotated[Path, typer.Option(help="Folder (or hub id) of the base.", show_default=False)],
    benchmark: BenchmarkOption,
    require: Annotated[str, typer.Option(help="Evidence that sets the verdict, comma-separated.")] = "point",
    also: Annotated[str, typer.Option(help="Evidence shown for information only, comma-separated.")] = "",
    measurement: Annotated[Path | None, typer.Option(help="The base's measurement file.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Noise of smoothed evidence (the measurement's if absent).")
    ] = None,
    subspace: SubspaceOption = None,
    draws: Annotated[int, typer.Option("--draws", "-n", min=1, help="Paired draws of smoothed evidence.")] = 200,
    items: Annotated[
        ItemsAre | None,
        typer.Option(help="What the items stand for (a population for point and position, else fixed)."),
    ] = None,
    confidence: ConfidenceOption = 0.95,
    max_drop: DropOption = None,
    min_retention: RetentionOption = None,
    max_score: ScoreOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    processes: ProcessesOption = 1,
    draws_dir: DrawsDirOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the certificates.")] = None,
) -> None:
    """Judge one checkpoint. Exit 0 certified, 1 refuted, 2 bad input, 3 undecided, 4 contradiction."""
    from certify.cli.check import run_check

    required = _names(require)
    certificates = run_check(
        out,
        checkpoint=checkpoint,
        base=base,
        benchmark=benchmark,
        required=required,
        informational=[k for k in _names(also) if k not in required],
        measurement=measurement,
        sigma=sigma,
        subspaces=subspace or [],
        draws=draws,
        items=items.value if items else None,
        confidence=confidence,
        max_drop=max_drop,
        min_retention=min_retention,
        max_score=max_score,
        seed=seed,
        device=device,
        processes=processes,
        draws_dir=draws_dir,
        output=output,
    )
    raise typer.Exit(worst(OF_VERDICT[c.judgement.verdict] for c in certificates if c.evidence.kind in required))


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Certificates or measurements.", show_default=False)],
    base: Annotated[Path | None, typer.Option(help="Also hash this base.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Also hash this checkpoint.")] = None,
    benchmark: Annotated[Path | None, typer.Option(help="Also hash this benchmark.")] = None,
    replay: Annotated[int, typer.Option(min=0, help="Draw this many stored draws at the base again.")] = 0,
    subspace: SubspaceOption = None,
) -> None:
    """Recompute everything that a file claims from what it stores. Exit 0 valid, 4 contradiction."""
    from certify.cli.verify import OtherFiles, run_verify

    others = OtherFiles(base, checkpoint, benchmark, tuple(subspace or ()))
    codes = [run_verify(out, file, others, replay) for file in files]
    raise typer.Exit(worst(codes))


@app.command()
def show(
    files: Annotated[list[Path], typer.Argument(help="Certificates or measurements.", show_default=False)],
) -> None:
    """Say in words what a file holds."""
    from certify.certificate import Certificate, read_document
    from certify.report.words import certificate_lines, measurement_lines

    for file in files:
        document = read_document(file)
        lines = certificate_lines(document) if isinstance(document, Certificate) else measurement_lines(document)
        for line in lines:
            out.print(line, markup=False)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for records and figures.")] = Path(
        "basin-demo"
    ),
) -> None:
    """Run everything on a small base and five fine-tunes that ship with the package (CPU, about a minute)."""
    from certify.cli.demo import run_demo

    raise typer.Exit(run_demo(out, output))


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def exit_code(code: object) -> Exit:
    """Return the code as one of ours; typer hands back None for 0."""
    return Exit(int(code)) if isinstance(code, int) else Exit.CERTIFIED
