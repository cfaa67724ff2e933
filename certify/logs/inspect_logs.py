"""Inspect AI: logs of one task, as JSON or as ``.eval``, which is a ZIP archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certify.benchmarks.clusters import label_in
from certify.benchmarks.rows import LARGEST
from certify.errors import InvalidInput
from certify.logs.log import Log, ScoredItem, count_of, hash_of, once, text
from certify.parsing import plain_json, read_bytes
from certify.text import shortened

LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Correct, partial, incorrect and no answer: the values that Inspect's own accuracy gives them."""
HEADER, SUMMARIES = "header.json", "summaries.json"


def is_inspect(value: object) -> bool:
    """Whether a JSON value is a log of Inspect."""
    return isinstance(value, dict) and {"version", "status", "eval"} <= value.keys()


def read_inspect(
    file: Path, digest: str, value: Mapping[str, Any] | None = None, cluster: str | None = None
) -> Log:
    """Return what a log says; ``value`` is its JSON where that was read already.

    Raises:
        InvalidInput: it is not one, or its run did not end well.
    """
    header, samples = _opened(file) if value is None else (value, value.get("samples"))
    if not is_inspect(header) or not isinstance(header["eval"], dict):
        raise InvalidInput(f"{file}: is no log of Inspect")
    if header["status"] != "success":
        raise InvalidInput(
            f"{file}: its run ended as {header['status']!r}, so that scores are missing: `inspect eval-retry` "
            "completes it"
        )
    if not isinstance(samples, list) or not samples:
        raise InvalidInput(f"{file}: holds no samples (`--no-log-samples`?)")
    about = header["eval"]
    dataset = about.get("dataset")
    planned = dataset.get("samples") if isinstance(dataset, dict) else None
    items = once(_items(file, samples, cluster or "cluster"), file)
    short = isinstance(planned, int) and planned > len(items)
    packages = about.get("packages")
    return Log(
        file=file,
        digest=digest,
        tool="inspect_ai",
        version=text(packages.get("inspect_ai")) if isinstance(packages, dict) else "",
        task=text(about.get("task")) or file.stem,
        task_version=text(about.get("task_version")),
        model=_model(about),
        asked={word: hash_of(value) for word, value in _settings(header).items() if value},
        items=items,
        notes=(f"the log holds {count_of(items, 'item')} of {planned}: a limit was set",) if short else (),
    )


def _model(about: Mapping[str, Any]) -> str:
    """Return what was scored: a provider's ``local`` (hf/local) stands for a path that an argument names."""
    named, arguments = text(about.get("model")), about.get("model_args")
    if named.endswith("/local") and isinstance(arguments, dict):
        return text(arguments.get("model_path")) or named
    return named


def _settings(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides how items are asked and judged beside the items, by what a person would call it."""
    about, plan = header["eval"], header.get("plan")
    return {
        "arguments of the task": about.get("task_args"),
        "settings of generation": about.get("model_generate_config"),
        "solver": plan.get("steps") if isinstance(plan, dict) else None,
        "scorer": about.get("scorers"),
    }


def _opened(file: Path) -> tuple[Any, Any]:
    """Return header and summaries of an archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(file, InvalidInput))) as archive:
            return _member(archive, file, HEADER), _member(archive, file, SUMMARIES)
    except KeyError as missing:
        raise InvalidInput(f"{file}: its run is not complete: {missing.args[0]}") from None
    except NotImplementedError:
        raise InvalidInput(
            f"{file}: is compressed in a way that this Python does not read: pip install 'pytest-basin[logs]', or "
            "`inspect log convert --to json`"
        ) from None
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InvalidInput(f"{file}: not readable as a log of Inspect: {shortened(str(error))}") from None


def _member(archive: zipfile.ZipFile, file: Path, name: str) -> Any:
    _learn_zstandard()
    if archive.getinfo(name).file_size > LARGEST:
        raise InvalidInput(f"{file}: {name} in it has more than {LARGEST:,} bytes")
    try:
        return plain_json(archive.read(name).decode("utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{file}: {name} in it is not JSON: {shortened(str(error))}") from None


def _learn_zstandard() -> None:
    """Teach ``zipfile`` the compression that Inspect uses, which it knows itself from Python 3.14 on."""
    try:
        import zipfile_zstd  # noqa: F401  (its import registers it)
    except ImportError:
        return


def _items(file: Path, samples: list[Any], cluster: str) -> Iterator[tuple[str, ScoredItem]]:
    """Yield each item with the mean over its epochs; one that failed in any of them has no answer."""
    epochs: dict[str, dict[str, Mapping[str, Any]]] = {}
    for i, sample in enumerate(samples, 1):
        if not isinstance(sample, dict) or "id" not in sample:
            raise InvalidInput(f"{file}: sample {i} has no id")
        tried = epochs.setdefault(text(sample["id"]), {})
        if (epoch := text(sample.get("epoch"))) in tried:
            raise InvalidInput(f"{file}: the id {shortened(text(sample['id']), 60)} is there twice in one epoch")
        tried[epoch] = sample
    names = list(dict.fromkeys(name for tried in epochs.values() for s in tried.values() for name in _values(s)))
    for name, tried in epochs.items():
        found, first = [_values(sample) for sample in tried.values()], next(iter(tried.values()))
        yield name, ScoredItem(
            where=f"{file}: sample {name}",
            content=hash_of([first.get("target"), len(tried)]),
            prompt=hash_of(first.get("input")),
            cluster=text(label_in(f"{file}: sample {name}", first.get("metadata"), cluster)),
            metrics={metric: _mean([values.get(metric) for values in found]) for metric in names},
        )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _values(sample: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the scores of one sample: by scorer, or by scorer and key where one gives several."""
    found: dict[str, float | None] = {}
    scores = sample.get("scores")
    for scorer, score in scores.items() if isinstance(scores, dict) else ():
        value = score.get("value") if isinstance(score, dict) else None
        several = value if isinstance(value, dict) else {"": value}
        for key, each in several.items():
            number = LETTERS.get(each) if isinstance(each, str) else each
            if number is None or isinstance(number, bool | int | float):
                found[f"{scorer}/{key}" if key else scorer] = None if number is None else float(number)
    return found
