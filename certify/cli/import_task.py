"""``certify import-task``: the items of a task of lm-eval as a file that any gate takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from certify.cli.options import OverwriteOption
from certify.cli.output import refuse_to_replace, say, say_written


def import_task(
    task: Annotated[str, typer.Argument(help="TASK, TASK@SHOTS or a task's FILE.yaml.", show_default=False)],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the items; settings go beside it.", show_default=False)
    ],
    overwrite: OverwriteOption = False,
) -> None:
    """Write the items of a task of lm-eval, as it asks them, to a file that any gate takes."""
    import json

    from certify.benchmarks.lm_eval_tasks import task_items
    from certify.errors import InvalidInput
    from certify.writing import write_whole

    if output.suffix != ".jsonl":
        raise InvalidInput(f"{output}: items are written as JSONL; name a file that ends in .jsonl")
    settings = output.with_suffix(".toml")
    for file in (output, settings):
        refuse_to_replace(file, overwrite)
    found = task_items(task)
    lines = (json.dumps(item.model_dump(mode="json", exclude_defaults=True)) + "\n" for item in found.items)
    written = [
        write_whole(settings, f'description = {json.dumps(found.description)}\nboundary = "lm-eval"\n'),
        write_whole(output, "".join(lines)),
    ]
    say(f"{found.description}: {len(found.items):,} items")
    say_written(written)
