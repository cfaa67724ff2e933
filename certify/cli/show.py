"""``certify show``: what a file holds, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.exits import Exit
from certify.cli.output import out, say

if TYPE_CHECKING:
    from certify.documents import AnyDocument
    from certify.landscape import Landscape


def show(
    files: Annotated[list[Path], typer.Argument(help="Certificates, and other records.", show_default=False)],
) -> None:
    """Say in words what a file holds, once it is recomputed. Exit 4 if it contradicts itself, which is said first."""
    from certify.documents import DOCUMENTS, read_as
    from certify.landscape import Landscape
    from certify.report.landscape_table import print_landscape
    from certify.report.words import document_lines
    from certify.verify import differences

    contradicted = False
    kinds: dict[str, type[AnyDocument | Landscape]] = {**DOCUMENTS, "pytest-basin/landscape": Landscape}
    for file in files:
        document: AnyDocument | Landscape = read_as(file, kinds)
        if isinstance(document, Landscape):
            print_landscape(out, document)
            continue
        if problems := differences(document):
            contradicted = True
            say(f"INVALID  {file}: {problems[0]} (`certify verify` says all). What follows it says of itself:")
        say(*document_lines(document))
    if contradicted:
        raise typer.Exit(Exit.CONTRADICTION)
