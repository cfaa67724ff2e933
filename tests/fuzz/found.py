"""What the job of hostile input found, each made again from what it was: numbers of cases do not outlive a change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile
from hostile_world import CHECK

BASE, BY_SCORES = "show-items base -b b.jsonl", hostile.TARGETS["inspect"].commands[0]


@dataclass(frozen=True)
class Found:
    """One thing that broke the rule once: the command that read it, the file and what became of it."""

    why: str
    command: str = "pytest"
    file: str = ""
    change: Callable[[Path], object] = lambda path: None
    ini: dict[str, Any] = field(default_factory=dict)

    def again(self) -> tuple[str, str]:
        """Run it; return what came of it, and the details if it breaks the rule."""
        return hostile.in_a_folder(self._prepared)

    def _prepared(self, folder: Path) -> list[str]:
        hostile.lay_out(folder, Path(self.file) if self.file else None)
        if self.ini:
            hostile.write_gate(folder, {**hostile.INI, **self.ini}, hostile.MARKER)
            return hostile.PYTEST
        if self.file:
            self.change(folder / self.file)
        return self.command.split()


def fields(*path: str | int, **values: Any) -> Callable[[Path], object]:
    """Set fields of the JSON in a file, or of what lies at ``path`` in it."""

    def change(file: Path) -> None:
        value = inner = json.loads(file.read_text())
        for part in path:
            inner = inner[part]
        inner |= values
        file.unlink()
        file.write_text(json.dumps(value))

    return change


def pipe(file: Path) -> None:
    """Put a pipe in a file's place."""
    file.unlink()
    os.mkfifo(file)


def nearly_wrong(file: Path) -> None:
    """Give an item a score that is next to nothing, as a forger would."""
    value = json.loads(file.read_text())
    value["evidence"]["points"][0]["scores"][0] = 1e-320
    file.unlink()
    file.write_text(json.dumps(value))


def long_item(file: Path) -> None:
    """Put a very long text into an item."""
    file.unlink()
    file.write_text(json.dumps({"prompt": "1", "target": "x" * 70_000}) + "\n")


def long_model(file: Path) -> None:
    """Name a model of a recipe by more than a path can have."""
    text = file.read_text().replace('"tuned"', f'"{"x" * 5000}"')
    file.unlink()
    file.write_text(text)


FOUND = (
    Found("a trillion layers: built until memory ended", CHECK, "base/config.json", fields(num_hidden_layers=10**12)),
    Found("no tokens at all: a library warned first", CHECK, "base/config.json", fields(vocab_size=0)),
    Found("a pipe: opened for ever, deaf to signals", CHECK, "base/model.safetensors", pipe),
    Found("70,000 characters: a check that was quadratic in them", BASE, "b.jsonl", long_item),
    Found("half a surrogate pair: no digest of it", CHECK, "tuned/generation_config.json", fields(x="\ud800")),
    Found("ends of text that are a list of lists", CHECK, "tuned/generation_config.json", fields(eos_token_id=[[1]])),
    Found("a panic of a library in Rust, which is no Exception and prints lines of its own", BASE,
          "base/tokenizer.json", fields("post_processor", special_tokens={})),
    Found("an item that is nearly wrong", "verify records/position.json", "records/position.json", nearly_wrong),
    Found("an epoch that is a list", BY_SCORES, "logs/tuned.json", fields("samples", 0, epoch=[1])),
    Found("half a character in the name of a model", hostile.TARGETS["results"].commands[0],
          "logs/tuned/results_2026-01-01T00-00-00.000000.json", fields(model_name="\ud800")),
    Found("a checkpoint whose name is too long", CHECK.replace("tuned", "x" * 5000)),
    Found("a model of a recipe whose name is too long", hostile.MERGED.format("merge.toml"), "merge.toml", long_model),
    Found("a seed that is a byte and no text", f"{CHECK} --seed \udc80"),
    Found("a confidence of 0", ini={"basin_confidence": 0}),
    Found("a folder of certificates whose name is too long", ini={"basin_cert_dir": "x" * 5000}),
)  # fmt: skip
