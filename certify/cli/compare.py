"""``certify compare``: two checkpoints of one base, by the scores that their certificates hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from certify.cli.exits import Exit, of_verdict
from certify.cli.options import ASKED, ConfidenceOption
from certify.cli.output import say
from certify.errors import InvalidInput, InvalidPlan

if TYPE_CHECKING:
    from certify.comparison import Comparison, Metric
    from certify.documents import Certificate


def compare(
    first: Annotated[Path, typer.Argument(help="Certificate of the checkpoint to compare with.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Certificate of the other checkpoint.", show_default=False)],
    fail_under: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC=MARGIN",
            help="score=-0.01 or retention=-0.01: smallest change that is allowed.",
            rich_help_panel=ASKED,
        ),
    ] = None,
    confidence: ConfidenceOption = 0.95,
) -> None:
    """Compare two checkpoints of one base, item by item. Exit 0, or by --fail-under 1 worse, 3 undecided."""
    from certify.comparison import Metric
    from certify.comparison import compare as compare_certificates
    from certify.evidence import alpha_of

    metrics: tuple[Metric, ...] = get_args(Metric)
    metric, margin = (metrics[0], None) if fail_under is None else _margin(fail_under, metrics)
    pair, alpha = (_read_valid(first), _read_valid(second)), alpha_of(confidence)
    found = {
        m: compare_certificates(*pair, alpha=alpha, metric=m, margin=margin if m == metric else None) for m in metrics
    }
    asked = found[metric]
    say(*_comparison_lines(asked, found))
    raise typer.Exit(Exit.CERTIFIED if asked.verdict is None else of_verdict(asked.verdict))


def _margin(text: str, metrics: tuple[Metric, ...]) -> tuple[Metric, float]:
    """Return metric and margin of ``METRIC=MARGIN``.

    Raises:
        InvalidPlan: another form, or another metric.
    """
    name, equals, number = text.partition("=")
    metric = next((m for m in metrics if m == name.strip()), None)
    try:
        if metric and equals:
            return metric, float(number)
    except ValueError:
        pass
    raise InvalidPlan(f"--fail-under {text!r}: expected {' or '.join(f'{m}=MARGIN' for m in metrics)}, as score=-0.01")


def _read_valid(path: Path) -> Certificate:
    """Read a certificate that recomputes.

    Raises:
        InvalidInput: the file is no certificate.
        CertificateMismatch: it contradicts itself.
    """
    from certify.documents import Certificate
    from certify.verify import read_valid

    document = read_valid(path)
    if not isinstance(document, Certificate):
        kind = document.schema_name.rpartition("/")[2]
        raise InvalidInput(f"{path}: is a {kind}; compare needs two certificates (`certify check -o` writes them)")
    return document


def _comparison_lines(asked: Comparison, found: dict[Metric, Comparison]) -> list[str]:
    """Return verdict and claim first, then the change of each metric, notes and limits."""
    from certify.evidence.judgement import down, percent, up

    head = "" if asked.verdict is None else f"{asked.verdict.value.upper()}  "
    lines = [f"{head}{asked.claim}"]
    before, after = asked.scores
    score = "noise-averaged score" if asked.random == "draws" else "score"
    lines.append(f"    {score}: {before:.3f} of {asked.names[0]}, {after:.3f} of {asked.names[1]}")
    sure = f"{percent(asked.alpha)} one-sided each" if asked.random else "known exactly"
    for metric, each in found.items():
        value = "-" if each.change.value is None else f"{each.change.value:+.3f}"
        bounds = f"bounds {down(each.change.lower)} and {up(each.change.upper)}"
        lines.append(f"    change of the {metric}: {value}, {bounds} ({sure})")
    notes = dict.fromkeys(note for each in found.values() for note in each.notes)
    lines += [f"    note: {note}" for note in notes]
    lines += [f"    not covered: {limit}" for limit in asked.limits]
    if asked.margin is None:
        lines.append("    No margin was asked for (--fail-under), so nothing was judged.")
    return lines
