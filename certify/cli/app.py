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


class EngineName(StrEnum):
    """Who draws what serves a mean claim alone."""

    auto = "auto"
    explicit = "explicit"
    activation = "activation"


class DesignName(StrEnum):
    """What a draw at the base scores."""

    table = "table"
    pairs = "pairs"


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
DesignOption = Annotated[
    DesignName, typer.Option(help="Distance draws: all items under each (table), or one random item (pairs).")
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
        Path | None, typer.Argument(help="Folder (or hf://...) of a base to time on --benchmark.", show_default=False)
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
    sigma: Annotated[
        float | None, typer.Option(help="Noise on every weight, with --from-distance or for timing a base.")
    ] = None,
    design: DesignOption = DesignName.table,
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
        sigma=sigma,
        design=design.value,
        device=device,
    )


@app.command()
def measure(
    base: Annotated[Path, typer.Argument(help="Folder (or hf://...) of the base.", show_default=False)],
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
    design: DesignOption = DesignName.table,
    engine: Annotated[
        EngineName, typer.Option(help="Engine of basin and pairs; auto times both on pilot draws.")
    ] = EngineName.auto,
    audit: Annotated[
        int, typer.Option(min=0, help="Re-run this many activation-space draws of each run as ordinary models.")
    ] = 0,
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
        design=design.value,
        engine=engine.value,
        audited=audit,
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
    checkpoint: Annotated[Path, typer.Argument(help="Folder (or hf://...) of the checkpoint.", show_default=False)],
    base: Annotated[Path, typer.Option(help="Folder (or hf://...) of the base.", show_default=False)],
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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is spelled differently, too.")] = False,
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
        verbose=verbose,
    )
    raise typer.Exit(worst(OF_VERDICT[c.judgement.verdict] for c in certificates if c.evidence.kind in required))


@app.command()
def gate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder (or hf://...) of the checkpoint.", show_default=False)],
    base: Annotated[Path, typer.Option(help="Folder (or hf://...) of the base.", show_default=False)],
    benchmark: BenchmarkOption,
    sigma: Annotated[list[str], typer.Option(help="Noise on weights: a number, or PATTERN=NUMBER for chosen tensors.")],
    p1: Annotated[float, typer.Option(help="Noise-averaged score at which the gate should pass.", show_default=False)],
    at_least: Annotated[float | None, typer.Option(help="Required noise-averaged score.")] = None,
    min_retention: Annotated[
        float | None, typer.Option(help="Required share of the base's score without noise, above chance, instead.")
    ] = None,
    confidence: ConfidenceOption = 0.95,
    power: Annotated[float, typer.Option(help="Wanted probability of a pass at --p1; sets the cap.")] = 0.9,
    cap: Annotated[
        int | None, typer.Option(min=1, help="Most draws (1.5 times those of a fixed test with that power if absent).")
    ] = None,
    futility: Annotated[
        bool, typer.Option("--futility", help="Give up as undecided when --p1 looks unlikely, instead of refuting.")
    ] = False,
    engine: Annotated[
        EngineName, typer.Option(help="auto: in activation space, many draws a batch, where that is exact.")
    ] = EngineName.auto,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    processes: ProcessesOption = 1,
    draws_dir: DrawsDirOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the record.")] = None,
) -> None:
    """Draw until it is decided whether one checkpoint keeps a score under noise. Exit 0, 1, 2, 3 as `check`."""
    from certify.cli.gate import run_gate

    record = run_gate(
        out,
        checkpoint=checkpoint,
        base=base,
        benchmark=benchmark,
        sigma=sigma,
        at_least=at_least,
        min_retention=min_retention,
        p1=p1,
        confidence=confidence,
        power=power,
        cap=cap,
        futility=futility,
        engine=engine.value,
        seed=seed,
        device=device,
        processes=processes,
        draws_dir=draws_dir,
        output=output,
    )
    raise typer.Exit(OF_VERDICT[record.judgement.verdict])


@app.command()
def basin(
    base: Annotated[Path, typer.Argument(help="Folder (or hf://...) of the base.", show_default=False)],
    benchmark: BenchmarkOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Record to write; its figure goes beside it.", show_default=False)
    ],
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", "-c", help="Also say where this checkpoint lies; repeatable.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Ascending sigmas, comma-separated; placed by pilot draws if absent.")
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", "-n", min=0, help="Whole-benchmark draws at each sigma, for the strict share.")
    ] = 100,
    engine: Annotated[
        EngineName, typer.Option(help="Engine of the width; auto times both on pilot draws.")
    ] = EngineName.auto,
    confidence: ConfidenceOption = 0.95,
    max_drop: DropOption = None,
    min_retention: RetentionOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    processes: ProcessesOption = 1,
    draws_dir: DrawsDirOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the output file if it exists.")] = False,
) -> None:
    """Say how wide the basin of a base is. Exit 0 if some sigma is certified, 1 if the smallest is refuted, else 3."""
    from certify.cli.basin import run_basin

    record = run_basin(
        out,
        base=base,
        benchmark=benchmark,
        output=output,
        checkpoints=checkpoint or [],
        grid=grid,
        draws=draws,
        engine=engine.value,
        confidence=confidence,
        max_drop=max_drop,
        min_retention=min_retention,
        seed=seed,
        device=device,
        processes=processes,
        draws_dir=draws_dir,
        overwrite=overwrite,
    )
    raise typer.Exit(OF_VERDICT[record.judgement.verdict])


