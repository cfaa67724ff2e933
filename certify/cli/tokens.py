"""``certify tokens``: how far apart the tokens of a model are; a heuristic, and labelled as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.options import OverwriteOption
from certify.cli.output import refuse_to_replace, say, say_written
from certify.cli.progress import progress_bars

if TYPE_CHECKING:
    from certify.landscape.tokens import TokenDistances


def tokens(
    base: Annotated[Path, typer.Argument(help="Folder, hf://... or weights file of a model.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Record to write; its figure goes beside it.", show_default=False)
    ],
    rho: Annotated[float, typer.Option(help="List the pairs of tokens that are at most this far apart.")] = 0.1,
    listed: Annotated[int, typer.Option("--list", min=0, help="At most so many pairs, nearest first.")] = 50,
    memory: Annotated[int, typer.Option(min=1, help="Most memory for the streamed blocks, in MiB.")] = 256,
    tensor: Annotated[str | None, typer.Option(help="The embedding's name, where config.json cannot tell.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Show how far apart the tokens of a model are (a heuristic; reads its embedding only)."""
    from certify.landscape.tokens import token_distances
    from certify.report.figures import save
    from certify.report.token_figure import token_figure

    refuse_to_replace(output, overwrite)
    with progress_bars() as track:
        found = token_distances(base, rho=rho, listed=listed, memory=memory * 2**20, tensor=tensor, track=track)
    _say_nearest(found)
    say_written([found.to_json(output), *save(token_figure(found), output.parent, output.stem)])


def _say_nearest(found: TokenDistances) -> None:
    from certify.report.token_figure import pair_text

    unused = f", {found.unused:,} rows that no token uses left out" if found.unused else ""
    say(f"{found.tensor} of {found.model}: {found.tokens:,} tokens of width {found.width:,}{unused}")
    say(f"{found.below:,} of {found.pairs:,} pairs are at most {found.rho:g} apart")
    say(*(f"    {pair_text(pair)}" for pair in found.nearest))
    if len(found.nearest) < found.below:
        say(f"    and {found.below - len(found.nearest):,} more")
    say(found.label)
