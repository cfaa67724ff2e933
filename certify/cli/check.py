"""``certify check``: checkpoints of one base, judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from certify.cli.check_scores import Brought, judge_scores
from certify.cli.exits import Exit, of_verdict, worst
from certify.cli.options import (
    ASKED,
    Asked,
    ConfigOption,
    ServedByOption,
    SubspaceOption,
    Work,
    Workers,
    names,
    spread,
)
from certify.cli.output import out, say, say_written
from certify.cli.progress import carried_out
from certify.errors import CheckpointError, InvalidPlan
from certify.writing import refuse_unwritable_folder

if TYPE_CHECKING:
    from certify.benchmarks import Benchmark
    from certify.checkpoints import Checkpoint
    from certify.checkpoints.served import Layout
    from certify.documents import Certificate, Measurement, ScoresRecord
    from certify.measuring import Base

KINDS = "point, position, smoothed, distance, audit"
"""In the help, which loads nothing of the library."""


@spread()
def check(
    checkpoint: Annotated[
        list[Path] | None,
        typer.Argument(help="Folder (or hf://...) of a checkpoint, or a merge's recipe; several at once.",
                       show_default=False),
    ] = None,
    *,
    base: Annotated[Path | None, typer.Option(help="Folder (or hf://...) of the base.", show_default=False)] = None,
    benchmark: Annotated[
        list[Path] | None,
        typer.Option("--benchmark", "-b", help="Items, a pool, or lm-eval:TASK; repeatable.", show_default=False),
    ] = None,
    require: Annotated[
        str, typer.Option(help=f"Evidence that sets the verdict: {KINDS}, comma-separated.", rich_help_panel=ASKED)
    ] = "point",
    also: Annotated[
        str, typer.Option(help="Evidence shown for information only, of the same kinds.", rich_help_panel=ASKED)
    ] = "",
    measurement: Annotated[
        list[Path] | None, typer.Option(help="The base's measurement file; one for each benchmark, in any order.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Noise of smoothed evidence (the measurement's if absent).")
    ] = None,
    subspace: SubspaceOption = None,
    draws: Annotated[int, typer.Option("--draws", "-n", min=1, help="Paired draws of smoothed evidence.")] = 200,
    items: Annotated[
        Literal["population", "fixed"] | None,
        typer.Option(
            help="What the items stand for (a population for point and position, else fixed).", rich_help_panel=ASKED
        ),
    ] = None,
    brought: Brought,
    config: ConfigOption = None,
    every: Annotated[
        bool, typer.Option("--all", help="Check all checkpoints in a trainer's output folder, in the order of steps.")
    ] = False,
    engine: ServedByOption = "transformers",
    asked: Asked,
    work: Work,
    workers: Workers,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the certificates.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is spelled differently, too.")] = False,
) -> None:
    """Judge checkpoints of one base. Exit 0 certified, 1 refuted, 2 bad input, 3 undecided, 4 contradiction."""
    required = names(require)
    if brought.given:
        if output is not None:
            refuse_unwritable_folder(output)
        models = {"CHECKPOINT": checkpoint, "--base": base, "--measurement": measurement, "--sigma": sigma,
                  "--subspace": subspace, "--also": also, "--config": config,
                  "--all": every, "--engine": engine == "vllm"}  # fmt: skip
        if (mixed := [name for name, value in models.items() if value]) or required != ["point"]:
            what = ", ".join(mixed) or f"--require {require}"
            raise InvalidPlan(f"{what}: scores made elsewhere give point evidence, without models")
        if files := [str(each) for each in benchmark or () if each.suffix != ".toml"]:
            named = ", ".join(files)
            raise InvalidPlan(f"--benchmark {named}: the items are in the logs; name a pool (.toml) of tasks or none")
        _finish(judge_scores(brought, benchmark or [], asked.requirement, asked.alpha, items), asked.alpha, output)
    named_in_it = measurement is not None and required == ["distance"] and not also
    if not checkpoint or base is None or not (benchmark or named_in_it):
        missing = [name for name, value in (("CHECKPOINT", checkpoint), ("--base", base), ("--benchmark", benchmark))
                   if not value]  # fmt: skip
        named = ", ".join(missing)
        raise InvalidPlan(f"Missing option {named} (or --scores and --scores-of, for scores made elsewhere)")
    judge_each(
        checkpoint,
        base,
        benchmark or [],
        measurement or [],
        required,
        [kind for kind in names(also) if kind not in required],
        asked,
        work,
        output,
        layout=workers.layout(engine, work),
        config=config,
        every=every,
        verbose=verbose,
        sigma=sigma,
        subspaces=subspace or (),
        draws=draws,
        items=items,
    )


def judge_each(
    checkpoints: Sequence[Path],
    base: Path,
    benchmarks: Sequence[Path],
    measurements: Sequence[Path],
    required: Sequence[str],
    informational: Sequence[str],
    asked: Asked,
    work: Work,
    output: Path | None,
    *,
    layout: Layout | None = None,
    config: Path | None = None,
    every: bool = False,
    verbose: bool = False,
    subspaces: Sequence[Path] = (),
    **how: Any,
) -> NoReturn:
    """Judge checkpoints (``every``: all of a run) on each benchmark; say and file what was found, exit as it says."""
    from certify.benchmarks import open_pool_or_benchmark
    from certify.checkpoints import open_checkpoint
    from certify.checkpoints.difference import spelling_differences
    from certify.documents import read_measurement
    from certify.measuring import Base
    from certify.measuring import check as check_checkpoint
    from certify.measuring.candidate import Candidate
    from certify.noise import open_subspace

    if output is not None:
        refuse_unwritable_folder(output)
    places = [place for each in checkpoints for place in _below(each)] if every else _named_once(checkpoints)
    with carried_out(work, filed=output) as run:
        counted_before, found_base = [read_measurement(path) for path in measurements], open_checkpoint(base)
        items = [open_pool_or_benchmark(path) for path in benchmarks] or _brought_items(counted_before, found_base)
        opened = Base.open(found_base, items[0], work.device, layout)
        bases = [opened, *map(opened.on, items[1:])]
        measured = _of_benchmarks(counted_before, bases)
        bases_of = [open_subspace(path) for path in subspaces]

        def judged(place: Path) -> tuple[list[Certificate], list[str]]:
            """Return the certificates of one checkpoint, and what is spelled differently beside its weights."""
            candidate = Candidate(opened, open_checkpoint(place, opened.checkpoint, config=config))
            certificates = [
                certificate
                for each, counted in zip(bases, measured, strict=True)
                for certificate in check_checkpoint(
                    each,
                    candidate,
                    kinds=required,
                    informational=informational,
                    requirement=asked.requirement,
                    alpha=asked.alpha,
                    measurement=counted,
                    subspaces=bases_of,
                    user_seed=work.seed,
                    run=run,
                    **how,
                )
            ]
            return certificates, spelling_differences(opened.checkpoint, candidate.checkpoint) or ["nothing"]

        filed = output if run.world.rank == 0 else None
        found, refused = _of_each(places, judged, filed) if every or places[1:] else ([judged(places[0])], [])
    certificates = [certificate for each, _ in found for certificate in each]
    if run.world.rank:
        raise typer.Exit(_exit_code(certificates, refused))
    lines = [f"{of[0].checkpoint.name}, " * bool(found[1:]) + line for of, spelled in found for line in spelled]
    more = [f"spelled differently beside the weights: {line}" for line in lines] if verbose else []
    _finish(certificates, asked.alpha, output, more, refused)


def _finish(
    records: Sequence[Certificate | ScoresRecord],
    alpha: float,
    output: Path | None,
    more: Sequence[str] = (),
    refused: Sequence[str] = (),
) -> NoReturn:
    """Print what was found, write it, and leave with its code; ``refused``: a line for each that was not judged."""
    say_verdicts(records)
    say(*more)
    say(*answers(records, alpha))
    if len(decisive := _decisive(records)) > 1:
        say(_holm_line(decisive, alpha))
    if output is not None:
        say_written(record.file_in(output) for record in records)
    say(*refused)
    raise typer.Exit(_exit_code(records, refused))


def _brought_items(measurements: Sequence[Measurement], base: Checkpoint) -> list[Benchmark]:
    """Return the items of measurements whose scores another tool made, which are named there alone.

    Raises:
        InvalidPlan: one was scored here.
    """
    from certify.benchmarks.brought import BroughtItems

    if here := [each.benchmark.name for each in measurements if each.benchmark.tokens is not None]:
        raise InvalidPlan(f"Missing option --benchmark: the measurement on {here[0]} was scored here")
    return [BroughtItems(each.benchmark, base) for each in measurements]


def _decisive(records: Sequence[Certificate | ScoresRecord]) -> list[Certificate | ScoresRecord]:
    return [record for record in records if not getattr(record, "informational", False)]


def _exit_code(records: Sequence[Certificate | ScoresRecord], refused: Sequence[str]) -> int:
    verdicts = (of_verdict(record.judgement.verdict) for record in _decisive(records))
    return worst([*verdicts, *[Exit.BAD_INPUT] * len(refused)])


def _below(folder: Path) -> list[Path]:
    """Return the checkpoints in a trainer's output folder, by their steps.

    Raises:
        InvalidPlan: there are none.
    """
    from certify.checkpoints.files import checkpoints_below

    found = checkpoints_below(folder) if folder.is_dir() else []
    if not found:
        raise InvalidPlan(f"{folder}: --all takes a folder of checkpoints (checkpoint-100, ...), and finds none")
    return [*found, folder] if any(folder.glob("*.safetensors")) else found  # the final model lies in the run's own


def _named_once(checkpoints: Sequence[Path]) -> Sequence[Path]:
    """Return the checkpoints, each of which is there and named once: a typo should not cost the others' draws.

    Raises:
        CheckpointError: one is not there.
        InvalidPlan: one is named twice, and would count as two gates.
    """
    from certify.checkpoints.source import locate

    found: list[Path] = []
    for place in (locate(each).resolve() for each in checkpoints):
        if place in found:
            raise InvalidPlan(f"{place}: this checkpoint is named twice")
        found.append(place)
    return checkpoints


def _of_each(
    places: Sequence[Path], judged: Callable[[Path], tuple[list[Certificate], list[str]]], filed: Path | None
) -> tuple[list[tuple[list[Certificate], list[str]]], list[str]]:
    """Return what was found of each checkpoint, and a line for each that cannot be judged: the others still are.

    Certificates are filed as they are found, so that a run that is killed has lost none of them.
    """
    found, refused = [], []
    for place in places:
        try:
            found.append(judged(place))
        except CheckpointError as error:
            refused.append(f"not judged: {error}")
        else:
            _ = [certificate.file_in(filed) for certificate in found[-1][0] if filed is not None]
    return found, refused


def _of_benchmarks(
    measurements: list[Measurement], bases: Sequence[Base]
) -> list[Measurement | Sequence[Measurement] | None]:
    """Return the measurement of each base's benchmark; of a pool those of all of its benchmarks, or none.

    A single benchmark's, or a single pool's, are its own whatever they measured: `check` says what does not fit.

    Raises:
        InvalidPlan: a benchmark that is named twice, or a measurement of none of them.
    """
    digests = [base.benchmark.digest for base in bases]
    if len(set(digests)) < len(digests):
        raise InvalidPlan("--benchmark: the same items are named twice")
    pools = [tuple(each.digest for each in getattr(base.benchmark, "benchmarks", ())) for base in bases]
    if len(bases) == 1 and pools[0]:
        return [measurements or None]
    if len(bases) == 1 and len(measurements) == 1:
        return [*measurements]
    by_digest = {each.benchmark.digest: each for each in measurements}
    if len(by_digest) < len(measurements):
        twice = next(each for each in measurements if by_digest[each.benchmark.digest] is not each).benchmark.name
        raise InvalidPlan(f"--measurement: two are of {twice}: name the one that is meant")
    found: list[Measurement | Sequence[Measurement] | None] = []
    used = set(digests)
    for digest, parts in zip(digests, pools, strict=True):
        whole = parts and all(part in by_digest for part in parts)
        found.append([by_digest[part] for part in parts] if whole else by_digest.get(digest))
        used |= set(parts if whole else ())
    if left := [each.benchmark.name for each in measurements if each.benchmark.digest not in used]:
        raise InvalidPlan(f"--measurement: one is of {left[0]}, and of no --benchmark given (a pool takes one of each)")
    return found


def say_verdicts(certificates: Sequence[Certificate | ScoresRecord], claims: bool = True) -> None:
    """Print the table of verdicts, then (``claims``) one sentence for each, and its notes."""
    from certify.report.rows import row_of, told_apart
    from certify.report.table import verdict_table

    rows, _ = told_apart([row_of(c) for c in certificates], None)
    out.print(verdict_table(rows))
    several = len({row.benchmark for row in rows}) > 1
    for row in rows if claims else ():
        gate = f"{row.checkpoint}, {row.evidence}" + f"[{row.benchmark}]" * several
        say(f"{gate}: {row.claim}", *(f"    {note}" for note in (*row.notes, row.settled_by) if note))


def answers(records: Sequence[Certificate | ScoresRecord], alpha: float) -> list[str]:
    """Return an answer for each of several checkpoints, as a report begins with, and what all of them rest on."""
    from certify.cli.report import with_p_values
    from certify.report.release import headlines, rests_on
    from certify.report.rows import Context, row_of, told_apart

    about = Context(alpha=alpha)
    rows = with_p_values([(row_of(record), record) for record in records], about)
    found = headlines(*told_apart(rows, about))
    if len(found) < 2:
        return []
    lines = [f"{each.checkpoint}: {each.answer}. {each.because[:1].upper()}{each.because[1:]}." for each in found]
    return [*lines, *filter(None, [rests_on(found, about)])]


def _holm_line(certificates: Sequence[Certificate | ScoresRecord], alpha: float) -> str:
    """Say which of several gates hold jointly, by Holm's procedure."""
    from certify.joint import ALL_HOLD, holm_certified
    from certify.report.rows import row_of, told_apart

    holds = holm_certified(certificates, alpha)
    rows, _ = told_apart([row_of(c) for c in certificates], None)
    several = len({c.benchmark.digest for c in certificates}) > 1
    many = len({row.checkpoint for row in rows}) > 1
    named = [f"{row.checkpoint}, " * many + row.evidence + f"[{row.benchmark}]" * several for row in rows]
    between = "; " if many else ", "
    held = between.join(name for name, yes in zip(named, holds, strict=True) if yes)
    whole = ALL_HOLD if not all(holds) and all(c.verdict == "certified" for c in certificates) else ""
    return f"Holm over {len(holds)} gates at {alpha:g}: {sum(holds)} certified jointly{held and f' ({held})'}{whole}"
