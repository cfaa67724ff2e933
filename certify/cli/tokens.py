"""``certify tokens``: how far apart the tokens of a model are; a heuristic, and labelled as one."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from certify.cli.progress import progress_bars
from certify.errors import InvalidPlan
from certify.landscape.tokens import TokenDistances, token_distances


def run_tokens(
    out: Console, *, base: Path, output: Path, rho: float, listed: int, memory: int, tensor: str | None, overwrite: bool
) -> None:
    """Stream the distances, print the nearest pairs, and write the record with its figure beside it."""
    if output.exists() and not overwrite:
        raise InvalidPlan(f"{output} exists; name another file or pass --overwrite")
    with progress_bars() as track:
        found = token_distances(base, rho=rho, listed=listed, memory=memory * 2**20, tensor=tensor, track=track)
    _report(out, found, output)


def _report(out: Console, found: TokenDistances, output: Path) -> None:
    from certify.report.figures import save
    from certify.report.token_figure import pair_text, token_figure

    unused = f", {found.unused:,} rows that no token uses left out" if found.unused else ""
    out.print(
        f"{found.tensor} of {found.model}: {found.tokens:,} tokens of width {found.width:,}{unused}", markup=False
    )
    out.print(f"{found.below:,} of {found.pairs:,} pairs are at most {found.rho:g} apart", markup=False)
    for pair in found.nearest:
        out.print(f"    {pair_text(pair)}", markup=False)
    if len(found.nearest) < found.below:
        out.print(f"    and {found.below - len(found.nearest):,} more", markup=False)
    out.print(found.label, markup=False)
    for path in (found.to_json(output), *save(token_figure(found), output.parent, output.stem)):
        out.print(f"wrote {path}", markup=False)
