"""``certify show``: what a file holds, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.output import out, say

if TYPE_CHECKING:
    from certify.certificate import AnyDocument
    from certify.landscape import Landscape


def show(
    files: Annotated[list[Path], typer.Argument(help="Certificates or measurements.", show_default=False)],
) -> None:
    """Say in words what a file holds."""
    from certify.certificate import DOCUMENTS, read_as
    from certify.landscape import Landscape
    from certify.report.landscape_table import print_landscape
    from certify.report.words import document_lines

    kinds: dict[str, type[AnyDocument | Landscape]] = {**DOCUMENTS, "pytest-basin/landscape": Landscape}
    for file in files:
        document: AnyDocument | Landscape = read_as(file, kinds)
        if isinstance(document, Landscape):
            print_landscape(out, document)
        else:
            say(*document_lines(document))
