"""``certify compare``: two checkpoints of one base, by the scores that their certificates hold."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from rich.console import Console

from certify.certificate import Certificate, read_document
from certify.comparison import Comparison, Metric, compare
from certify.errors import CertificateMismatch, InvalidInput, InvalidPlan
from certify.evidence import Verdict, alpha_of
from certify.evidence.judgement import down, percent, up
from certify.verify import differences

METRICS: tuple[Metric, ...] = get_args(Metric)


def run_compare(
    out: Console, *, first: Path, second: Path, fail_under: str | None, confidence: float
) -> Verdict | None:
    """Print the change of each metric and the claim; return the verdict on ``fail_under``, None without one."""
    metric, margin = (METRICS[0], None) if fail_under is None else parse_margin(fail_under)
    pair, alpha = (read_valid(first), read_valid(second)), alpha_of(confidence)
    found = {m: compare(*pair, alpha=alpha, metric=m, margin=margin if m == metric else None) for m in METRICS}
    asked = found[metric]
    for line in comparison_lines(asked, found):
        out.print(line, markup=False)
    return asked.verdict


def parse_margin(text: str) -> tuple[Metric, float]:
    """Return metric and margin of ``METRIC=MARGIN``.

    Raises:
        InvalidPlan: another form, or another metric.
    """
    name, equals, number = text.partition("=")
    metric = next((m for m in METRICS if m == name.strip()), None)
    try:
        if metric and equals:
            return metric, float(number)
    except ValueError:
        pass
    raise InvalidPlan(f"--fail-under {text!r}: expected {' or '.join(f'{m}=MARGIN' for m in METRICS)}, as score=-0.01")


def read_valid(path: Path) -> Certificate:
    """Read a certificate that recomputes.

    Raises:
        InvalidInput: the file is no certificate.
        CertificateMismatch: it contradicts itself.
    """
    document = read_document(path)
    if not isinstance(document, Certificate):
        kind = document.schema_name.rpartition("/")[2]
        raise InvalidInput(f"{path}: is a {kind}; compare needs two certificates (`certify check -o` writes them)")
    problems = differences(document)
    if problems:
        raise CertificateMismatch(f"{path}: {problems[0]} (`certify verify {path}` says all)")
    return document


def comparison_lines(asked: Comparison, found: dict[Metric, Comparison]) -> list[str]:
    """Return verdict and claim first, then the change of each metric, notes and limits."""
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
