"""``certify init``: a repository with one gate, from a base, a checkpoint and a file of items."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certify.cli.options import ASKED, BaseOption
from certify.cli.output import say, say_written
from certify.errors import BenchmarkError, InvalidPlan
from certify.text import refuse_unseen, shortened
from certify.writing import refuse_unwritable, whole

if TYPE_CHECKING:
    from certify.benchmarks import JsonlBenchmark

PROMPTS = ("prompt", "question", "input", "query", "instruction", "problem")
ANSWERS = ("target", "answer", "output", "completion", "response", "expected", "label", "solution", "answerkey")
CHOICES = ("choices", "options", "endings")
"""What columns are often called, the likeliest first."""
ALPHA = 0.05
"""The plugin's default, which the test that is written leaves as it is."""
FILES = {
    "pytest.toml.j2": "pytest.toml",
    "test_release.py.j2": "tests/test_release.py",
    "release-gate.yml.j2": ".github/workflows/release-gate.yml",
    "README.md.j2": "README.md",
}
"""Templates, and where in the repository each goes."""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new repository.", show_default=False)],
    *,
    base: BaseOption,
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", "-c", help="Folder (or hf://...) of the checkpoint.", show_default=False)
    ],
    items: Annotated[
        Path, typer.Option(help="File of items: JSONL, JSON, CSV, TSV or Parquet; it is copied.", show_default=False)
    ],
    max_drop: Annotated[float, typer.Option(help="Allowed drop in score units.", rich_help_panel=ASKED)] = 0.05,
) -> None:
    """Write a starter repository: the items as a benchmark, a test with one gate, a workflow, and what to type next."""
    from certify.checkpoints.files import ADAPTER_CONFIG
    from certify.evidence import requirement_of
    from certify.evidence.feasibility import require_feasible

    refuse_unseen("the repository", str(folder))
    _refuse_models(base, checkpoint)
    settings, benchmark = _asked(items)
    number = len(benchmark.items)
    require_feasible("point", number, requirement_of(max_drop), ALPHA, benchmark.chance, groups=benchmark.groups)
    copied = folder / "benchmarks" / items.name
    extras = ["adapters" if (checkpoint / ADAPTER_CONFIG).is_file() else "models"]
    extras += ["data"] if items.suffix.lower() == ".parquet" else []
    known: dict[str, Any] = {"base": _from(folder, base), "checkpoint": _from(folder, checkpoint), "items": items.name,
             "settings": copied.with_suffix(".toml").name, "name": benchmark.name, "count": f"{number:,}",
             "max_drop": max_drop, "extras": ",".join(extras)}  # fmt: skip
    known["commands"] = _commands(known["base"], items.name)
    texts: dict[Path, str | None] = {folder / place: text for place, text in _texts(known).items()}
    if not _same(copied, items):  # which lie in their place already
        texts[copied.with_suffix(".toml")] = settings
        texts[copied] = None
    _write(texts, items)
    say(f"{benchmark.name}: {number:,} items, a score of {benchmark.chance:.4g} by chance")
    say_written(texts)
    say("next:", f"    cd {shlex.quote(str(folder))}", *(f"    {line}" for line in known["commands"]))


def _write(texts: Mapping[Path, str | None], items: Path) -> None:
    """Write every file, or none; None stands for a copy of the items.

    Raises:
        InvalidPlan: a file is there already.
        InvalidInput: it cannot be written; what was written before it is removed.
    """
    for path in texts:
        refuse_unwritable(path)
        if os.path.lexists(path):
            raise InvalidPlan(f"{path} exists, and nothing is written over it: name a new folder")
    written = list[Path]()
    try:
        for path, text in texts.items():
            written.append(path)
            with whole(path) as aside:
                shutil.copyfile(items, aside) if text is None else aside.write_text(text, encoding="utf-8")
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _refuse_models(base: Path, checkpoint: Path) -> None:
    """Refuse a model that is not there, or is none, or both at once; what is on the hub is fetched by the first run.

    Raises:
        CheckpointError, InvalidPlan: naming the model.
    """
    from certify.checkpoints import open_checkpoint
    from certify.checkpoints.source import HUB

    for option, model in (("--base", base), ("--checkpoint", checkpoint)):
        if str(model).startswith("hf:/") and not ((named := HUB.fullmatch(str(model))) and named["revision"]):
            raise InvalidPlan(f"{option} {model}: a hub model is written hf://org/name@revision")
    if base == checkpoint or _same(base, checkpoint):
        raise InvalidPlan(f"--base and --checkpoint are both {base}: a gate on the base itself shows nothing")
    opened = None if str(base).startswith("hf:/") else open_checkpoint(base)
    if not str(checkpoint).startswith("hf:/"):
        open_checkpoint(checkpoint, opened)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _from(folder: Path, path: Path) -> str:
    """Return how ``folder`` names what was named from here: as it was, unless by a path that leads from here."""
    if str(path).startswith("hf:/"):
        return str(path).replace("hf:/", "hf://", 1)  # Path() writes hf:/ of hf://
    return str(path if path.is_absolute() else Path(os.path.relpath(path, folder)))


