"""The text of a failed gate: verdict first, replay command last, at most 8 lines and 640 characters.

pytest cuts longer explanations outside CI and without ``-vv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_basin import replay
from pytest_basin.basin import Basin
from pytest_basin.bound import CERTIFIED, REFUTED, Bound
from pytest_basin.results import overall
from pytest_basin.session import Session

if TYPE_CHECKING:
    from certify.evidence.displacement import Displacement
    from certify.report.rows import Row

LINES, CHARACTERS = 8, 640
WIDEST = 150  # of one detail, so that none crowds out the others


def explain(session: Session, operator: str, left: object, right: object) -> list[str] | None:
    """Return the explanation of a failed comparison with a bound or a basin, or None for any other."""
    if isinstance(left, Bound) and isinstance(right, int | float):
        return _of_bound(session, left, f"{left.name} {operator} {right:g}", float(right))
    if isinstance(right, Bound) and isinstance(left, int | float):
        return _of_bound(session, right, f"{left:g} {operator} {right.name}", float(left))
    if isinstance(right, Basin) and operator in ("in", "not in"):
        from certify.checkpoints import Checkpoint

        if isinstance(left, str | Path | Checkpoint):
            name = Path(session.sources.named(left)).name
            return _of_basin(session, right, f"{name} {operator} basin of {Path(right.base).name}", left)
    return None


def _verdict_of(operator: str, left: object, right: object) -> str:
    """Return the verdict that a comparison rests on."""
    if isinstance(left, Bound) and isinstance(right, int | float):
        return left.verdict_at(float(right))
    if isinstance(right, Bound) and isinstance(left, int | float):
        return right.verdict_at(float(left))
    assert isinstance(right, Basin)
    return overall(bound.verdict for bound in right.bounds(left))


def in_brief(operator: str, left: object, right: object) -> str:
    """Return the verdict that a comparison rests on, and what was found against what it asks, in a few signs."""
    verdict = _verdict_of(operator, left, right)
    if isinstance(right, Basin):
        bounds = right.bounds(left)
        return f"{verdict}: {sum(b.verdict == CERTIFIED for b in bounds)} of {len(bounds)} benchmarks certified"
    bound, limit = (left, right) if isinstance(left, Bound) else (right, left)
    assert isinstance(bound, Bound)
    assert isinstance(limit, int | float)
    if bound.certificate is None:
        return f"{verdict}: {bound.reason}"
    row = _row(bound, float(limit))
    if verdict != REFUTED or not _bounded(row):
        return f"{verdict}: {_found(row)}"
    return f"{verdict}: {row.deciding.signs} {'>' if row.at_most else '<'} {limit:g}"


def _of_bound(session: Session, bound: Bound, head: str, limit: float) -> list[str]:
    if bound.certificate is None:
        return fit(session, head, f"UNDECIDED  {bound.reason}", [])
    row = _row(bound, limit)
    verdict = f"{bound.verdict_at(limit).upper()}  {_found(row)}  ({_kind(bound)})"
    details = [row.facts]
    if not row.vacuous:  # why it is comes first: what does not fit goes from the end
        details.append(row.settled_by)
    details.append(_moved(session, bound))
    details[1:1] = bound.notes
    details += row.notes
    if row.vacuous:
        details.append(row.settled_by)
    if bound.file:
        details.append(f"certificate: {session.sources.shown(bound.file)}")
    return fit(session, head, verdict, [d for d in details if d])


def _of_basin(session: Session, basin: Basin, head: str, checkpoint: object) -> list[str]:
    bounds = basin.bounds(checkpoint)
    missed = [b for b in bounds if b.verdict != CERTIFIED] or bounds
    kept = sum(b.verdict == CERTIFIED for b in bounds)
    verdict = f"{overall(b.verdict for b in bounds).upper()}  {kept} of {len(bounds)} benchmarks certified"
    shown = missed if len(missed) <= 3 else missed[:2]
    details = [_line(b) for b in shown]
    details.insert(1, _moved(session, missed[0]))
    if len(missed) > len(shown):
        details.append(f"and {len(missed) - len(shown)} more benchmarks")
    return fit(session, head, f"{verdict}  ({_kind(missed[0])})", [d for d in details if d])


def _line(bound: Bound) -> str:
    if bound.certificate is None:
        return f"{bound.gate.benchmark}: UNDECIDED  {bound.reason}"
    row = _row(bound, bound.required)
    note = f"; {row.notes[0]}" if row.notes else ""
    return f"{bound.gate.benchmark}: {bound.verdict.upper()}  {_found(row)}; {row.facts}{note}"


def _row(bound: Bound, limit: float) -> Row:
    """Return the row of a gate, judged at a limit that may be another than it asks for."""
    from certify.report.rows import row_of

    assert bound.certificate is not None
    return row_of(bound.certificate_at(limit))


def _found(row: Row) -> str:
    """Return the bound that the verdict rests on, and the requirement, which may be of another quantity."""
    return f"{row.found}, {row.required if _bounded(row) else row.asked} required"


def _bounded(row: Row) -> bool:
    """Whether what was found is a bound in the quantity of the requirement; that of a cover is a map."""
    return row.deciding.quantity == row.quantity and row.found == row.deciding.words


def _kind(bound: Bound) -> str:
    from certify.evidence.judgement import percent

    n, of = bound.trials
    evidence = bound.certificate.evidence if bound.certificate else None
    if evidence is not None and evidence.kind in ("point", "position") and evidence.items == "fixed":
        return f"{bound.gate.evidence}, exactly these {n} items"
    return f"{bound.gate.evidence}, {percent(bound.gate.alpha)} one-sided each, {n} {of}"


def _moved(session: Session, bound: Bound) -> str:
    """Return the tensors that moved most, each with its share of the squared distance."""
    from certify.errors import CertifyError

    evidence = bound.certificate.evidence if bound.certificate else None
    if not bound.of_weights:
        return "layers: not known, since no model was loaded" if bound.brought else ""
    try:
        if evidence is not None and evidence.kind == "position":
            displacement = evidence.displacement
        else:
            displacement = session.sources.displacement(bound.base, bound.checkpoint)
    except CertifyError as error:
        return f"layers: {error}"
    return _shares(displacement)


def _shares(displacement: Displacement) -> str:
    from certify.report.rows import share_text

    largest = displacement.largest(3)
    if not largest:
        return "layers: no weight moved"
    shares = ", ".join(f"{_short(name)} {share_text(share)}" for name, share in largest)
    return f"layers: moved {displacement.delta_norm:.3g} in all, {shares}"


def _short(tensor: str) -> str:
    return tensor.removeprefix("model.").removesuffix(".weight")


def brief(session: Session, lines: Sequence[str]) -> str:
    """Return a text of at most 8 lines and 640 characters: what is given, and the command to run the test again."""
    head, *rest = lines
    verdict, *details = rest or [""]
    return "\n  ".join(line for line in fit(session, head, verdict, details) if line)


def fit(session: Session, head: str, verdict: str, details: Sequence[str]) -> list[str]:
    """Return at most 8 lines and 640 characters: the last details go first, then this run's options.

    With ``-vv`` nothing is cut.
    """
    arguments = replay.arguments(session.config, session.settings)
    if session.config.get_verbosity() > 1:
        return [head, verdict, *details, _replay(session, arguments)]
    head, verdict = _cut(head), _cut(verdict)
    kept = [_cut(detail) for detail in details[: LINES - 3]]
    for last in (_replay(session, arguments), _replay(session, [])):
        for count in range(len(kept), min(len(kept), 2) - 1, -1):
            lines = [head, verdict, *kept[:count], *([last] if last else [])]
            if size(lines) <= CHARACTERS:
                return lines
    return [head, verdict, _cut(last)]


def _replay(session: Session, arguments: Sequence[str]) -> str:
    command = replay.command(session.config, session.settings, session.item, arguments)
    return f"replay: {command}" if command else ""


def size(lines: Sequence[str]) -> int:
    """Return the characters of the failure text: pytest writes ``assert`` before it and indents what follows."""
    return len("assert ") + sum(len(line) + len("\n  ") for line in lines)


def _cut(text: str) -> str:
    line = text.replace("\n", " ")
    return line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"
