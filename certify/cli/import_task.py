"""``certify import-task``: the items of a task of lm-eval as a file that any gate takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from certify.cli.options import OverwriteOption
from certify.cli.output import refuse_to_replace, say, say_written


def import_task(
    task: Annotated[str, typer.Argument(help="TASK, TASK@SHOTS or a task's FILE.yaml.", show_default=False)],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the items; settings go beside it.", show_default=False)
    ],
    metric: Annotated[
        str | None, typer.Option(help="Score to take over, NAME or NAME,FILTER, where the task has several.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Field of the task's documents that names the group an item comes in.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask in a chat, examples as turns, by each model's template.")]
    = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the items of a task of lm-eval, as it asks them, to a file that any gate takes."""
    import json

    from certify.benchmarks.jsonl import task_benchmark
    from certify.benchmarks.lm_eval_tasks import TASK, task_items
    from certify.errors import InvalidInput
    from certify.writing import write_whole

    if output.suffix != ".jsonl":
        raise InvalidInput(f"{output}: items are written as JSONL; name a file that ends in .jsonl")
    settings = output.with_suffix(".toml")
    for file in (output, settings):
        refuse_to_replace(file, overwrite)
    found = task_items(task.removeprefix(TASK), metric, cluster, chat)
    task_benchmark(found)  # refuses what the file would be refused for
    written = [
        write_whole(settings, _toml(found.settings)),
        write_whole(output, "".join(json.dumps(row) + "\n" for row in found.rows)),
    ]
    say(f"{found.settings['description']}: {len(found.rows):,} items")
    say_written(written)


def _toml(settings: dict[str, Any]) -> str:
    """Return settings as TOML: a table of its own for each that holds others, these written inline."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    tables = [f"\n[{name}]\n{_lines(value)}" for name, value in settings.items() if isinstance(value, dict)]
    return _lines(plain) + "".join(tables)


def _lines(values: dict[str, Any]) -> str:
    return "".join(f"{name} = {_inline(value)}\n" for name, value in values.items())


def _inline(value: Any) -> str:
    import json

    if isinstance(value, dict):
        pairs = ((name if name.isascii() and name.isidentifier() else _inline(name), _inline(each))
                 for name, each in value.items())  # fmt: skip
        return f"{{ {', '.join(f'{name} = {each}' for name, each in pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON leaves as it is, and TOML not
