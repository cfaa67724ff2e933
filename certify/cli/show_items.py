"""``certify show-items``: what a model reads when it is asked the items of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from certify.cli.options import BenchmarkOption
from certify.cli.output import say


def show_items(
    model: Annotated[Path, typer.Argument(help="Folder (or hf://...) whose tokenizer asks.", show_default=False)],
    *,
    benchmark: BenchmarkOption,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="The first so many items.")] = 3,
) -> None:
    """Show items as the model reads them: every token, and which of them are scored."""
    from certify.benchmarks import open_benchmark
    from certify.checkpoints import load_tokenizer, open_checkpoint
    from certify.text import visible

    opened, items = open_checkpoint(model), open_benchmark(benchmark)
    tokenizer = load_tokenizer(opened)
    scorer: Any = items.encode(tokenizer)  # either kind of a file's scorers lists its continuations
    say(f"{items.name}: {scorer.identity.items:,} items, {scorer.identity.scoring}, chance {items.chance:.4g}")
    for asked in scorer.continuations:
        if asked.item >= number:
            break
        prompt, ending = (
            tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
            for ids in (asked.ids[: asked.start], asked.ids[asked.start :])
        )
        say(
            f"item {asked.item + 1}: {asked.start} tokens of the prompt, {len(asked.ids) - asked.start} scored",
            f"    prompt {visible(repr(prompt))}",
            *[f"    scored {visible(repr(ending))}"] * bool(ending),
            f"    tokens {' '.join(map(str, asked.ids[: asked.start]))} | "
            f"{' '.join(map(str, asked.ids[asked.start :])) or '(generated)'}",
        )