def _asked(items: Path) -> tuple[str, JsonlBenchmark]:
    """Return the settings of the items, and the benchmark that they make: their own, or a mapping of their columns.

    Raises:
        BenchmarkError: they are no items, under no mapping that is known.
    """
    from certify.benchmarks import open_benchmark
    from certify.benchmarks.rows import read_rows

    if not items.is_file():
        read_rows(items)  # says what it is, and what is near
        raise BenchmarkError(f"{items}: name one file of items, which is copied")
    beside = items.with_suffix(".toml")
    if beside.is_file():
        return beside.read_text(encoding="utf-8"), open_benchmark(items)
    rows = read_rows(items)
    for fields in _mappings(rows[0][1] if rows else {}):
        settings = _settings(items.name, fields)
        with tempfile.TemporaryDirectory() as aside:
            copy = Path(aside, items.name)
            shutil.copyfile(items, copy)
            copy.with_suffix(".toml").write_text(settings, encoding="utf-8")
            try:
                return settings, open_benchmark(copy)
            except BenchmarkError as error:
                raise BenchmarkError(str(error).replace(str(copy), str(items))) from None
    columns = shortened(", ".join(map(repr, rows[0][1])) if rows else "none", 160)
    raise BenchmarkError(
        f"{items}: which of its columns ({columns}) is the prompt, and which the answer? Say it in {beside}: "
        '[fields], prompt = "{COLUMN}", target = "{COLUMN}" (or choices and answer), and run this again'
    )


def _mappings(row: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Yield the likeliest way to ask rows of these columns, if there is one; None where they are items as they are."""
    if "messages" in row or ("prompt" in row and ("target" in row or {"choices", "answer"} <= set(row))):
        yield None
        return
    prompt, answer, choices = (_column(row, names) for names in (PROMPTS, ANSWERS, CHOICES))
    if prompt is None or answer is None:
        return
    asked = {"prompt": "{prompt}" if prompt == "prompt" else f"Question: {{{prompt}}}\nAnswer:"}
    letters = [letter for letter in "ABCDEFGH" if letter in row]
    if choices is not None:
        inner = row[choices]
        if isinstance(inner, Mapping) and {"text", "label"} <= set(inner):  # as ARC and others have them
            of = {"choices": f" {{{choices}.text[]}}", "labels": f"{{{choices}.label[]}}"}
        else:
            of = {"choices": f" {{{choices}[]}}"}
        yield {**asked, **of, "answer": f"{{{answer}}}"}
    elif len(letters) > 1:
        yield {**asked, "choices": [f" {{{letter}}}" for letter in letters], "answer": f"{{{answer}}}"}
    else:
        yield {**asked, "target": f" {{{answer}}}"}


def _column(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in reversed(list(row))}
    return next((lower[name] for name in names if name in lower), None)


def _settings(name: str, fields: Mapping[str, Any] | None) -> str:
    lines = [f"description = {_toml(f'Items of {name}.')}"]
    if fields is not None:
        lines += ["", "# How a row becomes an item, guessed from the names of its columns: make it what your model is"]
        lines += ["# used to, and see with `certify show-items` what it then reads.", "[fields]"]
        lines += [f"{key} = {_toml(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Return a text, or a list of texts, as TOML and Python both write it."""
    return json.dumps(value, ensure_ascii=False)


def _commands(base: str, items: str) -> list[str]:
    """Return what to type in the new folder, in this order."""
    benchmark = shlex.quote(f"benchmarks/{items}")
    return [
        f"certify show-items {shlex.quote(base)} -b {benchmark}  # what the model reads",
        "pytest --basin-plan                 # what the gate needs, before anything runs",
        "pytest                              # the gate",
        "certify verify certificates/*.json  # recompute it; no models, no torch",
        "certify report certificates/*.json -t html -o report.html",
    ]


def _texts(known: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of the repository, by their places in it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("certify.cli", "starter"),
        autoescape=False,  # TOML, Python, YAML and Markdown, no page
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["toml"] = _toml
    return {place: environment.get_template(name).render(known) for name, place in FILES.items()}