@app.command()
def tokens(
    base: Annotated[Path, typer.Argument(help="Folder, hf://... or weights file of a model.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Record to write; its figure goes beside it.", show_default=False)
    ],
    rho: Annotated[float, typer.Option(help="List the pairs of tokens that are at most this far apart.")] = 0.1,
    listed: Annotated[int, typer.Option("--list", min=0, help="At most so many pairs, nearest first.")] = 50,
    memory: Annotated[int, typer.Option(min=1, help="Most memory for the streamed blocks, in MiB.")] = 256,
    tensor: Annotated[str | None, typer.Option(help="The embedding's name, where config.json cannot tell.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the output file if it exists.")] = False,
) -> None:
    """Show how far apart the tokens of a model are (a heuristic; reads its embedding only)."""
    from certify.cli.tokens import run_tokens

    run_tokens(out, base=base, output=output, rho=rho, listed=listed, memory=memory, tensor=tensor, overwrite=overwrite)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Certificates or measurements.", show_default=False)],
    base: Annotated[Path | None, typer.Option(help="Also hash this base.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Also hash this checkpoint.")] = None,
    benchmark: Annotated[Path | None, typer.Option(help="Also hash this benchmark.")] = None,
    replay: Annotated[int, typer.Option(min=0, help="Draw this many stored draws at the base again.")] = 0,
    audit: Annotated[int, typer.Option(min=0, help="Re-run this many activation-space draws as ordinary models.")] = 0,
    subspace: SubspaceOption = None,
) -> None:
    """Recompute everything that a file claims from what it stores. Exit 0 valid, 4 contradiction."""
    from certify.cli.verify import OtherFiles, run_verify

    others = OtherFiles(base, checkpoint, benchmark, tuple(subspace or ()))
    codes = [run_verify(out, file, others, replay, audit) for file in files]
    raise typer.Exit(worst(codes))


@app.command()
def show(
    files: Annotated[list[Path], typer.Argument(help="Certificates or measurements.", show_default=False)],
) -> None:
    """Say in words what a file holds."""
    from certify.certificate import DOCUMENTS, AnyDocument, read_as
    from certify.landscape import Landscape
    from certify.report.landscape_table import print_landscape
    from certify.report.words import document_lines

    kinds: dict[str, type[AnyDocument | Landscape]] = {**DOCUMENTS, "pytest-basin/landscape": Landscape}
    for file in files:
        document: AnyDocument | Landscape = read_as(file, kinds)
        if isinstance(document, Landscape):
            print_landscape(out, document)
            continue
        for line in document_lines(document):
            out.print(line, markup=False)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Certificate of the checkpoint to compare with.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Certificate of the other checkpoint.", show_default=False)],
    fail_under: Annotated[
        str | None,
        typer.Option(metavar="METRIC=MARGIN", help="score=-0.01 or retention=-0.01: smallest change that is allowed."),
    ] = None,
    confidence: ConfidenceOption = 0.95,
) -> None:
    """Compare two checkpoints of one base, item by item. Exit 0, or by --fail-under 1 worse, 3 undecided."""
    from certify.cli.compare import run_compare

    verdict = run_compare(out, first=first, second=second, fail_under=fail_under, confidence=confidence)
    raise typer.Exit(Exit.CERTIFIED if verdict is None else OF_VERDICT[verdict])


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument(help="Certificates, or reports as JSON.", show_default=False)],
    kind: Annotated[
        str, typer.Option("--type", "-t", help="json, markdown, markdown-append or html.", metavar="TYPE")
    ] = "markdown",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (standard output if absent).")
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "",
    date: Annotated[str, typer.Option(help="Date to print; none unless given, so that a report is reproducible.")] = "",
) -> None:
    """Render certificates as a report. Exit 0 when it was written: the verdicts are those of the files."""
    from certify.cli.report import run_report

    run_report(out, files=files, kind=kind, output=output, title=title, date=date)


@app.command()
def landscape(
    base: Annotated[Path, typer.Argument(help="Folder (or hf://...) of the base.", show_default=False)],
    benchmark: BenchmarkOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the record and its figures.", show_default=False)
    ],
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", "-c", help="A checkpoint to look towards; repeatable.")
    ] = None,
    cases: Annotated[
        str | None,
        typer.Option(
            help="Of most, sft, worst, filter, plane, comma-separated (most, worst, with a checkpoint sft, if absent)."
        ),
    ] = None,
    directions: Annotated[int, typer.Option(min=1, help="Random directions, whose spread is shown.")] = 5,
    span: Annotated[
        float | None, typer.Option(help="How far slices go, in the unit of sigma; a pilot chooses if absent.")
    ] = None,
    points: Annotated[int, typer.Option(min=3, help="Points of a slice that are fixed beforehand; odd.")] = 21,
    refine: Annotated[int, typer.Option(min=0, help="Points added where the scores fall.")] = 12,
    side: Annotated[int, typer.Option(min=2, help="Points along each axis of a plane.")] = 15,
    attack_at: Annotated[
        str, typer.Option(help="Radii of the worst case, comma-separated (a fifth of the span if absent).")
    ] = "",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each ascent to a worst case.")] = 30,
    restarts: Annotated[int, typer.Option(min=1, help="Ascents to each worst case, from random starts.")] = 3,
    max_drop: Annotated[float, typer.Option(help="Allowed drop in score units: where an edge is drawn.")] = 0.05,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    draws_dir: DrawsDirOption = None,
) -> None:
    """Look around a base: slices with their spread, an attack, the way to checkpoints. Explores; proves nothing."""
    from certify.cli.landscape import run_landscape

    run_landscape(
        out,
        base=base,
        benchmark=benchmark,
        checkpoints=checkpoint or [],
        cases=None if cases is None else _names(cases),
        directions=directions,
        span=span,
        points=points,
        refine=refine,
        side=side,
        attack_at=attack_at,
        steps=steps,
        restarts=restarts,
        max_drop=max_drop,
        seed=seed,
        device=device,
        draws_dir=draws_dir,
        output=output,
    )


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
